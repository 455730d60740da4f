"""The segments and blocks that existed when a recording began.

A snapshot has the segments at the end of the recording, and the events (the trace) before. The events that reserve and
release segments are undone in reverse order, which gives the segments at the start. The blocks at the start are the
blocks in the snapshot that the trace does not allocate, and the blocks that the trace frees without allocating them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

from recompviz.core.allocator.blocks import DEFAULT_POOL, PoolId
from recompviz.core.allocator.caching_allocator import EXPANDABLE_ADDRESSES, CachingAllocator
from recompviz.core.allocator.settings import SMALL, SMALL_SEGMENT, AllocatorSettings
from recompviz.core.snapshots.allocator_model import SegmentKind
from recompviz.core.snapshots.ranges import Ranges


@dataclass(frozen=True)
class EarlierBlock:
    """A block that existed before the recording began.

    Attributes
    ----------
    address, size : int
        The address at which the block begins, and its bytes.
    record : dict or None
        The entry of the snapshot that has the stack of the allocation; None or an empty dict if there is none.
    in_use : bool
        False if the block was already released by the program, but other streams still used it. Such a block is not
        counted as allocated, and its memory cannot be allocated again.
    """

    address: int
    size: int
    record: Any = None
    in_use: bool = True


@dataclass(frozen=True)
class StartingState:
    """The segments and blocks that existed when a recording began; frozen.

    Attributes
    ----------
    segments : tuple of (int, int, SegmentKind)
        Address, bytes and kind of each segment, in the order of addresses.
    blocks : tuple of EarlierBlock
        The blocks in the order of addresses. They do not overlap. Some blocks may lie outside all segments.
    """

    segments: tuple[tuple[int, int, SegmentKind], ...]
    blocks: tuple[EarlierBlock, ...]

    def allocator(self, settings: AllocatorSettings, place: Callable[[int], int] | None = None) -> CachingAllocator:
        """Return a model of the caching allocator in this state. Blocks outside all segments are left out.

        ``settings`` and ``place`` are the parameters of :class:`CachingAllocator`.
        """
        allocator = CachingAllocator(settings, place=place)
        starts = [block.address for block in self.blocks]
        for parts, room in self._ranges():
            address, end, kind = parts[0][0], parts[-1][0] + parts[-1][1], parts[0][2]
            inside = self.blocks[bisect_left(starts, address) : bisect_left(starts, end)]
            gaps = [(a + n, b - a - n) for (a, n, _), (b, _, _) in pairwise(parts)]
            allocator.add_segment(
                address,
                end + room - address,
                [(block.address, block.size) for block in inside if self._has(parts, block)],
                small=kind.small,
                stream=kind.stream,
                pool=kind.pool,
                expandable=kind.expandable,
                unmapped=[(a, n) for a, n in [*gaps, (end, room)] if n],
            )
        return allocator

    def requests(self) -> Iterator[tuple[EarlierBlock, int, PoolId]]:
        """Yield a triple (block, stream, private pool) for each block inside a segment."""
        starts = [address for address, _, _ in self.segments]
        for block in self.blocks:
            i = bisect_right(starts, block.address) - 1
            if i >= 0 and block.address + block.size <= starts[i] + self.segments[i][1]:
                yield block, self.segments[i][2].stream, self.segments[i][2].pool

    def _ranges(self) -> Iterator[tuple[Sequence[tuple[int, int, SegmentKind]], int]]:
        """Yield the parts of each segment, and the bytes of unmapped addresses after them.

        Neighbours of one kind are taken for one expandable segment.
        """
        segments = self.segments
        first = 0
        for i in range(1, len(segments) + 1):
            kind = segments[first][2]
            if i < len(segments) and kind.expandable and segments[i][2] == kind:
                continue
            end = segments[i - 1][0] + segments[i - 1][1]
            limit = segments[i][0] if i < len(segments) else end + EXPANDABLE_ADDRESSES
            yield segments[first:i], min(limit - end, EXPANDABLE_ADDRESSES) if kind.expandable else 0
            first = i

    @staticmethod
    def _has(parts: Sequence[tuple[int, int, SegmentKind]], block: EarlierBlock) -> bool:
        address, size, _ = parts[bisect_left(parts, block.address + 1, key=itemgetter(0)) - 1]
        return address <= block.address and block.address + block.size <= address + size


def starting_state(segments: Sequence[Any], trace: Sequence[Any], settings: AllocatorSettings) -> StartingState:
    """Return the segments and blocks that existed when a recording began.

    Parameters
    ----------
    segments, trace : sequence of dict
        The segments of one device at the end of the recording, and its events, as in the snapshot.
    settings : AllocatorSettings
        The settings of the allocator during the recording.
    """
    reserved = _reserved_before(segments, trace, settings)
    blocks = [block for block in _blocks_before(segments, trace) if block.size > 0]
    blocks.sort(key=lambda block: block.address)
    found: list[EarlierBlock] = []
    for i, block in enumerate(blocks):
        size = block.size
        if found and found[-1].address + found[-1].size > block.address:
            continue  # the file contradicts itself
        if not block.exact:
            size = settings.rounded(size)
            segment = reserved.at(block.address)
            if segment is not None:
                end = segment[1]
                if i + 1 < len(blocks):
                    end = min(end, blocks[i + 1].address)
                size = min(size, end - block.address)
                rest = end - block.address - size
                # a piece of a large segment that is too small to be split off belongs to the block before it
                unsplit = rest <= SMALL or (settings.max_split_size is not None and size >= settings.max_split_size)
                if unsplit and not segment[2].small and not segment[2].expandable:
                    size += rest
        found.append(EarlierBlock(block.address, size, block.record, block.in_use))
    return StartingState(tuple((start, end - start, kind) for start, end, kind in reserved), tuple(found))


_CHANGES = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}


def reserved_change(event: Mapping[str, Any]) -> int:
    """Return by how many bytes an event changes the reserved memory."""
    sign = _CHANGES.get(event["action"])
    return 0 if sign is None else sign * int(event["size"])


def reserved_at_start(segments: Sequence[Any], trace: Sequence[Any]) -> int:
    """Return the bytes that were reserved when the recording began."""
    change = least = 0
    for event in trace:
        change += reserved_change(event)
        least = min(least, change)
    # a snapshot without its segments says nothing about its end; what the trace releases was reserved
    return max(sum(int(segment["total_size"]) for segment in segments) - change, -least)


def pool_of(record: Mapping[str, Any]) -> PoolId:
    """Return the private pool of an event or a segment; the default pool if it has none."""
    value = record.get("pool_id", record.get("segment_pool_id"))
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    return DEFAULT_POOL


def kind_of(segment: Mapping[str, Any]) -> SegmentKind:
    """Return the kind of a segment of a snapshot."""
    expandable = segment.get("is_expandable") is True
    small = segment.get("segment_type", "small" if segment["total_size"] == SMALL_SEGMENT else "large") == "small"
    return SegmentKind(small, segment.get("stream") or 0, pool_of(segment), expandable)


def event_kind(event: Mapping[str, Any], settings: AllocatorSettings) -> SegmentKind:
    """Return the kind of the segment that an event reserves, maps, unmaps or releases."""
    expandable = event["action"] in ("segment_map", "segment_unmap")
    # large expandable segments are mapped in whole pages, which are larger than those of small segments
    small = event["size"] % settings.large_segment_size != 0 if expandable else event["size"] == SMALL_SEGMENT
    return SegmentKind(small, event.get("stream") or 0, pool_of(event), expandable)


def ranges_of(segments: Sequence[Any]) -> Ranges[SegmentKind]:
    """Return the address ranges of the segments of a snapshot. The label of a range is the kind of its segment."""
    found: Ranges[SegmentKind] = Ranges()
    for segment in segments:
        found.add(segment["address"], segment["address"] + segment["total_size"], kind_of(segment))
    return found


def _reserved_before(segments: Sequence[Any], trace: Sequence[Any], settings: AllocatorSettings) -> Ranges[SegmentKind]:
    reserved = ranges_of(segments)
    for event in reversed(trace):
        action = event["action"]
        if action in ("segment_alloc", "segment_map"):
            reserved.cut(event["addr"], event["addr"] + event["size"])
        elif action in ("segment_free", "segment_unmap"):
            start, end, kind = event["addr"], event["addr"] + event["size"], event_kind(event, settings)
            if kind.expandable:
                before, after = reserved.at(start - 1), reserved.at(end)
                kind = next((near[2] for near in (before, after) if near and near[2].expandable), kind)
                if before is not None and before[2] == kind:
                    start = before[0]
                if after is not None and after[2] == kind:
                    end = after[1]
            reserved.add(start, end, kind)
    return reserved


# states of a block of a snapshot that the program released, but that other streams may still use
AWAITING = ("active_awaiting_free", "active_pending_free")


@dataclass(frozen=True)
class _Found:
    address: int
    size: int
    record: Any
    exact: bool
    in_use: bool = True


def _blocks_before(segments: Sequence[Any], trace: Sequence[Any]) -> list[_Found]:
    seen: set[int] = set()  # addresses that the trace allocated, or freed
    waiting: set[int] = set()  # addresses whose free was requested and not completed
    actions = {event["action"] for event in trace}
    # a recording may leave out one kind of free (skip_actions); a block then counts until its memory is free
    leaves_out_requests = "free_completed" in actions and "free_requested" not in actions
    found = []
    for event in trace:
        action = event["action"]
        if action == "alloc":
            seen.add(event["addr"])
            waiting.discard(event["addr"])
        elif action == "free_requested" or (action == "free_completed" and event["addr"] not in waiting):
            if event["addr"] not in seen:
                seen.add(event["addr"])
                # if only the completion is recorded, the block was released before the recording began
                in_use = action == "free_requested" or leaves_out_requests
                found.append(_Found(event["addr"], event["size"], None, False, in_use))
            if action == "free_requested":
                waiting.add(event["addr"])
        elif action == "free_completed":
            waiting.discard(event["addr"])
    for segment in segments:
        for address, block in placed_blocks(segment):
            if block["state"] in ("active_allocated", *AWAITING) and address not in seen:
                record = block if block.get("frames") else (block.get("history") or [{}])[-1]
                in_use = block["state"] == "active_allocated" or leaves_out_requests
                found.append(_Found(address, block["size"], record, True, in_use))
    return found


def placed_blocks(segment: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield pairs (address, block) for the blocks of a segment.

    Old snapshots do not have the addresses of blocks. The addresses are then computed from the sizes of the blocks.
    """
    address = segment["address"]
    for block in segment["blocks"]:
        here = block["address"] if block.get("address") is not None else address
        yield here, block
        address = here + block["size"]
