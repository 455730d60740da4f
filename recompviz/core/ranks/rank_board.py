"""Several ranks under one budget: the plans of each, what each holds, and which of them do not fit.

Ranks with equal memory use are one *lane*. With sharded or replicated parameters, all ranks run one plan, and the
fullest rank decides. In a pipeline, each rank has plans of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes
from recompviz.core.ranks.rank_layers import LAYERS, Pass
from recompviz.core.ranks.schedule_times import pass_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recompviz.core.plans.plan import Plan


@dataclass(frozen=True, eq=False)
class RankLane:
    """Ranks with equal memory use, and their plans; frozen.

    Attributes
    ----------
    name : str
        For example ``"ranks 0 to 6"`` or ``"stage 1 of 4"``.
    passes : tuple of Pass
        In the order in which they run.
    forward : tuple of float
        The time of a forward pass of each of the lane's stages, in milliseconds.
    stages : tuple of int
        The stages of the lane; ``(0,)`` without a pipeline.
    plans : tuple of tuple of Plan
        For each row, the plan of each stage. Later rows recompute more and have a lower peak.
    overheads : numpy.ndarray of float64, shape (#rows, #stages)
        Recomputation of one micro-batch in milliseconds.
    peaks : numpy.ndarray of int64, shape (#rows,)
        Total bytes.
    before : numpy.ndarray of int64, shape (#layers,)
        Bytes of each layer before the step.
    layers : numpy.ndarray of int64, shape (#rows, #passes, columns + 1, #layers)
        See :func:`recompviz.core.ranks.rank_layers.layered`.
    simulate : callable (row) → int
        Simulates a row again, and returns its peak.
    """

    name: str
    passes: tuple[Pass, ...]
    forward: tuple[float, ...]
    stages: tuple[int, ...]
    plans: tuple[tuple[Plan, ...], ...]
    overheads: NDArray[np.float64]
    peaks: NDArray[np.int64]
    before: NDArray[np.int64]
    layers: NDArray[np.int64]
    simulate: Callable[[int], int] = field(repr=False)

    def durations(self, row: int) -> dict[tuple[str, int], float]:
        """Return the time of each kind of pass of each stage; a backward pass takes twice its forward pass.

        The optimizer's step is drawn as a twentieth of the passes; its time is not known.
        """
        found: dict[tuple[str, int], float] = {}
        for stage, forward, extra in zip(self.stages, self.forward, self.overheads[row].tolist(), strict=True):
            found["forward", stage] = forward
            found["backward", stage] = 2 * forward + extra
            found["optimizer", stage] = 0.15 * forward
        return found


@dataclass(frozen=True, eq=False)
class RankBoard:
    """Several ranks under one budget; frozen.

    Attributes
    ----------
    title : str
        The title of the view, for example the name of the model's class.
    lanes : tuple of RankLane
        One for each kind of rank, or for each stage of a pipeline.
    shared : bool
        Whether all ranks run one plan; the rows of the lanes then have the same plans.
    device : str
        The device that the step was traced for, for example ``"cpu"``.
    schedule : str
        The name of the pipeline's schedule; empty without a pipeline.
    notes : tuple of str
        What the prediction does not know.
    """

    title: str
    lanes: tuple[RankLane, ...]
    shared: bool
    device: str
    schedule: str = ""
    notes: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The least budget that every rank fits, in bytes."""
        return max(int(lane.peaks[self._leanest(lane)]) for lane in self.lanes)

    @property
    def most(self) -> int:
        """The largest peak without recomputation, in bytes."""
        return max(int(lane.peaks[0]) for lane in self.lanes)

    def rows(self, budget: float) -> tuple[int, ...]:
        """Return for each lane the row of least recomputation that fits a budget; if none fits, its last row."""
        if self.shared:
            count = len(self.lanes[0].peaks)
            fits = (r for r in range(count) if all(lane.peaks[r] <= budget for lane in self.lanes))
            return (next(fits, self._leanest(self.lanes[0])),) * len(self.lanes)
        return tuple(
            next((r for r, peak in enumerate(lane.peaks.tolist()) if peak <= budget), self._leanest(lane))
            for lane in self.lanes
        )

    def _leanest(self, lane: RankLane) -> int:
        return len(lane.peaks) - 1

    def peaks(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return the peak of each lane in bytes; ``rows`` has the row of each lane."""
        return tuple(int(lane.peaks[row]) for lane, row in zip(self.lanes, rows, strict=True))

    def order(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return the positions of the lanes by falling peak; ``rows`` has the row of each lane."""
        peaks = self.peaks(rows)
        return tuple(sorted(range(len(self.lanes)), key=lambda i: (-peaks[i], i)))

    def times(self, rows: Sequence[int]) -> list[list[tuple[float, float]]]:
        """Return for each lane the start and the end of each pass, in milliseconds."""
        durations = [lane.durations(row) for lane, row in zip(self.lanes, rows, strict=True)]
        return pass_times([lane.passes for lane in self.lanes], durations)

    def length(self, rows: Sequence[int]) -> float:
        """Return the time of the whole step in milliseconds."""
        return max((stop for lane in self.times(rows) for _, stop in lane), default=0.0)

    @cached_property
    def shown_layers(self) -> tuple[int, ...]:
        """The positions in ``LAYERS`` of layers that have bytes on some rank."""
        return tuple(i for i in range(len(LAYERS)) if any(lane.layers[..., i].max() > 0 for lane in self.lanes))

    def table(self, budget: float) -> str:
        """Return the ranks under a budget of bytes as a text, the highest peak first."""
        rows = self.rows(budget)
        peaks = self.peaks(rows)
        lines = [f"{self.title}: {format_bytes(budget)} for each rank"]
        width = max(len(lane.name) for lane in self.lanes)
        for i in self.order(rows):
            extra = float(self.lanes[i].overheads[rows[i]].sum())
            per = " for each micro-batch" if self.schedule else ""
            recomputes = f"recomputes {extra:.3g} ms{per}" if extra else "recomputes nothing"
            lines.append(
                f"  {self.lanes[i].name:<{width}}  peak {format_bytes(peaks[i]):>9}  "
                f"{fit_text(peaks[i], budget)}; {recomputes}"
            )
        return "\n".join([*lines, *self.notes])


def fit_text(peak: int, budget: float) -> str:
    """Return how many bytes of a budget a peak leaves free, or how many are missing, as text.

    Examples
    --------
    >>> fit_text(1024, 2048), fit_text(2048, 1024)
    ('1.00 KiB free', 'short by 1.00 KiB')
    """
    return f"{format_bytes(budget - peak)} free" if peak <= budget else f"short by {format_bytes(peak - budget)}"
