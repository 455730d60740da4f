"""The bytes of the graphs of one step: storage that several graphs use counts once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

from recompviz.pytorch.internals.partitioner import copied_joint, default_split
from recompviz.pytorch.policies.inductor_joint import InductorJoint, OutsideBytes, gradient_bytes, resident_bytes


class TwoGraphs(nn.Module):
    """Two graphs with a graph break between them. The second may use the layer of the first again."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.again = self.first if tied else nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        torch._dynamo.graph_break()
        return self.last(torch.tanh(self.again(x))).sum()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo reads it at a graph break
@pytest.mark.parametrize("tied", [True, False])
def test_a_parameter_of_two_graphs_and_its_gradient_count_once(tied: bool) -> None:
    found: list[OutsideBytes] = []

    def partition(joint: Any, inputs: Any, **options: Any) -> Any:
        count, static = options["num_fwd_outputs"], options["static_lifetime_input_indices"]
        found.append(InductorJoint.of(copied_joint(joint), count, static).outside)
        return default_split(joint, inputs, options)

    def forward(graph: Any, _inputs: Any) -> Any:
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    model, x = TwoGraphs(tied), torch.randn(4, 8)
    torch.compile(model, backend=aot_autograd(fw_compiler=forward, partition_fn=partition))(x)
    layer, batch = 4 * (8 * 8 + 8), x.nbytes
    assert [resident_bytes([graph]) for graph in found] == [layer + batch, 2 * layer + batch]
    assert [gradient_bytes([graph]) for graph in found] == [layer, 2 * layer]
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    assert gradient_bytes(found) == parameters == (2 if tied else 3) * layer
    assert resident_bytes(found) == parameters + 2 * batch
