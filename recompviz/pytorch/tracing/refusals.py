"""Errors for training steps that cannot be traced as one graph, with the reason, the user's line and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.eager_loss import shapes_text
from recompviz.pytorch.tracing.plain_reasons import is_in, line_of, plain_reason, user_line
from recompviz.pytorch.tracing.signature import computed_attributes
from recompviz.pytorch.tracing.step import Step, TraceError


def refuse_computed_constants(step: Step, constants: Sequence[torch.Tensor]) -> None:
    """Raise TraceError if a constant of the trace is a module's attribute that has a ``grad_fn``.

    In eager PyTorch the attribute gets a gradient. As a constant of a trace it would get none.
    """
    keys = {storage_key(constant) for constant in constants}
    for name, tensor in computed_attributes(step).items():
        if storage_key(tensor) in keys:
            raise TraceError(
                f"forward() reads {name}, which was computed before it and has a gradient function; "
                "compute it in forward(), or detach() it"
            )


def refuse_arrays(arguments: Any) -> None:
    """Raise TraceError if the arguments contain an array of another library or a sparse tensor."""
    for part, given in zip(("an input", "a keyword argument", "a target"), arguments, strict=True):
        for leaf in pytree.tree_leaves(given):
            if hasattr(leaf, "__array__") and not isinstance(leaf, torch.Tensor | float | int):
                kind = f"{type(leaf).__module__.partition('.')[0]}.{type(leaf).__name__}"
                raise TraceError(f"{part} is a {kind}, expected a torch.Tensor: pass torch.as_tensor(…) of it")
            if isinstance(leaf, torch.Tensor) and leaf.layout is not torch.strided:
                raise TraceError(f"{part} is a sparse tensor ({leaf.layout}), expected a dense one.{_IN_PARTS}")


def refuse_data_dependent_shapes(graph: GraphModule) -> None:
    """Raise TraceError if the shape of a result depends on data, so that its bytes are not known before the step."""
    for node in graph.graph.nodes:
        if node.meta.get("unbacked_bindings"):
            reason = f"the result of {node.target} depends on data, so its size is not known before the step"
            raise TraceError(explanation(ValueError(f"{reason}\n{node.meta.get('stack_trace') or ''}")))


# the next step for a model that is not one graph
_IN_PARTS = (
    " To train it within a budget as it is, use rv.compile(model, total=…): it plans the parts that can be captured "
    "and runs the rest eagerly."
)


_ONCE_BEFORE = "run the model once before if only its first forward pass does that"
_ONCE = f"move them out of forward(), or {_ONCE_BEFORE}"

_MUST_RUN = "Change the model, the inputs or the targets, so that {} runs in eager PyTorch."
# the error of an operator, at the end of a line of Dynamo's report
_RAISED = re.compile(r"got (\w+)\((['\"])(.+)\2\)\s*$", re.MULTILINE)


def is_wrong_call(error: Exception) -> bool:
    """Return whether a capture failed because the arguments do not fit the model or the loss.

    A step with such arguments fails in eager PyTorch, too.
    """
    return "when making fake tensor call" in str(error) or _in_backward(error) is not None


def _in_backward(error: Exception) -> str | None:
    """Return the error of an operator that was raised while the backward pass was traced; None for other errors."""
    inner = getattr(error, "inner_exception", None)
    if inner is None or isinstance(inner, RecompvizError) or not str(error).startswith("backend="):
        return None
    # the assertions of PyTorch's formulas stand for the checks of its kernels
    kind = "RuntimeError" if isinstance(inner, AssertionError) else type(inner).__name__
    return f"{kind}: {str(inner).strip()}"


def explanation_of_call(error: Exception, raised: Exception | None, arguments: Any, output: Any) -> str:
    """Return a message for a model or loss that cannot compute with its arguments: the cause, and the shapes.

    Parameters
    ----------
    error : Exception
        The error of the capture; see :func:`is_wrong_call`.
    raised : Exception or None
        The error that the loss raises in eager PyTorch; None if it raises none, or if the error is not known.
    arguments : tuple
        The inputs, keyword arguments and targets.
    output : Any
        The model's output, as tensors without memory; None if it is not known.
    """
    if raised is not None:
        line = line_of(raised)
        reason, at = f"{type(raised).__name__}: {raised}", f"\n  at {line}" if line else ""
    else:
        reason, at = _reason_and_place(error)
    got = f"The model gets {shapes_text(arguments[:2])}"
    if output is not None:
        got += f" and returns {shapes_text(output)}"
    if arguments[2]:
        got += f"; the loss also gets {shapes_text(arguments[2])}"
    call = "loss(model(*inputs, **kwargs), *targets)" if arguments[2] else "model(*inputs, **kwargs)"
    return f"this step cannot be traced: {reason}{at}\n{got}.\n{_MUST_RUN.format(call)}"


def _reason_and_place(error: Exception) -> tuple[str, str]:
    """Return what the operator itself says, and the user's line."""
    line = user_line(str(error))
    at = f"\n  at {line}" if line else ""
    said = _in_backward(error)
    if said is None:
        found = _RAISED.search(str(error))
        said = f"{found[1]}: {found[3]}" if found else _reason(error)
    return said, at


def _reason(error: Exception) -> str:
    """Return the title of Dynamo's report of an error, and the details of this step, which are written below it."""
    text = str(error).strip()
    title = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    details = [
        line.partition(title)[2].strip()
        for title in ("Explanation: ", "Developer debug context: ")
        for line in text.splitlines()
        if title in line
    ]
    return ": ".join((title.rstrip(":"), *[detail for detail in details if detail][:1]))


def explanation(error: Exception) -> str:
    """Return a short message for an error raised while tracing: the reason and, if known, the line and what to do."""
    report = str(error)
    line, plain = user_line(report), plain_reason(report)
    at = f"\n  at {line}" if line else ""
    if plain is None:
        return f"this step cannot be traced: {type(error).__name__}: {_reason(error)}{at}" + (
            f"\nA trace is one graph. Control flow that depends on values, prints and calls outside PyTorch break it: "
            f"{_ONCE}.{_IN_PARTS}"
            if line
            else ""
        )
    return (
        f"this step cannot be traced: {plain.what}{at}\n"
        f"A trace is one graph: {plain.instead}{f', or {_ONCE_BEFORE}' if plain.instead.startswith('move') else ''}."
        f"{_IN_PARTS}"
    )


def is_about(error: Exception, function: object) -> bool:
    """Return whether a capture failed in the loss function ``function``, and not in the model."""
    return is_in(str(error), function)
