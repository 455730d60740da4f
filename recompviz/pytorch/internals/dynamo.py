"""Dynamo: what it is allowed to capture, where a captured graph comes from, and why a capture ended.

Private PyTorch used here: ``torch._dynamo`` (``config``, ``exc``, ``utils.counters``, ``utils.get_metrics_context``,
``reset``, ``reset_code``, ``register_backend``),
``Module._call_impl``, ``Module._compiled_call_impl``, the ``meta`` entry ``"stack_trace"`` of fx nodes; for the reasons
of graph breaks ``compile_subgraph_reason`` of a captured graph, ``graph_break_reasons``,
``get_compilation_metrics`` and ``set_compilation_metrics_limit`` of ``torch._dynamo.utils``, and the names of the
functions that resume after a break. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch._dynamo import config as dynamo_config
from torch._dynamo import utils as dynamo_utils
from torch._dynamo.exc import TorchDynamoException as DynamoError
from torch._dynamo.utils import counters, get_metrics_context
from torch.fx import GraphModule

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.reports.training_step import GraphBreak
from recompviz.pytorch.internals.user_lines import is_own, source_line

__all__ = [
    "Callers",
    "Capture",
    "DynamoError",
    "allow_more_captures",
    "breaks_at",
    "callers",
    "capture_of",
    "compile_layers",
    "first_user_line",
    "forget_code",
    "forget_graphs",
    "forget_tracebacks",
    "graph_breaks",
    "mark_dynamic",
    "register_name",
    "skipped_functions",
]

# Dynamo's default is 8 graphs for one function; then it runs the function eagerly.
GRAPHS_OF_ONE_FUNCTION = 32

# How many compilations Dynamo remembers, with the reasons of those that failed; its own limit is 64.
REMEMBERED_COMPILATIONS = 4096

_LINE = re.compile(r'File "([^"]+)", line (\d+)')
# the name of the function that runs after a graph break
_RESUME = re.compile(r"torch_dynamo_resume_in_(?P<function>.+)_at_(?P<line>\d+)")
_SENTENCE = re.compile(r"\.\s+(?=[A-Z])")
# in Dynamo's explanations: the path of a file of PyTorch
_FILE = re.compile(r" in file `[^`]*`")
# hints of Dynamo that say nothing about the user's code
_NO_ADVICE = ("Please report an issue", "This graph break may have been", "It may be possible to write Dynamo")
_EVALUATION = torch._dynamo.eval_frame.__file__


def allow_more_captures() -> None:
    """Let Dynamo capture recurrent layers and gradients taken inside a model, and see hooks that are added later.

    These settings hold for the process. By default Dynamo runs such code eagerly, and nothing in it can be planned; and
    it does not notice a hook that a layer gets after it was captured.
    """
    wanted = {
        "allow_rnn": True,
        "trace_autograd_ops": True,
        "allow_unspec_int_on_nn_module": True,  # an int that a layer counts with is an input, not a constant
        "skip_nnmodule_hook_guards": False,
    }
    for name, value in wanted.items():
        if hasattr(dynamo_config, name):
            setattr(dynamo_config, name, value)
    if dynamo_config.recompile_limit == 8:
        dynamo_config.recompile_limit = GRAPHS_OF_ONE_FUNCTION
    if len(dynamo_utils.get_compilation_metrics()) < REMEMBERED_COMPILATIONS:
        dynamo_utils.set_compilation_metrics_limit(REMEMBERED_COMPILATIONS)


def compile_layers(model: nn.Module, backend: Callable[..., Any], dynamic: bool | None) -> None:
    """Compile the layers below a model that PyTorch defines and that nobody compiled, one by one.

    Where Dynamo cannot capture a function (a loop with a data-dependent branch in it), it goes on with the functions
    that this one calls, but not with those of PyTorch. Inside a function that it captures, this changes nothing.
    """
    for module in model.modules():
        from_torch = type(module).__module__.startswith("torch.nn.modules")
        if module is model or not from_torch or isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        if module._compiled_call_impl is None:
            module._compiled_call_impl = torch.compile(_caller(module), backend=backend, dynamic=dynamic)


def _caller(module: nn.Module) -> Callable[..., Any]:
    """A function that calls a module. ``Module.compile`` does nothing for a module of PyTorch's own."""

    def call(*arguments: Any, **named: Any) -> Any:
        return module._call_impl(*arguments, **named)  # type: ignore[no-untyped-call]

    # Dynamo keeps its graphs by code object
    call.__code__ = call.__code__.replace(co_name=type(module).__name__)
    return call


def first_user_line(graph: GraphModule) -> str:
    """``file:line`` of the first call of a captured graph that is in the user's code; empty if there is none."""
    for node in graph.graph.nodes:
        lines = _LINE.findall(node.meta.get("stack_trace") or "")
        own = [f"{file}:{number}" for file, number in lines if is_own(file)]
        if own:
            return own[-1]
    return ""


