"""Peaks of a device's allocator between two moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recompviz.pytorch.internals.devices.runtimes import runtime


@dataclass
class AllocatorPeaks:
    """Peaks of the device's allocator between :meth:`begin` and :meth:`end`, for the whole process.

    Attributes
    ----------
    device : torch.device
    reserved : int or None
        The largest number of bytes reserved at one time. None before :meth:`end`, and on devices whose peaks are
        unknown (CPU, MPS).
    allocated : int or None
        The largest number of bytes allocated at one time, minus the bytes allocated at :meth:`begin`. None as for
        ``reserved``.
    """

    device: torch.device
    reserved: int | None = None
    allocated: int | None = None
    _start: int = 0

    def begin(self) -> None:
        """Reset the allocator's peaks."""
        counts = runtime(self.device)
        counts.reset_peaks()
        self._start = counts.allocated() or 0

    def end(self) -> None:
        """Read the allocator's peaks into ``reserved`` and ``allocated``."""
        counts = runtime(self.device)
        self.reserved = counts.peak_reserved()
        most = counts.peak_allocated()
        self.allocated = None if most is None else most - self._start
