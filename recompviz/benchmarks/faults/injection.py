"""Raise an exception at a chosen point: at a line of recompviz, at an operator, or in a function of the user.

Each class counts the points that it passes. With ``at`` it raises the exception at that point, once. Without ``at`` it
only counts. A first run without ``at`` thus gives the number of points, from which ``at`` is drawn.
"""

from __future__ import annotations

import dis
import sys
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import recompviz

_HOME = str(Path(recompviz.__file__).parent)
_LEFT_OUT = str(Path(_HOME) / "benchmarks")


class Fault(Exception):
    """An exception that only the benchmark raises."""


class Counter:
    """Counts the points that the code under test passes, and raises an exception at one of them.

    Parameters
    ----------
    at : int, optional
        The number of the point at which to raise ``error``, from 0. If None, points are only counted.
    error : type of exception
        The type of the exception.

    Attributes
    ----------
    count : int
        The number of points that were passed.
    where : str
        The point at which the exception was raised; empty if it was not raised.
    """

    def __init__(self, at: int | None = None, error: type[BaseException] = Fault) -> None:
        self.at, self.error = at, error
        self.count = 0
        self.where = ""  # the point at which the exception was raised; empty if it was not raised

    def point(self, where: str) -> None:
        """Pass a point. If it is the chosen one, raise the exception, whose message is ``where``."""
        here, self.count = self.count, self.count + 1
        if here == self.at:
            self.where = where
            raise self.error(where)


class Lines(Counter):
    """A context manager that counts the lines of recompviz, without its benchmarks, that run in this thread."""

    def __enter__(self) -> Lines:
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        return self._line if file.startswith(_HOME) and not file.startswith(_LEFT_OUT) else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line" and not _leaves_block(frame.f_code, frame.f_lasti):
            if self.count == self.at and _in_finalizer(frame):
                self.at += 1
            self.point(f"{frame.f_code.co_filename[len(_HOME) + 1 :]}:{frame.f_lineno}")
        return self._line


def _in_finalizer(frame: FrameType | None) -> bool:
    """Return whether a frame runs in a finalizer of an object. Python drops the exceptions that are raised there."""
    while frame is not None:
        if frame.f_code is weakref.finalize.__call__.__code__:
            return True
        frame = frame.f_back
    return False


@cache
def _leaves_block(code: CodeType, offset: int) -> bool:
    """Return whether the instruction belongs to the end of a ``with`` block, before its ``__exit__`` is called.

    Python delivers no interrupt there, and allocates nothing: the interpreter checks for signals when it enters a
    function, after a call and at backward jumps.
    """
    following = [one for one in dis.get_instructions(code) if one.offset >= offset]
    if following and following[0].opname == "SWAP":  # of a value that the block returns
        del following[0]
    arguments = following[:3]
    return len(arguments) == 3 and all(one.opname == "LOAD_CONST" and one.argval is None for one in arguments)


class Operators(Counter, TorchDispatchMode):
    """A context manager that counts the operators that run on tensors or that PyTorch traces on fake tensors."""

    def __init__(self, at: int | None = None, error: type[BaseException] = Fault) -> None:
        Counter.__init__(self, at, error)
        TorchDispatchMode.__init__(self)

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return True: ``torch.compile`` then compiles as it does without this mode."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.point(str(func))
        return func(*args, **(kwargs or {}))


class UserCode(Counter):
    """A context manager that counts calls of the user's functions, such as ``forward``, losses and hooks."""

    def __enter__(self) -> UserCode:
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.remove(self)


_active: list[UserCode] = []


def user_code(where: str) -> None:
    """Mark a point in a function of the user. Does nothing while PyTorch captures a graph."""
    if torch.compiler.is_compiling():
        return
    for counter in list(_active):
        counter.point(where)
