"""What blocks PyTorch's CUDA allocator really handed out, replayed from the requests in a snapshot.

A trace holds the bytes *requested*; what counts as allocated is the block, rounded up to 512 bytes, and larger
still where what remains of a cached block is too small to be split off. The replay keeps the free intervals
of each segment and splits and merges as the allocator does, so that its sums are the allocator's own.

Source: c10/cuda/CUDACachingAllocator.cpp, ``round_size``, ``should_split``, ``free_block``.
"""

from __future__ import annotations

from bisect import bisect_right, insort

ROUND = 512
SMALL_SEGMENT = 2 << 20
# of a large block, a remainder of no more than this stays with it
LARGE_REMAINDER = 1 << 20
# requests of up to this are served from segments of their own
SMALL = 1 << 20

Pool = tuple[bool, int]


def rounded(size: int) -> int:
    """A request as a block's least size.

    Examples
    --------
    >>> rounded(1), rounded(512), rounded(513)
    (512, 512, 1024)
    """
    return max(ROUND, -(-size // ROUND) * ROUND)


class Replay:
    """Free intervals by segment, and the block that each request got."""

    def __init__(self) -> None:
        self._starts: list[int] = []  # of free intervals, rising
        self._ends: dict[int, int] = {}
        self._small: dict[int, bool] = {}  # by start of a segment
        self._segments: list[tuple[int, int]] = []  # (start, end), rising
        self.reserved = 0
        self._cached: dict[Pool, int] = {}  # (small, stream) → bytes of free intervals

    def cached(self, requested: int, stream: int = 0) -> int:
        """Bytes that are free where a request is looked for, in pieces of any size.

        A request that found none though they are enough in all is what fragmentation costs.
        """
        return self._cached.get((rounded(requested) <= SMALL, stream), 0)

    def add_segment(self, address: int, size: int, stream: int = 0) -> None:
        """Memory that the allocator got from the device."""
        self._count((size == SMALL_SEGMENT, stream), size)
        insort(self._segments, (address, address + size))
        self._small[address] = size == SMALL_SEGMENT
        self.reserved += size
        self._give(address, address + size)

    def drop_segment(self, address: int, size: int, stream: int = 0) -> None:
        """Memory that went back to the device."""
        self.reserved = max(self.reserved - size, 0)
        if self._take(address, size):
            self._count((size == SMALL_SEGMENT, stream), -size)
        if (address, address + size) in self._segments:
            self._segments.remove((address, address + size))

    def allocate(self, address: int, requested: int, stream: int = 0) -> int:
        """The size of the block at an address for a request, bytes."""
        size = rounded(requested)
        i = bisect_right(self._starts, address) - 1
        start = self._starts[i] if i >= 0 else -1
        if i < 0 or self._ends[start] < address + size:
            return size  # of a segment that the trace does not tell of
        rest = self._ends[start] - address - size
        segment = self._segment_of(address)
        keeps = rest < ROUND if self._small.get(segment, False) else rest <= LARGE_REMAINDER
        if keeps and start == address:
            size += rest
        self._take(address, size)
        self._count((size <= SMALL, stream), -size)
        return size

    def free(self, address: int, size: int, stream: int = 0) -> None:
        """A block is free again, and one with its free neighbours."""
        self._give(address, address + size)
        self._count((size <= SMALL, stream), size)

    def occupy(self, address: int, size: int, stream: int = 0) -> None:
        """A block that was there from the start."""
        if self._take(address, size):
            self._count((size <= SMALL, stream), -size)

    def _count(self, pool: Pool, size: int) -> None:
        self._cached[pool] = self._cached.get(pool, 0) + size

    def _segment_of(self, address: int) -> int:
        i = bisect_right(self._segments, (address, 1 << 63)) - 1
        return self._segments[i][0] if i >= 0 else -1

    def _give(self, start: int, end: int) -> None:
        i = bisect_right(self._starts, start)
        # neighbours in another segment are no neighbours
        if i < len(self._starts) and self._starts[i] == end and self._segment_of(end) == self._segment_of(start):
            end = self._ends.pop(self._starts.pop(i))
        if i and self._ends[self._starts[i - 1]] == start:
            before = self._starts[i - 1]
            if self._segment_of(before) == self._segment_of(start):
                self._ends[before] = end
                return
        self._starts.insert(i, start)
        self._ends[start] = end

    def _take(self, address: int, size: int) -> bool:
        i = bisect_right(self._starts, address) - 1
        if i < 0:
            return False
        start = self._starts[i]
        end = self._ends[start]
        if end < address + size:
            return False
        del self._starts[i], self._ends[start]
        if start < address:
            self._starts.insert(i, start)
            self._ends[start] = address
            i += 1
        if address + size < end:
            self._starts.insert(i, address + size)
            self._ends[address + size] = end
        return True
