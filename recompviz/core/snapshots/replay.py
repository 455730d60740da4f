"""Replay the recorded events (the *trace*) of one device in a memory snapshot of PyTorch's CUDA allocator.

The replay finds when blocks were allocated and freed, and how much memory was reserved for them. Recording often begins
in the middle of a run, and its ring buffer drops the oldest events. Therefore the replay starts with the blocks that
must have existed before. These are the blocks in the snapshot that the trace does not allocate, and the blocks that the
trace frees without allocating them.

Only a replay can tell fragmentation from memory cached for later requests: with fragmentation, a request reserves a new
segment although enough bytes are free, in smaller pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recompviz.core.snapshots.allocator_model import AllocatorModel
from recompviz.core.steps.allocations import AllocationReader, Allocations


@dataclass(frozen=True)
class OutOfMemory:
    """A request for memory that failed, in the recorded events of a memory snapshot.

    Attributes
    ----------
    requested, device_free : int
        Bytes requested, and bytes free on the device; 0 if they were not recorded.
    cached : int
        Free bytes in the reserved segments from which the allocator serves requests of this size and CUDA stream. No
        single piece was large enough for this request.
    """

    requested: int
    device_free: int
    cached: int

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


def replay(segments: list[Any], trace: list[Any]) -> DeviceHistory:
    """Replay the recorded events of one device.

    Parameters
    ----------
    segments : list of dict
        The segments of this device at the end of the recording, as in the snapshot.
    trace : list of dict
        The events of this device, as in the snapshot.
    """
    replayer = _Replayer()
    replayer.begin(segments, trace)
    replayer.run(trace)
    return replayer.finish()


class _Replayer:
    def __init__(self) -> None:
        self._reader = AllocationReader()
        self._allocator = AllocatorModel()
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

    def begin(self, segments: list[Any], trace: list[Any]) -> None:
        """Restore the segments and blocks that existed when the recording began."""
        allocated: set[int] = set()
        new_segments: set[int] = set()
        freed_only: list[tuple[int, int, int]] = []
        dropped_segments: dict[int, tuple[int, int]] = {}
        for event in trace:
            action = event["action"]
            if action == "alloc":
                allocated.add(event["addr"])
            elif action == "free_requested" and event["addr"] not in allocated:
                freed_only.append((event["addr"], event["size"], event.get("stream", 0)))
                allocated.add(event["addr"])
            elif action in ("segment_alloc", "segment_map"):
                new_segments.add(event["addr"])
            elif action in ("segment_free", "segment_unmap") and event["addr"] not in new_segments:
                dropped_segments.setdefault(event["addr"], (event["size"], event.get("stream", 0)))
        at_end = {s["address"]: (s["total_size"], s.get("stream") or 0) for s in segments}
        for address, (size, stream) in {**at_end, **dropped_segments}.items():
            if address not in new_segments:
                self._allocator.add_segment(address, size, stream)
        for segment in segments:
            address = segment["address"]
            for block in segment["blocks"]:
                here = block["address"] if block.get("address") is not None else address
                if block["state"] == "active_allocated" and here not in allocated:
                    frames = block.get("frames") or (block.get("history") or [{}])[-1].get("frames")
                    self._allocator.occupy(here, block["size"], segment.get("stream") or 0)
                    self._existed_before(here, block["size"], frames)
                address = here + block["size"]
        for here, requested, stream in freed_only:
            self._existed_before(here, self._allocator.allocate(here, requested, stream), None)

    def _existed_before(self, address: int, size: int, frames: Any) -> None:
        at = -1 - len(self._frames_before)
        self._frames_before[at] = frames
        self._allocate(at, address, size)

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
        self._reserved.append(self._allocator.reserved)
        self._fragmentation.append(self._because_of_fragments)

    def run(self, trace: list[Any]) -> None:
        allocator, in_use = self._allocator, self._reader.in_use
        waiting: dict[int, int] = {}  # address → size of blocks whose free was requested and not completed
        segment: Any = None  # the previous event, if it added a segment
        cached = 0  # bytes that were free for the request then
        for i, event in enumerate(trace):
            action, stream = event["action"], event.get("stream", 0)
            if action == "alloc":
                address, requested = event["addr"], event["size"]
                if in_use(address):
                    self._contradictions += 1
                    allocator.free(address, self._free(i, address), stream)
                elif address in waiting:
                    allocator.free(address, waiting.pop(address), stream)
                if segment is not None and 0 < requested <= cached and segment["addr"] == address:
                    self._because_of_fragments += segment["size"]
                self._allocate(i, address, allocator.allocate(address, requested, stream))
            elif action == "free_requested" and in_use(event["addr"]):
                waiting[event["addr"]] = self._free(i, event["addr"])
            elif action == "free_completed" and event["addr"] in waiting:
                allocator.free(event["addr"], waiting.pop(event["addr"]), stream)
            elif action in ("segment_free", "segment_unmap"):
                allocator.drop_segment(event["addr"], event["size"], stream)
            elif action == "oom":
                requested = event.get("size") or 0
                free = allocator.cached(requested, stream)
                self._out_of_memory.append(OutOfMemory(requested, event.get("device_free") or 0, free))
            segment = None
            if action in ("segment_alloc", "segment_map"):
                segment, cached = event, self._cached_for(trace, i)
                allocator.add_segment(event["addr"], event["size"], stream)

    def _cached_for(self, trace: list[Any], i: int) -> int:
        """Return the bytes that were free for the request that a new segment serves. The request is the next event."""
        after = trace[i + 1] if i + 1 < len(trace) else None
        if after is None or after["action"] != "alloc" or trace[i]["action"] != "segment_alloc":
            return 0  # memory mapped into an expandable segment joins the free memory there
        return self._allocator.cached(after["size"], after.get("stream", 0))
