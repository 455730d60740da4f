"""The memory window: a block of code during which the profiler records every allocation and free.

A process has one profiler. Two that overlap in different threads end the process with a segmentation fault. So two
windows wait for each other, and a window raises :class:`ProfilerBusy` while another profiler runs.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import profile

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.devices import AllocatorPeaks, profiler_activities, synchronize
from recompviz.pytorch.internals.profiler import profiler_runs, quiet_profiler
from recompviz.pytorch.internals.state import one_at_a_time


class ProfilerBusy(RecompvizError, RuntimeError):
    """Another profiler runs in this process."""

    def __init__(self) -> None:
        super().__init__(
            "another torch.profiler runs in this process, and two at a time would crash it; "
            "measure after it has stopped, or outside its block"
        )


@dataclass
class MemoryWindow:
    """What was recorded; complete when the window is closed.

    Attributes
    ----------
    profiled : torch.profiler.profile
        Every allocation and free.
    seconds : float
        Wall-clock time of the work, until the device had finished it.
    reserved, allocated : int or None
        The most bytes the device had reserved, and the most it had allocated above what was allocated before; None on
        the CPU.
    """

    profiled: Any
    seconds: float = 0.0
    reserved: int | None = None
    allocated: int | None = None


# functions that close a window which nobody has closed yet, because the step in it has not ended
_open_ended: list[Callable[[], None]] = []


def close_before_next(close: Callable[[], None]) -> None:
    """Let the next window close an open one first."""
    _open_ended.append(close)


@contextlib.contextmanager
def memory_window(device: torch.device) -> Iterator[MemoryWindow]:
    """Record every allocation and free of the work done inside the block.

    Raises
    ------
    ProfilerBusy
        If a profiler runs that recompviz did not start.
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
