"""The plan table: plans with their formula peaks and simulated total peaks.

A budget is in total bytes, but the total peak of a plan is known only from a simulation. A table simulates each plan
once. Finding the plan for a budget is then a look-up. The Explorer sends the table to the browser.
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
from recompviz.core.steps.places import at_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

# number of points of each outline: few enough for a page to redraw it while the user drags
OUTLINE_POINTS = 256

# the plans to search for: the formula's time-centric or memory-centric optima, or the best ones in simulated bytes
PlanObjective = Literal["time", "memory", "live"]
# the plans in a table: plans of such a search, or given plans such as baselines
TableObjective = Literal["time", "memory", "live", "given"]


@dataclass(frozen=True, eq=False)
class PlanTable:
    """Plans with their peaks, sorted by rising overhead; frozen. ``len(table)`` is the number of plans.

    The first plan keeps every value. It is missing if the table was made without it, for example because pins forbid
    it.

    Attributes
    ----------
    graph : Graph
    objective : "time", "memory", "live" or "given"
        Where the plans come from. ``"time"`` and ``"memory"``: the plans of least and of largest recomputation under
        each budget on :attr:`Plan.peak`. ``"live"``: a search that simulates the whole training step. ``"given"``:
        plans that the caller gives, for example baselines.
    plans : tuple of Plan
        One plan for each row. No two plans keep the same values.
    formula_peaks : numpy.ndarray of int64, shape (#rows,)
        :attr:`Plan.peak` of each plan, in bytes of intermediate values and their gradients.
    total_peaks : numpy.ndarray of int64, shape (#rows,)
        The simulated peak of the training step under each plan, in bytes, parameters included.
    outlines : numpy.ndarray of float32, shape (#rows, 256)
        The simulated bytes over the training step, reduced to 256 points for each plan; see :func:`outline`.
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
        shared: NDArray[np.bool_] | None = None,
    ) -> PlanTable:
        """Simulate plans and return their table. Of several plans that keep the same values, the table has the first.

        Parameters
        ----------
        graph : Graph
        objective : "time", "memory", "live" or "given"
            Where the plans come from; the attribute ``objective`` of the table.
        plans : sequence of Plan
        profile : callable (Plan) → numpy.ndarray of int64
            Returns for each step of the plan's schedule (one step per operator call) the largest number of bytes alive,
            parameters included.
        with_keep_all : bool
            Whether to add the plan that keeps every value.
        shared : numpy.ndarray of bool, optional
            For each step of the forward pass, whether ``outlines`` draw it at the place of the step before; see
            :mod:`recompviz.core.steps.places`. If None, each step has its own place.

        Raises
        ------
        ValueError
            If there are no plans: ``plans`` is empty and ``with_keep_all`` is False.
        """
        alone = np.zeros(0, np.bool_) if shared is None else shared
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
            np.stack([outline(at_places(peaks, alone)) for peaks in profiles]),
        )

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def least_total(self) -> int:
        """The least budget for which the table has a plan, in bytes: the least of ``total_peaks``."""
        return int(self.total_peaks.min())

    def row(self, total: int | float | str) -> int:
        """Return the row number of the best plan whose simulated peak, parameters included, fits a budget.

        Of the plans that fit, the best is the plan with the least cost of recomputation. If :attr:`objective` is
        ``"memory"``, the best is the plan with the largest cost of recomputation.

        Parameters
        ----------
        total : int, float or str
            The budget for the whole training step in bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        InfeasibleBudget
            If no plan fits. The attribute ``least`` of the error is the least budget for which there is a plan.
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size.
        """
        budget = parse_bytes(total)
        fitting = np.flatnonzero(self.total_peaks <= budget)
        if len(fitting) == 0:
            raise InfeasibleBudget(budget, self.least_total, "total")
        return int(fitting[-1] if self.objective == "memory" else fitting[0])

    def plan(self, total: int | float | str) -> Plan:
        """Return the best plan whose simulated peak, parameters included, fits a budget.

        Of the plans that fit, the best is the plan with the least cost of recomputation. If :attr:`objective` is
        ``"memory"``, the best is the plan with the largest cost of recomputation.

        Parameters
        ----------
        total : int, float or str
            The budget for the whole training step in bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        InfeasibleBudget
            If no plan fits. The attribute ``least`` of the error is the least budget for which there is a plan.
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size.
        """
        return self.plans[self.row(total)]

    def improved_by(self, other: PlanTable) -> list[Plan]:
        """Return the plans of another table of the same graph that are better than the plans of this table.

        A plan of ``other`` is compared with the plans of this table whose simulated peak (:attr:`total_peaks`) is not
        larger. It is returned if it recomputes less than each of them, or if there are none.
        """
        return [
            plan
            for plan, peak in zip(other.plans, other.total_peaks.tolist(), strict=True)
            if peak < self.least_total or plan.overhead < min(p.overhead for p in self._within(peak))
        ]

    def _within(self, total: int) -> list[Plan]:
        return [self.plans[row] for row in np.flatnonzero(self.total_peaks <= total)]


def outline(profile: NDArray[np.int64]) -> NDArray[np.float32]:
    """Reduce a profile to 256 points. A profile has the largest number of bytes alive in each step of a schedule.

    The profile is divided into 256 equal parts, and each point is the maximum of one part. If the profile has fewer
    than 256 steps, neighbouring points repeat.
    """
    steps = len(profile)
    starts = np.arange(OUTLINE_POINTS) * steps // OUTLINE_POINTS
    stops = np.maximum(np.arange(1, OUTLINE_POINTS + 1) * steps // OUTLINE_POINTS, starts + 1)
    # parts overlap if there are fewer steps than points, so reduceat gets both ends, and every second result is used
    ends = np.column_stack([starts, np.minimum(stops, steps)]).ravel()
    most: NDArray[np.int64] = np.maximum.reduceat(np.append(profile, 0), ends)[::2]
    return most.astype(np.float32)


def check_objective(objective: str) -> None:
    """Raise ValueError unless the text is ``"time"``, ``"memory"`` or ``"live"``."""
    if objective not in ("time", "memory", "live"):
        raise ValueError(f'objective {objective!r} is unknown; choose "time", "memory" or "live"')
