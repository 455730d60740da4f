"""The memory window: a block of code during which PyTorch's profiler records every allocation and free.

Only one profiler may run in a process: two that overlap in different threads end it with a segmentation fault. So a
window waits until another window is closed, and raises :class:`ProfilerBusy` while the user's own profiler runs.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import profile

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.autograd import backward_runs
from recompviz.pytorch.internals.devices import AllocatorPeaks, profiler_activities, synchronize
from recompviz.pytorch.internals.profiler import profiler_runs, quiet_profiler
from recompviz.pytorch.internals.state import one_at_a_time


class ProfilerBusy(RecompvizError, RuntimeError):
    """A profiler that recompviz did not start runs in this process."""

    def __init__(self) -> None:
        super().__init__(
            "another torch.profiler runs in this process, and two at a time would crash it; "
            "measure after it has stopped, or outside its block"
        )


@dataclass
class MemoryWindow:
    """The record of a memory window. It is complete when the window is closed.

    Attributes
    ----------
    profiled : torch.profiler.profile
        The profile, with every allocation and free.
    seconds : float
        Wall-clock time of the block, until the device had finished its work.
    reserved : int or None
        The most bytes that the device's allocator had reserved; None on the CPU.
    allocated : int or None
        The most bytes that the whole process had allocated on the device, less those allocated before the block; None
        on the CPU.
    """

    profiled: Any
    seconds: float = 0.0
    reserved: int | None = None
    allocated: int | None = None


# functions that close windows that are still open, because the training step in them has not ended
_open_ended: list[Callable[[], None]] = []


def close_before_next(close: Callable[[], None]) -> None:
    """Register a function that closes an open window. It is called before the next window opens."""
    _open_ended.append(close)


class _Calls(threading.local):
    """The compiled graphs that run in a thread: how many calls are inside each other."""

    depth = 0


_calls = _Calls()
# functions that close a window, and wait until no compiled graph runs
_waiting: list[Callable[[], None]] = []
# functions that close a window if its training step is over; called before a compiled graph runs
_before_calls: list[Callable[[], None]] = []


@contextlib.contextmanager
def compiled_call() -> Iterator[None]:
    """Surround the call of a compiled graph, so that no window is closed inside it.

    PyTorch's profiler marks the call of an autograd function. If the profiler stopped before the call ends, the end of
    the mark would be written into memory that is free.
    """
    if not _calls.depth:
        for close in list(_before_calls):
            close()
    _calls.depth += 1
    try:
        yield
    finally:
        _calls.depth -= 1
        if _waiting and not _calls.depth and not backward_runs():
            while _waiting:
                _waiting.pop()()


def in_compiled_call() -> bool:
    """Return whether this thread is inside :func:`compiled_call`."""
    return _calls.depth > 0


def close_after_call(close: Callable[[], None]) -> None:
    """Call a function that closes a window when the running compiled graph has returned."""
    _waiting.append(close)


def closes_wait() -> bool:
    """Return whether a window waits to be closed."""
    return bool(_waiting)


def close_before_calls(close: Callable[[], None]) -> None:
    """Call a function before each compiled graph runs, until :func:`no_longer_before_calls`."""
    _before_calls.append(close)


def no_longer_before_calls(close: Callable[[], None]) -> None:
    """Undo :func:`close_before_calls`."""
    if close in _before_calls:
        _before_calls.remove(close)


@contextlib.contextmanager
def memory_window(device: torch.device) -> Iterator[MemoryWindow]:
    """Record every allocation and free in a block of code.

    Yields
    ------
    MemoryWindow
        The record. It is complete after the block.

    Raises
    ------
    ProfilerBusy
        If a profiler that recompviz did not start runs in this process.
    """
    with one_at_a_time:
        while _open_ended:
            _open_ended.pop()()
        if profiler_runs():
            raise ProfilerBusy
        yield from _recorded(device)


def _recorded(device: torch.device) -> Iterator[MemoryWindow]:
    gc.collect()
    peaks = AllocatorPeaks(device)
    peaks.begin()
    quiet_profiler()
    # acc_events: there is only one profiling cycle, and torch 2.10 warns about several
    with profile(activities=profiler_activities(device), profile_memory=True, acc_events=True) as profiled:
        window = MemoryWindow(profiled)
        start = time.perf_counter()
        yield window
        synchronize(device)
        window.seconds = time.perf_counter() - start
    peaks.end()
    window.reserved, window.allocated = peaks.reserved, peaks.allocated
