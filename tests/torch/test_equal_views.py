"""Views that a generated program leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import Interpreter, Node

import recompviz as rv
from recompviz import networks
from recompviz.pytorch.executing.equal_views import EqualViews

aten = torch.ops.aten


class Turned(nn.Module):
    """Views of views over dimensions of size 1, transposed tensors, and permutations that are not their own inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).view(2, 1, 3, 6).permute(2, 0, 1, 3).permute(1, 3, 0, 2)
        z = (y.sin().permute(2, 3, 0, 1).permute(1, 2, 3, 0).squeeze(0) * 2).mT.mT.detach().view(2, 6, 3)
        w = self.second(z.mT.reshape(6, 6).t().t().expand(6, 6)).view(1, 6).view(6, 1).view(1, 6)
        return (w * self.first.weight.t().t().sum() + self.first(x).sum(1)).sum()


class Values(Interpreter):
    """Runs a joint graph, and keeps the value of each node."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    def call_function(self, target, args, kwargs):  # type: ignore[no-untyped-def]
        if target in (aten.view.default, aten._unsafe_view.default):
            return torch.reshape(*args)
        return super().call_function(target, args, kwargs)


def ones_like_fake(fake: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype).fill_(1)


@pytest.mark.parametrize("name", ["gpt2", ""])
def test_a_view_is_replaced_by_a_value_with_the_same_storage_shape_and_strides(name: str) -> None:
    model: nn.Module = Turned()
    inputs, options = (torch.randn(6, 4),), {}
    if name:
        step = networks.example(name, small=True)
        model, inputs, options = step.model, step.inputs, {"targets": step.targets, "loss": step.loss}
    folded = rv.trace(model, *inputs, **options).folded
    given = {node for node, (role, _) in folded.placeholders if role != "tangent"}
    views = EqualViews(set(folded.call_node), given)
    values = Values(folded.fx)
    arguments = [ones_like_fake(node.meta["val"]) for node, _ in folded.placeholders]
    with torch.no_grad():
        values.run(*arguments, enable_io_processing=False)
    replaced: list[tuple[Node, Node]] = [
        (node, other) for node in folded.fx.graph.nodes if (other := views.equal(node)) is not node
    ]
    assert len(replaced) >= 8
    for node, other in replaced:
        a, b = values.env[node], values.env[other]
        assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
        assert a.storage_offset() == b.storage_offset()
        if views.without_dimension(other):
            assert a.shape == (b.numel(),)
            continue
        assert a.shape == b.shape
        assert a.stride() == b.stride()
    for node in folded.fx.graph.nodes:  # a view of an earlier value
        if node.target in (aten.view.default, aten._unsafe_view.default) and node not in views.calls:
            a, b = values.env[node], values.env[views.argument(node)].reshape(list(node.meta["val"].shape))
            assert (a.data_ptr(), a.stride()) == (b.data_ptr(), b.stride())
