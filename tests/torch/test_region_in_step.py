"""A region in its step: the search sees the peak of the whole step, with the loss and the outputs that are held."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recompviz as rv
from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_in_step import region_in_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.budgeting.operator_figures import equal_calls_alike
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.resized_steps import SizedPlans
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.running.compiled import budget_of
from recompviz.pytorch.tracing.call_list import ARRIVE


class Layers(nn.Module):
    """Linear layers, tanh and sine; returns the output, and also the values between if asked for."""

    def __init__(self, every: bool) -> None:
        super().__init__()
        self.every = every
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
        self.head = nn.Linear(16, 64)

    def forward(self, x: Tensor) -> Any:
        found = []
        for layer in self.layers:
            x = torch.tanh(layer(x)).sin()
            found.append(x)
        return (self.head(x), found) if self.every else self.head(x)


def trained(every: bool, hold: bool, total: int | str = "1 GiB") -> StepBudget:
    """The budget of a model after three steps, whose loss is outside; the caller may hold the outputs."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    compiled = rv.compile(Layers(every), total=total)
    x, y = torch.randn(32, 16), torch.randint(64, (32,))
    for _ in range(3):
        compiled.zero_grad()
        output = compiled(x)
        logits, between = output if every else (output, [])
        loss = F.cross_entropy(logits * 2, y) + sum(value.mean() for value in between)
        if not hold:
            del output, logits, between
        loss.backward()
        output = logits = between = None
    return budget_of(compiled)


@pytest.mark.parametrize(("every", "hold"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_simulated_peak_of_a_region_in_its_step_is_the_planned_peak(
    every: bool, hold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.1)
    budget = trained(every, hold)
    assert budget.planned is not None
    model = budget.planned.model
    (region,), (recorded,) = model.regions, model.passes
    known = budget.regions[region]
    assert known.joint is not None
    assert known.time is not None
    draw = np.random.default_rng(0)
    masks = [*model.masks[0], *(draw.random(len(region.folded.graph)) < 0.5 for _ in range(20))]
    options = SizedPlans(region, known.joint, known.time, masks, recorded.released).at()
    for later in (0, 100_000):
        in_step = region_in_step(known.joint, recorded.outside, recorded.released, later)
        live = LiveModel(region.folded.graph, in_step)
        simulated = [simulate_schedule(make_schedule(in_step, mask.tolist())).transient_peak for mask in masks]
        assert [live.peak(mask) for mask in masks] == simulated
        planned = options.peaks(recorded.outside, later) - recorded.outside.forward
        assert simulated == planned.tolist()


def test_the_least_total_is_not_refused_before_a_step_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.1)
    least, _ = trained(False, False).range_of_totals
    planned = trained(False, False, least).planned
    assert planned is not None
    assert planned.resident + planned.model.plans.peak[planned.point] == least
    with pytest.raises(rv.InfeasibleBudget) as caught:
        trained(False, False, least // 2)
    assert least <= caught.value.least <= 1.5 * least  # an estimate that is expected to be enough


def test_the_time_of_a_call_includes_the_work_that_the_device_does_after_the_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    monkeypatch.setattr(CpuRuntime, "synchronize", lambda _runtime: time.sleep(0.001))
    (known,) = trained(False, False).regions.values()
    assert known.joint is not None
    calls = zip(known.joint.calls, known.joint.seconds, strict=True)
    assert all(seconds >= 0.001 for call, seconds in calls if call.info.op != ARRIVE)


def test_calls_of_the_same_operator_and_shapes_have_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    (region,) = trained(False, False).regions
    nodes = region.folded.call_node
    tanh = [i for i, node in enumerate(nodes) if node.target is torch.ops.aten.tanh.default]
    seconds = [1.0] * len(nodes)
    seconds[tanh[1]], seconds[tanh[3]] = 50.0, 3.0  # interrupted
    alike = equal_calls_alike(region.folded, seconds)
    assert [alike[i] for i in tanh] == [1.0] * 4
    (head,) = [i for i, node in enumerate(nodes) if tuple(node.meta["val"].shape) == (32, 64) and "mm" in node.name][:1]
    seconds[head] = 7.0
    assert equal_calls_alike(region.folded, seconds)[head] == 7.0


def test_a_region_does_not_take_the_output_of_another_region_for_its_own() -> None:
    torch._dynamo.reset()
    models = [nn.Sequential(nn.Linear(4, 4), activation) for activation in (nn.Tanh(), nn.Sigmoid())]
    compiled = [rv.compile(model, total="1 GiB") for model in models]
    x = torch.randn(2, 4)
    outputs = [model(x) for model in compiled]
    regions = [region for model in compiled for region in budget_of(model).regions]
    assert len({region.slots for region in regions}) == 1
    for i, region in enumerate(regions):
        for j, output in enumerate(outputs):
            assert (region.saved_values(output) is not None) == (i == j)
