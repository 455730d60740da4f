"""A timeline: all allocations and frees of one training step, simulated or measured.

Simulated and measured timelines have the same form, event arrays (step, storage, category, delta in bytes), so they
can be compared. The step starts without gradients and ends after the backward pass, or after the optimizer's step.
``peak = static + transient_peak`` in *total* bytes, which are the bytes that the device allocates.
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


@dataclass(frozen=True)
class Alive:
    """One block of memory that is alive after an event.

    Attributes
    ----------
    storage : int
        Position in the timeline's ``storage_labels``.
    label : str
    category : Category
    size : int
        Bytes.
    born : int
        The step of the schedule that allocated it; −1 for a block that existed before.
    """

    storage: int
    label: str
    category: Category
    size: int
    born: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """Allocations and frees in order; frozen, with read-only arrays.

    Attributes
    ----------
    step : numpy.ndarray of int32, shape (#events,)
        The step of the schedule in which each event happens; −1 before the first step.
    storage : numpy.ndarray of int32
        Positions in ``storage_labels``.
    category : numpy.ndarray of int8
        :class:`Category` of the block.
    delta : numpy.ndarray of int64
        Bytes, positive for an allocation and negative for a free.
    step_labels : tuple of str
        The key of the call that each step runs.
    phases : numpy.ndarray of int8, shape (#steps,)
        :class:`Phase` of each step.
    storage_labels : tuple of str
    static_bytes : dict of Category to int
        Parameters, buffers, inputs, targets, optimizer state: bytes.
    kind : str
        ``"simulated"`` or ``"measured"``.
    device : str
    reserved_peak : int or None
        The most bytes that the allocator reserved on the device (CUDA only).
    seconds : float or None
        Wall-clock time of a measured step.
    notes : tuple of str
        Warnings for the reader, for example that other work ran at the same time.
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
        """The timeline of events (step, storage, category, delta in bytes) in order."""
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
        """Bytes that are allocated before the step and after it."""
        return sum(self.static_bytes.values())

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """Transient bytes right after each event."""
        return _read_only(np.cumsum(self.delta))

    @property
    def transient_peak(self) -> int:
        """The most transient bytes alive at the same time."""
        return int(self.live.max(initial=0))

    @property
    def peak(self) -> int:
        """The most bytes alive at the same time: ``static + transient_peak``, total bytes."""
        return self.static + self.transient_peak

    @property
    def peak_event(self) -> int:
        """The position of the event at which the peak is reached first; −1 without events."""
        return int(self.live.argmax()) if len(self.delta) else -1

    @property
    def peak_step(self) -> int:
        """The step in which the peak is reached first; −1 without events."""
        return int(self.step[self.peak_event]) if len(self.delta) else -1

    @cached_property
    def step_ends(self) -> NDArray[np.int64]:
        """Transient bytes at the end of each step, shape (#steps,)."""
        last = np.searchsorted(self.step, np.arange(len(self.phases)), side="right")
        return _read_only(np.concatenate([[0], self.live])[last])

    @cached_property
    def step_peaks(self) -> NDArray[np.int64]:
        """The most transient bytes alive within each step, shape (#steps,)."""
        peaks = np.concatenate([[0], self.step_ends])[:-1] if len(self.phases) else self.step_ends.copy()
        inside = self.step >= 0
        np.maximum.at(peaks, self.step[inside], self.live[inside])
        return _read_only(peaks)

    @property
    def profile(self) -> NDArray[np.int64]:
        """The most total bytes alive within each step, shape (#steps,)."""
        return self.step_peaks + self.static

    @cached_property
    def step_peak_events(self) -> NDArray[np.int64]:
        """The number of events up to the peak of each step, shape (#steps,).

        A step peaks where it begins, or after the first of its own events at which more bytes are alive.
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
        """Old name of :attr:`step_peak_events`; deprecated."""
        warnings.warn("Timeline.moments is deprecated; use Timeline.step_peak_events", DeprecationWarning, stacklevel=2)
        return self.step_peak_events

    @cached_property
    def bands(self) -> NDArray[np.int64]:
        """Transient bytes by category at the peak of each step, shape (#steps, #categories)."""
        moved = np.zeros((len(self.delta) + 1, len(Category)), np.int64)
        moved[np.arange(1, len(self.delta) + 1), self.category] = self.delta
        return _read_only(moved.cumsum(axis=0)[self.step_peak_events])

    def alive_at(self, event: int) -> tuple[Alive, ...]:
        """The blocks alive right after an event, largest first.

        Parameters
        ----------
        event : int
            A position in the event arrays, for example ``peak_event``.
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
        """The transient blocks alive at the peak, largest first."""
        return self.alive_at(self.peak_event)

    def __repr__(self) -> str:
        where = ""
        if 0 <= self.peak_step < len(self.step_labels):
            phase = Phase(int(self.phases[self.peak_step])).label
            where = f" in the {phase} step of {self.step_labels[self.peak_step]}"
        return (
            f"Timeline({self.kind} on {self.device}: peak {format_bytes(self.peak)} = "
            f"static {format_bytes(self.static)} + transient {format_bytes(self.transient_peak)}{where})"
        )

    def figure(self, other: Timeline | None = None) -> Any:
        """Memory by category over the steps as a Plotly figure, with the total of ``other`` as a line."""
        return render("timeline_figure", self, other)


def _read_only(array: NDArray[np.int64]) -> NDArray[np.int64]:
    array.setflags(write=False)
    return array
