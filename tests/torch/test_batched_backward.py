"""Several backward passes at once (``is_grads_batched=True``) give what eager gives, and are not recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 4)]
    return nn.Sequential(*layers)


def jacobian(called: nn.Module, seed: int) -> torch.Tensor:
    """The derivatives of four outputs with respect to the inputs, in one call."""
    torch.manual_seed(seed)
    x = torch.randn(256, 64, requires_grad=True)
    directions = torch.eye(4)[:, None].expand(4, 256, 4)
    (found,) = torch.autograd.grad(called(x), x, directions, is_grads_batched=True)
    return found


def train(called: nn.Module, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    x = torch.randn(256, 64, requires_grad=True)
    (found,) = torch.autograd.grad(called(x).square().mean(), x)
    return found


@pytest.mark.slow
def test_steps_of_batched_backward_passes_equal_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    eager = net()
    compiled = rv.compile(net(), total="1 MiB")
    expected = [jacobian(eager, seed) for seed in range(5)]
    with pytest.warns(UnplannedStep, match="several backward passes run at once"):
        found = [jacobian(compiled, seed) for seed in range(5)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    # afterwards, steps of one backward pass are planned
    for seed in range(5):
        assert torch.equal(train(compiled, seed), train(eager, seed))
    assert rv.step_report(compiled).peak() <= 2**20
    assert torch.equal(jacobian(compiled, 9), jacobian(eager, 9))
