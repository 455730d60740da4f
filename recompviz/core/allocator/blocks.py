"""The blocks of the caching allocator: pieces of segments that are free, in use or unmapped.

Blocks of one segment are linked to their neighbours. A block can be cut in two, and neighbours of the same state are
merged. Each pool lists its free and its unmapped blocks. Which block serves a request is decided in
:mod:`~recompviz.core.allocator.caching_allocator`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

# a private pool: the pair of numbers by which PyTorch identifies it
PoolId = tuple[int, int]
DEFAULT_POOL: PoolId = (0, 0)
FREE, USED, UNMAPPED = range(3)


@dataclass(frozen=True)
class SegmentState:
    """A segment and its blocks at one moment; frozen.

    Attributes
    ----------
    address, size : int
        The address at which the segment begins, and its bytes. For an expandable segment, this object is one range of
        its mapped memory.
    small : bool
        Whether the segment serves requests of up to 1 MiB. Otherwise it serves larger requests.
    stream : int
        The number of the CUDA stream whose requests the segment serves.
    pool : (int, int)
        The private pool, for example of a CUDA graph. (0, 0) is the default pool.
    expandable : bool
        Whether the segment is a part of an expandable segment.
    blocks : tuple of (int, int, bool)
        For each block, in the order of addresses: its address, its bytes, and whether the block is in use.
    """

    address: int
    size: int
    small: bool
    stream: int
    pool: PoolId
    expandable: bool
    blocks: tuple[tuple[int, int, bool], ...]

    @property
    def free(self) -> int:
        """Bytes of the blocks that are not in use."""
        return sum(size for _, size, used in self.blocks if not used)


class Block:
    """A piece of a segment. ``before`` and ``after`` are the blocks beside it in the segment; None at the ends."""

    __slots__ = ("address", "after", "before", "expandable", "pool", "since", "size", "state")

    def __init__(self, address: int, size: int, pool: Pool, state: int, expandable: bool) -> None:
        self.address, self.size, self.pool = address, size, pool
        self.state, self.expandable = state, expandable
        self.since = 0  # the number of searches when the block was freed
        self.before: Block | None = None
        self.after: Block | None = None

    @property
    def whole(self) -> bool:
        """Whether the block is a whole segment."""
        return self.before is None and self.after is None

    @property
    def room(self) -> int:
        """The bytes of a free block, plus the bytes of the block after it if that block is unmapped."""
        after = self.after
        return self.size + (after.size if after is not None and after.state == UNMAPPED else 0)

    @property
    def start(self) -> int:
        """The address at which the segment of the block begins."""
        block = self
        while block.before is not None:
            block = block.before
        return block.address


class Pool:
    """The free and the unmapped blocks of one stream and one private pool, for either small or large requests."""

    __slots__ = ("free", "page", "private", "size_free", "small", "stream", "unmapped")

    def __init__(self, small: bool, stream: int, private: PoolId, page: int) -> None:
        self.small, self.stream, self.private, self.page = small, stream, private, page
        self.free: list[tuple[int, int]] = []  # (bytes, address) of free blocks, ascending
        self.unmapped: list[int] = []  # addresses of unmapped blocks, ascending
        self.size_free = 0


class Blocks(dict[int, Block]):
    """All blocks of one allocator by address: free, used and unmapped ones.

    Attributes
    ----------
    searches : int
        The number of times that :class:`CachingAllocator` has searched a large default pool for a free block. The age
        of a free block is the number of searches since it became free.
    """

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0

    # ---------------------------------------------------------------- lists of the pools

    def insert(self, block: Block) -> None:
        """Add a block to the free blocks of its pool."""
        pool = block.pool
        block.state, block.since = FREE, self.searches
        insort(pool.free, (block.size, block.address))
        pool.size_free += block.size

    def remove(self, block: Block) -> None:
        """Remove a block from the free blocks of its pool."""
        pool = block.pool
        del pool.free[bisect_left(pool.free, (block.size, block.address))]
        pool.size_free -= block.size

    def insert_unmapped(self, block: Block) -> None:
        """Add a block to the unmapped blocks of its pool."""
        block.state = UNMAPPED
        insort(block.pool.unmapped, block.address)

    def remove_unmapped(self, block: Block) -> None:
        """Remove a block from the unmapped blocks of its pool."""
        unmapped = block.pool.unmapped
        del unmapped[bisect_left(unmapped, block.address)]

    # ---------------------------------------------------------------- neighbours

    def cut(self, block: Block, size: int) -> Block:
        """Shorten a block to ``size`` bytes. Return the rest as a new block of the same state, which no pool lists."""
        rest = Block(block.address + size, block.size - size, block.pool, block.state, block.expandable)
        rest.before, rest.after = block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        self[rest.address] = rest
        return rest

    def merged(self, block: Block, state: int) -> Block:
        """Merge a block with its neighbours that are in ``state``, and return the merged block.

        The neighbours are removed from the lists of their pool.
        """
        before, after = block.before, block.after
        if after is not None and after.state == state:
            self._unlist(after)
            self._absorb(block, after)
        if before is not None and before.state == state:
            self._unlist(before)
            self._absorb(before, block)
            block = before
        return block

    def insert_merged(self, block: Block) -> Block:
        """Merge a block with its free neighbours, add the merged block to the free blocks, and return it."""
        block = self.merged(block, FREE)
        self.insert(block)
        return block

    def split(self, block: Block, size: int) -> None:
        """Shorten a block to ``size`` bytes and add the rest to the free blocks."""
        self.insert(self.cut(block, size))

    def _unlist(self, block: Block) -> None:
        if block.state == FREE:
            self.remove(block)
        else:
            self.remove_unmapped(block)

    def _absorb(self, block: Block, after: Block) -> None:
        block.size += after.size
        block.after = after.after
        if after.after is not None:
            after.after.before = block
        del self[after.address]

    # ---------------------------------------------------------------- display

    def segments(self) -> Iterator[SegmentState]:
        """Yield the segments in the order of their addresses."""
        starts = [
            block
            for block in self.values()
            if block.state != UNMAPPED and (block.before is None or block.before.state == UNMAPPED)
        ]
        for first in sorted(starts, key=lambda block: block.address):
            blocks = []
            block: Block | None = first
            while block is not None and block.state != UNMAPPED:
                blocks.append((block.address, block.size, block.state == USED))
                block = block.after
            size = sum(length for _, length, _ in blocks)
            pool = first.pool
            yield SegmentState(
                first.address, size, pool.small, pool.stream, pool.private, first.expandable, tuple(blocks)
            )
