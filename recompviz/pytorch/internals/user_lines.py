"""Find the user's source lines on the Python stack: frames that belong to neither a library nor recompviz."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import CodeType, FrameType
from typing import Any, TypeVar

from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.internals.node_origin import is_pytorch_file
from recompviz.pytorch.internals.undone import undone

# the most lines of a stack that are kept, innermost first
MOST_FRAMES = 16

# the function name of a line outside the user's training step, which called recompviz
OUTSIDE = "(outside the step)"

# code of the functions of recompviz that call the user's step
_CALLS_STEP: set[CodeType] = set()
# code of the user's functions in which a loop runs the training steps, while recompviz observes this loop
_LOOPS: set[CodeType] = set()

Function = TypeVar("Function", bound=Callable[..., object])

_STANDARD = (sysconfig.get_paths()["stdlib"] + os.sep, "<frozen ")
_PACKAGES = sysconfig.get_paths()["purelib"] + os.sep
_LAYER = os.path.dirname(os.path.dirname(__file__))
_OURS = tuple(os.path.join(os.path.dirname(_LAYER), layer) + os.sep for layer in ("core", "widgets"))
# code that runs notebooks and tests is not the user's
_HARNESS = tuple(_PACKAGES + name for name in ("ipykernel", "IPython", "_pytest", "pluggy", "nbclient", "traitlets"))


@cache
def is_own(file: str) -> bool:
    """Return whether a file counts as the user's, so that its lines are shown in reports.

    Files of PyTorch, of Python's standard library, of Jupyter and of pytest do not count. Files in ``core``,
    ``pytorch`` and ``widgets`` of recompviz do not count, either. Files of other packages count. Code without a file,
    such as ``"<string>"``, does not count, except cells of IPython.

    Examples
    --------
    >>> is_own("/home/user/train.py"), is_own(os.__file__), is_own(__file__)
    (True, False, False)
    """
    if file.startswith(_PACKAGES):
        return not is_pytorch_file(file) and not file.startswith(_HARNESS)
    shown = file.startswith("<") and not file.startswith("<ipython")
    return not is_pytorch_file(file) and not file.startswith((*_STANDARD, *_OURS)) and not shown


@cache
def source_line(file: str, number: int, function: str) -> SourceLine:
    """Return line ``number`` of a file, with its text and the name of its function."""
    return SourceLine(file, number, linecache.getline(file, number).strip(), function, _cell(file))


def _cell(file: str) -> str:
    """Return the notebook's name of a cell, such as ``In[3]``; empty for a file that is no cell."""
    running = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = running() if running is not None else None
    named = getattr(getattr(shell, "compile", None), "format_code_name", None)
    parts = named(file) if named is not None else None
    return str(parts[1]) if parts else ""


@cache
def in_packages(file: str) -> bool:
    """Return whether a file belongs to an installed package or to Python itself."""
    return file.startswith((_PACKAGES, *_STANDARD)) or is_pytorch_file(file)


def warn_user(message: str, category: type[Warning]) -> None:
    """Issue a warning that names the user's innermost line on the stack.

    If there is none, the warning names the line that called this function.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and not is_own(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level if frame is not None else 2)


def calls_step(function: Function) -> Function:
    """Decorate a function of recompviz that calls the user's training step.

    By this mark, :func:`own_frames` knows that the user's frames that called the function are outside the step.
    """
    _CALLS_STEP.add(function.__code__)
    return function


def runs_steps(frame: FrameType) -> bool:
    """Return whether a frame belongs to a function in which an observed loop runs; see :func:`loop_around`."""
    return frame.f_code in _LOOPS


def loop_around(frame: FrameType | None) -> contextlib.ExitStack:
    """Let the user's functions that led to a frame count as the training loop, from this call on.

    Return a context manager: after its block, the functions no longer count. Until then, :func:`own_frames` ends with
    the innermost of these functions on the stack.
    """
    added = {own.f_code for own, _ in own_frames(frame)} - _LOOPS
    stack = undone(partial(_LOOPS.difference_update, added))
    _LOOPS.update(added)
    return stack


def own_frames(frame: FrameType | None, beyond_loop: bool = False) -> Iterator[tuple[FrameType, bool]]:
    """Iterate over the user's frames, innermost first, starting at a frame.

    Yields
    ------
    (frame, inside)
        ``inside`` says whether the frame belongs to the user's training step. Of the frames outside the step, only the
        innermost, which called recompviz, is yielded. The frame of a training loop that recompviz observes counts as
        inside, because the loop has lines of the step. The iteration ends with this frame, unless ``beyond_loop`` is
        True.
    """
    inside = True
    while frame is not None:
        file = frame.f_code.co_filename
        if is_own(file):
            yield frame, inside
            if not inside or (runs_steps(frame) and not beyond_loop):
                return
        elif frame.f_code in _CALLS_STEP:
            inside = False
        frame = frame.f_back


def own_stack(frame: FrameType | None = None) -> tuple[SourceLine, ...]:
    """Return the user's lines on the stack, innermost first, at most 16 of them.

    Parameters
    ----------
    frame : frame, optional
        The innermost frame; by default the caller's.
    """
    found = []
    for own, inside in own_frames(frame or sys._getframe(1)):
        function = own.f_code.co_name if inside else OUTSIDE
        found.append(source_line(own.f_code.co_filename, own.f_lineno, function))
        if len(found) == MOST_FRAMES:
            break
    return tuple(found)


def checkpointed_at(frame: FrameType | None) -> SourceLine | None:
    """Return the user's outermost line on the stack that called ``torch.utils.checkpoint``; None if there is none."""
    found, inside = None, False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.endswith(_CHECKPOINT):
            inside = True
        elif inside and is_own(file):
            found = source_line(file, frame.f_lineno, frame.f_code.co_name)
            inside = False
        frame = frame.f_back
    return found


_CHECKPOINT = os.path.join("torch", "utils", "checkpoint.py")


def in_file(frame: FrameType | None, ending: str) -> bool:
    """Return whether a frame or one of its callers is in a file whose path ends with ``ending``; False for None."""
    while frame is not None:
        if frame.f_code.co_filename.endswith(ending):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def lines_traced(on_line: Callable[[FrameType, str], object], running: bool = False) -> Iterator[None]:
    """In the ``with`` block, call ``on_line(frame, event)`` before each line of the user's functions and at returns.

    Only functions of this thread are followed. The event is ``"line"`` before a line, and ``"return"`` at a return.

    Parameters
    ----------
    on_line : callable (frame, event)
        What to call; ``event`` is ``"line"`` or ``"return"``.
    running : bool
        Whether to also follow functions that are already running, such as the function with the training loop.
    """
    before = sys.gettrace()
    frames = [frame for frame, _ in own_frames(sys._getframe(1))] if running else []

    def local(frame: FrameType, event: str, _argument: Any) -> Any:
        if event in ("line", "return"):
            on_line(frame, event)
        return local

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        return local if is_own(frame.f_code.co_filename) else None

    tracers = [frame.f_trace for frame in frames]

    def undo() -> None:
        sys.settrace(before)
        for frame, own in zip(frames, tracers, strict=True):
            frame.f_trace = own  # of a debugger
        frames.clear()

    with undone(undo):
        sys.settrace(enter)
        for frame in frames:
            frame.f_trace = local
        yield
