"""The memory that was reserved from the device during a recording: its addresses, and the events that begin and end it.

A *part* is memory that the allocator reserved, or mapped to an expandable segment, by one event. If a later event
releases only a piece of this memory, the piece and the rest are two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recompviz.core.snapshots.allocator_model import SegmentKind
from recompviz.core.snapshots.ranges import Ranges


@dataclass(frozen=True)
class ReservedPart:
    """Memory that was reserved during a part of a recording; frozen.

    Attributes
    ----------
    address, size : int
        The address at which the memory begins, and its bytes.
    kind : SegmentKind
        Which requests it serves.
    born : int
        The position of the event in the trace that reserved it; −1 if it was reserved before the recording began.
    died : int or None
        The position of the event that released it; None if it is reserved at the end.
    """

    address: int
    size: int
    kind: SegmentKind
    born: int
    died: int | None = None


class PartsReader:
    """Collects the parts while a trace is replayed.

    Parameters
    ----------
    segments : sequence of (int, int, SegmentKind)
        The address, the bytes and the kind of each segment that was reserved before the recording began.
    """

    def __init__(self, segments: Sequence[tuple[int, int, SegmentKind]]) -> None:
        self._open: Ranges[tuple[SegmentKind, int]] = Ranges()
        self._closed: list[ReservedPart] = []
        for address, size, kind in segments:
            self._open.add(address, address + size, (kind, -1))

    def reserve(self, at: int, address: int, size: int, kind: SegmentKind) -> None:
        """Begin a part: memory that the event at position ``at`` reserves.

        The memory begins at ``address`` and has ``size`` bytes; ``kind`` says which requests it serves. If memory of an
        older part is in this range, the trace contradicts itself, and that memory is counted as released.
        """
        self.release(at, address, size)
        self._open.add(address, address + size, (kind, at))

    def release(self, at: int, address: int, size: int) -> None:
        """End the parts in a range of addresses. A part that is only partly in the range is cut there.

        Parameters
        ----------
        at : int
            The position of the event that releases the memory.
        address, size : int
            The first address of the range, and its bytes.
        """
        for start, end, (kind, born) in self._open.cut(address, address + size):
            self._closed.append(ReservedPart(start, end - start, kind, born, at))

    def finish(self) -> tuple[ReservedPart, ...]:
        """Return all parts in the order of their events."""
        still = [ReservedPart(start, end - start, kind, born) for start, end, (kind, born) in self._open]
        return tuple(sorted([*self._closed, *still], key=lambda part: (part.born, part.address)))


def reserved_bytes(parts: Sequence[ReservedPart], at: int) -> int:
    """Return the bytes reserved right after the event at a position of the trace.

    Examples
    --------
    >>> kind = SegmentKind(False)
    >>> parts = [ReservedPart(0, 10, kind, -1, 3), ReservedPart(10, 5, kind, 2)]
    >>> [reserved_bytes(parts, at) for at in (-1, 2, 3)]
    [10, 15, 5]
    """
    return sum(part.size for part in parts if part.born <= at and (part.died is None or part.died > at))
