"""The plan table: every distinct plan of a curve with its formula peak and its total peak.

The slider's unit is the total the device will see, which only a simulation knows. The table holds,
for each plan, both figures, so that a budget in total bytes is a look-up: the plan of least
overhead whose simulated total peak fits. It is what the Explorer sends to the browser, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.errors import InfeasibleBudget
from recompviz.core.graph import Graph
from recompviz.core.plan import Plan
from recompviz.core.timeline import Timeline
from recompviz.core.tradeoff import Objective
from recompviz.core.units import parse_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# each plan's timeline, reduced to this many points, so that a page can redraw it while dragging
OUTLINE_POINTS = 256


@dataclass(frozen=True, eq=False)
class PlanTable:
    """One row a plan, by rising overhead; the first row is the baseline that keeps everything.

    Attributes
    ----------
    graph : Graph
    objective : "time" or "memory"
    plans : tuple of Plan
    formula_peaks : numpy.ndarray of int64, shape (#rows,)
        The paper's formula, formula bytes.
    total_peaks : numpy.ndarray of int64, shape (#rows,)
        Simulated, total bytes.
    outlines : numpy.ndarray of float32, shape (#rows, 256)
        Simulated total bytes along the step, each point the most of its stretch.
    """

    graph: Graph
    objective: Objective
    plans: tuple[Plan, ...]
    formula_peaks: NDArray[np.int64]
    total_peaks: NDArray[np.int64]
    outlines: NDArray[np.float32]

    @classmethod
    def of(
        cls, graph: Graph, objective: Objective, plans: Sequence[Plan], simulate: Callable[[Plan], Timeline]
    ) -> PlanTable:
        """Simulate every plan and order the rows."""
        distinct = {plan.kept.tobytes(): plan for plan in reversed([Plan.keep_all(graph), *plans])}
        rows = sorted(distinct.values(), key=lambda plan: (plan.overhead, -plan.peak))
        timelines = [simulate(plan) for plan in rows]
        return cls(
            graph,
            objective,
            tuple(rows),
            np.array([plan.peak for plan in rows], np.int64),
            np.array([timeline.peak for timeline in timelines], np.int64),
            np.stack([outline(timeline) for timeline in timelines]),
        )

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def least_total(self) -> int:
        """The smallest total budget that some row fits, total bytes."""
        return int(self.total_peaks.min())

    def row(self, total: int | float | str) -> int:
        """The row of the plan to run under a budget in total bytes.

        Least overhead for the time-centric table, largest overhead for the memory-centric one.

        Raises
        ------
        InfeasibleBudget
            If no row fits; it carries the least total that does.
        """
        budget = parse_bytes(total)
        fitting = np.flatnonzero(self.total_peaks <= budget)
        if len(fitting) == 0:
            raise InfeasibleBudget(budget, self.least_total, "total")
        return int(fitting[0] if self.objective == "time" else fitting[-1])

    def plan(self, total: int | float | str) -> Plan:
        """The plan to run under a budget in total bytes; see :meth:`row`."""
        return self.plans[self.row(total)]


def outline(timeline: Timeline) -> NDArray[np.float32]:
    """Total bytes along the step in ``OUTLINE_POINTS`` points, each the most of its stretch."""
    peaks = timeline.step_peaks
    if len(peaks) == 0:
        return np.full(OUTLINE_POINTS, timeline.static, np.float32)
    starts = np.arange(OUTLINE_POINTS) * len(peaks) // OUTLINE_POINTS
    stops = np.maximum(np.arange(1, OUTLINE_POINTS + 1) * len(peaks) // OUTLINE_POINTS, starts + 1)
    # stretches overlap where there are fewer steps than points, so reduceat gets both ends and every other answer
    ends = np.column_stack([starts, np.minimum(stops, len(peaks))]).ravel()
    most = np.maximum.reduceat(np.append(peaks, 0), ends)[::2]
    return (most + timeline.static).astype(np.float32)
