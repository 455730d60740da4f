"""The free memory during a recording, and the size of the block that each request of the recording got.

A recording (trace) has the address and the bytes of each *request*. The allocator's own figures count the bytes of the
block that serves the request. A block is as large as the request, rounded up, or larger if the rest of a free block is
too small to be split off. To know the sizes of blocks, :class:`AllocatorModel` splits and merges free memory as the
allocator does. It takes the addresses from the trace, and accepts traces that contradict themselves. The class
:class:`recompviz.core.allocator.caching_allocator.CachingAllocator` is another model, which chooses addresses itself.
"""

from __future__ import annotations

from typing import NamedTuple

from recompviz.core.allocator.blocks import DEFAULT_POOL, PoolId
from recompviz.core.allocator.settings import SMALL, AllocatorSettings
from recompviz.core.snapshots.ranges import Ranges


class SegmentKind(NamedTuple):
    """The kind of a segment: which requests it serves. A segment is memory that the allocator reserved at once.

    Attributes
    ----------
    small : bool
        Whether the segment serves requests of up to 1 MiB. Otherwise it serves larger requests.
    stream : int
        The number of the CUDA stream whose requests the segment serves.
    pool : (int, int)
        The private pool, for example of a CUDA graph. (0, 0) is the default pool.
    expandable : bool
        Whether the segment is a part of an expandable segment. Such a part is merged with adjacent parts.
    """

    small: bool
    stream: int = 0
    pool: PoolId = DEFAULT_POOL
    expandable: bool = False


class AllocatorModel:
    """The free memory of the segments of one device.

    ``settings`` are the allocator's settings; by default, PyTorch's default settings.
    """

    def __init__(self, settings: AllocatorSettings | None = None) -> None:
        self._settings = settings or AllocatorSettings()
        self._segments: Ranges[SegmentKind] = Ranges()
        # free ranges of one segment are merged; the label is where the segment begins
        self._free: Ranges[int] = Ranges()
        self._cached: dict[tuple[bool, int, PoolId], int] = {}

    def cached(self, requested: int, stream: int = 0, pool: PoolId = DEFAULT_POOL) -> int:
        """Return the free bytes in all segments that can serve a request of this size, stream and pool.

        These bytes may be in many pieces, none of which is large enough for the request.
        """
        return self._cached.get((self._settings.rounded(requested) <= SMALL, stream, pool), 0)

    def add_segment(self, address: int, size: int, kind: SegmentKind) -> None:
        """Add a segment that the allocator reserved from the device, or memory mapped to an expandable segment.

        The added memory begins at ``address``, has ``size`` bytes, and is free.
        """
        self._cut(address, address + size)
        end = address + size
        start = address
        if kind.expandable:
            before, after = self._segments.at(address - 1), self._segments.at(end)
            if before is not None and before[1:] == (address, kind):
                start = before[0]
            if after is not None and after[2] == kind:
                end = after[1]
                for a, b, _ in self._free.cut(after[0], end):
                    self._free.add(a, b, start)  # they now belong to the segment that begins earlier
        self._segments.add(start, end, kind)
        self._give(address, address + size)

    def drop_segment(self, address: int, size: int) -> None:
        """Remove memory that the allocator returned to the device, or unmapped from an expandable segment."""
        self._cut(address, address + size)
        inside = self._segments.at(address)
        self._segments.cut(address, address + size)
        after = self._segments.at(address + size)
        if inside is not None and after is not None and after[0] == address + size:
            for a, b, _ in self._free.cut(after[0], after[1]):
                self._free.add(a, b, after[0])

    def allocate(self, address: int, requested: int) -> int:
        """Allocate a block for a request of ``requested`` bytes at an address, and return the block's bytes.

        If the address lies in no free memory of a known segment, return the rounded request and change nothing.
        """
        size = self._settings.rounded(requested)
        found = self._free.at(address)
        if found is None or found[1] < address + size:
            return size
        rest = found[1] - address - size
        if found[0] == address and not self._splits(address, size, rest):
            size += rest
        self._cut(address, address + size)
        return size

    def _splits(self, address: int, size: int, rest: int) -> bool:
        segment = self._segments.at(address)
        if self._settings.expandable_segments or (segment is not None and (segment[2].small or segment[2].expandable)):
            return rest >= self._settings.block
        limit = self._settings.max_split_size
        return rest > SMALL and (limit is None or size < limit)

    def occupy(self, address: int, size: int) -> None:
        """Mark as used a block that was allocated before the trace began."""
        self._cut(address, address + size)

    def free(self, address: int, size: int) -> None:
        """Free a block and merge it with its free neighbours in the segment."""
        self._give(address, address + size)

    def _count(self, start: int, end: int, sign: int) -> None:
        segment = self._segments.at(start)
        if segment is not None:
            key = segment[2][:3]
            self._cached[key] = self._cached.get(key, 0) + sign * (end - start)

    def _cut(self, start: int, end: int) -> None:
        for a, b, _ in self._free.cut(start, end):
            self._count(a, b, -1)

    def _give(self, start: int, end: int) -> None:
        """Add free memory. What lies outside the segment at ``start`` is left out."""
        segment = self._segments.at(start)
        if segment is None:
            return
        end = min(end, segment[1])
        self._cut(start, end)
        self._count(start, end, 1)
        before, after = self._free.at(start - 1), self._free.at(end)
        if before is not None and before[2] == segment[0]:
            start = before[0]
        if after is not None and after[2] == segment[0]:
            end = after[1]
        self._free.add(start, end, segment[0])
