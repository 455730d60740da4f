"""The Python functions that a generated program calls in place of ATen operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.fast_calls import _FUNCTIONS, fast_call
from recompviz.pytorch.internals.tensors import same_bits

aten = torch.ops.aten
CPU = {"device": torch.device("cpu"), "pin_memory": False}

x, square, image = torch.randn(4, 6), torch.randn(6, 6), torch.rand(2, 4, 8, 8)
batch, row, four = torch.randn(2, 6, 6), torch.randn(6), torch.rand(4)
indices, signs = torch.tensor([[3, 0, 2]]), torch.rand(4, 6) > 0.5

# the arguments as the joint graph has them, optional ones included
ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    aten._adaptive_avg_pool2d.default: (image, [2, 2]),
    aten._log_softmax.default: (x, 1, False),
    aten._log_softmax_backward_data.default: (x, x, 1, torch.float32),
    aten._safe_softmax.default: (x, -1),
    aten._softmax.default: (x, 1, False),
    aten._softmax_backward_data.default: (x, x, 1, torch.float32),
    aten.add.Tensor: (x, x, {"alpha": 3}),
    aten.addmm.default: (row, x, square, {"beta": 2, "alpha": 3}),
    aten.arange.default: (8, CPU),
    aten.avg_pool2d.default: (image, [2, 2], [1, 1], [1, 1], True, False, 3),
    aten.bmm.default: (batch, batch),
    aten.cat.default: ([x, x], 1),
    aten.clone.default: (square.t(), {"memory_format": torch.contiguous_format}),
    aten.constant_pad_nd.default: (x, [1, 2], 0.5),
    aten.convolution.default: (image, torch.ones(3, 4, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    aten.copy_.default: (torch.zeros(4, 6), x),
    aten.cos.default: (x,),
    aten.detach.default: (x,),
    aten.div.Scalar: (x, 3),
    aten.div.Tensor: (x, x),
    aten.embedding.default: (square, indices, 2, False, False),
    aten.exp.default: (x,),
    aten.expand.default: (x, [3, 4, 6]),
    aten.gelu.default: (x, {"approximate": "tanh"}),
    aten.max_pool2d_with_indices.default: (image, [3, 3], [2, 2], [1, 1], [1, 1], True),
    aten.mean.dim: (x, [-1], True, {"dtype": torch.float64}),
    aten.mm.default: (x, square),
    aten.mul.Scalar: (x, 3),
    aten.mul.Tensor: (x, x),
    aten.native_dropout.default: (x, 0.25, True),
    aten.native_group_norm.default: (image, four, four, 2, 4, 64, 2, 1e-3),
    aten.native_layer_norm.default: (x, [6], row, row, 1e-3),
    aten.neg.default: (x,),
    aten.ones.default: ([3, 4], {"dtype": torch.float64, "layout": torch.strided, **CPU}),
    aten.permute.default: (batch, [2, 0, 1]),
    aten.pow.Tensor_Scalar: (x, 3),
    aten.relu.default: (x,),
    aten.rsqrt.default: (four,),
    aten.scalar_tensor.default: (-torch.inf, {"dtype": torch.float32, "layout": torch.strided, **CPU}),
    aten.select.int: (x, 1, -1),
    aten.sigmoid.default: (x,),
    aten.silu.default: (x,),
    aten.sin.default: (x,),
    aten.split.Tensor: (x, 4, 1),
    aten.squeeze.dim: (x[:1], 0),
    aten.stack.default: ([x, x], 1),
    aten.sub.Tensor: (x, x, {"alpha": 3}),
    aten.sum.dim_IntList: (x, [0], True, {"dtype": torch.float64}),
    aten.t.default: (x,),
    aten.tanh.default: (x,),
    aten.transpose.int: (x, 0, -1),
    aten.tril.default: (x, 1),
    aten.unbind.int: (x, 1),
    aten.unsqueeze.default: (x, -1),
    aten.where.self: (signs, x, square[:4]),
    aten.zeros.default: ([3, 4], {"dtype": torch.int64, "layout": torch.strided, **CPU}),
}


def results(function: Any, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    named = arguments[-1] if isinstance(arguments[-1], dict) else {}
    torch.manual_seed(0)
    found: list[torch.Tensor] = pytree.tree_leaves(
        function(*(value for value in arguments if value is not named), **named)
    )
    return found


def assert_same_results(operator: Any, arguments: tuple[Any, ...]) -> None:
    expected, found = results(operator, arguments), results(fast_call(operator), arguments)
    assert len(found) == len(expected) > 0
    for a, b in zip(expected, found, strict=True):
        assert same_bits(a, b)
        assert a.stride() == b.stride()


@pytest.mark.parametrize("operator", _FUNCTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_function_returns_the_results_of_the_operator(operator: Any, dtype: torch.dtype) -> None:
    arguments = pytree.tree_map(
        lambda value: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value,
        tuple(dtype if value is torch.float32 else value for value in ARGUMENTS[operator]),
    )
    assert fast_call(operator) is not operator
    assert_same_results(operator, arguments)
    # a joint graph leaves out arguments that have their default
    required = [argument for argument in operator._schema.arguments if not argument.has_default_value()]
    assert_same_results(operator, (*arguments[: len(required)], {}))
