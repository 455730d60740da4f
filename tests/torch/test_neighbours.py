"""Neighbours run what they say, on the model as it is; and the plan beside each stays within its peak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks import neighbours
from recompviz.benchmarks.checkpointed import Checkpointed, block_paths


def traced(step: networks.Example) -> rv.Trace:
    return rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss)


@pytest.mark.slow
def test_checkpointed_blocks_give_the_same_gradients_in_less_memory_and_leave_the_model_alone() -> None:
    torch.manual_seed(0)
    step = networks.example("resnet50", batch=4, small=True)
    paths = block_paths(traced(step))
    assert paths
    assert all("forward" not in module.__dict__ for module in step.model.modules())
    checkpointed = Checkpointed(step.model, paths)
    eager = rv.measure(step.model, *step.inputs, targets=step.targets, loss=step.loss)
    leaner = rv.measure(checkpointed, *step.inputs, targets=step.targets, loss=step.loss)
    assert leaner.peak < eager.peak
    gradients = []
    for module in (step.model, checkpointed):
        step.model.zero_grad()
        step.loss(module(*step.inputs), *step.targets).backward()
        gradients.append([p.grad for p in step.model.parameters()])
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all("forward" not in module.__dict__ for module in step.model.modules())


def test_a_forward_of_its_own_is_put_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    own = model[0].forward
    model[0].forward = own
    Checkpointed(model, ["0"])(torch.ones(1, 2))
    assert model[0].forward is own


@pytest.mark.slow
def test_the_table_compares_each_neighbour_with_a_plan_within_its_peak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "RATIOS", (1.0, 0.5))
    path = tmp_path / "rows.json"
    neighbours.main(["gpt2", "--rounds", "1", "--json", str(path)])
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["neighbour"] for row in rows] == [
        "eager", "checkpoint per block", "torch.compile 1", "min-cut 1", "torch.compile 0.5", "min-cut 0.5", "chen",
    ]  # fmt: skip
    met = [row for row in rows if row["our_peak"] is not None]
    assert met
    assert all(row["our_peak"] <= row["peak"] for row in met)
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[0]["recompute"] == rows[0]["our_recompute"] == 0
    assert capsys.readouterr().out.count("vs theirs") == len(met)
