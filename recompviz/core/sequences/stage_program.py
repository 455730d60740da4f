"""Linear and integer programs whose values are lower bounds on the cost of extra computations.

Some positions of the base order are chosen as *points*. They divide the base order into intervals. Interval k ends with
point k. The last interval has the positions after the last point. The variables of the program take values from 0 to 1:

*present*   Value v is in memory while the value of point k is computed, and that computation does not read it.
*again*     Value v is computed again in interval k.
*held*      Value v is in memory during the whole interval k. Used only if each interval has one position.

Each sequence gives values of 0 and 1 that fulfil these constraints:

- A value that is present at a point was present at the point before, or is computed in the interval between.
- A value that a first computation of an interval reads was present at the point before, or is computed in the interval.
- The same holds for a value that an extra computation of the interval reads.
- At each point, the value computed, those that it reads and those present fit in the budget.
- A value is held if it is present at the points before and after the interval, or read by the first computation of the
  interval and present at the point before, and is not computed again in the interval.
- While a value is computed again, the value, those that it reads and those held fit in the budget.

The least cost of the variables *again* is therefore a lower bound for every sequence. With variables of only 0 and 1,
the bound is larger. Constraints of the last two kinds are many, so each is added when a solution violates it. Other
memory during the extra computations of an interval is not counted. The bound is computed from the dual solution: any
multipliers λ ≥ 0 of the constraints give a lower bound by weak duality, so an inexact solution gives a valid bound.

Source: the stages of Jain et al. 2020 (arXiv 1910.02653), with intervals instead of single stages.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.bounds.memory_program import (
    INFEASIBLE,
    SAFETY,
    TOLERANCE,
    dual_value,
    integer_program,
    largest_of_parts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.sequences.ordered_graph import OrderedGraph


@dataclass(frozen=True)
class Bound:
    """A lower bound on the cost of extra computations.

    Attributes
    ----------
    cost : float
        In the unit of ``OrderedGraph.time``. Infinite if it is proven that no sequence fits in the budget.
    extra : list of (int, int)
        The extra computations (stage, value) of a solution in which every variable is 0 or 1; empty if no such solution
        was found. The sequence with these computations may need more memory than the budget.
    """

    cost: float
    extra: list[tuple[int, int]]


class StageProgram:
    """The linear program of one :class:`OrderedGraph` and one budget. :meth:`bound` needs scipy.

    Parameters
    ----------
    graph : OrderedGraph
    budget : int
        Bytes.
    most_points : int
        The largest number of points, the positions that divide the base order into intervals. More points usually give
        a larger bound, and take longer.
    """

    def __init__(self, graph: OrderedGraph, budget: int, most_points: int) -> None:
        self._graph, self._budget = graph, budget
        n = len(graph)
        profile = graph.profile(range(n))
        self._points = largest_of_parts(profile, 0, n, most_points)
        self._interval = np.searchsorted(self._points, np.arange(n))
        # the last first computation that reads a value, or a value that is computed again from it
        self._last_need = [-1] * n
        for v in reversed(range(n)):
            self._last_need[v] = max((max(w, self._last_need[w]) for w in graph.readers[v]), default=-1)
        self._columns: dict[tuple[str, int, int], int] = {}
        self._costs: list[float] = []
        self._rows: list[tuple[list[tuple[int, float]], float]] = []
        self._counted: set[tuple[int, int]] = set()  # pairs (v, k) whose memory during *again* is counted
        for v in range(n):
            self._constrain(v)
        self._count_memory()

    # ------------------------------------------------------------ variables

    def _column(self, kind: str, v: int, k: int, cost: float) -> int:
        column = self._columns.setdefault((kind, v, k), len(self._costs))
        if column == len(self._costs):
            self._costs.append(cost)
        return column

    def _present(self, v: int, k: int) -> int | None:
        """Return the column of *present*; None if the value is not computed or not needed any more."""
        at = self._points[k]
        return self._column("present", v, k, 0.0) if v < at < self._last_need[v] else None

    def _again(self, v: int, k: int) -> int | None:
        """Return the column of *again*; None if an extra computation in interval k would be of no use."""
        first, last = self._ends(k)
        return (
            self._column("again", v, k, float(self._graph.time[v])) if v < last and first < self._last_need[v] else None
        )

    def _ends(self, k: int) -> tuple[int, int]:
        """Return the point before interval k, and the last position of the interval."""
        first = self._points[k - 1] if k else -1
        return first, self._points[k] if k < len(self._points) else len(self._graph) - 1

    # ------------------------------------------------------------ constraints

    def _source(self, v: int, k: int) -> list[tuple[int, float]] | None:
        """Return terms whose sum is at most −1 if v can be read in interval k; None if it can be in every case."""
        if self._interval[v] == k or (k and v == self._points[k - 1]):
            return None
        columns = (self._present(v, k - 1), self._again(v, k))
        return [(column, -1.0) for column in columns if column is not None]

    def _constrain(self, v: int) -> None:
        reads, readers = self._graph.reads[v], self._graph.readers[v]
        for k in range(int(self._interval[v]), len(self._points) + 1):
            first, last = self._ends(k)
            source = self._source(v, k)
            if source is not None:
                if any(first < w <= last for w in readers):
                    self._rows.append((source, -1.0))
                elif k < len(self._points) and (column := self._present(v, k)) is not None:
                    self._rows.append(([(column, 1.0), *source], 0.0))
            if (column := self._again(v, k)) is not None:
                for u in reads:
                    if (source := self._source(u, k)) is not None:
                        self._rows.append(([(column, 1.0), *source], 0.0))

    def _count_memory(self) -> None:
        graph, memory = self._graph, self._graph.memory
        self._fits = True
        for k, at in enumerate(self._points):
            needed = {at, *graph.reads[at]}
            room = self._budget - int(memory[list(needed)].sum())
            self._fits &= room >= 0
            terms = [
                (column, float(memory[v]) / max(self._budget, 1))
                for v in range(at)
                if v not in needed and (column := self._present(v, k)) is not None
            ]
            self._rows.append((terms, room / max(self._budget, 1)))

    # ------------------------------------------------------------ solutions

    def columns(self) -> int:
        """Return the number of variables."""
        return len(self._costs)

    def bound(self, seconds: float = math.inf, whole: bool = False) -> Bound:
        """Solve the program. Return the bound that the solution proves.

        The cost of the bound is 0 if the time was too short to prove more.

        Parameters
        ----------
        seconds : float
            Wall-clock limit of the solver; by default, there is none.
        whole : bool
            Whether the variables must be 0 or 1. Otherwise they may take any value from 0 to 1.
        """
        if not self._fits:
            return Bound(math.inf, [])
        end = time.monotonic() + seconds
        best = Bound(0.0, [])
        while True:
            solved, solution = self._solve(max(0.1, end - time.monotonic()), whole)
            best = Bound(max(best.cost, solved.cost), solved.extra or best.extra)
            if solution is None or not self._count_extra_memory(solution) or time.monotonic() > end:
                return best

    def _solve(self, seconds: float, whole: bool) -> tuple[Bound, NDArray[np.float64] | None]:
        """Solve the program with the constraints so far. Return the bound and the solution, if there is one."""
        from scipy.optimize import linprog
        from scipy.sparse import csc_array

        lengths = [len(terms) for terms, _ in self._rows]
        flat = [term for terms, _ in self._rows for term in terms]
        rows = np.repeat(np.arange(len(lengths)), lengths)
        values, columns = np.array([value for _, value in flat]), np.array([c for c, _ in flat], np.int64)
        matrix = csc_array((values, (rows, columns)), shape=(len(lengths), len(self._costs)))
        rhs, costs = np.array([value for _, value in self._rows]), np.array(self._costs)
        unit = float(self._graph.time.sum()) or 1.0
        limit = {"time_limit": seconds} if math.isfinite(seconds) else {}
        if not len(costs):
            return Bound(0.0, []), None
        if whole:
            bound, solution = integer_program(costs / unit, matrix, rhs, np.ones(len(costs)), seconds)
            return Bound(bound * unit, self._extra(solution) if solution is not None else []), solution
        solved = linprog(costs / unit, matrix, rhs + TOLERANCE, bounds=(0, 1), options=limit)
        if solved.status == INFEASIBLE:
            return Bound(math.inf, []), None
        if solved.status != 0:
            return Bound(0.0, []), None
        multipliers = np.maximum(-solved.ineqlin.marginals, 0.0) * unit
        value = dual_value(multipliers, costs, matrix, rhs, np.ones(len(costs)))
        error = SAFETY * (unit + np.abs(multipliers) @ np.abs(rhs))
        return Bound(max(0.0, value - float(error)), []), solved.x

    def _count_extra_memory(self, solution: NDArray[np.float64]) -> bool:
        """Add the constraints on memory during extra computations that a solution violates. Return whether it does."""
        graph, memory = self._graph, self._graph.memory
        if len(self._points) < len(graph):
            return False  # an interval has several positions
        again: dict[int, list[tuple[int, int]]] = {}
        for (kind, v, k), column in self._columns.items():
            if kind == "again" and solution[column] > 1e-6 and k < len(graph) and (v, k) not in self._counted:
                again.setdefault(k, []).append((v, column))
        added = False
        for k, values in again.items():
            held = self._held(k)
            shares = {
                v: max(0.0, constant + sum(value * solution[c] for c, value in terms))
                for v, (terms, constant) in held.items()
            }
            for v, column in values:
                needed = {v, *graph.reads[v]}
                room = int(memory[list(needed)].sum())
                others = {w: share for w, share in shares.items() if w not in needed}
                used = room * solution[column] + sum(int(memory[w]) * share for w, share in others.items())
                if used > self._budget * (1 + 1e-6):
                    self._counted.add((v, k))
                    unit = max(self._budget, 1)
                    terms = [(self._held_column(w, k, *held[w]), float(memory[w]) / unit) for w in others]
                    self._rows.append(([(column, room / unit), *terms], 1.0))
                    added = True
        return added

    def _held(self, k: int) -> dict[int, tuple[list[tuple[int, float]], float]]:
        """Return terms and a constant for each value; *held* is at least their sum. The interval k is one position."""
        held = {}
        for v in range(k):
            terms, constant = [], 0.0
            if v < k - 1:
                before = self._present(v, k - 1)
                if before is None:
                    continue
                terms.append((before, 1.0))
            else:
                constant = 1.0  # it is computed just before the interval
            if v not in self._graph.reads[k]:
                after = self._present(v, k)
                if after is None:
                    continue
                terms.append((after, 1.0))
                constant -= 1.0
            again = self._again(v, k)
            held[v] = ([*terms, *([(again, -1.0)] if again is not None else [])], constant)
        return held

    def _held_column(self, v: int, k: int, terms: list[tuple[int, float]], constant: float) -> int:
        """Return the column of *held* for value v and interval k.

        The first call for v and k adds the column, and the constraint *held* ≥ ``constant`` + the sum of ``terms``.
        """
        new = ("held", v, k) not in self._columns
        column = self._column("held", v, k, 0.0)
        if new:
            self._rows.append(([*terms, (column, -1.0)], -constant))
        return column

    def _extra(self, solution: NDArray[np.float64]) -> list[tuple[int, int]]:
        """Return the extra computations of a solution. Each is just before the first reader of its interval."""
        again: dict[int, list[int]] = {}
        for (kind, v, k), column in self._columns.items():
            if kind == "again" and solution[column] > 0.5:
                again.setdefault(k, []).append(v)
        extra = []
        for k, values in again.items():
            first, last = self._ends(k)
            stage_of: dict[int, int] = {}
            for v in sorted(values, reverse=True):
                uses = [w for w in self._graph.readers[v] if first < w <= last]
                uses += [stage_of[w] for w in self._graph.readers[v] if w in stage_of]
                stage_of[v] = max(min(uses, default=last), v + 1)
            extra += [(stage, v) for v, stage in stage_of.items()]
        return extra
