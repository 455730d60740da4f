"""The window in which the allocator is watched: the profiler around some work, and the peaks the device counts.

PyTorch's profiler is one for the whole process. Two that overlap, each in a thread of its own, end the process with a
segmentation fault, and a notebook's kernel with it. So two windows wait for each other, and one beside somebody
else's profiler is refused.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.profiler import profiler_runs, quiet_profiler
from recompviz.pytorch.internals.state import one_at_a_time


class ProfilerBusy(RecompvizError, RuntimeError):
    """Another profiler runs in this process."""

    def __init__(self) -> None:
        super().__init__(
            "another torch.profiler runs in this process, and two at once would end it; "
            "measure when it has stopped, or outside of its block"
        )


@dataclass
class MemoryWindow:
    """What is known once the window is closed.

    Attributes
    ----------
    profiled : torch.profiler.profile
        Every allocation and free.
    seconds : float
        How long the work took, the device's included.
    reserved, allocated : int or None
        Bytes the device had reserved at most, and had allocated at most above what there was before; None on the CPU.
    """

    profiled: Any
    seconds: float = 0.0
    reserved: int | None = None
    allocated: int | None = None


@contextlib.contextmanager
def memory_window(device: torch.device) -> Iterator[MemoryWindow]:
    """Record every allocation and free of the work done inside.

    Raises
    ------
    ProfilerBusy
        While a profiler runs that is not recompviz's own.
    """
    with one_at_a_time:
        if profiler_runs():
            raise ProfilerBusy
        yield from _recorded(device)


def _recorded(device: torch.device) -> Iterator[MemoryWindow]:
    gc.collect()
    cuda = device.type == "cuda"
    before = 0
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    quiet_profiler()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    # acc_events: one cycle is all there is, and torch 2.10 warns of cycles otherwise
    with profile(activities=activities, profile_memory=True, acc_events=True) as profiled:
        window = MemoryWindow(profiled)
        start = time.perf_counter()
        yield window
        if cuda:
            torch.cuda.synchronize(device)
        window.seconds = time.perf_counter() - start
    if cuda:
        window.reserved = torch.cuda.max_memory_reserved(device)
        window.allocated = torch.cuda.max_memory_allocated(device) - before
