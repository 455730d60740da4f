"""A model of PyTorch's CUDA caching allocator: the address of each block, and the segments that are reserved.

A *segment* is memory that the allocator reserved from the device. Requests of up to 1 MiB are served from small
segments, and larger requests from large segments. Each stream and each private pool has its own segments. The allocator
takes the smallest free block that is large enough. Among blocks of equal size, it takes the block with the lowest
address. The rest of the block is split off, unless the rest is too small or a setting forbids the split. A freed block
is merged with the free blocks beside it in the segment. Segments without blocks in use stay reserved. They are released
when the device's memory is used up, by garbage collection, or by ``empty_cache``.

An *expandable* segment is a range of addresses. Memory is mapped to the lowest unmapped addresses, in pages of 2 MiB
for small requests and, by default, of 20 MiB for large requests.

Source: c10/cuda/CUDACachingAllocator.cpp, ``malloc``, ``get_free_block``, ``should_split``, ``try_merge_blocks``,
``release_cached_blocks``, ``garbage_collect_cached_blocks``, ``find_expandable_block``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from recompviz.core.allocator.blocks import (
    DEFAULT_POOL,
    FREE,
    UNMAPPED,
    USED,
    Block,
    Blocks,
    Pool,
    PoolId,
    SegmentState,
)
from recompviz.core.allocator.settings import BLOCK, SMALL, AllocatorSettings
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes

# addresses of an expandable segment if the device's memory is not known
EXPANDABLE_ADDRESSES = 1 << 44
# segments that are reserved later get lower addresses, as CUDA's driver gives them
FIRST_ADDRESS = 1 << 56


class DeviceFull(RecompvizError, MemoryError):
    """A request does not fit into the memory of the device, although all unused segments were released.

    Attributes
    ----------
    requested : int
        Bytes of the block that the request needs.
    reserved, allocated : int
        Bytes reserved from the device, and bytes of the blocks in use, at the time of the request.
    """

    def __init__(self, requested: int, reserved: int, allocated: int, limit: int) -> None:
        self.requested, self.reserved, self.allocated = requested, reserved, allocated
        super().__init__(
            f"a block of {format_bytes(requested)} does not fit into {format_bytes(limit)} of device memory: "
            f"{format_bytes(reserved)} are reserved, of which {format_bytes(allocated)} are in use"
        )


class CachingAllocator:
    """PyTorch's CUDA caching allocator for one device, without the device.

    Parameters
    ----------
    settings : AllocatorSettings
        The settings of the allocator. If left out, PyTorch's defaults.
    device_memory : int, optional
        Bytes that can be reserved from the device. By default there is no limit. Only :meth:`empty_cache` then releases
        memory.
    place : callable (size) -> address, optional
        Returns the address for a new segment of ``size`` bytes. If left out, a new segment lies below all others.

    Attributes
    ----------
    reserved, allocated : int
        Bytes reserved from the device, and bytes of the blocks in use.
    fragmentation : int
        Bytes of all segments that were reserved although enough bytes for the request were free, in smaller pieces.
    retries : int
        How often all unused segments were released because a request did not fit into the memory of the device.

    Examples
    --------
    >>> allocator = CachingAllocator()
    >>> first = allocator.allocate(6 << 20)
    >>> second = allocator.allocate(3 << 20)
    >>> allocator.reserved >> 20, allocator.allocated >> 20
    (20, 9)
    >>> allocator.free(first)
    >>> third = allocator.allocate(15 << 20)  # 17 MiB are free, but the largest piece has 11 MiB
    >>> allocator.reserved >> 20, allocator.fragmentation >> 20
    (36, 16)
    """

    def __init__(
        self,
        settings: AllocatorSettings | None = None,
        device_memory: int | None = None,
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.settings = settings or AllocatorSettings()
        self.device_memory = device_memory
        self.reserved = self.allocated = self.fragmentation = self.retries = 0
        self._pools: dict[tuple[PoolId, int, bool], Pool] = {}
        self._blocks = Blocks()
        self._place = place or self.below
        self._lowest = FIRST_ADDRESS

    @property
    def _allowed(self) -> int | None:
        """The bytes that the process may reserve by its settings; None if they set no limit."""
        fraction = self.settings.memory_fraction
        return None if fraction is None or self.device_memory is None else int(fraction * self.device_memory)

    def allocate(self, size: int, stream: int = 0, pool: PoolId = DEFAULT_POOL) -> int:
        """Allocate a block for a request of ``size`` bytes and return its address.

        Parameters
        ----------
        size : int
            Bytes requested, at least 0. The block has at least this size, because sizes are rounded up.
        stream : int
            The number of the CUDA stream that makes the request.
        pool : (int, int)
            The private pool, for example of a CUDA graph. (0, 0) is the default pool.

        Raises
        ------
        ValueError
            If ``size`` is negative.
        DeviceFull
            If the request does not fit into ``device_memory``, or into the share of it that
            ``settings.memory_fraction`` allows. All unused segments have then been released.
        """
        if size < 0:
            raise ValueError(f"size is {size}, expected a number of bytes from 0 on")
        settings = self.settings
        size = settings.rounded(size)
        owner = self._pool(size <= SMALL, stream, pool)
        block = self._search(owner, size)
        if block is None:
            enough, before = owner.size_free >= size, self.reserved
            block = self._new(owner, size)
            if enough:
                self.fragmentation += max(self.reserved - before, 0)
        rest = block.size - size
        if owner.small or settings.expandable_segments:
            split = rest >= BLOCK
        else:
            split = rest > SMALL and (settings.max_split_size is None or size < settings.max_split_size)
        if split:
            self._blocks.split(block, size)
        block.state = USED
        self.allocated += block.size
        return block.address

    def free(self, address: int) -> None:
        """Free the block that begins at an address. Its memory stays reserved.

        Raises
        ------
        KeyError
            If no block in use begins at the address.
        """
        block = self._blocks[address]
        if block.state != USED:
            raise KeyError(address)
        self.allocated -= block.size
        self._blocks.insert_merged(block)

    def block_size(self, address: int) -> int:
        """Return the bytes of the block that begins at an address; 0 if no block in use begins there."""
        block = self._blocks.get(address)
        return block.size if block is not None and block.state == USED else 0

    def empty_cache(self) -> None:
        """Release every segment that has no block in use, as ``torch.cuda.empty_cache`` does.

        An expandable segment is not released as a whole: each of its pages that has no block in use is unmapped.
        """
        for pool in self._pools.values():
            for _, address in list(pool.free):
                block = self._blocks[address]
                if block.expandable:
                    self._unmap(block)
                elif block.whole:
                    self._release(block)

    def cached(self, size: int, stream: int = 0, pool: PoolId = DEFAULT_POOL) -> int:
        """Return the free bytes in all segments that can serve a request of this size, stream and pool.

        These bytes may be in many pieces, none of which is large enough for the request.
        """
        found = self._pools.get((pool, stream, self.settings.rounded(size) <= SMALL))
        return found.size_free if found is not None else 0

    def add_segment(
        self,
        address: int,
        size: int,
        blocks: Iterable[tuple[int, int]] = (),
        *,
        small: bool = False,
        stream: int = 0,
        pool: PoolId = DEFAULT_POOL,
        expandable: bool = False,
        unmapped: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Add a segment that exists already, for example at the start of a recording.

        Parameters
        ----------
        address, size : int
            The address at which the segment begins, and its bytes. For an expandable segment, the bytes include
            addresses to which no memory is mapped.
        blocks : iterable of (int, int)
            Address and bytes of each block in use. The memory between these blocks is free.
        small, stream, pool, expandable
            As in :class:`SegmentState`.
        unmapped : iterable of (int, int)
            Address and bytes of the parts of an expandable segment to which no memory is mapped.

        Raises
        ------
        ValueError
            If blocks or unmapped parts overlap, or lie outside the segment. A part of the segment may then be added.
        """
        owner = self._pool(small, stream, pool)
        before: Block | None = None
        at, end = address, address + size
        self._lowest = min(self._lowest, address)
        parts = [*((*block, USED) for block in blocks), *((*part, UNMAPPED) for part in unmapped)]
        for start, length, state in [*sorted(parts), (end, 0, FREE)]:
            if not at <= start <= start + length <= end:
                raise ValueError(f"the block at {start} is outside the segment at {address}, or overlaps another")
            for first, bytes_, kind in ((at, start - at, FREE), (start, length, state)):
                if not bytes_:
                    continue
                block = Block(first, bytes_, owner, kind, expandable)
                block.before = before
                if before is not None:
                    before.after = block
                before = self._blocks[first] = block
                if kind == FREE:
                    self._blocks.insert(block)
                elif kind == USED:
                    self.allocated += bytes_
                else:
                    self._blocks.insert_unmapped(block)
                if kind != UNMAPPED:
                    self.reserved += bytes_
            at = start + length

    def segments(self) -> Iterator[SegmentState]:
        """Iterate over the segments in the order of their addresses."""
        return self._blocks.segments()

    def _pool(self, small: bool, stream: int, private: PoolId) -> Pool:
        key = (private, stream, small)
        if key not in self._pools:
            self._pools[key] = Pool(small, stream, private, self.settings.page_size(small))
        return self._pools[key]

    def _search(self, pool: Pool, size: int) -> Block | None:
        """Take the best free block of at least ``size`` bytes out of its pool; None if there is none."""
        if not pool.small and pool.private == DEFAULT_POOL:
            self._blocks.searches += 1
        i = bisect_left(pool.free, (size, 0))
        if i == len(pool.free):
            return None
        block = self._blocks[pool.free[i][1]]
        if self.settings.expandable_segments:
            # a block that can grow counts with the size that it can grow to
            while block.expandable and i + 1 < len(pool.free):
                other = self._blocks[pool.free[i + 1][1]]
                if other.room >= block.room:
                    break
                block, i = other, i + 1
        limit = self.settings.max_split_size
        if limit is not None and (
            block.size >= limit if size < limit else block.size >= size + self.settings.max_non_split_rounding
        ):
            return None
        self._blocks.remove(block)
        return block

    def _new(self, pool: Pool, size: int) -> Block:
        """Reserve memory for a block of ``size`` bytes, and release cached memory if the device is full."""
        if self.settings.garbage_collection_threshold > 0 and self._allowed is not None:
            self._collect()
        block = self._reserve(pool, size)
        if block is None and self._release_oversize(pool, size):
            block = self._reserve(pool, size)
        if block is None:
            self.retries += 1
            self.empty_cache()
            block = self._reserve(pool, size)
        if block is None:
            raise DeviceFull(size, self.reserved, self.allocated, self._limit())
        return block

    def _limit(self) -> int:
        limits = [limit for limit in (self.device_memory, self._allowed) if limit is not None]
        return min(limits, default=EXPANDABLE_ADDRESSES)

    def _reserve(self, pool: Pool, size: int) -> Block | None:
        """Reserve a segment, or map memory to an expandable one; None if the device is full."""
        total = self.settings.segment_size(size)
        if self._allowed is not None and self.reserved + total > self._allowed:
            return None
        if self.settings.expandable_segments:
            return self._expand(pool, size)
        if self.device_memory is not None and self.reserved + total > self.device_memory:
            return None
        block = self._range(total, pool, FREE, False)
        self._change_reserved(block, total)
        return block

    def _change_reserved(self, block: Block, size: int) -> None:  # noqa: ARG002 (subclasses read the block)
        """Count the memory of a block that is reserved, or released if ``size`` is negative; a subclass records it."""
        self.reserved += size

    def below(self, size: int) -> int:
        """Return the address for a new segment of ``size`` bytes that lies directly below all other segments."""
        return self._lowest - size

    def _range(self, size: int, pool: Pool, state: int, expandable: bool) -> Block:
        """Return a block of addresses that no segment has."""
        block = Block(self._place(size), size, pool, state, expandable)
        self._lowest = min(self._lowest, block.address)
        self._blocks[block.address] = block
        return block

    def _expand(self, pool: Pool, size: int) -> Block | None:
        """Map memory until a free block has ``size`` bytes; return the block, which is not in ``pool.free``."""
        start = self._expandable(pool, size)
        if start.state == UNMAPPED:
            if not self._map(start, min(start.size, size)):
                return None
            start = self._blocks.insert_merged(start)
        while start.size < size:
            after = start.after
            assert after is not None
            if not self._map(after, min(size - start.size, after.size)):
                return None
            start = self._blocks.insert_merged(after)
        self._blocks.remove(start)
        return start

    def _expandable(self, pool: Pool, size: int) -> Block:
        """Return the first block of the lowest run of free and unmapped blocks that has room for ``size`` bytes."""
        for address in pool.unmapped:
            block = self._blocks[address]
            if block.before is not None and block.before.state == FREE:
                block = block.before
            room = 0
            next_block: Block | None = block
            while next_block is not None and next_block.state != USED and room < size:
                room += next_block.size
                next_block = next_block.after
            if room >= size:
                return block
        length = EXPANDABLE_ADDRESSES if self.device_memory is None else self.device_memory + self.device_memory // 8
        length = max(-(-length // pool.page), -(-size // pool.page)) * pool.page
        block = self._range(length, pool, UNMAPPED, True)
        self._blocks.insert_unmapped(block)
        return block

    def _map(self, block: Block, size: int) -> bool:
        """Map pages to the first ``size`` bytes of an unmapped block; False if the device is full."""
        pool = block.pool
        size = min(-(-size // pool.page) * pool.page, block.size)
        if self._full(size):
            return False
        self._blocks.remove_unmapped(block)
        if size < block.size:
            self._blocks.insert_unmapped(self._blocks.cut(block, size))
        block.state = FREE
        self._change_reserved(block, size)
        return True

    def _full(self, size: int) -> bool:
        return self.device_memory is not None and self.reserved + size > self.device_memory

    def _release(self, block: Block) -> None:
        """Return a free segment to the device."""
        self._blocks.remove(block)
        del self._blocks[block.address]
        self._change_reserved(block, -block.size)

    def _unmap(self, block: Block) -> None:
        """Unmap the whole pages of a free block of an expandable segment."""
        page = block.pool.page
        first = block.start
        start = first + -(-(block.address - first) // page) * page
        end = first + (block.address + block.size - first) // page * page
        if start >= end:
            return
        self._blocks.remove(block)
        if start > block.address:
            whole = self._blocks.cut(block, start - block.address)
            self._blocks.insert(block)
            block = whole
        if end < block.address + block.size:
            self._blocks.split(block, end - block.address)
        self._change_reserved(block, -block.size)
        block.state = UNMAPPED
        block = self._blocks.merged(block, UNMAPPED)
        if block.whole:
            del self._blocks[block.address]
        else:
            self._blocks.insert_unmapped(block)

    def _release_oversize(self, pool: Pool, size: int) -> bool:
        """Release blocks that are never split, until ``size`` bytes are released; return whether they were."""
        limit = self.settings.max_split_size
        if limit is None:
            return False
        size = max(size, limit)
        i = bisect_left(pool.free, (size, 0))
        if i < len(pool.free) and not self._blocks[pool.free[i][1]].expandable:
            self._release(self._blocks[pool.free[i][1]])
            return True
        released = 0
        while released < size and i and pool.free[i - 1][0] >= limit:
            i -= 1
            block = self._blocks[pool.free[i][1]]
            if not block.expandable:
                released += block.size
                self._release(block)
        return released >= size

    def _collect(self) -> None:
        """Release large segments, those unused longest first, if more is reserved than the threshold allows."""
        assert self._allowed is not None
        excess = self.reserved - int(self.settings.garbage_collection_threshold * self._allowed)
        if excess <= 0:
            return
        ages = {
            block: self._blocks.searches - block.since
            for pool in self._pools.values()
            if not pool.small and pool.private == DEFAULT_POOL
            for block in (self._blocks[address] for _, address in pool.free)
            if block.whole and not block.expandable
        }
        released = 0
        while released < excess and ages:
            oldest = sum(ages.values()) / len(ages)
            chosen = [block for block, age in ages.items() if age >= oldest]
            for block in chosen:
                released += block.size
                del ages[block]
                self._release(block)
