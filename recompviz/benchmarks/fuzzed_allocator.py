"""A caching allocator that writes recordings, to test code that reads them. It shares no code with that code.

It keeps lists of pieces and searches them from end to end. It draws settings, streams, private pools, delayed frees,
releases and failed requests at random, writes the events and segments as PyTorch does, and notes after each event what
was allocated, reserved and lost to fragmentation. The results of a reader are compared with these notes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

MIB = 1 << 20
FREE, USED, WAITING, UNMAPPED = "free", "used", "waiting", "unmapped"
RANGE = 1 << 32  # addresses of an expandable segment


@dataclass
class Piece:
    """A piece of a segment: a block, free memory, or a part of an address range without memory.

    Attributes
    ----------
    address, size : int
        The first address and the bytes.
    state : str
        ``FREE``, ``USED``, ``WAITING`` (released, but not free yet) or ``UNMAPPED`` (without memory).
    requested : int
        The bytes of the request that the block serves; 0 for other pieces.
    frames : object
        The stack of the request, as the recording has it.
    """

    address: int
    size: int
    state: str = FREE
    requested: int = 0
    frames: Any = None

    @property
    def mapped(self) -> bool:
        """Whether memory is reserved for the piece."""
        return self.state != UNMAPPED


@dataclass
class Segment:
    """A segment, or the range of addresses of an expandable segment."""

    small: bool
    stream: int
    pool: tuple[int, int]
    expandable: bool
    pieces: list[Piece]


@dataclass(frozen=True)
class Note:
    """The state of an allocator after one event, sizes in bytes; ``map`` is from :meth:`FuzzedAllocator.map`."""

    allocated: int
    reserved: int
    fragmentation: int
    map: tuple[tuple[int, int, bool], ...] = ()
    unsplit: int = 0  # bytes of blocks beyond their rounded requests
    waiting: int = 0  # bytes of released blocks whose memory is not free yet


@dataclass
class Options:
    """The options of a fuzzed allocator and of its recording.

    Attributes
    ----------
    expandable : bool
        Whether segments are expandable.
    max_split : int or None
        The setting ``max_split_size``, bytes; None for no limit.
    divisions : int
        The setting ``roundup_power2_divisions``; 0 for none.
    limit : int or None
        The memory of the device, bytes; None for no limit.
    streams, pools : int
        Number of streams and of memory pools.
    delayed : float
        Probability that the memory of a released block is free only later.
    skip : str
        The kind of event that the recording leaves out; empty for none.
    start : int
        Number of operations before the recording begins.
    ring : int or None
        Number of events that the ring buffer keeps; None for all.
    steps : int
        Number of operations during the recording.
    """

    expandable: bool = False
    max_split: int | None = None
    divisions: int = 0
    limit: int | None = None
    streams: int = 1
    pools: int = 1
    delayed: float = 0.0
    skip: str = ""
    start: int = 0  # operations before the recording
    ring: int | None = None  # the last events that are kept
    steps: int = 60


@dataclass
class FuzzedAllocator:
    """The allocator of one device.

    Attributes
    ----------
    events, notes : list
        The recorded events, and for each event the state of the allocator after it.
    failed : list of (int, int, int)
        For each failed request: its bytes, the free bytes that its stream and pool had, and the number of events before
        it.
    unsplit_at_start : int
        By how many bytes the blocks that existed when the recording began were larger than their rounded requests.
    waiting_at_start : int
        Bytes of the blocks that were released, but not yet free, when the recording began.
    """

    drawn: random.Random
    options: Options
    base: int
    segments: list[Segment] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    failed: list[tuple[int, int, int]] = field(default_factory=list)
    recording: bool = True
    fragmentation: int = 0
    unsplit_at_start: int = 0
    waiting_at_start: int = 0
    next_address: int = 0
    time: int = 1_700_000_000_000_000

    # ---------------------------------------------------------------- what is true

    @property
    def allocated(self) -> int:
        """Bytes allocated, as far as the recording shows."""
        states = (USED, WAITING) if self.options.skip == "free_requested" else (USED,)
        return sum(p.size for s in self.segments for p in s.pieces if p.state in states)

    @property
    def reserved(self) -> int:
        """Bytes reserved from the device."""
        return sum(p.size for s in self.segments for p in s.pieces if p.mapped)

    @property
    def unsplit(self) -> int:
        """By how many bytes the blocks are larger than their rounded requests."""
        pieces = [p for s in self.segments for p in s.pieces if p.state in (USED, WAITING)]
        return sum(p.size - self.rounded(p.requested) for p in pieces)

    @property
    def waiting(self) -> int:
        """Bytes of the blocks that were released, but are not free yet."""
        return sum(p.size for s in self.segments for p in s.pieces if p.state == WAITING)

    @property
    def unknown(self) -> int:
        """By how many bytes a reader's result may differ from :attr:`allocated`."""
        actions = {event["action"] for event in self.events}
        leaves_out = "free_completed" in actions and "free_requested" not in actions
        # the reader takes a recording without requests of frees for one that leaves them out
        misread = leaves_out != (self.options.skip == "free_requested")
        return self.unsplit_at_start + (max(self.waiting_at_start, self.waiting) if misread else 0)

    def map(self) -> tuple[tuple[int, int, bool], ...]:
        """Return (address, bytes, whether it is used) of each piece with memory; free neighbours are merged."""
        found: list[tuple[int, int, bool]] = []
        for segment in self.segments:
            last = None
            for piece in segment.pieces:
                used = piece.state in (USED, WAITING)
                if piece.state == FREE and last is not None and last.state == FREE:
                    address, size, _ = found.pop()
                    found.append((address, size + piece.size, False))
                elif piece.mapped:
                    found.append((piece.address, piece.size, used))
                last = piece
        return tuple(sorted(found))

    def _event(self, action: str, address: int, size: int, **more: Any) -> None:
        """Record an event, unless it is left out, and note what is true after it."""
        if not self.recording or action == self.options.skip:
            if self.notes and self.recording:  # the state changed without an event
                self.notes[-1] = self._note()
            return
        self.time += self.drawn.randrange(1, 50)
        event = {"action": action, "addr": address, "size": size, "time_us": self.time, **more}
        if action == "oom":
            event["device_free"] = event.pop("addr")
        self.events.append(event)
        self.notes.append(self._note())

    def _note(self) -> Note:
        return Note(self.allocated, self.reserved, self.fragmentation, self.map(), self.unsplit, self.waiting)

    # ---------------------------------------------------------------- the allocator

    def rounded(self, size: int) -> int:
        """Return the bytes of a request after rounding."""
        divisions = self.options.divisions
        if divisions > 1 and size > 512 * divisions:
            power = 1 << (size.bit_length() - 1)
            part = power // divisions
            return (size + part - 1) // part * part
        return max(512, (size + 511) // 512 * 512)

    def allocate(self, requested: int, stream: int, pool: tuple[int, int], frames: Any) -> Piece | None:
        """Return the block for a request of ``requested`` bytes; None if the device is full."""
        size = self.rounded(requested)
        small = size <= MIB
        mine = [s for s in self.segments if (s.small, s.stream, s.pool) == (small, stream, pool)]
        owner = {"stream": stream, "pool_id": pool, "frames": frames}
        found = self._fitting(mine, size) or self._grown(mine, size, small, owner)
        if found is None:
            mine = [s for s in mine if s in self.segments]
            cached = sum(p.size for s in mine for p in s.pieces if p.state == FREE)
            self.failed.append((requested, cached, len(self.events)))
            self._event("oom", 12_345, requested, **owner)
            return None
        segment, piece = found
        rest = piece.size - size
        limit = self.options.max_split
        splits = rest >= 512 if small or self.options.expandable else rest > MIB and (limit is None or size < limit)
        if splits:
            segment.pieces.insert(segment.pieces.index(piece) + 1, Piece(piece.address + size, rest))
            piece.size = size
        piece.state, piece.requested, piece.frames = USED, requested, frames
        self._event("alloc", piece.address, requested, **owner)
        return piece

    def _fitting(self, mine: list[Segment], size: int) -> tuple[Segment, Piece] | None:
        fits = [(p.size, p.address, s, p) for s in mine for p in s.pieces if p.state == FREE and p.size >= size]
        if not fits:
            return None
        _, _, segment, piece = min(fits, key=lambda fit: fit[:2])
        limit = self.options.max_split
        if limit is not None and (piece.size >= limit if size < limit else piece.size >= size + 20 * MIB):
            return None
        return segment, piece

    def _grown(self, mine: list[Segment], size: int, small: bool, owner: dict[str, Any]) -> Any:
        """Reserve memory for a request; None if the device is full, also after unused memory is released."""
        if self.options.expandable:
            return self._expanded(mine, size, small, owner)
        total = 2 * MIB if small else 20 * MIB if size < 10 * MIB else (size + 2 * MIB - 1) // (2 * MIB) * (2 * MIB)
        if self._full(total):
            self.release()
            if self._full(total):
                return None
            mine = [s for s in mine if s in self.segments]
        enough = sum(p.size for s in mine for p in s.pieces if p.state == FREE) >= size
        address = self.base + self.next_address
        self.next_address += total + self.drawn.choice([0, 0, 2 * MIB])
        segment = Segment(small, owner["stream"], owner["pool_id"], False, [Piece(address, total)])
        self.segments.append(segment)
        self._event("segment_alloc", address, total, **owner)
        self.fragmentation += total if enough else 0  # of the request, which is the next event
        return segment, segment.pieces[0]

    def _full(self, more: int) -> bool:
        return self.options.limit is not None and self.reserved + more > self.options.limit

    def _expanded(self, mine: list[Segment], size: int, small: bool, owner: dict[str, Any]) -> Any:
        page = 2 * MIB if small else 20 * MIB
        if not mine:
            address = self.base + self.next_address
            self.next_address += RANGE
            mine = [Segment(small, owner["stream"], owner["pool_id"], True, [Piece(address, RANGE, UNMAPPED)])]
            self.segments += mine
        segment = mine[0]
        while True:
            start = self._run(segment, size)
            piece = segment.pieces[start]
            if piece.state == FREE and piece.size >= size:
                return segment, piece
            gap = start + (piece.state == FREE)
            hole = segment.pieces[gap]
            have = piece.size if piece.state == FREE else 0
            wanted = min((size - have + page - 1) // page * page, hole.size)
            if self._full(wanted):
                return None
            mapped = Piece(hole.address, wanted)
            hole.address, hole.size = hole.address + wanted, hole.size - wanted
            segment.pieces.insert(gap, mapped)
            segment.pieces = [p for p in segment.pieces if p.size]
            self._merge(segment)
            self._event("segment_map", mapped.address, wanted, **owner)

    @staticmethod
    def _run(segment: Segment, size: int) -> int:
        """Return the first piece of the lowest run of free and unmapped pieces that has room."""
        for i, piece in enumerate(segment.pieces):
            if piece.state in (FREE, UNMAPPED):
                room, j = 0, i
                while j < len(segment.pieces) and segment.pieces[j].state in (FREE, UNMAPPED):
                    room += segment.pieces[j].size
                    j += 1
                if room >= size:
                    return i
        raise AssertionError("an expandable segment has room")

    @staticmethod
    def _merge(segment: Segment) -> None:
        merged: list[Piece] = []
        for piece in segment.pieces:
            same = merged and merged[-1].state == piece.state and piece.state in (FREE, UNMAPPED)
            if same:
                merged[-1].size += piece.size
            else:
                merged.append(piece)
        segment.pieces = merged

    def free(self, segment: Segment, piece: Piece, delay: bool) -> None:
        """Release a block. With ``delay``, its memory is free only after a call of :meth:`complete`."""
        piece.state = WAITING
        self._event("free_requested", piece.address, piece.requested, stream=segment.stream, pool_id=segment.pool)
        if not delay:
            self.complete(segment, piece)

    def complete(self, segment: Segment, piece: Piece) -> None:
        """Make the memory of a released block free."""
        address, requested = piece.address, piece.requested
        piece.state = FREE
        self._merge(segment)
        self._event("free_completed", address, requested, stream=segment.stream, pool_id=segment.pool)

    def release(self) -> None:
        """Return all unused memory to the device, as ``torch.cuda.empty_cache`` does."""
        for segment in list(self.segments):
            owner = {"stream": segment.stream, "pool_id": segment.pool}
            if not segment.expandable:
                if all(p.state == FREE for p in segment.pieces):
                    address, size = segment.pieces[0].address, sum(p.size for p in segment.pieces)
                    self.segments.remove(segment)
                    self._event("segment_free", address, size, **owner)
                continue
            page, first = 2 * MIB if segment.small else 20 * MIB, segment.pieces[0].address
            for piece in [p for p in segment.pieces if p.state == FREE]:
                start = first + (piece.address - first + page - 1) // page * page
                end = first + (piece.address + piece.size - first) // page * page
                if start >= end:
                    continue
                i = segment.pieces.index(piece)
                segment.pieces[i : i + 1] = [
                    p
                    for p in (
                        Piece(piece.address, start - piece.address),
                        Piece(start, end - start, UNMAPPED),
                        Piece(end, piece.address + piece.size - end),
                    )
                    if p.size
                ]
                self._merge(segment)
                self._event("segment_unmap", start, end - start, **owner)

    # ---------------------------------------------------------------- a run, and its file

    def run(self, stacks: list[Any]) -> None:
        """Allocate and free at random. The stack of each request is drawn from ``stacks``."""
        drawn, options = self.drawn, self.options
        self.recording = options.start == 0
        for step in range(options.start + options.steps):
            if step == options.start and step:
                self.recording, self.fragmentation, self.failed = True, 0, []
                self.unsplit_at_start, self.waiting_at_start = self.unsplit, self.waiting
            live = [(s, p) for s in self.segments for p in s.pieces if p.state == USED]
            waiting = [(s, p) for s in self.segments for p in s.pieces if p.state == WAITING]
            chance = drawn.random()
            if waiting and chance < 0.25:
                self.complete(*drawn.choice(waiting))
            elif live and chance < 0.55:
                self.free(*drawn.choice(live), delay=drawn.random() < options.delayed)
            elif chance < 0.58:
                self.release()
            elif chance < 0.6:
                self._event("snapshot", 0, 0)
            else:
                sizes = [drawn.randint(1, 5000), drawn.randint(1, MIB), drawn.randint(MIB, 30 * MIB)]
                pool = (0, drawn.randrange(options.pools))
                self.allocate(drawn.choice(sizes), drawn.randrange(options.streams), pool, drawn.choice(stacks))
        if options.ring is not None:
            self._overflow(options.ring)

    def _overflow(self, kept: int) -> None:
        """Keep only the last events. Fragmentation counts from there on."""
        lost = max(len(self.events) - kept, 0)
        if not lost:
            return
        self.unsplit_at_start, self.waiting_at_start = self.notes[lost - 1].unsplit, self.notes[lost - 1].waiting
        counted = self.notes[lost - 1].fragmentation
        if self.events[lost - 1]["action"] == "segment_alloc":  # whose request is the first event that is kept
            counted = self.notes[lost].fragmentation
        self.events, self.notes = self.events[lost:], self.notes[lost:]
        self.failed = [(size, cached, at - lost) for size, cached, at in self.failed if at >= lost]
        self.notes = [replace(note, fragmentation=note.fragmentation - counted) for note in self.notes]

    def written(self, device: int, legacy: bool) -> list[dict[str, Any]]:
        """Return the segments for the file of a recording; with ``legacy``, in PyTorch's older format."""
        found = []
        for segment in self.segments:
            group: list[Piece] = []
            for piece in [*segment.pieces, Piece(0, 0, UNMAPPED)]:
                if piece.mapped:
                    group.append(piece)
                elif group:
                    found.append(self._segment(segment, group, device, legacy))
                    group = []
        return found

    def _segment(self, segment: Segment, pieces: list[Piece], device: int, legacy: bool) -> dict[str, Any]:
        states = {USED: "active_allocated", WAITING: self.drawn.choice(["active_awaiting_free", "active_pending_free"])}
        blocks = []
        for piece in pieces:
            used = piece.state != FREE
            block: dict[str, Any] = {"size": piece.size, "state": states.get(piece.state, "inactive")}
            if legacy:
                entry = {"addr": piece.address, "real_size": piece.requested, "frames": piece.frames or []}
                block["history"] = [entry] if used else []
            else:
                block |= {"address": piece.address, "requested_size": piece.requested if used else 0}
                block["frames"] = (piece.frames or []) if used else []
            blocks.append(block)
        record: dict[str, Any] = {
            "device": device,
            "address": pieces[0].address,
            "total_size": sum(p.size for p in pieces),
            "allocated_size": sum(p.size for p in pieces if p.state == USED),
            "active_size": sum(p.size for p in pieces if p.state != FREE),
            "stream": segment.stream,
            "segment_type": "small" if segment.small else "large",
            "blocks": blocks,
        }
        if not legacy:
            record |= {"segment_pool_id": segment.pool, "is_expandable": segment.expandable, "frames": []}
        return record
