"""The end of a recorded step is noticed under a tracer, such as a debugger, and after an error in a backward pass."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.internals.profiler import profiler_runs

TRACED = """
import sys, torch, recompviz as rv
from torch import nn

def tracer(frame, event, argument):
    return tracer

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
model = rv.compile(net, total="1 MiB")
optimizer = torch.optim.SGD(net.parameters(), 0.1)
sys.settrace(tracer)
for _ in range(3):
    model(torch.randn(32, 64)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
sys.settrace(None)
print(rv.step_report(model).summary.split(",")[0])
"""


@pytest.mark.slow
def test_a_recorded_step_ends_under_a_tracer() -> None:
    ended = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=180, check=False)
    assert ended.stdout.strip().startswith("one region"), ended.stderr


class Failing(torch.autograd.Function):
    """Fails in the backward pass, after the passes of the layers that follow."""

    @staticmethod
    def forward(_context: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_context: object, *_gradients: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("the user's own error")


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo asks any input for it
def test_the_profiler_ends_after_an_error_in_the_backward_pass() -> None:
    first = nn.Linear(8, 8)
    model = rv.compile(nn.Linear(8, 1), total="1 MiB")
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="the user's own error"):
            model(Failing.apply(first(torch.randn(4, 8)))).sum().backward()
        ends = time.monotonic() + 5
        while profiler_runs() and time.monotonic() < ends:
            time.sleep(0.01)
        assert not profiler_runs()
    model(first(torch.randn(4, 8))).sum().backward()
    assert first.weight.grad is not None
