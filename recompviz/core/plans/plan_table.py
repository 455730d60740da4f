"""The plan table: every distinct plan of a curve with its formula peak and its total peak.

The slider's unit is the total the device will see, which only a simulation knows. The table holds,
for each plan, both figures, so that a budget in total bytes is a look-up: the plan of least
overhead whose simulated total peak fits. It is what the Explorer sends to the browser, once.
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

# each plan's timeline, reduced to this many points, so that a page can redraw it while dragging
OUTLINE_POINTS = 256

# what plans are sought: the formula's time-centric or memory-centric optima, or the best found in real bytes
PlanObjective = Literal["time", "memory", "live"]
# what a table holds: those, or plans that were given, such as baselines
TableObjective = Literal["time", "memory", "live", "given"]


@dataclass(frozen=True, eq=False)
class PlanTable:
    """One row a plan, by rising overhead; the first row is the baseline that keeps everything, unless a pin forbids it.

    Attributes
    ----------
    graph : Graph
    objective : "time", "memory", "live" or "given"
        The formula's time-centric or memory-centric plans, those searched for in simulated bytes, or any others.
    plans : tuple of Plan
    formula_peaks : numpy.ndarray of int64, shape (#rows,)
        The paper's formula, formula bytes.
    total_peaks : numpy.ndarray of int64, shape (#rows,)
        Simulated, total bytes.
    outlines : numpy.ndarray of float32, shape (#rows, 256)
        Simulated total bytes along the step, each point the most of its stretch.
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
        """Simulate every plan and order the rows; ``profile`` gives a plan's total bytes step by step."""
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
        """The smallest total budget that some row fits, total bytes."""
        return int(self.total_peaks.min())

    def row(self, total: int | float | str) -> int:
        """The row of the plan to run under a budget in total bytes.

        Largest overhead for the memory-centric table, least overhead for the others.

        Raises
        ------
        InfeasibleBudget
            If no row fits; it carries the least total that does.
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
    """Total bytes along the step in ``OUTLINE_POINTS`` points, each the most of its stretch of the profile."""
    steps = len(profile)
    starts = np.arange(OUTLINE_POINTS) * steps // OUTLINE_POINTS
    stops = np.maximum(np.arange(1, OUTLINE_POINTS + 1) * steps // OUTLINE_POINTS, starts + 1)
    # stretches overlap where there are fewer steps than points, so reduceat gets both ends and every other answer
    ends = np.column_stack([starts, np.minimum(stops, steps)]).ravel()
    most: NDArray[np.int64] = np.maximum.reduceat(np.append(profile, 0), ends)[::2]
    return most.astype(np.float32)
