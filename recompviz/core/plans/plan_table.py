"""The plan table: the distinct plans of a curve with their formula peaks and total peaks.

The slider's unit is total bytes, which only a simulation gives. With both peaks of each plan in the table, a budget in
total bytes is a look-up: the plan of least overhead whose simulated total peak fits. The Explorer sends the table
to the browser once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import parse_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

# number of points of the reduced timeline of each plan, which a page can redraw while the user drags
OUTLINE_POINTS = 256

# the plans to search for: the formula's time-centric or memory-centric optima, or the best ones in real bytes
PlanObjective = Literal["time", "memory", "live"]
# the plans in a table: those, or given plans such as baselines
TableObjective = Literal["time", "memory", "live", "given"]


@dataclass(frozen=True, eq=False)
class PlanTable:
    """One row per plan, by rising overhead. The first row keeps everything, unless a pin excludes that plan.

    Attributes
    ----------
    graph : Graph
    objective : "time", "memory", "live" or "given"
        The formula's time-centric or memory-centric plans, plans searched in simulated bytes, or given plans.
    plans : tuple of Plan
    formula_peaks : numpy.ndarray of int64, shape (#rows,)
        The paper's formula, formula bytes.
    total_peaks : numpy.ndarray of int64, shape (#rows,)
        Simulated, total bytes.
    outlines : numpy.ndarray of float32, shape (#rows, 256)
        Simulated total bytes during the step, see :func:`outline`.
    """

    graph: Graph
    objective: TableObjective
    plans: tuple[Plan, ...]
    formula_peaks: NDArray[np.int64]
    total_peaks: NDArray[np.int64]
    outlines: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        graph: Graph,
        objective: TableObjective,
        plans: Sequence[Plan],
        profile: Callable[[Plan], NDArray[np.int64]],
        *,
        with_keep_all: bool = True,
    ) -> PlanTable:
        """Simulate each plan and sort the rows.

        ``profile`` returns the most total bytes alive within each call of a plan's schedule.
        """
        first = [Plan.keep_all(graph)] if with_keep_all else []
        distinct = {plan.keep_mask.tobytes(): plan for plan in reversed([*first, *plans])}
        rows = sorted(distinct.values(), key=lambda plan: (plan.overhead, -plan.peak))
        profiles = [profile(plan) for plan in rows]
        return cls(
            graph,
            objective,
            tuple(rows),
            np.array([plan.peak for plan in rows], np.int64),
            np.array([peaks.max() for peaks in profiles], np.int64),
            np.stack([outline(peaks) for peaks in profiles]),
        )

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def least_total(self) -> int:
        """The smallest feasible budget, total bytes."""
        return int(self.total_peaks.min())

    def row(self, total: int | float | str) -> int:
        """The row of the plan to run under a budget in total bytes.

        Largest overhead for the memory-centric table, least overhead for the others.

        Raises
        ------
        InfeasibleBudget
            If no row fits; the error has the least feasible total.
        """
        budget = parse_bytes(total)
        fitting = np.flatnonzero(self.total_peaks <= budget)
        if len(fitting) == 0:
            raise InfeasibleBudget(budget, self.least_total, "total")
        return int(fitting[-1] if self.objective == "memory" else fitting[0])

    def plan(self, total: int | float | str) -> Plan:
        """The plan to run under a budget in total bytes; see :meth:`row`."""
        return self.plans[self.row(total)]


def outline(profile: NDArray[np.int64]) -> NDArray[np.float32]:
    """A profile in ``OUTLINE_POINTS`` points, each the maximum of an equal part of the profile."""
    steps = len(profile)
    starts = np.arange(OUTLINE_POINTS) * steps // OUTLINE_POINTS
    stops = np.maximum(np.arange(1, OUTLINE_POINTS + 1) * steps // OUTLINE_POINTS, starts + 1)
    # parts overlap if there are fewer steps than points, so reduceat gets both ends, and every second result is used
    ends = np.column_stack([starts, np.minimum(stops, steps)]).ravel()
    most: NDArray[np.int64] = np.maximum.reduceat(np.append(profile, 0), ends)[::2]
    return most.astype(np.float32)
