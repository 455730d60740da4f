"""Operators that draw random numbers without saying so draw the same numbers when they are computed again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.pytorch.internals.operators import draws_random_numbers, may_be_random
from recompviz.pytorch.internals.partitioner import must_run_once


@torch.library.custom_op("recompviz_tests::noisy", mutates_args=())
def noisy(x: torch.Tensor) -> torch.Tensor:
    return x * (torch.rand_like(x) > 0.3)


@noisy.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def _save(ctx: object, inputs: object, output: torch.Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward((output != 0).float())


noisy.register_autograd(lambda ctx, gradient: gradient * ctx.saved_tensors[0], setup_context=_save)


def by_custom_operator(x: torch.Tensor) -> torch.Tensor:
    return noisy(x)


def by_condition(x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > 0, lambda x: F.dropout(x, 0.3) * 2, lambda x: F.dropout(x, 0.3), (x,))


class Net(nn.Module):
    """A random function between layers."""

    def __init__(self, drop: object) -> None:
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(8, 16), nn.Linear(16, 4), drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.drop(torch.tanh(self.first(x))))
        return self.last(F.dropout(x, 0.2))


def _gradients(called: object, model: nn.Module, *batch: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(7)
    called(*batch).backward()
    return [p.grad for p in model.parameters()] + [torch.rand(1)]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo asks any input for it
@pytest.mark.parametrize("drop", [by_custom_operator, by_condition])
def test_an_operator_without_the_tag_of_random_ones_is_computed_again_with_the_same_numbers(drop: object) -> None:
    model = Net(drop)
    x, y = torch.randn(32, 8), torch.randint(4, (32,))
    trace = rv.trace(model, x, targets=(y,), loss=F.cross_entropy)
    nothing = rv.Plan.from_keep_mask(trace.graph, np.zeros(len(trace.graph), np.bool_), "nothing is kept")
    again = [trace.joint.calls[c].info.op for c in trace.schedule(nothing).recomputed]
    assert any("noisy" in op or "cond" in op for op in again)
    planned = rv.apply(trace, nothing)
    wanted = _gradients(lambda x, y: F.cross_entropy(model(x), y), model, x, y)
    assert all(map(torch.equal, _gradients(planned, model, x, y), wanted))


def test_only_operators_of_pytorch_are_believed() -> None:
    custom = torch.ops.recompviz_tests.noisy.default
    assert may_be_random(custom)
    assert draws_random_numbers(custom, (None,))
    assert not may_be_random(torch.ops.aten.tanh.default)
    graph = torch.fx.Graph()
    assert must_run_once(graph.call_function(custom, (graph.placeholder("x"),)))