def register_name(name: str, backend: Callable[..., Any]) -> None:
    """Give a backend its name in this process, where the entry point of the package is not installed."""
    if name not in torch._dynamo.list_backends(exclude_tags=()):
        torch._dynamo.register_backend(backend, name=name)  # type: ignore[no-untyped-call, unused-ignore]


def forget_code(code: CodeType) -> None:
    """Drop the graphs that were compiled for a code object.

    What Dynamo compiled refers to its code object, and Python's garbage collector does not see this cycle.
    """
    torch._dynamo.reset_code(code)  # type: ignore[attr-defined, no-untyped-call, unused-ignore]


def forget_tracebacks() -> None:
    """Drop the tracebacks of earlier compilations.

    Dynamo's metrics keep two for each compilation until the process ends, with the code objects on them.
    """
    edits = getattr(get_metrics_context(), "_edits", None)
    if edits:
        edits.clear()


def mark_dynamic(tensor: torch.Tensor, dimension: int) -> None:
    """Tell Dynamo that a dimension of an input varies, so that the first capture is for all its sizes."""
    torch._dynamo.mark_dynamic(tensor, dimension)  # type: ignore[no-untyped-call, unused-ignore]


def forget_graphs() -> None:
    """Forget every captured graph of the process, and the count of graph breaks."""
    torch._dynamo.reset()
    counters.clear()


def graph_breaks() -> int:
    """The number of graph breaks since :func:`forget_graphs`."""
    return int(sum(counters["graph_break"].values()))


# -------------------------------------------------------------------- why a capture ended


@dataclass(frozen=True)
class Capture:
    """Where a captured graph comes from.

    Attributes
    ----------
    line : SourceLine or None
        The first call in the user's code.
    ended_by : GraphBreak or None
        The break after the graph; None if the captured function returned.
    """

    line: SourceLine | None = None
    ended_by: GraphBreak | None = None


@dataclass(frozen=True)
class Callers:
    """The functions that call a region, innermost first.

    Attributes
    ----------
    inside : tuple of SourceLine
        The user's lines inside the compiled model.
    outside : SourceLine or None
        The user's line that calls the compiled model.
    functions : tuple of (file, int)
        All functions inside the compiled model, PyTorch's too: file and first line.
    resumed_at : tuple of (file, int)
        The lines after whose graph breaks the functions resumed.
    parameters : tuple of weakref.ref
        What the region is called with: one region may run several layers of one kind.
    """

    inside: tuple[SourceLine, ...] = ()
    outside: SourceLine | None = None
    functions: tuple[tuple[str, int], ...] = ()
    resumed_at: tuple[tuple[str, int], ...] = ()
    parameters: tuple[weakref.ref[torch.Tensor], ...] = ()


def capture_of(graph: GraphModule) -> Capture:
    """Where a captured graph comes from, and what ended it. Call it in the backend."""
    found = getattr(graph, "compile_subgraph_reason", None)
    ended_by = None
    if found is not None and found.graph_break:
        ended_by = _graph_break(found.reason, _innermost(found.user_stack))
    place = first_user_line(graph)
    file, _, number = place.rpartition(":")
    return Capture(source_line(file, int(number), "") if place else None, ended_by)


def callers(parameters: Sequence[torch.Tensor] = ()) -> Callers:
    """The functions on the stack, up to the one that calls the compiled model."""
    frames = []
    frame, last = sys._getframe(1), -1
    while frame is not None:
        frames.append(frame)
        if frame.f_code.co_filename == _EVALUATION:
            last = len(frames)
        frame = frame.f_back  # type: ignore[assignment]
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
    """(file, first line) of each function that Dynamo runs eagerly as a whole, and why.

    The line of a break in PyTorch's own code is None.
    """
    found = {}
    for entry in dynamo_utils.get_compilation_metrics():
        if entry.fail_type and entry.co_filename is not None and entry.co_firstlineno is not None:
            file, number = entry.fail_user_frame_filename, entry.fail_user_frame_lineno
            line = source_line(file, number, "") if file and number and is_own(file) else None
            found[entry.co_filename, entry.co_firstlineno] = _graph_break(entry.fail_reason or entry.fail_type, line)
    return found


def breaks_at(file: str, number: int) -> list[GraphBreak]:
    """The graph breaks at a line of the user's code."""
    found = []
    for reason in dynamo_utils.graph_break_reasons:
        line = _innermost(reason.user_stack)
        if any((frame.filename, frame.lineno) == (file, number) for frame in reason.user_stack):
            found.append(_graph_break(reason.reason, line))
    return list(dict.fromkeys(found))


def _innermost(stack: list[Any]) -> SourceLine | None:
    """The innermost line of the user in a stack of Dynamo."""
    for frame in reversed(stack):
        if is_own(frame.filename) and frame.lineno:
            return source_line(frame.filename, frame.lineno, "")
    return None


def _graph_break(text: str, line: SourceLine | None) -> GraphBreak:
    """A reason of Dynamo: a title, then lines that start with ``Explanation:`` and ``Hint:``.

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
