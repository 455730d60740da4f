"""Watched steps joined with the allocator's events: which operator and which value each allocation belongs to.

The profiler tells every allocation and free, the watcher every operator and the addresses of what it returned. An
allocation inside an operator is one of its outputs, by address, or its workspace. What lies outside every operator
and under no address known is unattributed, and stays in the account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.debugging.recorder.watched import Block, Operator
from recompviz.pytorch.debugging.recorder.watcher import Watcher


@dataclass(frozen=True)
class LiveBlock:
    """A block of the allocator's alive at the peak: an output, or workspace (no ``block``) of an operator."""

    size: int
    operator: Operator | None
    block: Block | None
    event: int


@dataclass(frozen=True, eq=False)
class Recording:
    """Steps that were watched and profiled; frozen."""

    watcher: Watcher
    events: list[tuple[int, int, str]] = field(repr=False)
    device: str
    alignment: int
    reserved: int | None
    seconds: float
    notes: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[tuple[int, int, int, int]]:
        """(operator, address, bytes, block or −1) of every allocation and free of the watched steps, in order."""
        outputs: dict[tuple[int, int], int] = {(op, address): block for op, address, block in self.watcher.pointers}
        found: list[tuple[int, int, int, int]] = []
        now = -1
        opened: dict[int, tuple[int, int]] = {}
        for address, size, inside in self.events:
            if inside.startswith("rv:"):
                now = max(now, int(inside[3:]))
            if size > 0:
                number = int(inside[3:]) if inside.startswith("rv:") else -1
                block = outputs.get((number, address), -1) if number >= 0 else self._seen_after(now, address)
                if address in opened:  # handed out again: it was freed, which the profiler did not see
                    at, born = opened.pop(address)
                    found.append((now, address, -born, found[at][3]))
                opened[address] = (len(found), size)
                found.append((now, address, size, block))
            elif size < 0 and address in opened:
                at, born = opened.pop(address)
                found.append((now, address, -born, found[at][3]))
        return found

    def _seen_after(self, now: int, address: int) -> int:
        """The block that was allocated outside every operator, told by the first operator that met its address."""
        for op, seen, block in self.watcher.pointers:
            if op > now and seen == address:
                return block if self.watcher.blocks[block].first_seen >= now else -1
        return -1

    @cached_property
    def live(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Transient bytes right after each row."""
        return np.cumsum(np.array([row[2] for row in self.rows], np.int64))

    @cached_property
    def peak_event(self) -> int:
        """The row at which the peak is reached first, −1 without any."""
        return int(self.live.argmax()) if self.rows else -1

    @property
    def peak_operator(self) -> Operator | None:
        """The operator that runs at the peak."""
        number = self.rows[self.peak_event][0] if self.rows else -1
        return self.watcher.operators[number] if number >= 0 else None

    @cached_property
    def at_peak(self) -> tuple[LiveBlock, ...]:
        """The transient blocks alive at the peak, in the order they were allocated."""
        alive: dict[int, LiveBlock] = {}
        for i, (number, address, size, block) in enumerate(self.rows[: self.peak_event + 1]):
            if size > 0:
                made_in = self._maker(number, block, i)
                alive[address] = LiveBlock(size, made_in, self.watcher.blocks[block] if block >= 0 else None, i)
            else:
                alive.pop(address, None)
        return tuple(alive.values())

    def _maker(self, number: int, block: int, event: int) -> Operator | None:
        if block >= 0 and self.watcher.blocks[block].maker >= 0:
            return self.watcher.operators[self.watcher.blocks[block].maker]
        inside = number >= 0 and self._inside[event]
        return self.watcher.operators[number] if inside else None

    @cached_property
    def _inside(self) -> list[bool]:
        """Whether each row happened inside an operator."""
        inside, opened = [], set()
        for address, size, name in self.events:
            if size > 0:
                if address in opened:
                    inside.append(False)
                opened.add(address)
                inside.append(name.startswith("rv:"))
            elif size < 0 and address in opened:
                opened.discard(address)
                inside.append(name.startswith("rv:"))
        return inside

    @cached_property
    def static_blocks(self) -> tuple[Block, ...]:
        """Blocks that were there before the first step, and are seen by an operator or named."""
        allocated = {row[3] for row in self.rows if row[2] > 0}
        found: dict[int, Block] = {}  # by address: tensors made anew from one array of NumPy's are one memory
        for block in self.watcher.blocks:
            if block.maker < 0 and block.number not in allocated and block.size and self._there_at_peak(block):
                known = found.get(block.address)
                if known is None or (block.role and not known.role) or block.size > known.size:
                    found[block.address] = block
        return tuple(found.values())

    def _there_at_peak(self, block: Block) -> bool:
        peak = self.rows[self.peak_event][0] if self.rows else 0
        step = self.watcher.operators[peak].step if self.watcher.operators else 0
        return (block.died is None or block.died > peak) and block.step <= step

    def peak_without(self, freed: dict[int, int]) -> int:
        """The transient peak of the step that has the peak, if blocks were freed earlier.

        Parameters
        ----------
        freed : dict of int to int
            From the row that allocates a block to the operator before which it would be free.
        """
        live = self.live.copy()
        numbers = np.array([row[0] for row in self.rows], np.int64)
        for row, operator in freed.items():
            size = self.rows[row][2]
            end = self._ends.get(row, len(self.rows))
            start = max(row, int(np.searchsorted(numbers, operator, side="left")))
            live[start:end] -= size
        peak = self.peak_operator
        starts = [*self.watcher.step_starts, len(self.watcher.operators)]
        step = peak.step if peak is not None else 0
        first, last = np.searchsorted(numbers, [starts[step], starts[step + 1]], side="left")
        return int(live[first:last].max(initial=0))

    @cached_property
    def _ends(self) -> dict[int, int]:
        """From the row that allocates a block to the row that frees it."""
        opened: dict[int, int] = {}
        found: dict[int, int] = {}
        for i, (_, address, size, _) in enumerate(self.rows):
            if size > 0:
                opened[address] = i
            elif address in opened:
                found[opened.pop(address)] = i
        return found

    def rounded(self, size: int) -> int:
        """A size as the allocator hands it out."""
        return -(-size // self.alignment) * self.alignment

    @cached_property
    def step_ends(self) -> tuple[int, ...]:
        """Transient bytes alive at the end of each step."""
        starts = [*self.watcher.step_starts[1:], len(self.watcher.operators)]
        numbers = [row[0] for row in self.rows]
        ends = []
        for start in starts:
            last = int(np.searchsorted(np.array(numbers), start, side="left")) - 1
            ends.append(int(self.live[last]) if last >= 0 else 0)
        return tuple(ends)

    def timeline(self, label: list[str], category: list[Category], static: dict[Category, int]) -> Timeline:
        """The timeline, given the label and category of each block; workspace by its operator."""
        operators = self.watcher.operators
        labels = [*label]
        numbers: dict[str, int] = {}

        def number_of(text: str) -> int:
            if text not in numbers:
                numbers[text] = len(labels)
                labels.append(text)
            return numbers[text]

        events = []
        for i, (at, _address, size, block) in enumerate(self.rows):
            if block >= 0:
                events.append((max(at, 0), block, int(category[block]), size))
            elif at >= 0 and self._inside[i]:
                storage = number_of(f"workspace of {operators[at].short}")
                events.append((at, storage, int(Category.WORKSPACE), size))
            else:
                events.append((max(at, 0), number_of("unattributed"), int(Category.OTHER), size))
        # a free carries the storage and category of its birth
        births: dict[int, tuple[int, int]] = {}
        settled = []
        for (_at, address, size, _block), event in zip(self.rows, events, strict=True):
            if size > 0:
                births[address] = event[1], event[2]
            settled.append((event[0], *births[address], size))
        return Timeline.of_events(
            settled,
            [operator_label(op) for op in operators] or ["nothing"],
            [int(op.phase) for op in operators] or [int(Phase.FORWARD)],
            storage_labels=tuple(labels),
            static_bytes=static,
            kind="measured",
            device=self.device,
            reserved_peak=self.reserved,
            seconds=self.seconds,
        )


def operator_label(op: Operator) -> str:
    """``backward of layer1.conv/convolution_backward`` and the like, for people."""
    name = f"{op.module}/{op.short}" if op.module else op.short
    if op.optimizer:
        return f"{op.optimizer}.step/{op.short}"
    if op.phase is Phase.BACKWARD:
        return f"backward: {name}"
    return f"recompute: {name}" if op.phase is Phase.RECOMPUTE else name
