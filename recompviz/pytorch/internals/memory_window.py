"""The memory window: a block of code during which PyTorch's profiler records every allocation and free.

Only one profiler may run in a process, because two that overlap in different threads cause a segmentation fault. A
window therefore waits until the window of another thread is closed, and stops the recording of a training step. If a
profiler still runs, for example the user's own, the window raises :class:`ProfilerBusy`.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.profiler import profile

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.autograd import backward_runs
from recompviz.pytorch.internals.devices.peaks import AllocatorPeaks
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.profiler import profiler_runs, quiet_profiler, stop_profiler
from recompviz.pytorch.internals.state import one_at_a_time
from recompviz.pytorch.internals.undone import undone


class ProfilerBusy(RecompvizError, RuntimeError):
    """A memory window cannot open, because another profiler is running in this process."""

    def __init__(self) -> None:
        super().__init__(
            "another torch.profiler runs in this process, and two at a time would crash it; "
            "measure after it has stopped, or outside its block"
        )


@dataclass
class MemoryWindow:
    """The record of a memory window. It is complete when the window was closed without an error.

    Attributes
    ----------
    profiled : torch.profiler.profile
        The profile, with every allocation and free.
    seconds : float
        Wall-clock time of the ``with`` block, until the device had finished its work, in seconds.
    reserved : int or None
        The largest number of bytes that the device's allocator had reserved at one time during the block; None if
        peaks of the device are unknown (CPU, MPS).
    allocated : int or None
        The largest number of bytes that the whole process had allocated on the device at one time during the block,
        minus the bytes allocated before the block. None as for ``reserved``.
    """

    profiled: Any
    seconds: float = 0.0
    reserved: int | None = None
    allocated: int | None = None


class OpenWindow(Protocol):
    """A memory window that is opened without a ``with`` block, and stays open until its training step ends."""

    def stop(self) -> None:
        """Close the window. If it is closed already, do nothing."""

    def stop_if_over(self) -> None:
        """Close the window if its training step has ended."""


_open_windows: list[OpenWindow] = []


def note_open(window: OpenWindow) -> None:
    """Register an open memory window, which was opened without a ``with`` block.

    The window's method ``stop`` is called before another window opens. Its method ``stop_if_over`` is called before
    each call of a compiled graph, except a call inside another compiled graph.
    """
    _open_windows.append(window)


def note_closed(window: OpenWindow) -> None:
    """Remove a memory window that :func:`note_open` registered. If it is not registered, do nothing."""
    if window in _open_windows:
        _open_windows.remove(window)


def step_is_recorded() -> bool:
    """Return whether a training step is being recorded: a window that :func:`note_open` registered is still open."""
    return bool(_open_windows)


class _Calls(threading.local):
    """The calls of compiled graphs in one thread.

    Attributes
    ----------
    depth : int
        How many calls are inside each other now.
    waiting : list of OpenWindow
        Windows to close when the outermost call has returned.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[OpenWindow] = []


_calls = _Calls()


@contextlib.contextmanager
def compiled_call() -> Iterator[None]:
    """In a ``with`` block around the call of a compiled graph, let no memory window of :func:`note_open` be closed.

    Before the block, windows whose training step has ended are closed, unless this thread is in such a block already. A
    window that was given to :func:`close_after_call` is closed after the outermost block. If a backward pass is running
    then, the window is closed after a later block.

    PyTorch's profiler records the start and the end of the call of an autograd function. If the profiler stopped before
    the call ends, the end would be written into memory that is already free.
    """
    if not _calls.depth:
        for window in list(_open_windows):
            window.stop_if_over()
    before = _calls.depth
    try:
        try:
            _calls.depth = before + 1
            yield
        finally:
            _calls.depth = before
    finally:  # again, in case an interrupt ended the first time
        _calls.depth = before
        if _calls.waiting and not _calls.depth and not backward_runs():
            while _calls.waiting:
                _calls.waiting.pop().stop()


def in_compiled_call() -> bool:
    """Return whether this thread is inside :func:`compiled_call`."""
    return _calls.depth > 0


def close_after_call(window: OpenWindow) -> None:
    """Close a window when the outermost call of a compiled graph that this thread is in has returned."""
    _calls.waiting.append(window)


def closes_wait() -> bool:
    """Return whether a window of this thread waits to be closed."""
    return bool(_calls.waiting)


@contextlib.contextmanager
def memory_window(device: torch.device, reads: bool = False) -> Iterator[MemoryWindow]:
    """Record every allocation and free in a ``with`` block. Windows of :func:`note_open` are closed first.

    Parameters
    ----------
    device : torch.device
    reads : bool
        Whether to record the storages that each operator reads, too.

    Yields
    ------
    MemoryWindow
        The record. It is complete after the block. If the block raises an error, the record stays incomplete.

    Raises
    ------
    ProfilerBusy
        If another profiler is running in this process: the user's, or that of a window which cannot be closed now,
        because another thread opened it or a compiled graph is running.
    """
    with one_at_a_time:
        while _open_windows:
            _open_windows.pop().stop()
        if profiler_runs():
            raise ProfilerBusy
        yield from _recorded(device, reads)


def _recorded(device: torch.device, reads: bool) -> Iterator[MemoryWindow]:
    gc.collect()
    peaks = AllocatorPeaks(device)
    peaks.begin()
    quiet_profiler()
    finished: list[bool] = []

    def stop() -> None:
        if not finished:
            stop_profiler()

    with undone(stop):
        # acc_events: there is only one profiling cycle, and torch 2.10 warns about several
        with profile(
            activities=runtime(device).profiler_activities(),
            profile_memory=True,
            record_shapes=reads,
            acc_events=True,
        ) as profiled:
            window = MemoryWindow(profiled)
            start = time.perf_counter()
            yield window
            runtime(device).synchronize()
            window.seconds = time.perf_counter() - start
        finished.append(True)
    peaks.end()
    window.reserved, window.allocated = peaks.reserved, peaks.allocated
