"""Undo the changes of a block of code, also after an exception or an interrupt.

An interrupt (``KeyboardInterrupt``, ``MemoryError``) may arrive while changes are undone. They are then undone a second
time. A second interrupt during this time is not survived.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable


def undone(undo: Callable[[], object]) -> contextlib.ExitStack:
    """Return a context manager that calls a function after its block.

    Parameters
    ----------
    undo : callable ()
        Undoes the changes that the block makes. It runs again if an exception ends it, so it must not depend on how far
        it came. It also runs if the block made none or some of the changes.

    Examples
    --------
    >>> flags = {"fast": False}
    >>> with undone(lambda: flags.update(fast=False)):
    ...     flags["fast"] = True
    >>> flags
    {'fast': False}
    """
    once = _Once(undo)
    stack = contextlib.ExitStack()
    stack.callback(once)  # the second try
    stack.callback(once)
    return stack


class _Once:
    """Calls a function until one call has returned."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function, self.done = function, False

    def __call__(self) -> None:
        if not self.done:
            self.function()
            self.done = True
