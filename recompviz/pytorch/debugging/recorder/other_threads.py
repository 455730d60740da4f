"""Count the threads that training steps start, because neither the profiler nor the watcher observes them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from recompviz.pytorch.internals.undone import undone
from recompviz.pytorch.internals.user_lines import is_own


@dataclass
class ThreadCount:
    """The number of threads that the training steps started and that ran the user's code."""

    count: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """One note for the memory report, with the number of threads; empty if there were no threads."""
        if not self.count:
            return ()
        started = "1 thread" if self.count == 1 else f"{self.count} threads"
        return (f"the steps started {started}; memory that other threads allocate is not in this report",)


@contextlib.contextmanager
def threads_counted() -> Iterator[ThreadCount]:
    """Count the threads that start inside the ``with`` block and run the user's code.

    Threads that run only library code, such as PyTorch's own, do not count. The ``with`` block gets the count, which is
    final when the block has ended.
    """
    seen = ThreadCount()
    here = threading.local()

    def first_call(frame: Any, _event: str, _argument: Any) -> None:
        if not hasattr(here, "counted") and is_own(frame.f_code.co_filename):
            here.counted = True
            seen.count += 1

    with undone(partial(threading.settrace, threading.gettrace())):
        threading.settrace(first_call)
        yield seen
