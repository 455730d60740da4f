"""A model traced without its loss: outputs of its own, and gradients that arrive from outside."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recompviz as rv


class Several(nn.Module):
    """Outputs in nested containers, one of which is also an intermediate value."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 8)
        self.norm, self.dropout = nn.BatchNorm1d(32), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = self.dropout(torch.relu(self.norm(torch.tanh(self.first(x)))))
        return {"logits": self.second(hidden), "hidden": (hidden,)}


def _loss(output: dict[str, Any]) -> Tensor:
    loss: Tensor = output["logits"].square().mean() + output["hidden"][0].abs().sum()
    return loss


@pytest.fixture
def case() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Several(), torch.randn(64, 16)


def _leanest(trace: rv.Trace) -> rv.Plan:
    return trace.plan(trace.plans("live").least_total)


def test_the_planned_model_returns_its_own_outputs_and_trains_like_eager(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    trace = rv.trace(model, x)
    assert trace.returns_outputs
    assert "outside" in repr(trace)
    planned, eager = rv.apply(trace, _leanest(trace)), copy.deepcopy(model)
    for module in (planned, eager):
        torch.manual_seed(1)
        output = module(x)
        assert isinstance(output, dict)
        _loss(output).backward()
    for mine, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["keep-all", "chen", "live"])
def test_simulated_and_measured_memory_agree_to_the_byte(case: tuple[nn.Module, Tensor], which: str) -> None:
    model, x = case
    trace = rv.calibrate(rv.trace(model, x))
    plan = _leanest(trace) if which == "live" else trace.baseline(which)
    assert rv.measure(rv.apply(trace, plan), x).peak == rv.simulate(trace, plan).peak
    assert rv.certify(trace, plan).ok


def test_the_gradients_of_the_outputs_are_counted_when_the_backward_pass_starts(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    trace = rv.trace(model, x)
    arrival = trace.joint.calls[trace.joint.forward_count]
    assert sum(trace.joint.storages[s].size for s in arrival.makes) == 4 * 64 * (8 + 32)


def test_a_model_without_a_loss_fits_a_budget(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    least = rv.calibrate(rv.trace(model, x)).plans("live").least_total
    step = rv.fit_in(model, x, total=least)
    assert rv.measure(step, x).peak <= least
    with pytest.raises(rv.InfeasibleBudget):
        rv.fit_in(model, x, total=least - 1)


def test_targets_without_a_loss_are_refused(case: tuple[nn.Module, Tensor]) -> None:
    _, x = case
    with pytest.raises(rv.TraceError):
        rv.trace(nn.Linear(16, 4), x, targets=(x,))


def test_without_memory_a_model_is_traced_without_its_loss_too() -> None:
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)), torch.empty(8, 16)
    real = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    estimated, traced = rv.trace(model, x), rv.trace(real, torch.empty(8, 16))
    assert rv.simulate(estimated).peak == rv.simulate(traced).peak
