"""Find the fastest callable for an operator. A generated program calls hundreds of operators, and each call takes time.

A call through ``torch.ops`` converts its arguments one by one and takes about 2 µs. PyTorch's own Python functions take
half of that time, and run the same kernel. Private PyTorch used here: ``OpOverload._op``, ``torch._C._nn`` and
``torch._C._VariableFunctions``. Tried on torch 2.13.0 and 2.14.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten

_nn: Any = torch._C._nn
_functions: Any = torch._C._VariableFunctions

# Operators whose Python function takes the same arguments in the same order, has the same defaults, and runs the same
# kernel. The function of mse_loss is left out, because its default of `reduction` differs.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    aten._adaptive_avg_pool2d.default: _functions._adaptive_avg_pool2d,
    aten._log_softmax.default: _functions._log_softmax,
    aten._log_softmax_backward_data.default: _functions._log_softmax_backward_data,
    aten._safe_softmax.default: _functions._safe_softmax,
    aten._softmax.default: _functions._softmax,
    aten._softmax_backward_data.default: _functions._softmax_backward_data,
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.arange.default: torch.arange,
    aten.avg_pool2d.default: _nn.avg_pool2d,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.clone.default: torch.clone,
    aten.constant_pad_nd.default: torch.constant_pad_nd,
    aten.convolution.default: torch.convolution,
    aten.copy_.default: torch.Tensor.copy_,
    aten.cos.default: torch.cos,
    aten.detach.default: torch.detach,
    aten.div.Scalar: torch.div,
    aten.div.Tensor: torch.div,
    aten.embedding.default: torch.embedding,
    aten.exp.default: torch.exp,
    aten.expand.default: torch.Tensor.expand,
    aten.gelu.default: _nn.gelu,
    aten.max_pool2d_with_indices.default: _nn.max_pool2d_with_indices,
    aten.mean.dim: torch.mean,
    aten.mm.default: torch.mm,
    aten.mul.Scalar: torch.mul,
    aten.mul.Tensor: torch.mul,
    aten.native_dropout.default: torch.native_dropout,
    aten.native_group_norm.default: torch.native_group_norm,
    aten.native_layer_norm.default: torch.native_layer_norm,
    aten.neg.default: torch.neg,
    aten.ones.default: torch.ones,
    aten.permute.default: torch.permute,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.relu.default: torch.relu,
    aten.rsqrt.default: torch.rsqrt,
    aten.scalar_tensor.default: torch.scalar_tensor,
    aten.select.int: torch.select,
    aten.sigmoid.default: torch.sigmoid,
    aten.silu.default: _nn.silu,
    aten.sin.default: torch.sin,
    aten.split.Tensor: _functions.split,
    aten.squeeze.dim: torch.squeeze,
    aten.stack.default: torch.stack,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: torch.t,
    aten.tanh.default: torch.tanh,
    aten.transpose.int: torch.transpose,
    aten.tril.default: torch.tril,
    aten.unbind.int: torch.unbind,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.where.self: torch.where,
    aten.zeros.default: torch.zeros,
}


def fast_call(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return the fastest callable for an ATen operator. Any other function is returned unchanged.

    Examples
    --------
    >>> fast_call(torch.ops.aten.mm.default) is torch.mm, fast_call(len) is len
    (True, True)
    """
    if target in _FUNCTIONS:
        return _FUNCTIONS[target]
    if isinstance(target, torch._ops.OpOverload):
        return getattr(target, "_op", target)
    return target
