"""One random thing changes between steps: no answer is that of the model before the change."""

from __future__ import annotations

import warnings

import pytest
import torch

from recompviz.benchmarks.loops.changes import random_changes
from recompviz.pytorch.running import step_budget


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 103))
def test_no_answer_is_stale(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_budget, "SEARCH_SECONDS", 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = random_changes(seed, changes=15)
    torch._dynamo.reset()
    assert outcome.changes == 15
    assert not outcome.stale
