"""A backward pass inside ``torch.autocast`` gives eager's gradients, or a warning says that they differ and why."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.executing.autocast_backward import BackwardInAutocast


class Net(nn.Module):
    """Three layers, of which the second can run in full precision."""

    def __init__(self, full: bool) -> None:
        super().__init__()
        self.layers, self.full = nn.ModuleList(nn.Linear(16, 16) for _ in range(3)), full

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.layers[0](x))
        with torch.autocast("cpu", enabled=not self.full, dtype=torch.bfloat16):
            x = torch.tanh(self.layers[1](x.float() if self.full else x))
        return self.layers[2](x)


def _train(called: nn.Module, inside: bool) -> list[torch.Tensor]:
    called.zero_grad()
    x = torch.linspace(-1, 1, 64).reshape(4, 16)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = called(x).float().square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
    return [parameter.grad for parameter in called.parameters()]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_gradients_under_autocast_are_eagers_or_the_difference_is_told(full: bool, inside: bool) -> None:
    torch.manual_seed(0)
    model = Net(full)
    wanted = _train(model, inside)
    compiled = rv.compile(model, total="1 MiB")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _train(compiled, inside)
    told = [str(one.message) for one in caught if one.category is BackwardInAutocast]
    assert all(map(torch.equal, found, wanted)) is not bool(told)
    assert bool(told) is (full and inside)
    assert all("before loss.backward()" in one for one in told)
    assert len(told) <= 1
