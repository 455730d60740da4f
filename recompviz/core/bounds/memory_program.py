"""A linear program with memory constraints, and the lower bounds that its solutions prove.

The variables are from 0 to an upper limit, and the least cost is a lower bound on recomputation. Each *memory row* says
that some bytes fit in the budget, so one program serves all budgets.

The bound is computed from the dual solution: any multipliers λ ≥ 0 of the constraints give a lower bound by weak
duality, so an inexact solution gives a valid bound. For fixed λ, the bound is a linear function of the budget, and is
valid for every budget. With integer variables, the same program gives a larger bound for one budget: the dual bound
that the solver has proven when it ends, less the solver's tolerances.

A subclass defines the variables and constraints. :mod:`recompviz.core.bounds.relaxation` has a program for all
strategies, and :mod:`recompviz.core.bounds.plan_program` one for plans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


class MemoryProgram:
    """The variables and constraints of a program, and its solutions. Budgets are in transient bytes. It needs scipy.

    A subclass adds columns and rows, then calls :meth:`_assemble`.

    Parameters
    ----------
    scale : float
        The number of bytes that count as 1 in the memory rows.
    unit : float
        The cost of a forward pass, in the unit of ``graph.time``.
    """

    def __init__(self, scale: float, unit: float) -> None:
        self.scale, self.unit = scale, unit
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []
        self._rhs: list[float] = []
        self._memory_rows: list[int] = []
        self._columns_of: dict[tuple[str, int, int], int] = {}
        self._upper: list[float] = []
        self._cost: dict[int, float] = {}
        # the columns whose variables may be fractions in an integer program
        self._fractions: set[int] = set()

    # ------------------------------------------------------------ variables and constraints

    def _column(self, kind: str, i: int, k: int = 0, *, fraction: bool = False) -> int:
        """Return the column of a variable from 0 to 1; a new one if there is none of this kind and these numbers."""
        column = self._columns_of.setdefault((kind, i, k), len(self._upper))
        if column == len(self._upper):
            self._upper.append(1.0)
            if fraction:
                self._fractions.add(column)
        return column

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

    def _memory_row(self, terms: list[tuple[int, float]], fixed: int) -> None:
        """Add the constraint that ``fixed`` bytes and Σ value · column bytes fit in the budget."""
        scaled = [(column, value / self.scale) for column, value in terms]
        self._memory_rows.append(self._row(scaled, -fixed / self.scale))

    def _assemble(self) -> None:
        from scipy.sparse import csc_array

        shape = (len(self._rhs), len(self._upper))
        self.matrix = csc_array((self._values, (self._rows, self._columns)), shape=shape)
        self.rhs, self.upper = np.array(self._rhs), np.array(self._upper)
        self.cost = np.zeros(shape[1])
        self.cost[list(self._cost)] = list(self._cost.values())

    def _rhs_for(self, budget: int) -> NDArray[np.float64]:
        rhs = self.rhs.copy()
        rhs[self._memory_rows] += budget / self.scale
        return rhs

    # ------------------------------------------------------------ solutions

    def line(self, budget: int) -> LinearBound | None:
        """Solve the program for a budget. Return a lower bound on recomputation as a function of the budget.

        The bound is valid for every budget. At the given budget, it is the least cost of the program, less a margin for
        rounding errors. Return None if the solver finds no solution, for example because no strategy fits the budget.
        """
        from scipy.optimize import linprog

        rhs = self._rhs_for(budget)
        solved = linprog(self.cost / self.unit, self.matrix, rhs, bounds=np.stack([0 * self.upper, self.upper], axis=1))
        if solved.status != 0:
            return None
        multipliers = np.maximum(-solved.ineqlin.marginals, 0.0) * self.unit
        value = dual_value(multipliers, self.cost, self.matrix, self.rhs, self.upper)
        error = SAFETY * (self.unit + np.abs(multipliers) @ np.abs(rhs))
        return LinearBound(value - float(error), -float(multipliers[self._memory_rows].sum()) / self.scale)

    def integer_bound(self, budget: int, seconds: float, known: float | None = None) -> float:
        """Solve the integer program for a budget. Return the lower bound that is proven, in the unit of ``graph.time``.

        :meth:`integer_solution` explains the parameters and the bound.
        """
        return self.integer_solution(budget, seconds, known)[0]

    def integer_solution(
        self, budget: int, seconds: float, known: float | None = None
    ) -> tuple[float, NDArray[np.float64] | None]:
        """Solve the integer program for a budget. Return the lower bound that is proven, and the best solution found.

        The bound is in the unit of ``graph.time``, and infinite if the solver proves that no strategy fits in the
        budget. Without ``known``, the bound is 0 if the solver proves none in time. The solution is None if none was
        found, or none with a cost below ``known``.

        Parameters
        ----------
        budget : int
            The budget in transient bytes.
        seconds : float
            The time limit.
        known : float, optional
            The overhead of a strategy that fits in the budget. The bound is then at most ``known``, and the solver
            searches only for less. It needs no solution of its own for a bound.
        """
        if not len(self.upper):  # nothing can run again
            return 0.0, None
        fractions = np.zeros(len(self.upper), np.bool_)
        fractions[list(self._fractions)] = True
        matrix, rhs, cost = self.matrix, self._rhs_for(budget), self.cost / self.unit
        if known is None:
            bound, solution = integer_program(cost, matrix, rhs, self.upper, seconds, CLOSE, fractions)
            return bound * self.unit, solution
        matrix, rhs = with_alternative(matrix, rhs + TOLERANCE, self.upper, np.flatnonzero(~fractions))
        cost, upper = np.append(cost, known / self.unit), np.append(self.upper, 1.0)
        bound, solution = integer_program(cost, matrix, rhs, upper, seconds, CLOSE, np.append(fractions, False))
        own = solution is not None and solution[-1] < 0.5
        return min(bound * self.unit, known), solution[:-1] if solution is not None and own else None

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


def with_alternative(
    matrix: Any, rhs: NDArray[np.float64], upper: NDArray[np.float64], whole: NDArray[np.int64]
) -> tuple[Any, NDArray[np.float64]]:
    """Return the constraints of a program with one more variable z: if z is 1, the variables in ``whole`` are 0.

    The solver then knows a solution from the start, and so reports a bound even if it finds no other solution in time.
    Each right-hand side is multiplied by 1 − z. Each variable whose column is in ``whole`` is at most
    (1 − z) · ``upper``. If z costs at least as much as the least cost over fractions, that least cost does not change.
    """
    from scipy.sparse import csc_array, hstack, vstack

    n = len(upper)
    rows = np.repeat(np.arange(len(whole)), 2)
    columns = np.stack([whole, np.full(len(whole), n)], axis=1).ravel()
    values = np.stack([np.ones(len(whole)), upper[whole]], axis=1).ravel()
    limits = csc_array((values, (rows, columns)), shape=(len(whole), n + 1))
    constraints = hstack([matrix, csc_array(rhs[:, None])])
    return csc_array(vstack([constraints, limits])), np.append(rhs, upper[whole])


def integer_program(
    cost: NDArray[np.float64],
    matrix: Any,
    rhs: NDArray[np.float64],
    upper: NDArray[np.float64],
    seconds: float,
    close: float = 1e-4,
    fractions: NDArray[np.bool_] | None = None,
) -> tuple[float, NDArray[np.float64] | None]:
    """Return a lower bound on ``cost @ x`` and the best solution found, over integer x with ``matrix @ x <= rhs``.

    Costs are shares of a forward pass, and x is from 0 to ``upper``. The numbers of x for which ``fractions`` is True
    need not be integers; if ``fractions`` is None, all must be integers. The bound is 0 if ``seconds`` are too short to
    prove one, and infinite if the solver proves that there is no such x. The solution is None if the solver found none.
    The solver stops when its solution is proven to be within ``close`` of the optimum, as a share of the optimum. The
    solver is exact only up to its tolerances, so each constraint is relaxed by ``TOLERANCE``, and the bound is lowered
    by ``TOLERANCE``.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    options = {"mip_rel_gap": close} | ({"time_limit": seconds} if np.isfinite(seconds) else {})
    solved = milp(
        cost,
        integrality=np.ones(len(upper)) if fractions is None else (~fractions).astype(float),
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
