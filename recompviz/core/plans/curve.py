"""The trade-off curve: the optimal plans of a graph for all budgets.

There are two objectives. A *time-centric* plan has the least overhead (cost of recomputation) under a budget, a
*memory-centric* plan the largest. For each objective, a solver returns the Pareto front of overhead and peak, and a
function that computes the lower-set sequence of a point of this front. The plan for a budget then needs no further
search. All peaks are in *formula bytes*: they are computed by the formula of Kusumoto et al. 2019, which counts
intermediate values and their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recompviz.core.base.arguments import expect, shown
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.rendering import render
from recompviz.core.base.units import parse_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.segment_arrays import segments_of_nested

if TYPE_CHECKING:
    from numpy.typing import NDArray

Objective = Literal["time", "memory"]


@dataclass(frozen=True, eq=False)
class ParetoFront:
    """The overhead and the peak of each optimal plan of one objective, by falling peak; frozen.

    The objective is least overhead under a budget (time-centric), or largest overhead under a budget (memory-centric).
    The overhead is the cost of the recomputed nodes. The peak is computed by the paper's formula (:attr:`Plan.peak`). A
    position in the front stands for one plan.

    Attributes
    ----------
    overheads : numpy.ndarray of float64
        In the unit of ``graph.time``. Rising for the time-centric front, falling for the memory-centric front.
    peaks : numpy.ndarray of int64
        Peaks in bytes, strictly falling.
    walk_back : callable (int) → sequence of int
        Returns the lower-set sequence of the plan at a position, as bit masks L₁ … L_k.
    error : float
        For every budget, the overhead differs from the optimum by at most this much, in the unit of ``graph.time``.
    """

    overheads: NDArray[np.float64]
    peaks: NDArray[np.int64]
    walk_back: Callable[[int], Sequence[int]]
    error: float = 0.0

    def __post_init__(self) -> None:
        self.overheads.setflags(write=False)
        self.peaks.setflags(write=False)

    def __len__(self) -> int:
        return len(self.peaks)

    def position(self, budget: int) -> int:
        """Return the position of the optimal plan under a budget in bytes: the first whose peak is at most ``budget``.

        If no plan fits, ``len(self)`` is returned.
        """
        return int(np.searchsorted(-self.peaks, -budget, side="left"))

    def positions(self, most: int) -> list[int]:
        """Return at most ``most`` positions, whose peaks are spread evenly.

        If the front has at most ``most`` points, all positions are returned. Otherwise ``most`` evenly spaced budgets
        are taken from the least to the largest peak, and the position of the optimal plan of each budget is returned.
        Budgets with the same optimal plan give one position.

        Examples
        --------
        >>> front = ParetoFront(np.arange(5.0), np.array([90, 82, 50, 49, 10]), lambda i: [])
        >>> front.positions(5), front.positions(3)
        ([0, 1, 2, 3, 4], [0, 2, 4])
        """
        if len(self) <= most:
            return list(range(len(self)))
        budgets = np.linspace(int(self.peaks[-1]), int(self.peaks[0]), most).astype(np.int64)
        return sorted({self.position(int(budget)) for budget in budgets})


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The optimal plans of a graph for all budgets, as :func:`recompviz.solve` returns them; frozen.

    Attributes
    ----------
    graph : Graph
    family : str
        The family of lower sets that was searched: ``"all"``, ``"paper"`` or ``"prefixes"``; see
        :func:`recompviz.solve`. Each plan is a sequence of lower sets of this family, and is optimal among such
        sequences.
    time_centric, memory_centric : ParetoFront
        The plans of least overhead (cost of recomputation), and of largest overhead, under each budget.
    lower_set_count : int
        The number of lower sets in the family, the empty set and the set of all nodes included.
    note : str
        A message of the solver, for example which family ``"auto"`` chose, and why.
    tolerance : float
        0 if the time-centric plans are optimal. Otherwise, for each budget, the overhead of the time-centric plan
        exceeds the least overhead by at most ``tolerance`` times the cost of all nodes.

    Examples
    --------
    >>> from recompviz.core.exact.solver import solve
    >>> curve = solve(Graph.from_edges([(i, i + 1) for i in range(5)], memory=[1] * 6))
    >>> curve.time_centric.overheads.tolist(), curve.time_centric.peaks.tolist()
    ([1.0, 2.0], [7, 6])
    >>> curve.plan(6).overhead
    2.0
    """

    graph: Graph
    family: str
    time_centric: ParetoFront
    memory_centric: ParetoFront
    lower_set_count: int
    note: str = ""
    tolerance: float = 0.0

    @property
    def least_budget(self) -> int:
        """The least budget in bytes for which there is a plan: the least :attr:`Plan.peak`."""
        return int(self.time_centric.peaks[-1])

    def front(self, objective: Objective) -> ParetoFront:
        """Return the Pareto front of an objective: ``"time"`` for least, ``"memory"`` for largest recomputation.

        Raises
        ------
        ValueError
            If the objective is unknown.
        """
        if objective not in ("time", "memory"):
            raise ValueError(f'objective {objective!r} is unknown; choose "time" or "memory"')
        return self.time_centric if objective == "time" else self.memory_centric

    def plan(self, budget: int | float | str, objective: Objective = "time") -> Plan:
        """Return the optimal plan among the plans whose :attr:`Plan.peak` is within a budget.

        Parameters
        ----------
        budget : int, float or str
            In *formula bytes*, which count intermediate values and their gradients, or a string such as ``"3 GiB"``.
        objective : "time" or "memory"
            ``"time"`` returns the plan that recomputes least, ``"memory"`` the plan that recomputes most. The plan of
            ``"memory"`` often has the lower simulated peak, because each recomputed value is freed after its last use.

        Raises
        ------
        InfeasibleBudget
            If no plan fits. The attribute ``least`` of the error is the least budget for which there is a plan.
        TypeError
            If ``budget`` is neither a number nor a string.
        ValueError
            If the objective is unknown, or ``budget`` is not a size.
        """
        budget = parse_bytes(budget)
        front = self.front(objective)
        position = front.position(budget)
        if position == len(front):
            raise InfeasibleBudget(budget, self.least_budget, "formula")
        return self.plan_at(position, objective)

    def plan_at(self, position: int, objective: Objective = "time") -> Plan:
        """Return the plan at a position of the Pareto front of an objective. Position 0 has the largest peak.

        A negative position counts from the end: −1 has the least peak.

        Raises
        ------
        IndexError
            If the front has no such position.
        TypeError
            If ``position`` is not a whole number.
        ValueError
            If the objective is unknown.
        """
        front = self.front(objective)
        expect(position, Integral, "position", f"a whole number, 0 to {len(front) - 1}")
        if not -len(front) <= position < len(front):
            raise IndexError(f"position is {shown(int(position))}, expected 0 to {len(front) - 1}")
        return Plan.from_segments(self.graph, segments_of_nested(self.graph, front.walk_back(int(position))))

    def plans(self, objective: Objective = "time", most: int | None = None) -> list[Plan]:
        """Return the plans of the Pareto front of an objective, largest :attr:`Plan.peak` first.

        Parameters
        ----------
        objective : "time" or "memory"
            The time-centric or the memory-centric front.
        most : int, optional
            The largest number of plans. If the front has more plans, the optimal plans of ``most`` evenly spaced
            budgets are returned, each plan once. If left out, all plans are returned.

        Raises
        ------
        ValueError
            If the objective is unknown.
        """
        front = self.front(objective)
        return [self.plan_at(i, objective) for i in front.positions(len(front) if most is None else most)]

    def __repr__(self) -> str:
        return (
            f"Tradeoff(family={self.family!r}, {self.lower_set_count:,} lower sets, "
            f"{len(self.time_centric)} time-centric and {len(self.memory_centric)} memory-centric plans, "
            f"least budget {self.least_budget:,} formula bytes)"
        )

    def figure(self) -> Any:
        """Return both Pareto fronts as a Plotly figure: cost of recomputation against :attr:`Plan.peak` in MiB."""
        return render("tradeoff_figure", self)
