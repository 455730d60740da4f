"""A linear program whose value is a lower bound on recomputation.

Some backward calls are chosen as *points*. Point 0 is the start of the backward pass. Interval k has the backward
calls after point k − 1, up to and including the call of point k. The last interval has the calls after the last point.
The *fixed bytes* of a call are the bytes that every strategy holds while the call runs. The variables of the program
take values from 0 to 1:

*present*   Storage s is in memory while the call of point k runs.
*again*     Call c runs again in interval k, before the last call of the interval.

Each strategy gives values of 0 and 1 that fulfil these constraints, so that the least cost is a lower bound:

- A storage present at a point was present at the point before, or its maker runs again in the interval between. Its
  maker is the call that allocates it.
- A storage that a backward call of an interval reads was present at the point before the interval, or its maker runs
  again in the interval.
- The same holds for a storage that a forward call reads when it runs again in the interval.
- At each point, and at some forward calls, the fixed bytes and the bytes present fit in the budget.

With ``once``, the bound is for strategies that run each call at most once more, just before the backward call that
needs it, and hold its outputs until their last use. The schedule of a plan is such a strategy.

The bound is computed from the dual solution: any multipliers λ ≥ 0 of the constraints give a lower bound by weak
duality, so an inexact solution gives a valid bound. For fixed λ, the bound is a linear function of the budget, and is
valid for every budget. With variables of only 0 and 1, the same program gives a larger bound for one budget: the dual
bound that the solver has proven when it ends, less the solver's tolerances. States of the random generator, and memory
while a call runs again, are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.bounds.uses import Uses

# the share of a forward pass by which a bound is lowered, for rounding errors of its sums
SAFETY = 1e-9
# the solver's status for a program without solution
INFEASIBLE = 2
# the integer solver's own tolerances: each constraint is relaxed by this much, and the bound is lowered by this share
TOLERANCE = 2e-6
# the integer solver stops when it has proven its solution to be within this share of the optimum
CLOSE = 0.002


class LinearBound(NamedTuple):
    """A lower bound on recomputation as a function of the budget: ``value + slope * budget``; slope ≤ 0.

    The budget is in transient bytes, the bound in the unit of ``graph.time``.
    """

    value: float
    slope: float


class Relaxation:
    """The linear program of one training step. Budgets are in transient bytes. The class needs scipy.

    Parameters
    ----------
    uses : Uses
    most_points : int
        The largest number of backward calls, and of forward calls, at which memory is counted. More points usually give
        a larger bound, and take longer.
    once : bool
        Whether the bound is only for strategies that run each forward call at most once more, as the docstring of the
        module explains.
    """

    def __init__(self, uses: Uses, most_points: int, once: bool) -> None:
        self._uses, self._once = uses, once
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []
        self._rhs: list[float] = []
        self._memory_rows: list[int] = []
        self._columns_of: dict[tuple[str, int, int], int] = {}
        self._upper: list[float] = []
        joint = uses.joint
        self.scale = float(max(joint.allocated.sum(), 1))
        forward = joint.forward_count
        self.points = [forward - 1, *largest_of_parts(uses.fixed, forward, len(joint.calls), most_points)]
        self.interval = np.searchsorted(self.points, np.arange(len(joint.calls)))
        # the first backward call that reads a storage, and the first one that reads an output of a call
        self._first_read = [
            min((r for r in readers if r >= forward), default=len(joint.calls)) for readers in uses.readers
        ]
        self._first_direct = [
            min((self._first_read[s] for s in call.makes), default=len(joint.calls)) for call in joint.calls[:forward]
        ]
        self._constrain(most_points)

    # ------------------------------------------------------------ variables

    def _present(self, s: int, k: int) -> int:
        """Return the column of *present*; −1 if the storage is present under every strategy of the family."""
        uses, at = self._uses, self.points[k]
        if not uses.optional[s] or (k > 0 and at in uses.readers[s]):
            return -1
        if self._once and k > 0 and self._first_read[s] <= at < uses.readers[s][-1]:
            return -1  # its call ran again before the first read of the backward pass, if at all
        return self._column("present", s, k)

    def _again(self, c: int, k: int) -> int:
        """Return the column of *again*; −1 if the call never runs again in the interval."""
        call = self._uses.joint.calls[c]
        if call.pinned or (self._once and k > self.interval_of(self._first_direct[c])):
            return -1
        if max((self._uses.last_need[s] for s in call.makes), default=-1) <= self.points[k - 1]:
            return -1
        return self._column("again", c, k)

    def interval_of(self, call: int) -> int:
        """Return the number of the interval that contains a backward call.

        The call of point k is the last call of interval k.
        """
        return int(self.interval[call]) if call < len(self.interval) else len(self.points)

    def _column(self, kind: str, i: int, k: int) -> int:
        column = self._columns_of.setdefault((kind, i, k), len(self._upper))
        if column == len(self._upper):
            self._upper.append(1.0)
        return column

    # ------------------------------------------------------------ constraints

    def _row(self, terms: list[tuple[int, float]], rhs: float) -> int:
        """Add the constraint Σ value · column ≤ rhs. Terms of column −1 are left out."""
        row = len(self._rhs)
        for column, value in terms:
            if column >= 0:
                self._rows.append(row)
                self._columns.append(column)
                self._values.append(value)
        self._rhs.append(rhs)
        return row

    def _source(self, s: int, k: int) -> list[tuple[int, float]] | None:
        """Return terms whose sum is at most −1 if s can be read in interval k; None if it can be in every case."""
        before = self._present(s, k - 1)
        if before < 0:
            return None
        return [(before, -1.0), (self._again(self._uses.joint.storages[s].maker, k), -1.0)]

    def _constrain(self, most_points: int) -> None:
        uses, joint, points = self._uses, self._uses.joint, self.points
        calls, forward, intervals = joint.calls, joint.forward_count, len(self.points)
        optional = np.flatnonzero(uses.optional & (uses.last_need >= 0)).tolist()
        for s in optional:
            direct = {self.interval_of(c) for c in uses.readers[s] if c >= forward}
            for k in range(1, intervals + 1):
                if points[k - 1] >= uses.last_need[s]:
                    break
                source = self._source(s, k)
                if source is None:
                    continue
                if k in direct:
                    self._row(source, -1.0)
                elif k < intervals and uses.last_need[s] > points[k]:
                    self._row([(self._present(s, k), 1.0), *source], 0.0)
        for c in range(forward):
            again = [(k, self._again(c, k)) for k in range(1, intervals + 1)]
            again = [(k, column) for k, column in again if column >= 0]
            for k, column in again:
                for s in calls[c].reads:
                    if uses.optional[s] and (source := self._source(s, k)):
                        self._row([(column, 1.0), *source], 0.0)
            if self._once:
                self._row([(column, 1.0) for _, column in again], 1.0)
                readers = [r for s in calls[c].makes for r in uses.readers[s]]
                direct = {self.interval_of(r) for r in readers if r >= forward}
                for k, column in again:  # something in the same interval reads an output
                    if k not in direct:
                        reruns = [(self._again(r, k), -1.0) for r in set(readers) if r < forward]
                        self._row([(column, 1.0), *reruns], 0.0)
        self._count_memory(optional, most_points)
        self._count_costs(intervals)
        self._assemble()

    def _count_memory(self, optional: list[int], most_points: int) -> None:
        uses, joint, size = self._uses, self._uses.joint, self._uses.joint.allocated
        forward = joint.forward_count
        for k, at in enumerate(self.points[1:], 1):
            terms, fixed = [], int(uses.fixed[at])
            for s in optional:
                if uses.last_need[s] > at and at not in uses.readers[s]:
                    column = self._present(s, k)
                    fixed += int(size[s]) if column < 0 else 0
                    terms.append((column, size[s] / self.scale))
            self._memory_rows.append(self._row(terms, -fixed / self.scale))
        last_read = {s: max((r for r in uses.readers[s] if r < forward), default=-1) for s in optional}
        for at in largest_of_parts(uses.fixed, 0, forward, most_points):
            terms = [
                (self._present(s, 0), size[s] / self.scale)
                for s in optional
                if max(joint.storages[s].maker, last_read[s]) < at
            ]
            self._memory_rows.append(self._row(terms, -int(uses.fixed[at]) / self.scale))

    def _count_costs(self, intervals: int) -> None:
        uses = self._uses
        self._cost: dict[int, float] = {}
        for v, node_calls in enumerate(uses.node_calls):
            again = [[self._again(c, k) for k in range(1, intervals + 1)] for c in node_calls]
            columns = [[column for column in row if column >= 0] for row in again]
            if len(node_calls) == 1 or not uses.graph.time[v]:
                for column in (column for row in columns for column in row):
                    self._cost[column] = self._cost.get(column, 0.0) + float(uses.graph.time[v])
            else:
                whole = self._column("node", v, 0)
                self._upper[whole] = 1.0 if self._once else float(intervals)
                self._cost[whole] = float(uses.graph.time[v])
                for row in columns:
                    self._row([*((column, 1.0) for column in row), (whole, -1.0)], 0.0)

    def _assemble(self) -> None:
        from scipy.sparse import csc_array

        shape = (len(self._rhs), len(self._upper))
        self.matrix = csc_array((self._values, (self._rows, self._columns)), shape=shape)
        self.rhs, self.upper = np.array(self._rhs), np.array(self._upper)
        self.cost = np.zeros(shape[1])
        self.cost[list(self._cost)] = list(self._cost.values())
        self.unit = float(self._uses.graph.time.sum()) or 1.0

    # ------------------------------------------------------------ solutions

    def line(self, budget: int) -> LinearBound | None:
        """Solve the program for a budget. Return a lower bound on recomputation as a function of the budget.

        The bound is valid for every budget. At the given budget, it is the least cost of the program, less a margin for
        rounding errors. Return None if the solver finds no solution, for example because no strategy fits the budget.
        """
        from scipy.optimize import linprog

        rhs = self.rhs.copy()
        rhs[self._memory_rows] += budget / self.scale
        solved = linprog(self.cost / self.unit, self.matrix, rhs, bounds=np.stack([0 * self.upper, self.upper], axis=1))
        if solved.status != 0:
            return None
        multipliers = np.maximum(-solved.ineqlin.marginals, 0.0) * self.unit
        value = dual_value(multipliers, self.cost, self.matrix, self.rhs, self.upper)
        error = SAFETY * (self.unit + np.abs(multipliers) @ np.abs(rhs))
        return LinearBound(value - float(error), -float(multipliers[self._memory_rows].sum()) / self.scale)

    def integer_bound(self, budget: int, seconds: float) -> float:
        """Solve the integer program for a budget. Return the lower bound that is proven, in the unit of ``graph.time``.

        The bound is 0 if the time is too short to prove one, and infinite if no strategy fits in the budget.
        ``seconds`` is the time limit.
        """
        rhs = self.rhs.copy()
        rhs[self._memory_rows] += budget / self.scale
        bound, _ = integer_program(self.cost / self.unit, self.matrix, rhs, self.upper, seconds, CLOSE)
        return bound * self.unit

    def least_peak(self, most: int) -> int:
        """Return a lower bound on the peak of every strategy of the family, in transient bytes.

        It is 0 if the solver finds none. ``most`` is the peak of some strategy in transient bytes, for example of the
        strategy that keeps every value.
        """
        from scipy.optimize import linprog
        from scipy.sparse import csc_array, hstack

        column = np.zeros((len(self.rhs), 1))
        column[self._memory_rows] = -1.0
        matrix = csc_array(hstack([self.matrix, column]))
        upper = np.append(self.upper, most / self.scale)
        cost = np.append(np.zeros(len(self.upper)), 1.0)
        solved = linprog(cost, matrix, self.rhs, bounds=np.stack([0 * upper, upper], axis=1))
        if solved.status != 0:
            return 0
        multipliers = np.maximum(-solved.ineqlin.marginals, 0.0)
        value = dual_value(multipliers, cost, matrix, self.rhs, upper)
        return max(0, int(np.ceil((value - SAFETY) * self.scale - 0.5)))


def integer_program(
    cost: NDArray[np.float64],
    matrix: Any,
    rhs: NDArray[np.float64],
    upper: NDArray[np.float64],
    seconds: float,
    close: float = 1e-4,
) -> tuple[float, NDArray[np.float64] | None]:
    """Return a lower bound on ``cost @ x`` and the best solution found, over integer x with ``matrix @ x <= rhs``.

    Costs are shares of a forward pass, and x is from 0 to ``upper``. The bound is 0 if ``seconds`` are too short to
    prove one, and infinite if there is no such x. The solution is None if the solver found none. The solver stops when
    its solution is proven to be within ``close`` of the optimum, as a share of the optimum. The solver is exact only up
    to its tolerances, so each constraint is relaxed by ``TOLERANCE``, and the bound is lowered by ``TOLERANCE``.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    options = {"mip_rel_gap": close} | ({"time_limit": seconds} if np.isfinite(seconds) else {})
    solved = milp(
        cost,
        integrality=np.ones(len(upper)),
        bounds=Bounds(0.0 * upper, upper),
        constraints=LinearConstraint(matrix, -np.inf, rhs + TOLERANCE),
        options=options,
    )
    if solved.status == INFEASIBLE:
        return float("inf"), None
    proven = solved.mip_dual_bound
    bound = max(0.0, float(proven) - TOLERANCE) if proven is not None and np.isfinite(proven) else 0.0
    return bound, solved.x


def dual_value(
    multipliers: NDArray[np.float64],
    cost: NDArray[np.float64],
    matrix: Any,
    rhs: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> float:
    """Return a lower bound on ``cost @ x`` over all x from 0 to ``upper`` with ``matrix @ x <= rhs``.

    By weak duality, the bound is valid for all multipliers ≥ 0 of the constraints.
    """
    return float(-(multipliers @ rhs) + np.minimum(cost + matrix.T @ multipliers, 0.0) @ upper)


def largest_of_parts(fixed: NDArray[np.int64], start: int, stop: int, most: int) -> list[int]:
    """Divide a range of positions into parts. Return for each part the position at which ``fixed`` is largest.

    The positions ``start`` to ``stop − 1`` are divided into at most ``most`` parts of about equal length.
    """
    parts = np.array_split(np.arange(start, stop), max(1, min(most, stop - start)))
    return [int(part[int(np.argmax(fixed[part]))]) for part in parts if len(part)]
