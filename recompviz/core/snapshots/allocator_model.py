"""A model of PyTorch's CUDA caching allocator. It gives the size of the block that serves each request of a snapshot.

A trace has the bytes that were *requested*. The allocator counts the bytes of the block: the request rounded up to a
multiple of 512 bytes, and more if the rest of a free block is too small to be split off. The model splits and merges
the free memory of each segment as the allocator does by default, so that its sums equal the allocator's.

Source: c10/cuda/CUDACachingAllocator.cpp, ``round_size``, ``should_split``, ``free_block``.
"""

from __future__ import annotations

from bisect import bisect_right, insort

ROUND = 512
SMALL_SEGMENT = 2 << 20
# a remainder of a large block up to this size is not split off
LARGE_REMAINDER = 1 << 20
# requests up to this size are served from the pool of small segments
SMALL = 1 << 20

Pool = tuple[bool, int]


def rounded(size: int) -> int:
    """Return the size of the smallest block that serves a request, in bytes.

    Examples
    --------
    >>> rounded(1), rounded(512), rounded(513)
    (512, 512, 1024)
    """
    return max(ROUND, -(-size // ROUND) * ROUND)


class AllocatorModel:
    """The free memory of every segment of one device, split and merged as PyTorch's allocator does by default.

    A *segment* is memory that the allocator reserved from the device. Requests of up to 1 MiB are served from segments
    of 2 MiB, larger requests from other segments. Each CUDA stream has its own segments.

    Attributes
    ----------
    reserved : int
        Bytes reserved from the device.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []  # of free intervals, ascending
        self._ends: dict[int, int] = {}
        self._small: dict[int, bool] = {}  # start of a segment → whether it is small
        self._segments: list[tuple[int, int]] = []  # (start, end), ascending
        self.reserved = 0
        self._cached: dict[Pool, int] = {}  # (small, stream) → bytes of free intervals

    def cached(self, requested: int, stream: int = 0) -> int:
        """Return the free bytes of all segments that serve requests of this size and stream, in pieces of any size."""
        return self._cached.get((rounded(requested) <= SMALL, stream), 0)

    def add_segment(self, address: int, size: int, stream: int = 0) -> None:
        """Add a segment of ``size`` bytes that the allocator reserved from the device."""
        self._count((size == SMALL_SEGMENT, stream), size)
        insort(self._segments, (address, address + size))
        self._small[address] = size == SMALL_SEGMENT
        self.reserved += size
        self._give(address, address + size)

    def drop_segment(self, address: int, size: int, stream: int = 0) -> None:
        """Remove a segment of ``size`` bytes that the allocator returned to the device."""
        self.reserved = max(self.reserved - size, 0)
        if self._take(address, size):
            self._count((size == SMALL_SEGMENT, stream), -size)
        if (address, address + size) in self._segments:
            self._segments.remove((address, address + size))

    def allocate(self, address: int, requested: int, stream: int = 0) -> int:
        """Allocate a block for a request of ``requested`` bytes at an address, and return the block's bytes.

        If the model has no free memory there, because the trace does not have the segment, the rounded request is
        returned.
        """
        size = rounded(requested)
        i = bisect_right(self._starts, address) - 1
        start = self._starts[i] if i >= 0 else -1
        if i < 0 or self._ends[start] < address + size:
            return size  # the trace does not contain the segment
        rest = self._ends[start] - address - size
        segment = self._segment_of(address)
        keeps = rest < ROUND if self._small.get(segment, False) else rest <= LARGE_REMAINDER
        if keeps and start == address:
            size += rest
        self._take(address, size)
        self._count((size <= SMALL, stream), -size)
        return size

    def free(self, address: int, size: int, stream: int = 0) -> None:
        """Free a block of ``size`` bytes and merge it with its free neighbours in the segment."""
        self._give(address, address + size)
        self._count((size <= SMALL, stream), size)

    def occupy(self, address: int, size: int, stream: int = 0) -> None:
        """Mark as used a block of ``size`` bytes that was allocated before the trace began."""
        if self._take(address, size):
            self._count((size <= SMALL, stream), -size)

    def _count(self, pool: Pool, size: int) -> None:
        self._cached[pool] = self._cached.get(pool, 0) + size

    def _segment_of(self, address: int) -> int:
        i = bisect_right(self._segments, (address, 1 << 63)) - 1
        return self._segments[i][0] if i >= 0 else -1

    def _give(self, start: int, end: int) -> None:
        i = bisect_right(self._starts, start)
        # intervals of different segments are not merged
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
