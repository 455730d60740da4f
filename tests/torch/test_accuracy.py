"""Plans along the curve take what was predicted, never more than the budget, and less where the budget falls."""

from __future__ import annotations

import pytest
import torch

from recompviz import networks
from recompviz.benchmarks.accuracy import Row, failures, rows_of


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "vit", "unet_diffusion", "lstm_lm"])
def test_five_budgets_of_a_network_keep_every_promise(name: str) -> None:
    torch.manual_seed(0)
    rows = list(rows_of(networks.example(name, small=True), 5))
    assert len(rows) >= 2
    assert failures(rows, allowed=0.01) == []


def test_each_broken_promise_is_named() -> None:
    good = Row("net", 100, 1, 3, 90, 90, 0.0, 0.0, 0.0, 1.0, 1.0, "bitwise", True)
    bad = Row("net", 200, 0, 3, 210, 80, -0.6, 0.0, 0.0, 1.0, 1.0, "failed: gradients", False)
    above = Row("other", 50, 0, 3, 60, 60, 0.0, 0.0, 0.0, 1.0, 1.0, "bitwise", True)
    told = failures([good, bad, above], allowed=0.01)
    expected = (
        "failed: gradients",
        "off by -60.00%",
        "exceed the budget of 50",
        "a larger budget measured a smaller peak",
    )
    assert all(words in line for words, line in zip(expected, told, strict=True))
    assert failures([good], allowed=0.01) == []
