"""Count the threads that a step starts: neither the profiler nor the watcher sees what they do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recompviz.pytorch.internals.user_lines import is_own


@dataclass
class ThreadCount:
    """The number of threads that ran the user's code; grows while the steps run."""

    count: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes for the report."""
        if not self.count:
            return ()
        started = "1 thread" if self.count == 1 else f"{self.count} threads"
        return (f"the steps started {started}; memory that other threads allocate is not in this report",)


@contextlib.contextmanager
def threads_counted() -> Iterator[ThreadCount]:
    """Count the threads that start inside and run a line of the user's code; PyTorch's own threads do not count."""
    seen = ThreadCount()
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
