"""The comparison with PyTorch's memory budget: ours is as predicted, and PyTorch's partitions are read right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from recompviz.benchmarks.beside_pytorch import __main__ as beside_pytorch
from recompviz.benchmarks.beside_pytorch.operator_times import OperatorTimes
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.internals.memory_budget import Partition, compiled_in_memory_budget


@pytest.mark.slow
def test_our_steps_are_within_their_budgets_and_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.2)
    path = tmp_path / "rows.json"
    small = ["--layers", "1", "--length", "96", "--budgets", "2", "--engines", "operators"]
    beside_pytorch.main(["llama", *small, "--json", str(path)])
    found = json.loads(path.read_text(encoding="utf-8"))["llama"]
    assert all(step["measured"] == step["predicted"] <= step["budget"] for step in found["ours"])
    peaks = [step["measured"] for step in found["ours"]]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > peaks[-1]
    assert all(row["within_time"]["peak"] <= row["theirs"]["measured"] for row in found["beside"])


def test_the_recomputed_operators_of_pytorchs_partition_are_those_of_its_backward_graph() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    x, times, names = torch.ones(4, 8), OperatorTimes(), []
    for ratio in (1.0, 0.0):
        seen: list[Partition] = []
        compiled_in_memory_budget(model, ratio, observe=seen.append)(x).sum().backward()
        (partition,) = seen
        names.append([node.name for node in partition.recomputed if times(node) > 0])
        assert 0 < times.total(partition.recomputed) < times.total(partition.forward) or not names[-1]
        torch._dynamo.reset()
    assert names == [[], ["addmm", "tanh", "addmm_1", "tanh_1"]]
