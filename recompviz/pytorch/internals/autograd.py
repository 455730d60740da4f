"""The autograd engine and the dispatcher: the node and the graph task that run now, and guards.

Private PyTorch used here: ``torch._C._autograd`` (``_get_current_graph_task_keep_graph``, ``_get_sequence_nr``),
``torch._C._current_autograd_node``, ``torch._C._current_graph_task_id``, ``torch._C._DisableTorchDispatch``,
``torch._C._DisableAutocast``, ``torch.autograd._unsafe_preserve_version_counter`` and ``Node._sequence_nr``.
Tried on torch 2.10.0, 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.utils import _pytree as pytree

__all__ = [
    "after_backward",
    "autocast_off",
    "backward_of_step",
    "dispatch_modes_off",
    "keeps_graph",
    "leaves_of",
    "next_sequence_number",
    "running_node",
    "sequence_number",
    "trained_outputs",
    "version_counters_kept",
]


def keeps_graph() -> bool:
    """Whether the backward pass that runs now was called with ``retain_graph=True``."""
    return bool(torch._C._autograd._get_current_graph_task_keep_graph())


def after_backward(function: Callable[[], None]) -> None:
    """Call a function soon after the backward pass that runs now has returned to Python.

    Not in a callback of the autograd engine: the engine restores thread-local state when it returns, so that a
    profiler that is stopped in a callback counts as running for ever. The function is a pending call of the
    interpreter, and waits until no graph task is active. Such calls run in the main thread only.
    """
    _waiting.append(function)
    ctypes.pythonapi.Py_AddPendingCall(_call_waiting, None)


def _when_engine_returned(_argument: object) -> int:
    if torch._C._current_graph_task_id() != -1:
        ctypes.pythonapi.Py_AddPendingCall(_call_waiting, None)
        return 0
    functions = list(_waiting)
    _waiting.clear()
    for function in functions:
        function()
    return 0


_waiting: list[Callable[[], None]] = []
_call_waiting = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_when_engine_returned)


def backward_of_step(result: Any, arrival: contextlib.AbstractContextManager[None] | None = None) -> None:
    """Run the backward pass of what a step returned.

    Parameters
    ----------
    result : pytree of torch.Tensor
        A scalar loss; or the outputs of a model, each of which gets a gradient of ones.
    arrival : context manager, optional
        The gradients of outputs are allocated inside it, when the backward pass starts.
    """
    if isinstance(result, torch.Tensor) and not result.dim():
        torch.autograd.backward(result)
        return
    outputs = trained_outputs(result)
    end = _CodeOutside.apply(arrival or contextlib.nullcontext(), *outputs)  # type: ignore[no-untyped-call]
    torch.autograd.backward(end, torch.zeros_like(end))


def trained_outputs(result: Any) -> list[torch.Tensor]:
    """The tensors in what a step returned that require a gradient."""
    leaves = pytree.tree_leaves(result)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]


class _CodeOutside(torch.autograd.Function):
    """Stands for the code after a model. It allocates only the gradients, and holds none of them."""

    @staticmethod
    def forward(context: Any, arrival: contextlib.AbstractContextManager[None], *outputs: torch.Tensor) -> torch.Tensor:
        context.arrival = arrival
        context.outputs = [output.detach() for output in outputs]
        return outputs[0].new_empty(0)

    @staticmethod
    def backward(context: Any, *_gradients: torch.Tensor) -> Any:
        with context.arrival:
            return None, *[torch.ones_like(output) for output in context.outputs]


def running_node() -> Any:
    """The autograd node whose backward runs on this thread, or None."""
    return torch._C._current_autograd_node()


def sequence_number(node: Any) -> int:
    """The number that autograd gave a node when it was made."""
    return int(node._sequence_nr())


def next_sequence_number() -> int:
    """The number that autograd will give the next node made by this thread."""
    return int(torch._C._autograd._get_sequence_nr())


def autocast_off() -> contextlib.AbstractContextManager[None]:
    """Run operators exactly as traced, also if the caller has autocast switched on."""
    return torch._C._DisableAutocast()


def dispatch_modes_off() -> contextlib.AbstractContextManager[None]:
    """Run operators without any dispatch mode."""
    guard: contextlib.AbstractContextManager[None] = torch._C._DisableTorchDispatch()
    return guard


def leaves_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The leaf tensors that a backward pass from a tensor gives a gradient, in the order in which they are found.

    Examples
    --------
    >>> weight = torch.ones(2, requires_grad=True)
    >>> leaves_of((weight * 2).sum())[0] is weight
    True
    """
    seen: set[Any] = set()
    waiting = [tensor.grad_fn]
    leaves = []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return leaves


def version_counters_kept(tensors: Iterable[torch.Tensor]) -> contextlib.AbstractContextManager[None]:
    """In-place writes in the block are not counted as changes of these tensors."""
    return _unsafe_preserve_version_counter(tuple(tensors))
