"""Check a replay against the file: the bytes at the end of the recording, and blocks that lie outside all segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recompviz.core.base.units import format_bytes
from recompviz.core.snapshots.replay import DeviceHistory
from recompviz.core.snapshots.reserved_parts import reserved_bytes
from recompviz.core.snapshots.starting_state import AWAITING, placed_blocks


@dataclass(frozen=True)
class SelfCheck:
    """A comparison of the memory at the end of a replay with the figures in the file of the recording; frozen.

    Attributes
    ----------
    allocated, reserved : int
        Bytes allocated, and bytes reserved from the device, at the end of the replay.
    allocated_in_file, reserved_in_file : int
        The same figures from the file: the sums of ``allocated_size`` and of ``total_size`` over its segments. For a
        segment without ``allocated_size``, the bytes of its allocated blocks are added up.
    outside : int
        Bytes of the blocks at the peak that lie outside all segments. The allocator makes no such blocks.
    contradictions : int
        The number of blocks that the trace allocates at an address in use.

    Examples
    --------
    >>> SelfCheck(100, 200, 100, 200, 0, 0).holds
    True
    >>> SelfCheck(100, 200, 90, 200, 0, 0).text
    'the replay ends with 100 B allocated, but the file states 90 B'
    """

    allocated: int
    reserved: int
    allocated_in_file: int
    reserved_in_file: int
    outside: int
    contradictions: int

    @property
    def holds(self) -> bool:
        """Whether the replay ends with the bytes that the file states, and ``outside`` and ``contradictions`` are 0."""
        return not self._faults()

    @property
    def text(self) -> str:
        """The result of the check as one line."""
        return "; ".join(self._faults()) or (
            f"self-check: the replay ends with {format_bytes(self.allocated)} allocated and "
            f"{format_bytes(self.reserved)} reserved, as the file states"
        )

    def _faults(self) -> list[str]:
        faults = [
            f"the replay ends with {_pair(found, stated)[0]} {what}, but the file states {_pair(found, stated)[1]}"
            for what, found, stated in (
                ("allocated", self.allocated, self.allocated_in_file),
                ("reserved", self.reserved, self.reserved_in_file),
            )
            if found != stated
        ]
        if self.outside:
            faults.append(f"{format_bytes(self.outside)} of the blocks at the peak lie outside all recorded segments")
        if self.contradictions:
            faults.append(
                f"the trace contradicts itself: {self.contradictions:,} blocks are allocated while they are in use, "
                "for example because recording was paused; the report assumes that each was freed just before"
            )
        return faults


def _pair(found: int, stated: int) -> tuple[str, str]:
    """Return two sizes as texts that differ."""
    texts = format_bytes(found), format_bytes(stated)
    return texts if texts[0] != texts[1] else (f"{found:,} bytes", f"{stated:,} bytes")


def check_replay(history: DeviceHistory, segments: Sequence[Any], trace: Sequence[Any]) -> SelfCheck:
    """Compare the replay of one device with the file.

    Parameters
    ----------
    history : DeviceHistory
        The replay.
    segments, trace : sequence of dict
        The segments of this device at the end of the recording, and its events, as in the snapshot.
    """
    allocations = history.allocations
    end = len(trace)
    # without "free_requested" in the trace, the replay takes these blocks for allocated until they are free
    awaiting = {a for segment in segments for a, block in placed_blocks(segment) if block["state"] in AWAITING}
    alive = allocations.alive_after(len(allocations.at) - 1)
    return SelfCheck(
        sum(int(allocations.size[block]) for block in alive if int(allocations.address[block]) not in awaiting),
        reserved_bytes(history.parts, end),
        sum(map(_allocated, segments)),
        sum(int(segment["total_size"]) for segment in segments),
        _outside(history),
        history.contradictions,
    )


def _allocated(segment: Any) -> int:
    stated = segment.get("allocated_size")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    return sum(block["size"] for block in segment["blocks"] if block["state"] == "active_allocated")


def _outside(history: DeviceHistory) -> int:
    """Return the bytes of blocks at the peak that lie outside all reserved parts."""
    allocations = history.allocations
    peak = allocations.peak_event
    if peak < 0:
        return 0
    at = max(int(allocations.at[peak]), -1)
    parts = sorted(
        (part.address, part.address + part.size)
        for part in history.parts
        if part.born <= at and (part.died is None or part.died > at)
    )
    blocks = allocations.alive_after(peak)
    outside = i = 0
    for block in sorted(blocks.tolist(), key=lambda block: int(allocations.address[block])):
        address, size = int(allocations.address[block]), int(allocations.size[block])
        while i < len(parts) and parts[i][1] <= address:
            i += 1
        inside = 0
        for start, end in parts[i:]:  # a block of an expandable segment may span several parts
            if start >= address + size:
                break
            inside += max(0, min(end, address + size) - max(start, address))
        outside += size - min(inside, size)
    return outside
