"""Access to the autograd engine and the dispatcher: the running backward pass and node, and context managers.

Private PyTorch used here: ``torch._C._autograd`` (``_get_current_graph_task_keep_graph``, ``_get_sequence_nr``,
``_top_saved_tensors_default_hooks``), ``torch._C._current_autograd_node``, ``torch._C._current_graph_task_id``,
``torch._C._DisableTorchDispatch``, ``torch._C._DisableAutocast``, ``torch._C._AutoDispatchBelowAutograd``,
``torch._C._functorch.peek_interpreter_stack``, ``Variable._execution_engine.queue_callback``,
``torch.autograd._unsafe_preserve_version_counter`` and ``Node._sequence_nr`` and the attributes ``Node._saved_…``.
Tried on torch 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.utils import _pytree as pytree

__all__ = [
    "after_backward",
    "autocast_off",
    "backward_of_step",
    "backward_runs",
    "below_autograd",
    "dispatch_modes_off",
    "forward_only",
    "function_modes_off",
    "has_storage",
    "in_function_transform",
    "keeps_graph",
    "leaves_of",
    "next_sequence_number",
    "running_node",
    "saved_by",
    "saved_tensors_are_packed",
    "sequence_number",
    "trained_outputs",
    "version_counters_kept",
]


@contextlib.contextmanager
def forward_only(see: Callable[[torch.Tensor], None] = lambda _tensor: None) -> Iterator[None]:
    """In a ``with`` block, run forward passes eagerly, also of compiled models, and keep nothing for a backward pass.

    ``see`` is called with each tensor that autograd would otherwise save. A backward pass through such a forward pass
    raises RuntimeError when it needs a saved tensor.
    """
    with torch.compiler.set_stance("force_eager"), torch.autograd.graph.saved_tensors_hooks(see, _never_read):
        yield


def _never_read(_packed: None) -> torch.Tensor:
    raise RuntimeError("this forward pass runs alone and has no backward pass")


def in_function_transform() -> bool:
    """Return whether this code runs inside a transform of ``torch.func``, such as ``vmap`` or ``grad``."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def has_storage(tensor: torch.Tensor) -> bool:
    """Return whether a tensor has a storage. The batched tensors inside ``torch.vmap`` and sparse tensors have none."""
    try:
        tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


def keeps_graph() -> bool:
    """Return whether the running backward pass was started with ``retain_graph=True`` or ``create_graph=True``.

    The result is True if no backward pass runs in this thread.
    """
    return bool(torch._C._autograd._get_current_graph_task_keep_graph())


def saved_tensors_are_packed() -> bool:
    """Return whether hooks of ``torch.autograd.graph.saved_tensors_hooks`` pack what autograd saves now."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def saved_by(node: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that an autograd node has saved for its backward, without those freed or changed in place."""
    for name in _saved_names(type(node)):  # type: ignore[arg-type]  # mypy looks at the hash of an instance
        try:
            value = getattr(node, name)
        except (RuntimeError, AttributeError, NotImplementedError):  # freed, or changed in place
            continue
        yield from (one for one in pytree.tree_leaves(value) if isinstance(one, torch.Tensor))


@functools.cache
def _saved_names(kind: type) -> tuple[str, ...]:
    saved = (name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors")
    return tuple(saved)


def backward_runs() -> bool:
    """Return whether this thread is inside a backward pass."""
    return bool(torch._C._current_graph_task_id() != -1)


def after_backward(function: Callable[[], None]) -> None:
    """Call a function in the main thread, soon after the running backward pass has returned to Python.

    If no backward pass runs, the function is called soon.

    The function runs as a pending call of the interpreter. A callback of the autograd engine only adds the pending
    call: the engine restores thread-local state after its callbacks, so a profiler that a callback stops would still
    count as running. If the backward pass raises an error, its callbacks do not run. A timer then adds the call.
    """
    _waiting.append(function)
    if not backward_runs():
        _add_pending_call()
        return
    # the callback runs no Python code, so that the pending call waits until the engine has returned
    torch.autograd.Variable._execution_engine.queue_callback(_add_pending_call)
    _look_later()


def _look_later() -> None:
    timer = threading.Timer(_LOOK_SECONDS, _look)
    timer.daemon = True
    _timers.append(timer)
    timer.start()


def _look() -> None:
    if _waiting:
        _add_pending_call()
        _look_later()


def _when_engine_returned(_argument: object) -> int:
    # A pending call must not add itself again: under a tracer, such as a debugger, Python 3.11 would repeat it without
    # end.
    if not backward_runs():
        functions = list(_waiting)
        _waiting.clear()
        while _timers:
            _timers.pop().cancel()  # Python warns of a fork beside other threads
        for function in functions:
            function()
    return 0


# seconds between two looks at a backward pass that has not called back
_LOOK_SECONDS = 0.05
_waiting: list[Callable[[], None]] = []
_timers: list[threading.Timer] = []
_call_waiting = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_when_engine_returned)
_add_pending_call = functools.partial(ctypes.pythonapi.Py_AddPendingCall, _call_waiting, None)


