"""``rv.checkpoint_policy``: a plan as a policy of selective checkpoints."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

import recompviz as rv


class Block(nn.Module):
    """A residual block with dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.dropout = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.down(torch.tanh(self.up(x))))


class Model(nn.Module):
    """Blocks, each with a checkpoint if it has a policy."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(8) for _ in range(3))
        self.policies: list[object] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.blocks):
            if self.policies:
                contexts = functools.partial(create_selective_checkpoint_contexts, self.policies[i])
                x = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
            else:
                x = block(x)
        return x.square().mean()


X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    """Gradients of a step from a fixed seed."""
    torch.manual_seed(1)
    model.zero_grad()
    model(X).backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("keep", ["tanh", "addmm", "nothing"])
def test_gradients_are_those_of_eager_bitwise(keep: str) -> None:
    """Each pass computes the same dropout, in two steps one after the other."""
    model = Model()
    expected = gradients(model)
    trace = rv.trace(model, X)
    plan = rv.Plan.from_keep_mask(trace.graph, [name for name in trace.graph.names if keep in str(name)], "test")
    model.policies = [rv.checkpoint_policy(plan, f"blocks.{i}") for i in range(3)]
    assert all(policy.recomputes for policy in model.policies)
    for _ in range(2):
        assert all(map(torch.equal, gradients(model), expected))


def test_the_policy_saves_what_the_plan_keeps() -> None:
    model = Model()
    trace = rv.trace(model, X)
    plan = rv.Plan.from_keep_mask(trace.graph, ["blocks.1/tanh"], "test")
    policy = rv.checkpoint_policy(plan, "blocks.1")
    context = torch.utils.checkpoint.SelectiveCheckpointContext(is_recompute=False)
    aten = torch.ops.aten
    run = (aten.addmm.default, aten.tanh.default, aten.addmm.default, aten.mul.Tensor, aten.add.Tensor)
    saved = [operator.name() for operator in run if policy(context, operator).name == "MUST_SAVE"]
    assert saved == ["aten::tanh"]


def test_another_order_of_operators_is_refused() -> None:
    model = Model()
    plan = rv.Plan.from_keep_mask(rv.trace(model, X).graph, [], "test")
    model.policies = [rv.checkpoint_policy(plan, f"blocks.{i}") for i in range(3)]
    model.blocks[1].forward = lambda x: torch.tanh(model.blocks[1].up(torch.tanh(x)))  # type: ignore[method-assign]
    with pytest.raises(rv.PlanMismatch):
        model(X)


def test_a_module_without_operators_is_refused() -> None:
    plan = rv.Plan.from_keep_mask(rv.trace(Model(), X).graph, [], "test")
    with pytest.raises(ValueError, match=r"blocks\.7"):
        rv.checkpoint_policy(plan, "blocks.7")
    assert not rv.checkpoint_policy(rv.Plan.keep_all(plan.graph), "blocks.1").recomputes
