"""The memory that PyTorch's caching allocator reserves for a training step, as predicted by the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.base.units import format_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ReservedMemory:
    """Predicted bytes that PyTorch's caching allocator reserves on the device in a training step; frozen.

    Attributes
    ----------
    settings : AllocatorSettings
        The allocator's settings.
    reserved, allocated : numpy.ndarray of int64, shape (#events,)
        Bytes reserved from the device, and bytes of the blocks in use, after each event of the last simulated step.
        Memory that exists before the step is counted, too.
    peak : int
        The largest number of bytes reserved at one time, over all simulated steps.
    fragmentation : int
        Bytes of all segments that were reserved although enough bytes for the request were free, in smaller pieces.
    segments : int
        Number of segments (separately reserved pieces of device memory) after the last step.
    steps : int
        Number of simulated steps.
    failed_at : int or None
        None if all requests fit into the device's memory. Otherwise the position of the event in the last simulated
        step whose request did not fit. 0 if memory from before the first step did not fit. The number of events if the
        optimizer's state did not fit, which is allocated after the first step.
    failure : str
        Why a request did not fit; empty if all requests fit.
    """

    settings: AllocatorSettings
    reserved: NDArray[np.int64]
    allocated: NDArray[np.int64]
    peak: int
    fragmentation: int
    segments: int
    steps: int
    failed_at: int | None = None
    failure: str = ""

    def __post_init__(self) -> None:
        self.reserved.setflags(write=False)
        self.allocated.setflags(write=False)

    @property
    def allocated_peak(self) -> int:
        """The largest number of bytes of blocks in use at one time, in the last simulated step."""
        return int(self.allocated.max(initial=0))

    @property
    def unused(self) -> int:
        """The peak of the reserved bytes minus the peak of the bytes in use. These peaks may be at different times."""
        return self.peak - self.allocated_peak

    @property
    def text(self) -> str:
        """The prediction as a short text. If a request did not fit, the text is the reason."""
        return self.failure or f"the caching allocator reserves about {format_bytes(self.peak)}"

    def __repr__(self) -> str:
        return (
            f"ReservedMemory({format_bytes(self.peak)} reserved at the peak, of which "
            f"{format_bytes(self.allocated_peak)} are allocated; {self.segments:,} "
            f"segment{'' if self.segments == 1 else 's'}{f'; {self.failure}' if self.failure else ''})"
        )
