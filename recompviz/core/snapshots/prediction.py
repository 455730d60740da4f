"""Compare the reserved memory of a recording with the prediction of a model of the allocator.

The model starts with the segments and blocks that existed when the recording began. It then allocates and frees blocks
of the recorded sizes in the recorded order, and chooses segments and addresses itself. When the recording releases
segments, the model releases all unused segments, because the recording does not say how full the device was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.allocator.caching_allocator import CachingAllocator
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.snapshots.ranges import Ranges
from recompviz.core.snapshots.starting_state import (
    StartingState,
    pool_of,
    reserved_at_start,
    reserved_change,
    starting_state,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FreeMemory:
    """The reserved memory that is not allocated at one moment; frozen.

    Attributes
    ----------
    segments : int
        Number of all reserved segments, also of segments without a free block.
    pieces : int
        Number of free blocks.
    size, largest : int
        Bytes of all free blocks together, and of the largest free block.
    """

    segments: int
    pieces: int
    size: int
    largest: int


@dataclass(frozen=True, eq=False)
class PredictedRecording:
    """The reserved memory of a recording, and the prediction of the model of the allocator; frozen.

    Attributes
    ----------
    settings : AllocatorSettings
        The settings of the allocator that the model uses.
    recorded, predicted : numpy.ndarray of int64, shape (#events,)
        Bytes reserved after each event (allocation or free), in the recording and in the model.
    peak_from_empty : int
        The largest number of bytes that the model reserves if it starts empty, and first allocates the blocks that
        existed when the recording began, in the order of their addresses.
    recorded_free, predicted_free : FreeMemory
        The memory that is reserved and not allocated at the end, in the recording and in the model.
    requests : int
        Number of allocations.
    same_address : int or None
        Number of allocations for which the model chooses the recorded address. The number is from a second run of the
        model, in which new segments get their recorded addresses. None if the recording releases segments, or if
        segments of the recording overlap.
    """

    settings: AllocatorSettings
    recorded: NDArray[np.int64]
    predicted: NDArray[np.int64]
    peak_from_empty: int
    recorded_free: FreeMemory
    predicted_free: FreeMemory
    requests: int
    same_address: int | None

    @property
    def recorded_peak(self) -> int:
        """The largest number of bytes that are reserved in the recording after one of its events."""
        return int(self.recorded.max(initial=0))

    @property
    def predicted_peak(self) -> int:
        """The largest number of bytes that the model of the allocator reserves."""
        return int(self.predicted.max(initial=0))

    @property
    def error(self) -> float:
        """The predicted peak divided by the recorded peak, minus 1; 0 if the recorded peak is 0."""
        return self.predicted_peak / self.recorded_peak - 1 if self.recorded_peak else 0.0

    @property
    def largest_error(self) -> float:
        """The largest of |predicted − recorded| / recorded over all events, in reserved bytes."""
        return float((np.abs(self.predicted - self.recorded) / np.maximum(self.recorded, 1)).max(initial=0.0))


def predict_recording(
    segments: Sequence[Any], trace: Sequence[Any], settings: AllocatorSettings | None = None
) -> PredictedRecording:
    """Predict the reserved memory of a recording from its requests.

    Parameters
    ----------
    segments, trace : sequence of dict
        The segments of one device at the end of the recording, and its events, as in the snapshot.
    settings : AllocatorSettings, optional
        The settings of the allocator. If left out, PyTorch's defaults.
    """
    settings = settings or AllocatorSettings()
    start = starting_state(segments, trace, settings)
    allocator = start.allocator(settings)
    run = _Replay(allocator, start, trace)
    same_address = None
    if _Placement.possible(start, trace):
        place = _Placement(trace)
        placed = start.allocator(settings, place=place)
        place.below = placed.below
        same_address = _Replay(placed, start, trace).same_address
    empty = _Replay(CachingAllocator(settings), start, trace, empty=True)
    free = [block["size"] for one in segments for block in one["blocks"] if block["state"] == "inactive"]
    return PredictedRecording(
        settings,
        np.array(run.recorded, np.int64) + reserved_at_start(segments, trace),
        np.array(run.predicted, np.int64),
        max(empty.predicted, default=0),
        FreeMemory(len(segments), len(free), sum(free), max(free, default=0)),
        _free_memory(allocator),
        run.requests,
        same_address,
    )


def reserved_with(start: StartingState, trace: Sequence[Any], settings: AllocatorSettings) -> int:
    """Return the largest number of bytes that the requests of a recording would reserve under other settings.

    The model of the allocator starts empty. It first allocates the blocks that existed when the recording began.

    Parameters
    ----------
    start : StartingState
        The segments and blocks that existed when the recording began.
    trace : sequence of dict
        The events of one device, as in the snapshot.
    settings : AllocatorSettings
    """
    return max(_Replay(CachingAllocator(settings), start, trace, empty=True).predicted, default=0)


def _free_memory(allocator: CachingAllocator) -> FreeMemory:
    segments = list(allocator.segments())
    free = [size for one in segments for _, size, used in one.blocks if not used]
    return FreeMemory(len(segments), len(free), sum(free), max(free, default=0))


class _Placement:
    """The recorded addresses of new segments, for the model.

    Once the model reserves a segment of another size than the recording, no recorded address is used any more.
    """

    def __init__(self, trace: Sequence[Any]) -> None:
        self._next = [(event["size"], event["addr"]) for event in trace if event["action"] == "segment_alloc"][::-1]
        self.below: Callable[[int], int] = lambda size: size

    @staticmethod
    def possible(start: StartingState, trace: Sequence[Any]) -> bool:
        """Return whether the addresses stay free: no segment is released, and no two overlap."""
        taken: Ranges[None] = Ranges()
        new = [(event["addr"], event["size"]) for event in trace if event["action"] == "segment_alloc"]
        for address, size in [*((address, size) for address, size, _ in start.segments), *new]:
            if taken.cut(address, address + size):
                return False
            taken.add(address, address + size, None)
        return not any(reserved_change(event) < 0 for event in trace)

    def __call__(self, size: int) -> int:
        if self._next and self._next[-1][0] == size:
            return int(self._next.pop()[1])
        self._next = []
        return self.below(size)


class _Replay:
    """The requests of a trace, given to the model one after another."""

    def __init__(
        self, allocator: CachingAllocator, start: StartingState, trace: Sequence[Any], empty: bool = False
    ) -> None:
        self.allocator = allocator
        self.recorded: list[int] = []  # relative to the start
        self.predicted: list[int] = []
        self.requests = self.same_address = 0
        address_of: dict[int, int] = {}  # in the recording → in the model
        for block, stream, pool in start.requests():
            address_of[block.address] = allocator.allocate(block.size, stream, pool) if empty else block.address
        completed = any(event["action"] == "free_completed" for event in trace)
        ends = "free_completed" if completed else "free_requested"
        reserved, releasing = 0, False
        for event in trace:
            action = event["action"]
            if change := reserved_change(event):
                reserved += change
                if change < 0 and not releasing:
                    allocator.empty_cache()
                releasing = change < 0
                continue
            releasing = False
            if action == "alloc":
                here = event["addr"]
                if here in address_of:
                    allocator.free(address_of.pop(here))  # the recording contradicts itself
                found = allocator.allocate(event["size"], event.get("stream") or 0, pool_of(event))
                address_of[here] = found
                self.same_address += found == here
                self.requests += 1
            elif action == ends and event["addr"] in address_of:
                allocator.free(address_of.pop(event["addr"]))
            else:
                continue
            self.recorded.append(reserved)
            self.predicted.append(allocator.reserved)
