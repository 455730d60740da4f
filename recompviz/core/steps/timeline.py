"""A timeline: all allocations and frees of one training step, simulated or measured.

Simulated and measured timelines have the same event arrays (step, storage, category, change in bytes) and can be
compared. The training step starts without gradients. It ends after the backward pass, or after the optimizer's step if
there is one. *Static* memory is allocated before the training step and stays allocated after it. *Transient* memory is
all other memory. ``peak = static + transient_peak`` is in *total* bytes, which count all memory on the device.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.rendering import render
from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from recompviz.core.allocator.reserved_memory import ReservedMemory


@dataclass(frozen=True)
class Alive:
    """One block of memory that is alive right after an event (an allocation or a free) of a timeline.

    Attributes
    ----------
    storage : int
        The block's storage, as a position in the timeline's ``storage_labels``.
    label : str
        The name of the storage.
    category : Category
        What the block is used for.
    size : int
        Bytes.
    born : int
        The step of the timeline that allocated the block; −1 for a block from before the first step.
    """

    storage: int
    label: str
    category: Category
    size: int
    born: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """All allocations and frees of one training step, in order; frozen, with read-only arrays.

    Under a plan, each *step of the timeline* is a step of the schedule. Without a plan, a step of the timeline is one
    operator, in the order the operators ran. The arrival of the gradients at their parameters and the optimizer's step
    may follow as further steps. In the timeline of a memory snapshot, a step is one or several consecutive events.

    *Static* memory is allocated before the training step and stays allocated after it; it has no events. All other
    memory is *transient*: the events allocate and free it. In the timeline of a memory snapshot, all memory counts as
    transient.

    Attributes
    ----------
    step : numpy.ndarray of int32, shape (#events,)
        The step of the timeline in which each event happens; −1 before the first step.
    storage : numpy.ndarray of int32, shape (#events,)
        The storage that each event allocates or frees, as a position in ``storage_labels``.
    category : numpy.ndarray of int8, shape (#events,)
        The :class:`Category` of the block that each event allocates or frees.
    delta : numpy.ndarray of int64, shape (#events,)
        Bytes, positive for an allocation and negative for a free.
    step_labels : tuple of str
        A name for each step, for example the key of the call that it runs.
    phases : numpy.ndarray of int8, shape (#steps,)
        The :class:`Phase` of each step.
    storage_labels : tuple of str
        A name for each storage.
    static_bytes : dict of Category to int
        Bytes of static memory by category: parameters, buffers, inputs, targets and optimizer state. In the timeline
        of a memory report, also gradients from before the training step.
    kind : str
        ``"simulated"`` or ``"measured"``.
    device : str
        The name of the device whose memory the timeline counts, for example ``"cuda"``.
    reserved_peak : int or None
        The largest number of bytes that the allocator reserves on the device. In a simulation, it is a prediction, or
        None if there is no prediction. None for a measurement on the CPU.
    seconds : float or None
        Wall-clock time of the training step in seconds; None if it was not measured.
    notes : tuple of str
        Warnings about the numbers, for example that other work ran at the same time.
    reserved : ReservedMemory or None
        For a simulation, the predicted memory that PyTorch's caching allocator reserves; see
        :func:`recompviz.simulate`. None for a measurement, or if there is no prediction.
    """

    step: NDArray[np.int32]
    storage: NDArray[np.int32]
    category: NDArray[np.int8]
    delta: NDArray[np.int64]
    step_labels: tuple[str, ...]
    phases: NDArray[np.int8]
    storage_labels: tuple[str, ...]
    static_bytes: dict[Category, int]
    kind: str
    device: str
    reserved_peak: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())
    reserved: ReservedMemory | None = None

    def __post_init__(self) -> None:
        for array in (self.step, self.storage, self.category, self.delta, self.phases):
            array.setflags(write=False)
        object.__setattr__(self, "static_bytes", dict(self.static_bytes))

    @classmethod
    def of_events(
        cls,
        events: Sequence[tuple[int, int, int, int]],
        step_labels: Sequence[str],
        phases: Sequence[int],
        **others: Any,
    ) -> Timeline:
        """Return the timeline of a sequence of events.

        Parameters
        ----------
        events : sequence of (int, int, int, int)
            Step, storage, category and change in bytes of each event, in the order they happened.
        step_labels, phases : sequence
            One entry for each step of the timeline.
        **others
            The remaining attributes of the timeline, by name. ``storage_labels``, ``static_bytes``, ``kind`` and
            ``device`` are required.
        """
        columns = np.array(events, dtype=np.int64).reshape(-1, 4).T
        return cls(
            columns[0].astype(np.int32),
            columns[1].astype(np.int32),
            columns[2].astype(np.int8),
            columns[3].copy(),
            tuple(step_labels),
            np.array(phases, dtype=np.int8),
            **others,
        )

    @property
    def static(self) -> int:
        """Bytes of static memory: allocated before the training step and still allocated after it."""
        return sum(self.static_bytes.values())

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """Bytes alive right after each event, without static memory (:attr:`static`), shape (#events,)."""
        return _read_only(np.cumsum(self.delta))

    @property
    def transient_peak(self) -> int:
        """The largest number of bytes alive at one time, without static memory (:attr:`static`)."""
        return int(self.live.max(initial=0))

    @property
    def peak(self) -> int:
        """The largest number of bytes alive at one time: :attr:`static` + :attr:`transient_peak`."""
        return self.static + self.transient_peak

    @property
    def peak_event(self) -> int:
        """The position of the first event after which :attr:`live` has its largest value; −1 if there are no events."""
        return int(self.live.argmax()) if len(self.delta) else -1

    @property
    def peak_step(self) -> int:
        """The step of the timeline in which the peak is first reached.

        It is −1 if there are no events, or if the peak is reached before the first step.
        """
        return int(self.step[self.peak_event]) if len(self.delta) else -1

    @cached_property
    def step_ends(self) -> NDArray[np.int64]:
        """Bytes alive after each step of the timeline, without static memory (:attr:`static`), shape (#steps,)."""
        last = np.searchsorted(self.step, np.arange(len(self.phases)), side="right")
        return _read_only(np.concatenate([[0], self.live])[last])

    @cached_property
    def step_peaks(self) -> NDArray[np.int64]:
        """The largest number of bytes alive during each step, without static memory (:attr:`static`), shape (#steps,).

        The bytes alive at the start of a step count too.
        """
        peaks = np.concatenate([[0], self.step_ends])[:-1] if len(self.phases) else self.step_ends.copy()
        np.maximum.at(peaks, np.maximum(self.step, 0), self.live)  # events before the first step count in the first
        return _read_only(peaks)

    @property
    def profile(self) -> NDArray[np.int64]:
        """The largest number of bytes alive during each step, with static memory (:attr:`static`), shape (#steps,).

        The bytes alive at the start of a step count too.
        """
        return self.step_peaks + self.static

    @cached_property
    def step_peak_events(self) -> NDArray[np.int64]:
        """For each step, the number of events from the start of the timeline to the peak of the step, shape (#steps,).

        The peak of a step is at its start or after one of its events. If a step has several equal peaks, the first
        counts.
        """
        steps = len(self.phases)
        owner = np.maximum(self.step, 0)
        live = np.concatenate([[0], self.live])  # live[k]: after the first k events
        count: NDArray[np.int64] = np.searchsorted(owner, np.arange(steps))
        most = live[count]
        np.maximum.at(most, owner, live[1:])
        peaking = np.flatnonzero(live[1:] == most[owner])
        own, first = np.unique(owner[peaking], return_index=True)
        fuller = live[count[own]] < most[own]
        count[own[fuller]] = peaking[first[fuller]] + 1
        return _read_only(count)

    @property
    def moments(self) -> NDArray[np.int64]:
        """Deprecated name of :attr:`step_peak_events`."""
        warnings.warn("Timeline.moments is deprecated; use Timeline.step_peak_events", DeprecationWarning, stacklevel=2)
        return self.step_peak_events

    @cached_property
    def bands(self) -> NDArray[np.int64]:
        """Bytes of each category at the peak of each step of the timeline, shape (#steps, #categories).

        Static memory (:attr:`static`) is not counted.
        """
        moved = np.zeros((len(self.delta) + 1, len(Category)), np.int64)
        moved[np.arange(1, len(self.delta) + 1), self.category] = self.delta
        return _read_only(moved.cumsum(axis=0)[self.step_peak_events])

    def alive_at(self, event: int) -> tuple[Alive, ...]:
        """Return the blocks alive right after an event, largest first, without static memory (:attr:`static`).

        Parameters
        ----------
        event : int
            A position in the event arrays, for example :attr:`peak_event`; −1 for the time before the first event.

        Returns
        -------
        tuple of Alive

        Raises
        ------
        IndexError
            If there is no such event.
        """
        alive: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for i in range(event + 1):
            block = (int(self.storage[i]), int(self.category[i]))
            if self.delta[i] > 0:
                alive.setdefault(block, []).append((int(self.delta[i]), int(self.step[i])))
            elif alive.get(block):
                alive[block].pop()
        found = [
            Alive(s, self.storage_labels[s], Category(c), size, born)
            for (s, c), blocks in alive.items()
            for size, born in blocks
        ]
        return tuple(sorted(found, key=lambda a: (-a.size, a.born, a.storage)))

    def at_peak(self) -> tuple[Alive, ...]:
        """Return the blocks alive at the peak, largest first, without static memory (:attr:`static`)."""
        return self.alive_at(self.peak_event)

    def __repr__(self) -> str:
        where = ""
        if 0 <= self.peak_step < len(self.step_labels):
            phase = Phase(int(self.phases[self.peak_step])).label
            where = f" in the {phase} step of {self.step_labels[self.peak_step]}"
        return (
            f"Timeline({self.kind} on {self.device}: peak {format_bytes(self.peak)} = "
            f"static {format_bytes(self.static)} + transient {format_bytes(self.transient_peak)}{where}"
            f"{f'; {self.reserved.text}' if self.reserved is not None else ''})"
        )

    def figure(self, other: Timeline | None = None) -> Any:
        """Return a Plotly figure of the bytes at the peak of each step of the timeline, stacked by category, in MiB.

        Parameters
        ----------
        other : Timeline, optional
            A timeline to compare with. A line shows the sum of all categories of ``other``.
        """
        return render("timeline_figure", self, other)


def _read_only(array: NDArray[np.int64]) -> NDArray[np.int64]:
    array.setflags(write=False)
    return array
