"""Undo the changes of a block of code, also after an exception or an interrupt.

An interrupt (``KeyboardInterrupt``, ``MemoryError``) may arrive while the changes are undone. The changes are then
undone a second time. If another interrupt arrives during this second time, some changes may remain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable


def undone(undo: Callable[[], object]) -> contextlib.ExitStack:
    """Return a context manager that calls a function after its block.

    Parameters
    ----------
    undo : callable ()
        Undoes the changes that the block makes. The function runs again if an exception ends it, and it also runs if
        the block made only some of the changes. Therefore the function must work when some changes are undone already.

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
