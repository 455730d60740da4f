"""ATen operators: properties read from their schemas, and operators that a trace must not decompose.

Private PyTorch used here: ``torch._ops.HigherOrderOperator``, ``torch._ops.OpOverload`` with its ``_schema``,
``py_kernels`` and ``_dispatch_cache``, ``compute_elementwise_output_strides`` of ``torch._prims_common``,
``torch._C.DispatchKey``, and the switch of MKL-DNN in ``torch._C``. Tried on torch 2.11.0, 2.12.1, 2.13.0 and
2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch._prims_common import compute_elementwise_output_strides
from torch.fx import Node
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.undone import undone

__all__ = [
    "allocating_call",
    "draws_random_numbers",
    "is_foreign",
    "is_in_place",
    "is_matrix_product",
    "is_pointwise",
    "is_random",
    "lstm_for_training",
    "lstm_in_single_operators",
    "may_be_random",
    "operator_name",
    "operators_kept_whole",
    "takes_number_as_tensor",
]

# operators that AOTAutograd's dispatcher decomposes by its own Python kernels
_DECOMPOSED = ("upsample_", "_upsample_", "lstm", "gru", "rnn_tanh", "rnn_relu")

_PRODUCTS = frozenset(getattr(torch.ops.aten, name) for name in ("mm", "bmm", "addmm", "addbmm", "baddbmm", "matmul"))

# Namespaces of PyTorch's own operators. Their tags say whether they draw random numbers.
_OF_PYTORCH = frozenset(
    (
        "_c10d_functional",
        "_c10d_functional_autograd",
        "aten",
        "c10d",
        "fsdp",
        "inductor",
        "mkl",
        "mkldnn",
        "onednn",
        "prim",
        "prims",
        "quantized",
        "quantized_decomposed",
        "symm_mem",
    )
)


def operator_name(target: Any) -> str:
    """Return the name of an operator without its overload, or the name of a Python function.

    Examples
    --------
    >>> operator_name(torch.ops.aten.convolution.default), operator_name(len)
    ('aten.convolution', 'len')
    """
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket)
    return getattr(target, "__name__", str(target))


def allocating_call(node: Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """Return the operator that an fx node calls, and its arguments with fake tensors in place of nodes.

    If the node calls a wrapper that handles the random generator's state, the operator in the wrapper is returned.

    Returns
    -------
    (operator, positional arguments, named arguments) or None
        None if the node makes a view, calls a subgraph (``torch.cond``) or does not call an operator (``getitem``).
    """
    operator: Any = node.target
    arguments: tuple[Any, ...] = node.args
    if isinstance(operator, torch._ops.HigherOrderOperator):
        position = next((i for i, value in enumerate(arguments) if isinstance(value, torch._ops.OpOverload)), None)
        if position is None:
            return None
        operator, arguments = arguments[position], arguments[position + 1 :]
    if not isinstance(operator, torch._ops.OpOverload) or operator.is_view:
        return None
    values = pytree.tree_map_only(Node, lambda value: value.meta["val"], (tuple(arguments), dict(node.kwargs)))
    return operator, *values


def is_in_place(target: Any) -> bool:
    """Return whether an operator overwrites one of its arguments."""
    return isinstance(target, torch._ops.OpOverload) and bool(target._schema.is_mutable)


def is_matrix_product(target: Any) -> bool:
    """Return whether an operator is a matrix product for which autocast lowers the precision of the operands."""
    return isinstance(target, torch._ops.OpOverload) and target.overloadpacket in _PRODUCTS


def is_pointwise(target: Any) -> bool:
    """Return whether an operator computes each element of its result only from elements at the same position."""
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags


def is_random(target: Any) -> bool:
    """Return whether PyTorch tags an operator as drawing from a random generator."""
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def may_be_random(target: Any) -> bool:
    """Return whether an operator can draw from a random generator.

    Operators of other packages count as random, because few of them have the tag. So do operators that call a subgraph
    (``torch.cond``), because an operator in the subgraph may be random.
    """
    return is_random(target) or is_foreign(target)


def is_foreign(target: Any) -> bool:
    """Return whether an operator belongs to another package, or calls a subgraph (``torch.cond``)."""
    if isinstance(target, torch._ops.OpOverload):
        return target.namespace not in _OF_PYTORCH
    return isinstance(target, torch._ops.HigherOrderOperator)


def draws_random_numbers(target: Any, args: tuple[Any, ...]) -> bool:
    """Return whether a call can draw from a random generator.

    The result is False for a call of an attention operator whose ``args`` contain a dropout probability of 0.

    Parameters
    ----------
    target : callable
        The operator.
    args : tuple
        The positional arguments of the call.
    """
    if not may_be_random(target):
        return False
    if not isinstance(target, torch._ops.OpOverload):
        return True
    arguments = dict(zip((argument.name for argument in target._schema.arguments), args, strict=False))
    return bool(arguments.get("dropout_p", True))


def takes_number_as_tensor(target: Any, args: tuple[Any, ...]) -> bool:
    """Return whether the CPU's kernel makes a tensor of a Python number among the positional arguments of a call.

    The kernel makes a tensor of a number that is given for a tensor parameter, and of any number that is given to a
    ``_foreach_`` operator. On the CPU, a ``_foreach_`` operator is a loop over single tensors.
    """
    many = target._schema.name.startswith("aten::_foreach_")
    return any(
        isinstance(value, (int, float)) and (many or isinstance(argument.type, torch.TensorType))
        for value, argument in zip(args, target._schema.arguments, strict=False)
    )


@contextlib.contextmanager
def lstm_in_single_operators() -> Iterator[None]:
    """In a ``with`` block, run an LSTM on the CPU as single operators.

    A trace cannot see the workspace of the fused kernel.
    """
    with undone(functools.partial(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())):
        torch._C._set_mkldnn_enabled(False)
        yield


def lstm_for_training(*arguments: Any) -> Any:
    """Run MKL-DNN's fused LSTM with the workspace that its backward pass reads.

    The arguments and the results are those of ``torch.ops.aten.mkldnn_rnn_layer``.

    The kernel makes this workspace only if gradients are enabled. In a compiled forward pass they are disabled.
    """
    with torch._C._AutoDispatchBelowAutograd(), torch.enable_grad():
        return torch.ops.aten.mkldnn_rnn_layer.default(*arguments)


@contextlib.contextmanager
def operators_kept_whole() -> Iterator[None]:
    """In a ``with`` block, trace resizes, recurrent layers and dropout as eager PyTorch computes them.

    Otherwise AOTAutograd's dispatcher decomposes them. A resize becomes about thirty indexing calls. An LSTM computes
    sums in another order than in eager PyTorch, so that the last bits differ, and omits the dropout between its layers.
    A dropout on the CPU is scaled by another number than in eager PyTorch in half precision, and for some probabilities
    in single precision.
    """
    keys = (torch._C.DispatchKey.Autograd, torch._C.DispatchKey.CompositeImplicitAutograd)
    packets = [getattr(torch.ops.aten, name) for name in dir(torch.ops.aten) if name.startswith(_DECOMPOSED)]
    decomposed = [getattr(packet, name) for packet in packets for name in packet.overloads()]
    dropout = torch.ops.aten.dropout.default
    before = [(overload, dict(overload.py_kernels)) for overload in (*decomposed, dropout)]

    def restore() -> None:
        for overload, kernels in before:
            overload.py_kernels.update(kernels)
            overload._dispatch_cache.clear()

    with undone(restore):
        for overload in decomposed:
            for key in keys:
                overload.py_kernels.pop(key, None)
            overload._dispatch_cache.clear()
        for key in keys:
            if key in dropout.py_kernels:
                dropout.py_kernels[key] = functools.partial(_dropout, dropout.py_kernels[key])
        dropout._dispatch_cache.clear()
        yield


def _dropout(decomposed: Callable[..., torch.Tensor], value: torch.Tensor, p: float, train: bool) -> torch.Tensor:
    """Compute a dropout as eager PyTorch does, also on the CPU where the decomposition scales by another number."""
    if not (train and 0 < p < 1 and value.device.type == "cpu") or _scales_alike(value.dtype, 1 - p):
        return decomposed(value, p, train)
    # eager draws in the order in which the elements lie in memory; a functionalised bernoulli_ draws row by row
    strides = compute_elementwise_output_strides(value)
    order = sorted(range(value.dim()), key=lambda d: -strides[d])
    noise = value.new_empty([value.shape[d] for d in order]).bernoulli_(1 - p).div_(1 - p)
    return value * noise.permute([order.index(d) for d in range(value.dim())])


def _scales_alike(dtype: torch.dtype, share: float) -> bool:
    """Return whether eager PyTorch and its decomposition scale the kept share of a dropout by the same number.

    Eager divides by the share, rounded to the type of the values. The decomposition multiplies by the rounded quotient.
    """
    if dtype in (torch.bfloat16, torch.float16):
        return False
    return dtype != torch.float32 or bool(np.float32(1) / np.float32(share) == np.float32(1 / share))
