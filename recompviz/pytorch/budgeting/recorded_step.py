"""One recorded training step: the memory that code outside the regions holds, and the events of each operator.

A region is a captured graph. The profiler records every allocation and free. Events inside a region's forward or
backward pass belong to the region. All other events belong to the code outside: losses, layers that could not be
captured, hooks, optimizers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recompviz.core.planning.step_plans import Outside
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.pytorch.executing.region import Stage
from recompviz.pytorch.internals.captures import Callers
from recompviz.pytorch.internals.tensors import StorageWeakRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The range that follows the last pass of the step.
END = "rv:end"
# The ranges in which runs of other models start, with their number.
OTHER = "rv:other:"


@dataclass
class PassRecord:
    """The data that one run of a region (a captured graph) reports while a training step is being recorded.

    Attributes
    ----------
    sizes : tuple
        The dynamic sizes of the run's inputs.
    outputs : dict of int to int
        The index of each output's storage in the joint graph, by the address of its block.
    tangents : set of int
        Addresses of the blocks that hold the gradients of the outputs.
    seconds : dict of (stage, int) to float
        Wall-clock seconds of each step of the schedule, until the device has finished it.
    callers : Callers
        The functions that called the region.
    inputs : dict of int to (StorageWeakRef, int)
        For each input that is neither a parameter nor a buffer: its storage and the bytes of the storage, by address.
    mask : numpy.ndarray of bool or None
        For each node, whether the run keeps its value; None if it keeps every value.
    """

    sizes: tuple[Any, ...] = ()
    outputs: dict[int, int] = field(default_factory=dict)
    tangents: set[int] = field(default_factory=set)
    seconds: dict[tuple[Stage, int], float] = field(default_factory=dict)
    callers: Callers = field(default_factory=Callers)
    inputs: dict[int, tuple[StorageWeakRef, int]] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class RecordedPass:
    """The memory of one run of a region (a captured graph), read from the recording of a training step.

    Attributes
    ----------
    outside : Outside
        Bytes that code outside the regions held around the run.
    released : frozenset of int
        Storages of the outputs that were freed before the backward pass started.
    events : dict of int to list of (address, bytes)
        For each step of the schedule, allocations (positive bytes) and frees (negative).
    ran_backward : bool
        Whether the backward pass of the run was recorded.
    older_inputs : frozenset of int
        Addresses of the inputs in :attr:`PassRecord.inputs` that were allocated before the step.
    """

    outside: Outside
    released: frozenset[int]
    events: dict[int, list[tuple[int, int]]]
    ran_backward: bool
    older_inputs: frozenset[int] = frozenset()


def range_of(run: int, stage: Stage) -> str:
    """Return the name of the profiler range around the forward (``"f"``) or backward (``"b"``) pass of a run."""
    return f"rv:{run}:{stage}"


@dataclass
class OtherRun:
    """A run of another compiled model while a training step is being recorded.

    Attributes
    ----------
    inputs : dict of int to (StorageWeakRef, int)
        As in :class:`PassRecord`.
    saved : int
        Bytes that the autograd graphs of further compiled models save at the start of the run. The recorded model and
        the model of this run do not count.
    held : int
        Bytes that the code outside the regions holds when the run starts. Outputs of regions and inputs of this run do
        not count. :func:`read_recording` sets this attribute and ``older_inputs``.
    older_inputs : frozenset of int
        Addresses of the inputs that were allocated before the step.
    """

    inputs: dict[int, tuple[StorageWeakRef, int]]
    saved: int
    held: int = 0
    older_inputs: frozenset[int] = frozenset()


def read_recording(
    events: Iterable[AllocationEvent], runs: list[PassRecord], others: Sequence[OtherRun] = ()
) -> list[RecordedPass]:
    """Attribute the allocator's events of a training step to its regions (captured graphs) and to the code outside.

    The step ends with the last backward pass of a region. Later events do not count.

    Parameters
    ----------
    events : iterable of AllocationEvent
        From :func:`recompviz.pytorch.internals.profiler.allocation_events`.
    runs : list of PassRecord
        One for each run of a region, in order.
    others : sequence of OtherRun
        Runs of other compiled models in the step. Their attributes ``held`` and ``older_inputs`` are set.

    Returns
    -------
    list of RecordedPass
        One for each run.

    Examples
    --------
    A region makes an output of 8 bytes at address 1 and saves 4 at address 2. The loss outside holds 16 bytes:

    >>> record = PassRecord(outputs={1: 5}, tangents={4})
    >>> rows = [(0, 0, "rv:0:f"), (1, 8, "rv:0:f:0"), (2, 4, "rv:0:f:1"), (3, 16, ""), (4, 8, ""),
    ...         (0, 0, "rv:0:b"), (2, -4, "rv:0:b:2"), (4, -8, "rv:0:b:2"), (0, 0, "rv:end"), (3, -16, "")]
    >>> events = [AllocationEvent(at, *row) for at, row in enumerate(rows)]
    >>> read_recording(events, [record])[0].outside
    Outside(forward=0, after_forward=32, backward=24, after_backward=0)
    """
    reader = _Reader(runs, others)
    for event in events:
        reader.row(event.address, event.size, event.scope)
    reader.enter("")
    return reader.result()


class _Reader:
    """Follows the blocks of a recorded step, one event after the other."""

    def __init__(self, runs: list[PassRecord], others: Sequence[OtherRun] = ()) -> None:
        self.runs, self.others = runs, others
        self.outputs: set[int] = set()  # addresses of outputs that are alive
        self.outside = 0
        self.blocks: dict[int, tuple[int, int | None]] = {}  # address → (bytes, run that owns it or None)
        self.stage: tuple[int, Stage] | None = None
        self.last: tuple[int, Stage] | None = None
        self.during: dict[tuple[int, Stage], int] = {}
        self.after: dict[tuple[int, Stage], int] = {}
        self.released: dict[int, frozenset[int]] = {}
        self.older: dict[int, frozenset[int]] = {}
        self.events: list[dict[int, list[tuple[int, int]]]] = [defaultdict(list) for _ in runs]

    def row(self, address: int, size: int, inside: str) -> None:
        """Take one event: an allocation, a free, or (with address 0) the start of a range."""
        self.enter(inside)
        if address == 0:
            if inside.startswith(OTHER):
                self._other_runs(self.others[int(inside.removeprefix(OTHER))])
            return
        if self.stage is not None:
            step = inside.split(":")[3:4]
            if step:
                self.events[self.stage[0]][int(step[0])].append((address, size))
        if size > 0:
            owner = self.stage[0] if self.stage is not None else None
            self.blocks[address] = (size, owner)
            if owner is None:
                self._hold(size)
        elif address in self.blocks:
            born, owner = self.blocks.pop(address)
            self.outputs.discard(address)
            if owner is None:
                self._hold(-born)

    def enter(self, inside: str) -> None:
        """Note that a pass starts or ends if the range has changed."""
        stage = _stage(inside)
        if stage == self.stage or (stage is not None and stage[0] >= len(self.runs)):
            return
        if self.stage is not None:
            self._leave(*self.stage)
        self.stage = stage
        if stage is None:
            return
        run, which = stage
        record = self.runs[run]
        if which == "f":
            self.older[run] = frozenset(address for address in record.inputs if address not in self.blocks)
        else:
            for address in record.tangents:  # the region counts the gradients of its outputs
                size, owner = self.blocks.get(address, (0, 0))
                if owner is None:
                    self.blocks[address] = (size, run)
                    self.outside -= size
            alive = {s for address, s in record.outputs.items() if self.blocks.get(address, (0, 0))[1] is None}
            self.released[run] = frozenset(record.outputs.values()) - alive
        self.during[stage] = max(self.during.get(stage, 0), self.outside)

    def _leave(self, run: int, which: Stage) -> None:
        """End a pass. Its outputs, or its gradients, now belong to the code outside."""
        for address, (size, owner) in list(self.blocks.items()):
            if owner == run and (which == "b" or address in self.runs[run].outputs):
                self.blocks[address] = (size, None)
                self.outside += size
                if which == "f":
                    self.outputs.add(address)
        self.last = (run, which)
        self.after[self.last] = max(self.after.get(self.last, 0), self.outside)

    def _other_runs(self, other: OtherRun) -> None:
        known = self.outputs | set(other.inputs)
        other.older_inputs = frozenset(address for address in other.inputs if address not in self.blocks)
        eager = sum(size for address, (size, owner) in self.blocks.items() if owner is None and address not in known)
        other.held = max(0, eager - other.saved)

    def _hold(self, size: int) -> None:
        self.outside += size
        if self.stage is None and self.last is not None:
            self.after[self.last] = max(self.after[self.last], self.outside)

    def result(self) -> list[RecordedPass]:
        """The memory of each run."""
        return [
            RecordedPass(
                Outside(
                    self.during.get((run, "f"), 0),
                    self.after.get((run, "f"), 0),
                    self.during.get((run, "b"), 0),
                    self.after.get((run, "b"), 0) if (run, "b") != self.last else 0,
                ),
                self.released.get(run, frozenset()),
                dict(self.events[run]),
                (run, "b") in self.during,
                self.older.get(run, frozenset()),
            )
            for run in range(len(self.runs))
        ]


def _stage(inside: str) -> tuple[int, Stage] | None:
    parts = inside.split(":")
    if len(parts) < 3 or parts[0] != "rv" or not parts[1].isdigit():
        return None
    return int(parts[1]), "b" if parts[2] == "b" else "f"
