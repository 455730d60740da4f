"""Assign each allocation of watched training steps to an operator and a block (a storage).

The profiler records every allocation and free. The watcher records every operator and the addresses of its results. An
allocation inside an operator is one of its results if the addresses match, and workspace otherwise. An allocation
outside all operators belongs to the block that a later operator finds at its address. If there is none, the allocation
is *unattributed*, but its bytes still count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.allocations import AllocationEvent, Allocations, read_allocations
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.debugging.recorder.watched import Block, Operator, WatchedSteps

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the ranges of the profiler in which operators run: "rv:12"
PREFIX = "rv:"


@dataclass(frozen=True)
class LiveBlock:
    """An allocation alive at the peak.

    Attributes
    ----------
    size : int
        Bytes, as recorded by the allocator.
    operator : Operator or None
        The operator that returned the block, or that allocated the workspace. None for an allocation outside all
        operators.
    block : Block or None
        The storage; None for workspace and unattributed memory.
    allocation : int
        The number of the allocation in ``Recording.allocations``.
    """

    size: int
    operator: Operator | None
    block: Block | None
    allocation: int


@dataclass(frozen=True, eq=False)
class Recording:
    """Training steps that were watched and profiled; frozen. Made by :func:`recorded`.

    Memory is *transient* if it was allocated after the first watched training step began. Only transient memory has
    allocations here.

    Attributes
    ----------
    steps : WatchedSteps
        The operators and blocks that the watcher observed.
    allocations : Allocations
        Every allocation and free. The position ``at`` of an event is the number of the operator that started last
        before the event; −1 if none had started.
    block_of : tuple of int
        For each allocation, the number of its block; −1 for workspace and unattributed memory.
    device : str
        The device whose memory was recorded, for example ``"cpu"`` or ``"cuda:0"``.
    alignment : int
        The allocator rounds sizes up to a multiple of this number of bytes.
    reserved : int or None
        The largest number of bytes that PyTorch had reserved from the device at one time; None on the CPU.
    seconds : float
        Wall-clock seconds of all training steps, including the time for watching them.
    notes : tuple of str
        Sentences for the report.
    """

    steps: WatchedSteps
    allocations: Allocations
    block_of: tuple[int, ...]
    device: str
    alignment: int
    reserved: int | None
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The watched operators, in the order in which they ran."""
        return self.steps.operators

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The storages that were seen, in the order in which they were seen first."""
        return self.steps.blocks

    @property
    def at_peak(self) -> int:
        """The number of the operator that started last before transient memory first reached its peak; −1 if none."""
        event = self.allocations.peak_event
        return int(self.allocations.at[event]) if event >= 0 else -1

    @property
    def peak_operator(self) -> Operator | None:
        """The operator that started last before the peak; None if none had started."""
        return self.operators[self.at_peak] if self.at_peak >= 0 else None

    @property
    def peak_step(self) -> int:
        """The number of the training step that contains the peak; 0 if there is no operator at the peak."""
        return self.peak_operator.step if self.peak_operator is not None else 0

    @cached_property
    def live(self) -> tuple[LiveBlock, ...]:
        """The transient allocations alive at the peak, in the order of their allocation."""
        numbers = self.allocations.alive_after(self.allocations.peak_event)
        return tuple(
            LiveBlock(int(self.allocations.size[i]), self._maker(i), self._block(i), i) for i in numbers.tolist()
        )

    def _block(self, allocation: int) -> Block | None:
        number = self.block_of[allocation]
        return self.blocks[number] if number >= 0 else None

    def _maker(self, allocation: int) -> Operator | None:
        block = self._block(allocation)
        if block is not None and block.maker >= 0:
            return self.operators[block.maker]
        at = int(self.allocations.at[self.allocations.birth[allocation]])
        return self.operators[at] if at >= 0 and self._inside(allocation) else None

    def _inside(self, allocation: int) -> bool:
        """Return whether the allocation with this number was made inside an operator."""
        return self.allocations.scopes[allocation].startswith(PREFIX)

    @cached_property
    def static_blocks(self) -> tuple[Block, ...]:
        """The known blocks alive at the peak that have no recorded allocation.

        Most of these blocks existed before the first training step. Others have memory that PyTorch's allocator did not
        allocate, for example the memory of a NumPy array. A block is known if an operator reads it or if it belongs to
        a module, an optimizer or the batch. Of several blocks at one address, only one is listed.
        """
        allocated = set(self.block_of)
        by_address: dict[int, Block] = {}  # several tensors of one NumPy array share their memory
        for block in self.blocks:
            if block.maker < 0 and block.number not in allocated and block.size and self._existed_at_peak(block):
                known = by_address.get(block.address)
                if known is None or (block.role and not known.role) or block.size > known.size:
                    by_address[block.address] = block
        return tuple(by_address.values())

    def _existed_at_peak(self, block: Block) -> bool:
        at = self.at_peak if len(self.allocations.at) else 0
        step = self.operators[at].step if self.operators else 0
        return (block.died is None or block.died > at) and block.step <= step

    @cached_property
    def step_ends(self) -> tuple[int, ...]:
        """Transient bytes alive after each training step: just before the first operator of the next step.

        For the last step, these are the bytes alive at the end of the recording.
        """
        live = self.live_before([self.steps.start_of(step + 1) for step in range(len(self.steps.step_starts))])
        return tuple(live.tolist())

    @cached_property
    def allocation_of(self) -> Mapping[int, int]:
        """Number of a block → the number of its allocation. Blocks without a recorded allocation are missing."""
        return {number: i for i, number in enumerate(self.block_of) if number >= 0}

    def live_before(self, operators: Sequence[int]) -> NDArray[np.int64]:
        """Return the transient bytes alive just before each of the operators with these numbers."""
        live = np.concatenate([[0], self.allocations.live])
        return live[np.searchsorted(self.allocations.at, np.array(operators, np.int64), side="left")]

    def peak_without(
        self,
        freed: Mapping[int, int],
        removed: Collection[int] = (),
        extended: Mapping[int, int] | None = None,
        resized: Mapping[int, int] | None = None,
    ) -> int:
        """Return the peak of transient memory, in bytes, that would result if some allocations were different.

        The parameters say which allocations live shorter or longer, have another size, or are not made. Only the
        training step of the peak is considered.

        Parameters
        ----------
        freed : mapping of int to int
            Number of an allocation → number of the operator before which the allocation is freed.
        removed : collection of int
            Allocations that are not made.
        extended : mapping of int to int, optional
            Number of an allocation → number of the operator before which it is freed, later than recorded.
        resized : mapping of int to int, optional
            Number of an allocation → its new bytes.
        """
        allocations = self.allocations
        live = allocations.live.copy()

        def span(number: int) -> tuple[int, int]:
            death = int(allocations.death[number])
            return int(allocations.birth[number]), death if death >= 0 else len(live)

        def event_of(operator: int) -> int:
            return int(np.searchsorted(allocations.at, operator, side="left"))

        for number in removed:
            start, end = span(number)
            live[start:end] -= allocations.size[number]
        for number, operator in freed.items():
            if number not in removed:
                birth, end = span(number)
                live[max(birth, event_of(operator)) : end] -= allocations.size[number]
        for number, operator in (extended or {}).items():
            _, end = span(number)
            live[end : max(end, event_of(operator))] += (resized or {}).get(number, int(allocations.size[number]))
        for number, size in (resized or {}).items():
            if number not in removed and number not in freed:
                start, end = span(number)
                live[start:end] += size - allocations.size[number]
        bounds = [self.steps.start_of(self.peak_step), self.steps.start_of(self.peak_step + 1)]
        first, last = np.searchsorted(allocations.at, bounds, side="left")
        return int(live[first:last].max(initial=0))

    def rounded(self, size: int) -> int:
        """Return a size in bytes, rounded up as the allocator does."""
        return -(-size // self.alignment) * self.alignment

    def timeline(self, labels: Sequence[str], categories: Sequence[Category], static: dict[Category, int]) -> Timeline:
        """Return the measured timeline of all training steps, with one timeline step for each operator.

        Parameters
        ----------
        labels : sequence of str
            A label for each block.
        categories : sequence of Category
            A category for each block.
        static : dict of Category to int
            Bytes that have no recorded allocation, for example the bytes of the parameters, by category.
        """
        storage_labels = [*labels]
        numbers: dict[str, int] = {}

        def number_of(text: str) -> int:
            if text not in numbers:
                numbers[text] = len(storage_labels)
                storage_labels.append(text)
            return numbers[text]

        shown: list[tuple[int, Category]] = []  # storage and category of each allocation
        for allocation, block in enumerate(self.block_of):
            maker = self._maker(allocation) if block < 0 else None
            if block >= 0:
                shown.append((block, categories[block]))
            elif maker is not None:
                shown.append((number_of(f"workspace of {maker.short}"), Category.WORKSPACE))
            else:
                shown.append((number_of("unattributed"), Category.OTHER))
        columns = (column.tolist() for column in (self.allocations.at, self.allocations.block, self.allocations.delta))
        return Timeline.of_events(
            [(max(at, 0), shown[i][0], int(shown[i][1]), delta) for at, i, delta in zip(*columns, strict=True)],
            [operator_label(op) for op in self.operators] or ["nothing"],
            [int(op.phase) for op in self.operators] or [int(Phase.FORWARD)],
            storage_labels=tuple(storage_labels),
            static_bytes=static,
            kind="measured",
            device=self.device,
            reserved_peak=self.reserved,
            seconds=self.seconds,
        )


def recorded(
    steps: WatchedSteps,
    events: Iterable[AllocationEvent],
    *,
    device: str,
    alignment: int,
    reserved: int | None,
    seconds: float,
    notes: tuple[str, ...] = (),
) -> Recording:
    """Join the watched operators of training steps with the allocator's events of the same training steps.

    Parameters
    ----------
    steps : WatchedSteps
        The observations of the watcher.
    events : iterable of AllocationEvent
        In the order in which they happened. An event inside operator 12 has the scope ``"rv:12"``. An event of size 0
        marks where a scope starts.
    device, alignment, reserved, seconds, notes
        As in :class:`Recording`.
    """
    allocations = read_allocations(_by_operator(events))
    blocks = tuple(_blocks_of(steps, allocations))
    return Recording(steps, allocations, blocks, device, alignment, reserved, seconds, notes)


def _by_operator(events: Iterable[AllocationEvent]) -> Iterator[AllocationEvent]:
    """Yield the events with ``at`` set to the number of the operator that started last."""
    last = -1
    for event in events:
        if event.scope.startswith(PREFIX):
            last = max(last, int(event.scope.removeprefix(PREFIX)))
        yield event.counted_at(last)


def _blocks_of(steps: WatchedSteps, allocations: Allocations) -> Iterator[int]:
    """Yield the number of the block of each allocation; −1 if it has none.

    For an allocation inside an operator, the block is the operator's result at the same address. For an allocation
    outside, it is the result of the next operator that returns a tensor at this address. It does not count if it was
    seen before the allocation.
    """
    results = {(operator, address): block for operator, address, block in steps.outputs}
    later: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for operator, address, block in steps.outputs:
        later[address].append((operator, block))
    births = allocations.at[allocations.birth].tolist()
    for at, address, scope in zip(births, allocations.address.tolist(), allocations.scopes, strict=True):
        if scope.startswith(PREFIX):
            yield results.get((int(scope.removeprefix(PREFIX)), address), -1)
        else:
            block = next((block for operator, block in later[address] if operator > at), -1)
            yield block if block >= 0 and steps.blocks[block].first_seen >= at else -1


def operator_label(op: Operator) -> str:
    """Return a text with the pass, the module and the name of an operator.

    For example ``"layer1.conv/convolution"`` in the forward pass, ``"backward: layer1.conv/convolution_backward"`` in
    the backward pass, and ``"Adam.step/mul"`` in an optimizer.
    """
    name = f"{op.module}/{op.short}" if op.module else op.short
    if op.optimizer:
        return f"{op.optimizer}.step/{op.short}"
    if op.phase is Phase.BACKWARD:
        return f"backward: {name}"
    return f"recompute: {name}" if op.phase is Phase.RECOMPUTE else name
