"""Find the fastest callable for an operator. A generated program calls hundreds of operators, and each call takes time.

A call through ``torch.ops`` converts its arguments one by one and takes about 2 µs. PyTorch's own Python functions take
half of that time, and run the same kernel. Private PyTorch used here: ``OpOverload._op``. Tried on torch 2.13.0 and
2.14.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten

# Operators whose Python function takes the same arguments in the same order.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.clone.default: torch.clone,
    aten.convolution.default: torch.convolution,
    aten.div.Tensor: torch.div,
    aten.expand.default: torch.Tensor.expand,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.native_layer_norm.default: torch.native_layer_norm,
    aten.neg.default: torch.neg,
    aten.permute.default: torch.permute,
    aten.relu.default: torch.relu,
    aten.sigmoid.default: torch.sigmoid,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: torch.t,
    aten.tanh.default: torch.tanh,
    aten.transpose.int: torch.transpose,
    aten.unsqueeze.default: torch.unsqueeze,
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
