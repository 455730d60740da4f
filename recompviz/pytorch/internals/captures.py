"""The origin of captured graphs: the user's line from which each graph comes, and the reason why its capture ended.

Private PyTorch used here: the entry ``"stack_trace"`` in ``meta`` of fx nodes, ``compile_subgraph_reason`` of a
captured graph, ``graph_break_reasons`` and ``get_compilation_metrics`` of ``torch._dynamo.utils``, and the names of the
functions that resume after a break. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch._dynamo import utils as dynamo_utils
from torch.fx import GraphModule

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.reports.training_step import GraphBreak
from recompviz.pytorch.internals.user_lines import is_own, source_line

__all__ = ["Callers", "Capture", "breaks_at", "callers", "capture_of", "first_user_line", "skipped_functions"]

_LINE = re.compile(r'File "([^"]+)", line (\d+)')
# the name of the function that runs after a graph break
_RESUME = re.compile(r"torch_dynamo_resume_in_(?P<function>.+)_at_(?P<line>\d+)")
_SENTENCE = re.compile(r"\.\s+(?=[A-Z])")
# in Dynamo's explanations: the path of a file of PyTorch
_FILE = re.compile(r" in file `[^`]*`")
# hints of Dynamo that say nothing about the user's code
_NO_ADVICE = ("Please report an issue", "This graph break may have been", "It may be possible to write Dynamo")
_EVALUATION = torch._dynamo.eval_frame.__file__


def first_user_line(graph: GraphModule) -> str:
    """Return ``file:line`` of the user's code that made the first call of a captured graph.

    Calls that only libraries made are skipped. If there are no other calls, the result is empty.
    """
    for node in graph.graph.nodes:
        lines = _LINE.findall(node.meta.get("stack_trace") or "")
        own = [f"{file}:{number}" for file, number in lines if is_own(file)]
        if own:
            return own[-1]
    return ""


@dataclass(frozen=True)
class Capture:
    """Where a captured graph begins, and why it ends; frozen.

    Attributes
    ----------
    line : SourceLine or None
        The user's line of :func:`first_user_line`; None if only libraries made the calls of the graph.
    ended_by : GraphBreak or None
        The graph break at which the graph ends; None if it ends with the return of the captured function.
    """

    line: SourceLine | None = None
    ended_by: GraphBreak | None = None


@dataclass(frozen=True)
class Callers:
    """The functions on the stack during one call of a region (a captured graph), innermost first; frozen.

    Attributes
    ----------
    inside : tuple of SourceLine
        The user's lines on the stack inside the compiled model.
    outside : SourceLine or None
        The user's line that calls the compiled model; None if there is none.
    functions : tuple of (file, int)
        File and first line of all functions on the stack inside the compiled model, PyTorch's functions included.
    resumed_at : tuple of (file, int)
        For each function on the stack that resumed after a graph break: file and line of that break.
    parameters : tuple of weakref.ref
        The parameters with which the region is called. If several layers share one region, the parameters tell which
        layer runs.
    """

    inside: tuple[SourceLine, ...] = ()
    outside: SourceLine | None = None
    functions: tuple[tuple[str, int], ...] = ()
    resumed_at: tuple[tuple[str, int], ...] = ()
    parameters: tuple[weakref.ref[torch.Tensor], ...] = ()


def capture_of(graph: GraphModule) -> Capture:
    """Return the origin of a captured graph and the graph break at which the graph ends. Call this in the backend."""
    found = getattr(graph, "compile_subgraph_reason", None)
    ended_by = None
    if found is not None and found.graph_break:
        ended_by = _graph_break(found.reason, _innermost(found.user_stack))
    place = first_user_line(graph)
    file, _, number = place.rpartition(":")
    return Capture(source_line(file, int(number), "") if place else None, ended_by)


def callers(parameters: Sequence[torch.Tensor] = ()) -> Callers:
    """Return the functions on the stack, from the caller of ``callers`` to the caller of the compiled model.

    Parameters
    ----------
    parameters : sequence of torch.Tensor
        The parameters with which the region is called.
    """
    frames = []
    frame: FrameType | None = sys._getframe(1)
    last = -1
    while frame is not None:
        frames.append(frame)
        if frame.f_code.co_filename == _EVALUATION:
            last = len(frames)
        frame = frame.f_back
    own = [(i, frame) for i, frame in enumerate(frames) if is_own(frame.f_code.co_filename)]
    names = [(frame.f_code.co_filename, _RESUME.fullmatch(frame.f_code.co_name)) for i, frame in own if i < last]
    return Callers(
        tuple(_line_of(frame) for i, frame in own if i < last),
        next((_line_of(frame) for i, frame in own if i >= last), None),
        tuple((frame.f_code.co_filename, frame.f_code.co_firstlineno) for frame in frames[: max(last, 0)]),
        tuple((file, int(resumed["line"])) for file, resumed in names if resumed),
        tuple(weakref.ref(parameter) for parameter in parameters),
    )


def _line_of(frame: FrameType) -> SourceLine:
    code = frame.f_code
    resumed = _RESUME.fullmatch(code.co_name)
    return source_line(code.co_filename, frame.f_lineno, resumed["function"] if resumed else code.co_name)


def skipped_functions() -> dict[tuple[str, int], GraphBreak]:
    """Return the functions that Dynamo runs eagerly as a whole, and the reason for each.

    Only the captures that Dynamo remembers count (see :func:`~recompviz.pytorch.internals.dynamo.allow_more_captures`).
    A key is (file, first line of the function). A reason has ``line`` None if its line is not in the user's code. If a
    capture of a function failed, and a later one succeeded, the function is left out: another model or another call
    caused the failure.
    """
    found = {}
    for entry in dynamo_utils.get_compilation_metrics():  # in the order of time
        if entry.co_filename is None or entry.co_firstlineno is None:
            continue
        if entry.fail_type:
            file, number = entry.fail_user_frame_filename, entry.fail_user_frame_lineno
            line = source_line(file, number, "") if file and number and is_own(file) else None
            found[entry.co_filename, entry.co_firstlineno] = _graph_break(entry.fail_reason or entry.fail_type, line)
        else:
            found.pop((entry.co_filename, entry.co_firstlineno), None)
    return found


def breaks_at(file: str, number: int) -> list[GraphBreak]:
    """Return the graph breaks that were caused by line ``number`` of a file or by code called from it.

    The list has no duplicates.
    """
    found = []
    for reason in dynamo_utils.graph_break_reasons:
        line = _innermost(reason.user_stack)
        if any((frame.filename, frame.lineno) == (file, number) for frame in reason.user_stack):
            found.append(_graph_break(reason.reason, line))
    return list(dict.fromkeys(found))


def _innermost(stack: list[Any]) -> SourceLine | None:
    """Return the innermost line of the user's code in a stack of Dynamo; None if there is none."""
    for frame in reversed(stack):
        if is_own(frame.filename) and frame.lineno:
            return source_line(frame.filename, frame.lineno, "")
    return None


def _graph_break(text: str, line: SourceLine | None) -> GraphBreak:
    """Parse Dynamo's text for a graph break: a title, then lines that start with ``Explanation:`` and ``Hint:``.

    Examples
    --------
    >>> found = _graph_break("Call of print\\n  Explanation: print is not traced.\\n  Hint: Remove it.", None)
    >>> found.reason, found.hints
    ('print is not traced', ('Remove it',))
    """
    explanation, hints = "", []
    for row in text.split("\n"):
        head, _, rest = row.strip().partition(": ")
        if head == "Explanation":
            explanation = explanation or rest  # a second one says that the break is in a loop
        elif head == "Hint" and not rest.startswith(_NO_ADVICE):
            hints.append(rest.rstrip("."))
    reason = _SENTENCE.split(explanation or text.strip().split("\n")[0], maxsplit=1)[0].rstrip(".")
    if reason.startswith("generic_jump"):
        reason = "A branch depends on the value of a tensor"
    return GraphBreak(line, _FILE.sub("", reason), tuple(hints))
