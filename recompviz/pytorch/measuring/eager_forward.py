"""The bytes that eager PyTorch saves in the forward pass of a training step, compared with those of the captured step.

A library may run other code while ``torch.compile`` captures it (``torch.compiler.is_compiling``). The captured step
then differs from the step that eager PyTorch runs, and plans hold only for the captured step. The comparison runs the
forward pass once, or twice if the second training step was traced. No value is kept for a backward pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.core.base.units import format_bytes
from recompviz.pytorch.internals.autograd import forward_only
from recompviz.pytorch.internals.fake_tensors import fake_mode_of, without_storage
from recompviz.pytorch.internals.operators import operator_name
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.internals.tensors import StorageWeakRef, weak_storage
from recompviz.pytorch.measuring.measurement_run import overwritten_parameters
from recompviz.pytorch.tracing.traced_step import Trace
from recompviz.pytorch.tracing.user_errors import raise_if_it_must_come_through

# A captured step is reported if it saves more than eager by over this share. Smaller differences come from kernels, for
# example from the dtype of a dropout mask.
REPORTED = 0.05
# the most source lines that a report names
_LINES = 2


class EagerDiffers(UserWarning):
    """The captured step saves more memory for the backward pass than the step that eager PyTorch runs."""


@dataclass(frozen=True)
class EagerForward:
    """The record of a forward pass in eager PyTorch; frozen.

    Attributes
    ----------
    saved_bytes : int
        Bytes of the storages that autograd would save for the backward pass, rounded as the allocator rounds them.
        Parameters, buffers, inputs, keyword arguments and targets do not count.
    operators : Counter of str
        The number of calls of each operator, by the operator's name without its overload.
    """

    saved_bytes: int
    operators: Counter[str]


def eager_forward(trace: Trace) -> EagerForward:
    """Run the forward pass of a traced training step in eager PyTorch, and count what autograd would save.

    If the second training step was traced (see :attr:`Trace.after_first`), the forward pass runs twice, and the second
    run is counted. No value is kept for a backward pass. The state of the model and of the batch is restored.
    """
    with state_restored(trace.step, trace.arguments, overwritten=overwritten_parameters(trace)):
        return _counted(trace, trace.step, trace.arguments)


def estimated_bytes(trace: Trace) -> int | None:
    """Return :attr:`EagerForward.saved_bytes`, counted on tensors without memory, so that no operator runs.

    Return None if the forward pass cannot run without the values of its tensors. ``MemoryError``, and errors of a type
    that neither Python, PyTorch nor recompviz defines, are raised.
    """
    try:
        step, arguments = without_storage(trace.step, trace.arguments)
        with fake_mode_of([*step.parameters(), *pytree.tree_leaves(arguments)]):
            return _counted(trace, step, arguments).saved_bytes
    except Exception as error:  # models do much that tensors without values cannot do
        raise_if_it_must_come_through(error)
        return None


def _counted(trace: Trace, step: torch.nn.Module, arguments: Any) -> EagerForward:
    leaves = [*step.parameters(), *step.buffers(), *pytree.tree_leaves(arguments)]
    static = {weak_storage(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)}
    saved: dict[StorageWeakRef, int] = {}

    def pack(tensor: torch.Tensor) -> None:
        storage = weak_storage(tensor)
        if storage is not None and storage not in static:
            saved[storage] = trace.joint.rounded(tensor.untyped_storage().nbytes())

    counted = _Counted()
    with torch.enable_grad():
        if trace.after_first:
            with forward_only():
                step(*arguments)
        with forward_only(pack), counted:
            step(*arguments)
    return EagerForward(sum(saved.values()), counted.operators)


def difference_from_eager(trace: Trace, *, long: bool = False) -> str:
    """Describe the difference if the captured step saves over 5 % more bytes for its backward pass than the eager step.

    The bytes of the captured step are those of a step that recomputes only what the model's own checkpoints recompute.

    Parameters
    ----------
    trace : Trace
    long : bool
        Whether the forward pass takes long. If so, the bytes of the eager step are first counted on tensors without
        memory. The forward pass then runs only if this count is not possible or shows a difference.

    Returns
    -------
    str
        A text with the saved bytes of both steps, the lines that only the captured step runs, and advice. The text is
        empty if the captured step saves at most 5 % more, if the trace is estimated, or if the forward pass fails.
        ``MemoryError``, and errors of a type that neither Python, PyTorch nor recompviz defines, are raised.
    """
    if trace.estimated:
        return ""
    as_written = any(call.info.checkpoint for call in trace.joint.calls)
    ours = trace.schedule(trace.baseline("as-written" if as_written else "keep-all")).saved_bytes
    estimated = estimated_bytes(trace) if long else None
    if estimated is not None and ours <= (1 + REPORTED) * estimated:
        return ""
    try:
        eager = eager_forward(trace)
    except Exception as error:  # out of memory, or a model that does not accept hooks; its own steps report that
        raise_if_it_must_come_through(error)
        return ""
    if ours <= (1 + REPORTED) * eager.saved_bytes:
        return ""
    lines = _only_captured(trace, eager)
    return (
        f"{type(trace.model).__name__} runs other code while it is captured than in eager PyTorch: the captured step "
        f"saves {format_bytes(ours)} for the backward pass if every value is kept, eager saves "
        f"{format_bytes(eager.saved_bytes)}"
        + (f"; only the captured step runs {' and '.join(lines)}" if lines else "")
        + f". {_advice(trace, lines)}"
    )


def _only_captured(trace: Trace, eager: EagerForward) -> list[str]:
    """Return at most two source lines whose operators eager calls less often; lines that allocate most come first."""
    joint = trace.joint
    calls = joint.calls[: joint.forward_count]
    # a trace calls "add" where eager calls "add_"
    surplus = Counter(call.info.op for call in calls)
    surplus.subtract({name.rstrip("_"): count for name, count in eager.operators.items()})
    allocated: dict[str, int] = defaultdict(int)
    for call in calls:
        if surplus[call.info.op] > 0 and call.info.source:
            allocated[call.info.source] += sum(joint.sizes[storage] for storage in call.makes)
    largest = sorted(allocated, key=lambda source: -allocated[source])[:_LINES]
    return [f"{place} ({text})" for place, _, text in (source.partition("\t") for source in largest)]


def _advice(trace: Trace, lines: list[str]) -> str:
    """Return what the user can do. The library transformers reads the values of an attention mask only in eager."""
    kwargs = trace.arguments[1]
    mask = kwargs.get("attention_mask")
    if isinstance(mask, torch.Tensor) and any("transformers" in line for line in lines) and bool(mask.all()):
        return "The attention mask masks nothing: leave attention_mask out, and transformers runs the same code in both"
    return (
        "Look for torch.compiler.is_compiling() there; the plans hold for the captured step, which is the one that runs"
    )


class _Counted(TorchDispatchMode):
    """A dispatch mode that counts the calls of each operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operators[operator_name(func)] += 1
        return func(*args, **(kwargs or {}))
