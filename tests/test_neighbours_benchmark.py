"""The comparison with others prints a row for each, and puts the model back as it was."""

from __future__ import annotations

import pytest
import torch

from recompviz import networks
from recompviz.benchmarks.neighbours import checkpointed, compare


def test_every_neighbour_has_a_row_with_ours_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    step = networks.example("resnet50", small=True)
    compare(step, step.inputs)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == 10
    assert [row.split()[0] for row in rows[:4]] == ["eager", "checkpoint,", "per-module", "chen"]
    assert all(row.split()[-1] in ("less", "equal", "MORE", "—") for row in rows)
    assert rows[0].endswith("equal")


def test_checkpointing_computes_the_same_and_is_taken_off_again() -> None:
    torch.manual_seed(0)
    step = networks.example("gpt2", small=True)
    before = {name: vars(module).copy() for name, module in step.model.named_modules()}

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # of its dropout
        return step.loss(step.model(*step.inputs), *step.targets)

    plain = loss()
    with checkpointed(step.model) as count:
        assert count == 2
        assert torch.equal(loss(), plain)
    assert all("forward" not in vars(module) for module in step.model.modules())
    assert {name: set(attributes) for name, attributes in before.items()} == {
        name: set(vars(module)) for name, module in step.model.named_modules()
    }
