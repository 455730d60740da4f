"""One profiled stretch at a time: PyTorch's profiler is one for the whole process.

Two that overlap, each in a thread of its own, end the process with a segmentation fault, and a notebook's kernel with
it. So two runs wait for each other here, and one beside somebody else's profiler is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from recompviz.core.errors import RecompvizError
from recompviz.pytorch import private
from recompviz.pytorch.state import one_at_a_time


class ProfilerBusy(RecompvizError, RuntimeError):
    """Another profiler runs in this process."""

    def __init__(self) -> None:
        super().__init__(
            "another torch.profiler runs in this process, and two at once would end it; "
            "measure when it has stopped, or outside of its block"
        )


@contextlib.contextmanager
def allocations_recorded(device: torch.device) -> Iterator[profile]:
    """Record every allocation and free on a device while the block runs.

    Raises
    ------
    ProfilerBusy
        While a profiler runs that is not recompviz's own.
    """
    with one_at_a_time:
        if private.profiler_runs():
            raise ProfilerBusy
        private.quiet_profiler()
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
        # acc_events: one cycle is all there is, and torch 2.10 warns of cycles otherwise
        with profile(activities=activities, profile_memory=True, acc_events=True) as record:
            yield record