def backward_of_step(result: Any, arrival: contextlib.AbstractContextManager[None] | None = None) -> None:
    """Run the backward pass from the result of a training step.

    Parameters
    ----------
    result : pytree of torch.Tensor
        A scalar loss, or the outputs of a model. Each output that requires a gradient gets a gradient of ones. At least
        one tensor must require a gradient.
    arrival : context manager, optional
        Entered when the backward pass starts. The gradients of outputs are allocated inside it. It is not used if
        ``result`` is a scalar.

    Raises
    ------
    RuntimeError, IndexError
        RuntimeError if ``result`` is a scalar that requires no gradient. IndexError if ``result`` is not a scalar, and
        none of its tensors requires a gradient.
    """
    if isinstance(result, torch.Tensor) and not result.dim():
        torch.autograd.backward(result)
        return
    outputs = trained_outputs(result)
    end = _CodeOutside.apply(arrival or contextlib.nullcontext(), *outputs)  # type: ignore[no-untyped-call]  # not annotated
    torch.autograd.backward(end, torch.zeros_like(end))


def trained_outputs(result: Any) -> list[torch.Tensor]:
    """Return those tensors in the result of a training step that require a gradient."""
    leaves = pytree.tree_leaves(result)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]


class _CodeOutside(torch.autograd.Function):
    """Takes the place of the code after a model. It allocates the gradients of the outputs, and holds none of them."""

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
    """Return the autograd node whose backward runs in this thread; None if no backward runs."""
    return torch._C._current_autograd_node()


def sequence_number(node: Any) -> int:
    """Return the sequence number of an autograd node. Nodes of one thread are numbered in the order they are made."""
    return int(node._sequence_nr())


def next_sequence_number() -> int:
    """Return the sequence number that autograd will give to the next node made in this thread."""
    return int(torch._C._autograd._get_sequence_nr())


def autocast_off() -> contextlib.AbstractContextManager[None]:
    """Disable autocast in a ``with`` block. The operators of a traced graph already have the dtypes of autocast."""
    return torch._C._DisableAutocast()


def below_autograd() -> contextlib.AbstractContextManager[None]:
    """In a ``with`` block, call operators without autograd's kernels. Gradients must be disabled there.

    Views and version counters are tracked as usual. This saves about 0.1 µs for each call.
    """
    guard: contextlib.AbstractContextManager[None] = torch._C._AutoDispatchBelowAutograd()
    return guard


def function_modes_off() -> contextlib.AbstractContextManager[None]:
    """Hide the operators that are called in a ``with`` block from modes such as ``TorchFunctionMode``.

    Such a mode has already changed the user's calls when the graph was captured. Without this function, the mode would
    change the calls of the graph a second time.
    """
    if not torch._C._len_torch_function_stack():
        return _NOTHING
    guard: contextlib.AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return guard


_NOTHING = contextlib.nullcontext()


def dispatch_modes_off() -> contextlib.AbstractContextManager[None]:
    """Disable all dispatch modes in a ``with`` block."""
    guard: contextlib.AbstractContextManager[None] = torch._C._DisableTorchDispatch()
    return guard


def leaves_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return the leaf tensors that get a gradient if a backward pass starts at ``tensor``, each once.

    If the tensor is a leaf itself, the list is empty.

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
    """In a ``with`` block, let in-place writes to tensors leave autograd's version counters unchanged."""
    return _unsafe_preserve_version_counter(tuple(tensors))
