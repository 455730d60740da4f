"""Errors for training steps that cannot be traced as one graph, with the reason, the user's line and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.node_info import is_library
from recompviz.pytorch.internals.tensors import storage_key
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


_AS_GIVEN = (
    "The model gets its inputs, kwargs and targets as they are given; does model(*inputs, **kwargs) run, and does the "
    "loss take its output?"
)
# the error of an operator, at the end of Dynamo's report
_RAISED = re.compile(r"got (\w+)\((['\"])(.+)\2\)\s*$")


def explanation(error: Exception) -> str:
    """Return a short message for an error raised while tracing, with the reason, the user's line, and what to do."""
    text = str(error).strip()
    reason = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    # Dynamo writes the details of this step below its title
    details = [
        line.partition(title)[2].strip()
        for title in ("Explanation: ", "Developer debug context: ")
        for line in text.splitlines()
        if title in line
    ]
    reason = ": ".join((reason.rstrip(":"), *[detail for detail in details if detail][:1]))
    where = [line.strip() for line in text.splitlines() if line.strip().startswith('File "')]
    where = [line for line in where if not is_library(line.split('"')[1])] or where
    at = f"\n  at {where[-1]}" if where else ""
    called = "when making fake tensor call" in reason
    if called and (found := _RAISED.search(reason)):  # what the operator itself says
        where = [line for line in where if "/recompviz/pytorch/" not in line.split('"')[1]]
        at = f"\n  at {where[-1]}" if where else ""
        return f"this step cannot be traced: {found[1]}: {found[3]}{at}\n{_AS_GIVEN}"
    hint = (
        f"\n{_AS_GIVEN}"
        if called
        else "\nA trace is one graph. Control flow that depends on values, prints of values and calls outside PyTorch "
        "break it; move them out of forward(), or run the model once before if only its first forward pass does that."
        f"{_IN_PARTS}"
    )
    return f"this step cannot be traced: {type(error).__name__}: {reason}{at}" + (hint if where else "")
