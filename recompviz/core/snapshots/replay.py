"""Replay the recorded events (the *trace*) of one device in a memory snapshot of PyTorch's CUDA allocator.

The replay finds when blocks were allocated and freed, and how much memory was reserved for them. Recording often begins
in the middle of a run, and its ring buffer drops the oldest events. Therefore the replay starts with the blocks that
must have existed before. These are the blocks in the snapshot that the trace does not allocate, and the blocks that the
trace frees without allocating them.

Only a replay can tell fragmentation from memory cached for later requests. Fragmentation means that a request reserves
a new segment although enough bytes are free, in smaller pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.snapshots.allocator_model import AllocatorModel, SegmentKind
from recompviz.core.snapshots.starting_state import (
    EarlierBlock,
    event_kind,
    pool_of,
    ranges_of,
    reserved_at_start,
    reserved_change,
    starting_state,
)
from recompviz.core.steps.allocations import AllocationReader, Allocations


@dataclass(frozen=True)
class OutOfMemory:
    """A request for memory that failed, in the recorded events of a memory snapshot.

    Attributes
    ----------
    requested, device_free : int
        Bytes requested, and bytes free on the device; 0 if they were not recorded.
    cached : int
        Free bytes in the reserved segments from which the allocator serves requests of this size, CUDA stream and
        private pool. No single piece was large enough for this request.
    frames : list or None
        The stack of the request, as in the snapshot.
    """

    requested: int
    device_free: int
    cached: int
    frames: Any = None

    @property
    def fragmented(self) -> bool:
        """Whether enough bytes for the request were reserved and free, but in smaller pieces."""
        return self.cached >= self.requested > 0


@dataclass(frozen=True, eq=False)
class DeviceHistory:
    """The replayed events of one device, from a memory snapshot; frozen.

    Attributes
    ----------
    allocations : Allocations
        The blocks and their events. ``allocations.at`` is the position of an event in the trace. It is negative for the
        allocation of a block that existed before the recording began.
    reserved : list of int
        Bytes reserved from the device after each event of ``allocations``.
    fragmentation : list of int
        Bytes of all segments reserved because of fragmentation, up to each event of ``allocations``. Fragmentation
        means that enough bytes were free, but in smaller pieces.
    frames_before : dict of int to frames
        The stacks of the blocks that existed before the recording began, as in the snapshot (None if not recorded). The
        key is the negative position of the block's allocation in ``allocations.at``.
    out_of_memory : tuple of OutOfMemory
        The requests that failed, in the order of the trace.
    contradictions : int
        The number of times that the trace allocates an address that is in use.
    """

    allocations: Allocations
    reserved: list[int]
    fragmentation: list[int]
    frames_before: dict[int, Any]
    out_of_memory: tuple[OutOfMemory, ...]
    contradictions: int


def replay(segments: list[Any], trace: list[Any], settings: AllocatorSettings | None = None) -> DeviceHistory:
    """Replay the recorded events of one device.

    Parameters
    ----------
    segments : list of dict
        The segments of this device at the end of the recording, as in the snapshot.
    trace : list of dict
        The events of this device, as in the snapshot.
    settings : AllocatorSettings, optional
        The allocator's settings during the recording. Default: PyTorch's defaults.
    """
    settings = settings or AllocatorSettings()
    replayer = _Replayer(segments, trace, settings)
    replayer.begin()
    replayer.run()
    return replayer.finish()


class _Replayer:
    def __init__(self, segments: list[Any], trace: list[Any], settings: AllocatorSettings) -> None:
        self._trace, self._settings = trace, settings
        self._start = starting_state(segments, trace, settings)
        self._at_end = ranges_of(segments)
        self._reader = AllocationReader()
        self._allocator = AllocatorModel(settings)
        self._reserved_now = reserved_at_start(segments, trace)
        self._reserved: list[int] = []
        self._fragmentation: list[int] = []
        self._frames_before: dict[int, Any] = {}
        self._out_of_memory: list[OutOfMemory] = []
        self._contradictions = 0
        self._because_of_fragments = 0

    def finish(self) -> DeviceHistory:
        return DeviceHistory(
            self._reader.finish(),
            self._reserved,
            self._fragmentation,
            self._frames_before,
            tuple(self._out_of_memory),
            self._contradictions,
        )

    def begin(self) -> None:
        """Restore the segments and blocks that existed when the recording began."""
        for address, size, kind in self._start.segments:
            self._allocator.add_segment(address, size, kind)
        for block in self._start.blocks:
            self._allocator.occupy(block.address, block.size)
            self._existed_before(block)

    def _existed_before(self, block: EarlierBlock) -> None:
        at = -1 - len(self._frames_before)
        self._frames_before[at] = block.frames
        self._allocate(at, block.address, block.size)

    def _allocate(self, at: int, address: int, size: int) -> None:
        if self._reader.in_use(address):  # two events: the end of the old block and the new one
            self._note()
        self._reader.allocate(at, address, size)
        self._note()

    def _free(self, at: int, address: int) -> int:
        size = self._reader.free(at, address)
        self._note()
        return size

    def _note(self) -> None:
        """Record the reserved bytes after an event."""
        self._reserved.append(self._reserved_now)
        self._fragmentation.append(self._because_of_fragments)

    def run(self) -> None:
        trace, allocator, in_use = self._trace, self._allocator, self._reader.in_use
        # a recording may leave out one kind of free (skip_actions)
        completed = any(event["action"] == "free_completed" for event in trace)
        waiting: dict[int, int] = {}  # address → size of blocks whose free was requested and not completed
        segment: Any = None  # the previous event, if it added a segment
        cached = 0  # bytes that were free for the request then
        for i, event in enumerate(trace):
            action = event["action"]
            if action == "alloc":
                address, requested = event["addr"], event["size"]
                if in_use(address):
                    self._contradictions += 1
                    allocator.free(address, self._free(i, address))
                elif address in waiting:
                    allocator.free(address, waiting.pop(address))
                if segment is not None and 0 < requested <= cached and segment["addr"] == address:
                    self._because_of_fragments += segment["size"]
                self._allocate(i, address, allocator.allocate(address, requested))
            elif action == "free_requested" and in_use(event["addr"]):
                size = self._free(i, event["addr"])
                if completed:
                    waiting[event["addr"]] = size
                else:
                    allocator.free(event["addr"], size)
            elif action == "free_completed" and event["addr"] in waiting:
                allocator.free(event["addr"], waiting.pop(event["addr"]))
            elif action == "free_completed" and in_use(event["addr"]):
                allocator.free(event["addr"], self._free(i, event["addr"]))
            elif action in ("segment_free", "segment_unmap"):
                self._reserved_now += reserved_change(event)
                allocator.drop_segment(event["addr"], event["size"])
            elif action == "oom":
                requested = event.get("size") or 0
                free = allocator.cached(requested, event.get("stream") or 0, pool_of(event))
                device_free = event.get("device_free") or 0
                self._out_of_memory.append(OutOfMemory(requested, device_free, free, event.get("frames")))
            segment = None
            if action in ("segment_alloc", "segment_map"):
                self._reserved_now += reserved_change(event)
                kind = self._kind(event)
                segment, cached = event, self._cached_for(i, kind)
                allocator.add_segment(event["addr"], event["size"], kind)

    def _kind(self, event: Any) -> SegmentKind:
        """Return the kind of a segment that an event adds. Older traces do not name private pools; segments do."""
        kind = event_kind(event, self._settings)
        at_end = self._at_end.at(event["addr"])
        if at_end is not None and at_end[2].expandable == kind.expandable and "pool_id" not in event:
            return at_end[2]
        return kind

    def _cached_for(self, i: int, kind: SegmentKind) -> int:
        """Return the bytes that were free for the request that a new segment serves. The request is the next event."""
        after = self._trace[i + 1] if i + 1 < len(self._trace) else None
        if after is None or after["action"] != "alloc" or kind.expandable:
            return 0  # memory mapped into an expandable segment joins the free memory there
        return self._allocator.cached(after["size"], after.get("stream") or 0, kind.pool)
