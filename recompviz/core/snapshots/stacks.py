"""The stack traces of a memory snapshot: the user's source lines, and the category of the memory allocated there.

A snapshot has millions of frames, but few different ones. Each frame and stack is read once, and cached by the identity
of the unpickled objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category

LIBRARIES = ("/torch/", "/site-packages/", "/dist-packages/", "/lib/python3", "<frozen", "importlib")
# larger line numbers are ignored
MOST_LINES = 1 << 31


@dataclass(frozen=True)
class Stack:
    """One stack trace.

    Attributes
    ----------
    lines : tuple of SourceLine
        The user's source lines, innermost first. If no line of the stack is the user's, all lines of Python files.
    category : Category
        The use of the memory, guessed from the names in the stack. It is ``OPTIMIZER`` if a frame is in a folder
        ``optim``. Otherwise it is ``GRADIENT`` if the name of a function contains "backward", and ``KEPT`` if not. An
        empty stack has the category ``OTHER``.
    label : str
        File and line number of the first of ``lines``; empty if there are no lines.
    """

    lines: tuple[SourceLine, ...] = ()
    category: Category = Category.OTHER
    label: str = ""  # the innermost line


@dataclass(frozen=True)
class _Frame:
    line: SourceLine | None
    own: bool
    optimizes: bool
    backward: bool


class Stacks:
    """A cache of stack traces. Lists of frames, and the frames, are cached by ``id``, so they must stay alive."""

    def __init__(self) -> None:
        self._frames: dict[int, _Frame | None] = {}
        self._stacks: dict[tuple[int, ...], Stack] = {}
        self._of_list: dict[int, Stack] = {}  # many events share one list

    def of(self, frames: Any) -> Stack:
        """Return the stack trace of a list of frames of a snapshot. If ``frames`` is no list, the trace is empty.

        Examples
        --------
        >>> frames = [{"filename": "/x/torch/nn/module.py", "line": 3, "name": "f"},
        ...           {"filename": "train.py", "line": 7, "name": "step"}]
        >>> stack = Stacks().of(frames)
        >>> [line.place for line in stack.lines], stack.category.label
        (['train.py:7'], 'kept values')
        """
        if not isinstance(frames, list):
            return Stack()
        found = self._of_list.get(id(frames))
        if found is None:
            key = tuple(map(id, frames))
            found = self._stacks.get(key) or self._read(frames)
            self._stacks[key] = self._of_list[id(frames)] = found
        return found

    def _read(self, frames: list[Any]) -> Stack:
        known = [one for one in map(self._frame, frames) if one is not None]
        lines = [(one.line, one.own) for one in known if one.line is not None]
        own = tuple(line for line, mine in lines if mine) or tuple(line for line, _ in lines)
        if any(one.optimizes for one in known):
            category = Category.OPTIMIZER
        elif any(one.backward for one in known):
            category = Category.GRADIENT
        else:
            category = Category.KEPT if known else Category.OTHER
        return Stack(own, category, own[0].place if own else "")

    def _frame(self, frame: Any) -> _Frame | None:
        key = id(frame)
        if key not in self._frames:
            self._frames[key] = _read_frame(frame) if isinstance(frame, dict) else None
        return self._frames[key]


def _text(value: Any) -> str:
    """Return a text that can be shown: lone surrogates are replaced, and anything but a text is empty."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _read_frame(frame: dict[str, Any]) -> _Frame:
    given, number, called = frame.get("filename"), frame.get("line"), frame.get("name")
    # values of another type than PyTorch writes are not shown: they may be of any size
    file, name = _text(given), _text(called)
    number = number if isinstance(number, int) and 0 <= number < MOST_LINES else None
    cell = "ipykernel" in file or file.startswith("<ipython")
    python = number is not None and file.endswith((".py", ">"))
    line = SourceLine(file, number or 0, "", name) if python or cell else None
    own = line is not None and not any(part in file for part in LIBRARIES)
    return _Frame(line, own, "/optim/" in file, "backward" in name.lower())
