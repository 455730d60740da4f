"""Several ranks under one budget: the plans of each rank, its memory, and whether it fits the budget.

Ranks with equal memory use are one *lane*. With sharded or replicated parameters, all ranks run the same plan. A plan
then fits the budget if it fits on the rank with the highest peak. In a pipeline, each rank has plans of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes, format_time
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
        The text for the lane, for example ``"ranks 0 to 6"`` or ``"stage 1 of 4"``.
    passes : tuple of Pass
        The passes of a rank of the lane, in the order in which they run.
    forward : tuple of float
        For each stage of the lane, the time of one forward pass in milliseconds.
    stages : tuple of int
        The numbers of the stages of the lane; ``(0,)`` without a pipeline.
    plans : tuple of tuple of Plan
        The plans that a rank can run. A row has one plan for each stage. Later rows recompute more and have a lower
        peak. If all ranks run the same plans, the peak of the fullest rank falls with each row, but the peaks of a
        single lane may be equal.
    overheads : numpy.ndarray of float64, shape (#rows, #stages)
        For each row and stage, the time of recomputation for one micro-batch, in milliseconds.
    peaks : numpy.ndarray of int64, shape (#rows,)
        For each row, the peak of a rank in total bytes (parameters included).
    before : numpy.ndarray of int64, shape (#layers,)
        The bytes of each layer of memory before the step. A layer is a kind of memory; see
        :mod:`recompviz.core.ranks.rank_layers`.
    layers : numpy.ndarray of int64, shape (#rows, #passes, columns + 1, #layers)
        For each row, the bytes of each layer over the passes; see :func:`recompviz.core.ranks.rank_layers.layered`.
    simulate : callable (row) → int
        Simulates the plans of a row again, and returns the peak in total bytes.
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
        """Return the time of each pass in milliseconds, as a dict with the keys (kind of the pass, stage).

        A backward pass takes twice the time of the forward pass, plus the recomputation of the plans in ``row``. The
        time of the optimizer's step is not known. It is set to a twentieth of the time of one forward and one backward
        pass without recomputation.
        """
        found: dict[tuple[str, int], float] = {}
        for stage, forward, extra in zip(self.stages, self.forward, self.overheads[row].tolist(), strict=True):
            found["forward", stage] = forward
            found["backward", stage] = 2 * forward + extra
            found["optimizer", stage] = 0.15 * forward
        return found


@dataclass(frozen=True, eq=False)
class RankBoard:
    """Several ranks under one budget; frozen. A *lane* is a group of ranks with equal memory use.

    Attributes
    ----------
    title : str
        The title in pictures and texts, for example the name of the model's class.
    lanes : tuple of RankLane
        One lane for each kind of rank, or for each rank of a pipeline.
    shared : bool
        Whether all ranks run the same plan. Row i of each lane then has the same plan.
    device : str
        The device for which the step was traced, for example ``"cpu"``.
    schedule : str
        The name of the pipeline's schedule; empty without a pipeline.
    notes : tuple of str
        Sentences on what the prediction leaves out.
    """

    title: str
    lanes: tuple[RankLane, ...]
    shared: bool
    device: str
    schedule: str = ""
    notes: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The least budget in bytes for which every rank has a plan."""
        return max(int(lane.peaks[self._leanest(lane)]) for lane in self.lanes)

    @property
    def most(self) -> int:
        """The largest peak of a rank if no rank recomputes anything, in bytes."""
        return max(int(lane.peaks[0]) for lane in self.lanes)

    def rows(self, budget: float) -> tuple[int, ...]:
        """Return for each lane the number of the first row whose peak is at most ``budget`` bytes.

        The rows are those of :attr:`RankLane.plans`. If no row of a lane fits, the last one is returned. If all ranks
        run the same plan, all lanes get the same row: the first one that fits on every rank.
        """
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
        """Return the peak of each lane in bytes. ``rows`` has for each lane the number of a row."""
        return tuple(int(lane.peaks[row]) for lane, row in zip(self.lanes, rows, strict=True))

    def order(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return the positions of the lanes in ``lanes``, by falling peak. ``rows`` is as for :meth:`peaks`."""
        peaks = self.peaks(rows)
        return tuple(sorted(range(len(self.lanes)), key=lambda i: (-peaks[i], i)))

    def times(self, rows: Sequence[int]) -> list[list[tuple[float, float]]]:
        """Return for each lane the start and the end of each pass, in milliseconds from the start of the step.

        ``rows`` is as for :meth:`peaks`.
        """
        durations = [lane.durations(row) for lane, row in zip(self.lanes, rows, strict=True)]
        return pass_times([lane.passes for lane in self.lanes], durations)

    def length(self, rows: Sequence[int]) -> float:
        """Return the time of the whole step in milliseconds. ``rows`` is as for :meth:`peaks`."""
        return max((stop for lane in self.times(rows) for _, stop in lane), default=0.0)

    @cached_property
    def shown_layers(self) -> tuple[int, ...]:
        """The positions in ``LAYERS`` of the layers that have bytes on at least one rank under at least one plan."""
        return tuple(i for i in range(len(LAYERS)) if any(lane.layers[..., i].max() > 0 for lane in self.lanes))

    def table(self, budget: float) -> str:
        """Return a text with one line for each lane, highest peak first, and the notes.

        ``budget`` is the budget of each rank in bytes. A line has the peak of the plans that :meth:`rows` chooses for
        the lane, the bytes that are free or missing, and the time of recomputation.
        """
        rows = self.rows(budget)
        peaks = self.peaks(rows)
        lines = [f"{self.title}: {format_bytes(budget)} for each rank"]
        width = max(len(lane.name) for lane in self.lanes)
        for i in self.order(rows):
            extra = float(self.lanes[i].overheads[rows[i]].sum())
            per = " for each micro-batch" if self.schedule else ""
            recomputes = f"recomputes {format_time(extra)}{per}" if extra else "recomputes nothing"
            lines.append(
                f"  {self.lanes[i].name:<{width}}  peak {format_bytes(peaks[i]):>9}  "
                f"{fit_text(peaks[i], budget)}; {recomputes}"
            )
        return "\n".join([*lines, *self.notes])


def fit_text(peak: int, budget: float) -> str:
    """Return a text: how many bytes of a budget a peak leaves free, or by how many bytes the peak exceeds the budget.

    Examples
    --------
    >>> fit_text(1024, 2048), fit_text(2048, 1024)
    ('1.00 KiB free', 'short by 1.00 KiB')
    """
    return f"{format_bytes(budget - peak)} free" if peak <= budget else f"short by {format_bytes(peak - budget)}"
