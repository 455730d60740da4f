"""One device's history, replayed: what was handed out and taken back, what the device had to give, and why.

Recording often begins in the middle of a run and its ring buffer forgets the oldest events, so that the trace starts
with blocks already there: those of the snapshot's end that the trace does not allocate, and those it frees unseen.
An allocation that got a new segment though enough was free, in pieces, is what fragmentation costs; only a replay
can tell it from memory that is simply cached for the next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recompviz.core.snapshots.allocator import Replay


@dataclass(frozen=True)
class Event:
    """An allocation (positive) or a free (negative), with the position of the request in the trace.

    ``birth`` is below 0 for a block that was there before.
    """

    at: int
    address: int
    delta: int
    birth: int


@dataclass(frozen=True)
class OutOfMemory:
    """A request that the device could not serve.

    Attributes
    ----------
    asked, device_free : int
        Bytes.
    cached : int
        Bytes that were reserved and free where the request was looked for, in pieces too small for it.
    """

    asked: int
    device_free: int
    cached: int

    @property
    def fragmented(self) -> bool:
        """Whether enough was reserved and free for the request, in pieces."""
        return self.cached >= self.asked > 0


class History:
    """The replay of a device's segments and trace.

    Attributes
    ----------
    events : list of Event
    reserved : list of int
        Bytes reserved from the device after each event.
    forced : list of int
        Bytes of segments that fragmentation cost until each event.
    frames_before : dict of int to frames
        By ``birth``: the stack of a block that was there before, as it is written.
    ooms : list of OutOfMemory
    contradictions : int
        Blocks handed out again while they were in use; each is counted as freed there, unseen.
    """

    def __init__(self, segments: list[Any], trace: list[Any]) -> None:
        self.events: list[Event] = []
        self.reserved: list[int] = []
        self.forced: list[int] = []
        self.frames_before: dict[int, Any] = {}
        self.ooms: list[OutOfMemory] = []
        self.contradictions = 0
        self._replay = Replay()
        self._opened: dict[int, tuple[int, int]] = {}  # address → (size, birth)
        self._forced = 0
        self._begin(segments, trace)
        self._run(trace)

    def _begin(self, segments: list[Any], trace: list[Any]) -> None:
        """What was there when recording began: the end, less what the trace allocates, plus what it frees unseen."""
        allocated: set[int] = set()
        came: set[int] = set()
        early: list[tuple[int, int, int]] = []
        gone: dict[int, tuple[int, int]] = {}
        for event in trace:
            action = event["action"]
            if action == "alloc":
                allocated.add(event["addr"])
            elif action == "free_requested" and event["addr"] not in allocated:
                early.append((event["addr"], event["size"], event.get("stream", 0)))
                allocated.add(event["addr"])
            elif action in ("segment_alloc", "segment_map"):
                came.add(event["addr"])
            elif action in ("segment_free", "segment_unmap") and event["addr"] not in came:
                gone.setdefault(event["addr"], (event["size"], event.get("stream", 0)))
        known = {s["address"]: (s["total_size"], s.get("stream") or 0) for s in segments}
        for address, (size, stream) in {**known, **gone}.items():
            if address not in came:
                self._replay.add_segment(address, size, stream)
        for segment in segments:
            address = segment["address"]
            for block in segment["blocks"]:
                here = block["address"] if block.get("address") is not None else address
                if block["state"] == "active_allocated" and here not in allocated:
                    frames = block.get("frames") or (block.get("history") or [{}])[-1].get("frames")
                    self._replay.occupy(here, block["size"], segment.get("stream") or 0)
                    self._there_before(here, block["size"], frames)
                address = here + block["size"]
        for here, requested, stream in early:
            self._there_before(here, self._replay.allocate(here, requested, stream), None)

    def _there_before(self, address: int, size: int, frames: Any) -> None:
        birth = -1 - len(self.frames_before)
        self.frames_before[birth] = frames
        self._open(0, address, size, birth)

    def _open(self, at: int, address: int, size: int, birth: int) -> None:
        self._opened[address] = size, birth
        self._note(Event(at, address, size, birth))

    def _close(self, at: int, address: int) -> int:
        size, birth = self._opened.pop(address)
        self._note(Event(at, address, -size, birth))
        return size

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.reserved.append(self._replay.reserved)
        self.forced.append(self._forced)

    def _run(self, trace: list[Any]) -> None:
        replay, opened = self._replay, self._opened
        waiting: dict[int, int] = {}  # address → size of blocks that are asked to be freed
        segment: Any = None  # the event before, where it brought a segment
        cached = 0  # what was free for it then
        for i, event in enumerate(trace):
            action, stream = event["action"], event.get("stream", 0)
            if action == "alloc":
                address, asked = event["addr"], event["size"]
                if address in opened:
                    self.contradictions += 1
                    replay.free(address, self._close(i, address), stream)
                elif address in waiting:
                    replay.free(address, waiting.pop(address), stream)
                if segment is not None and 0 < asked <= cached and segment["addr"] == address:
                    self._forced += segment["size"]
                self._open(i, address, replay.allocate(address, asked, stream), i)
            elif action == "free_requested" and event["addr"] in opened:
                waiting[event["addr"]] = self._close(i, event["addr"])
            elif action == "free_completed" and event["addr"] in waiting:
                replay.free(event["addr"], waiting.pop(event["addr"]), stream)
            elif action in ("segment_free", "segment_unmap"):
                replay.drop_segment(event["addr"], event["size"], stream)
            elif action == "oom":
                asked = event.get("size") or 0
                self.ooms.append(OutOfMemory(asked, event.get("device_free") or 0, replay.cached(asked, stream)))
            segment = None
            if action in ("segment_alloc", "segment_map"):
                segment, cached = event, self._cached_for(trace, i)
                replay.add_segment(event["addr"], event["size"], stream)

    def _cached_for(self, trace: list[Any], i: int) -> int:
        """What is free for the allocation that a new segment is got for, which is the next event."""
        after = trace[i + 1] if i + 1 < len(trace) else None
        if after is None or after["action"] != "alloc" or trace[i]["action"] != "segment_alloc":
            return 0  # what is mapped into an expandable segment joins what is free there
        return self._replay.cached(after["size"], after.get("stream", 0))
