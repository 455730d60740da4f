"""The backward pass runs in another thread than the forward pass, as on an accelerator.

Autograd gives each accelerator a thread of its own. On the CPU, it continues in a thread of its pool when passes are
nested more than 60 deep, with the same thread-local state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.running.compiled import budget_of

DEPTH = 62
# a nested pass makes two scalars and a copy
SCALARS = 3 * 4 * (DEPTH + 1)


class _Nested(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, depth: int, action: Callable[[], None]) -> torch.Tensor:
        context.depth, context.action = depth, action
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        if context.depth:
            with torch.enable_grad():
                _nested(context.depth - 1, context.action)
        else:
            context.action()
        return gradient, None, None


_backward = torch.autograd.backward


def _nested(depth: int, action: Callable[[], None]) -> None:
    _backward(_Nested.apply(torch.zeros((), requires_grad=True), depth, action))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Let backward passes run in a thread of the engine, and return the set of their threads."""
    found: set[int] = set()

    def elsewhere(*arguments: Any, **named: Any) -> None:
        def run() -> None:
            found.add(threading.get_ident())
            _backward(*arguments, **named)

        _nested(DEPTH, run)

    monkeypatch.setattr(torch.autograd, "backward", elsewhere)
    return found


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(32, 32), nn.Tanh(), nn.Dropout(0.2))))


def test_a_step_is_recorded_and_planned(threads: set[int]) -> None:
    model, x = _model(), torch.randn(128, 32)
    compiled = rv.compile(model, total="1100 kB")
    budget = budget_of(compiled)
    for _ in range(4):
        compiled(x).sum().backward()
        model.zero_grad()
    assert threads
    assert threading.get_ident() not in threads
    assert budget.attempts.flaw is None
    assert budget.failed_recordings == 0
    assert budget.planned is not None


def test_a_measured_step_is_the_simulated_one(threads: set[int]) -> None:
    model, x = _model(), torch.randn(128, 32)
    trace = rv.calibrate(rv.trace(model, x, loss=torch.sum))
    plan = trace.plans("live").plans[-1]
    measured, simulated = rv.measure(rv.apply(trace, plan), x), rv.simulate(trace, plan)
    steps = slice(len(trace.schedule(plan)))
    assert threading.get_ident() not in threads
    assert measured.notes == ()
    assert np.abs(measured.step_ends[steps] - simulated.step_ends[steps]).max() <= SCALARS
    assert rv.certify(trace, plan).gradients == "bitwise"
