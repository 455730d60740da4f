"""The stack traces of a memory snapshot: the user's source lines, and the category of the memory allocated there.

A snapshot has millions of frames, but few different ones. Each frame and stack is read once, and cached by the identity
of the unpickled objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category

LIBRARIES = ("/torch/", "/site-packages/", "/dist-packages/", "/lib/python3", "<frozen", "importlib")
# C++ functions that run a node of autograd's graph, or an operator
_NODE = re.compile(r"^torch::autograd::(?:generated::)?(\w{1,60})::apply\b")
_OPERATOR = re.compile(r"^at::_ops::(\w{1,60})::(?:call|redispatch)\b")
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
        File and line number of the first of ``lines``. Without lines, the name of the autograd node or of the operator
        in the C++ frames, for example ``"MmBackward0"``; empty if there is none.
    """

    lines: tuple[SourceLine, ...] = ()
    category: Category = Category.OTHER
    label: str = ""


@dataclass(frozen=True)
class _Frame:
    line: SourceLine | None
    own: bool
    optimizes: bool
    backward: bool
    node: str = ""  # the autograd node that the frame runs
    operator: str = ""  # the operator that the frame runs


class Stacks:
    """A cache of stack traces. Lists of frames, and the frames, are cached by ``id``, so they must stay alive."""

    def __init__(self) -> None:
        self._frames: dict[int, _Frame | None] = {}
        self._stacks: dict[tuple[int, ...], Stack] = {}
        self._of_list: dict[int, Stack] = {}  # many events share one list

    def of(self, frames: Any) -> Stack:
        """Return the stack trace of a list of frames of a snapshot. The trace is empty if ``frames`` is not a list.

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
        if own:
            label = own[0].place
        else:  # the frames are ordered from the inside
            nodes = [one.node for one in known if one.node]
            operators = [one.operator for one in known if one.operator]
            label = nodes[0] if nodes else operators[-1] if operators else ""
        return Stack(own, category, label)

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
    node, operator = (pattern.search(name) for pattern in (_NODE, _OPERATOR))
    return _Frame(
        line,
        own,
        "/optim/" in file,
        "backward" in name.lower(),
        node[1] if node else "",
        operator[1] if operator else "",
    )
