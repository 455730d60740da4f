"""Threads that a step starts: neither the profiler nor the watcher follows them, and a report must say so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recompviz.pytorch.internals.user_lines import is_own


@dataclass
class ThreadsSeen:
    """How many threads ran code of the user's."""

    count: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must say of them."""
        if not self.count:
            return ()
        started = "1 thread was" if self.count == 1 else f"{self.count} threads were"
        return (f"{started} started during the steps; what runs there is not seen, and its memory not in this report",)


@contextlib.contextmanager
def threads_seen() -> Iterator[ThreadsSeen]:
    """Count the threads that start and come upon a line of the user's; those of PyTorch's own do not count."""
    seen = ThreadsSeen()
    here = threading.local()

    def first_call(frame: Any, _event: str, _argument: Any) -> None:
        if not hasattr(here, "counted") and is_own(frame.f_code.co_filename):
            here.counted = True
            seen.count += 1

    before = threading.gettrace()
    threading.settrace(first_call)
    try:
        yield seen
    finally:
        threading.settrace(before)
