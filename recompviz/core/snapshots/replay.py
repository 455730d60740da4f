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
from recompviz.core.snapshots.reserved_parts import PartsReader, ReservedPart
from recompviz.core.snapshots.starting_state import (
    AWAITING,
    EarlierBlock,
    event_kind,
    placed_blocks,
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
        Free bytes in the reserved segments that serve requests of this size, CUDA stream and private pool. They are in
        pieces that are too small for this request.
    record : dict or None
        The event of the snapshot, which has the stack of the request; None if it is not known.
    at : int
        The position of the event in the trace.
    """

    requested: int
    device_free: int
    cached: int
    record: Any = None
    at: int = -1

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
    records_before : dict of int to (dict or None)
        For each block that existed before the recording began, the entry of the snapshot with the stack of its
        allocation; None or an empty dict if there is none. The key is the negative number that the allocation has in
        ``allocations.at``.
    out_of_memory : tuple of OutOfMemory
        The requests that failed, in the order of the trace.
    contradictions : int
        The number of times that the trace allocates an address that is in use.
    parts : tuple of ReservedPart
        The memory that was reserved from the device.
    completed : dict of int to int
        The blocks that the program released while other streams still used them. Number of the block → position of the
        event after which its memory was free, or the length of the trace if it was never free.
    waiting_before : tuple of (int, int, int)
        The blocks that the program had released before the recording began, while other streams still used them. For
        each block its address, its bytes, and the position of the event after which its memory was free, or the length
        of the trace if it was never free.
    """

    allocations: Allocations
    reserved: list[int]
    fragmentation: list[int]
    records_before: dict[int, Any]
    out_of_memory: tuple[OutOfMemory, ...]
    contradictions: int
    parts: tuple[ReservedPart, ...]
    completed: dict[int, int]
    waiting_before: tuple[tuple[int, int, int], ...]


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
        self._awaiting = [
            address for segment in segments for address, block in placed_blocks(segment) if block["state"] in AWAITING
        ]
        self._reader = AllocationReader()
        self._allocator = AllocatorModel(settings)
        self._reserved_now = reserved_at_start(segments, trace)
        self._reserved: list[int] = []
        self._fragmentation: list[int] = []
        self._records_before: dict[int, Any] = {}
        self._parts = PartsReader(self._start.segments)
        self._blocks: dict[int, int] = {}  # address → block
        self._waiting: dict[int, int] = {}  # address → size of blocks whose free was requested and not completed
        self._requested_at: dict[int, int] = {}  # address → block of the same
        self._completed: dict[int, int] = {}
        self._waiting_before: list[tuple[int, int, int]] = []
        self._out_of_memory: list[OutOfMemory] = []
        self._contradictions = 0
        self._because_of_fragments = 0

    def finish(self) -> DeviceHistory:
        for address in list(self._waiting):
            self._complete(len(self._trace), address)
        return DeviceHistory(
            self._reader.finish(),
            self._reserved,
            self._fragmentation,
            self._records_before,
            tuple(self._out_of_memory),
            self._contradictions,
            self._parts.finish(),
            self._completed,
            tuple(self._waiting_before),
        )

    def begin(self) -> None:
        """Restore the segments and blocks that existed when the recording began."""
        for address, size, kind in self._start.segments:
            self._allocator.add_segment(address, size, kind)
        for block in self._start.blocks:
            self._allocator.occupy(block.address, block.size)
            if block.in_use:
                self._existed_before(block)
            else:
                self._waiting[block.address] = block.size

    def _existed_before(self, block: EarlierBlock) -> None:
        at = -1 - len(self._records_before)
        self._records_before[at] = block.record
        self._allocate(at, block.address, block.size)

    def _allocate(self, at: int, address: int, size: int) -> None:
        if self._reader.in_use(address):  # two events: the end of the old block and the new one
            self._note()
        self._blocks[address] = self._reader.allocate(at, address, size)
        self._note()

    def _complete(self, at: int, address: int) -> None:
        """Free the memory of a block that the program had released."""
        size = self._waiting.pop(address)
        self._allocator.free(address, size)
        block = self._requested_at.pop(address, None)
        if block is None:
            self._waiting_before.append((address, size, at))
        else:
            self._completed[block] = at

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
        never = set() if completed else self._never_completed()
        waiting = self._waiting
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
                    self._complete(i, address)
                rounded = self._settings.rounded(requested)
                if segment is not None and rounded <= cached and segment["addr"] == address:
                    self._because_of_fragments += segment["size"]
                self._allocate(i, address, allocator.allocate(address, requested))
            elif action == "free_requested" and in_use(event["addr"]):
                size = self._free(i, event["addr"])
                if completed or i in never:
                    waiting[event["addr"]] = size
                    self._requested_at[event["addr"]] = self._blocks[event["addr"]]
                else:
                    allocator.free(event["addr"], size)
            elif action == "free_completed" and event["addr"] in waiting:
                self._complete(i, event["addr"])
            elif action == "free_completed" and in_use(event["addr"]):
                allocator.free(event["addr"], self._free(i, event["addr"]))
            elif action in ("segment_free", "segment_unmap"):
                self._reserved_now += reserved_change(event)
                allocator.drop_segment(event["addr"], event["size"])
                self._parts.release(i, event["addr"], event["size"])
            elif action == "oom":
                requested = event.get("size") or 0
                free = allocator.cached(requested, event.get("stream") or 0, pool_of(event))
                device_free = event.get("device_free") or 0
                self._out_of_memory.append(OutOfMemory(requested, device_free, free, event, i))
            segment = None
            if action in ("segment_alloc", "segment_map"):
                self._reserved_now += reserved_change(event)
                kind = self._kind(event)
                segment, cached = event, self._cached_for(i, kind)
                allocator.add_segment(event["addr"], event["size"], kind)
                self._parts.reserve(i, event["addr"], event["size"], kind)

    def _never_completed(self) -> set[int]:
        """Return the positions of the frees whose blocks other streams still use at the end of the recording."""
        last = {event["addr"]: i for i, event in enumerate(self._trace) if event["action"] == "free_requested"}
        return {last[address] for address in self._awaiting if address in last}

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
