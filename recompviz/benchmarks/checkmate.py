"""The optimal recomputation of a training step, by the mixed-integer program of Checkmate.

A training step of N operator calls has N stages. Stage t computes call t for the first time, and may compute earlier
calls again. Variables:

  R[t, i]        call i is computed in stage t
  S[t, i]        the result of call i is held from stage t − 1 into stage t
  FREE[t, i, k]  in stage t the result of call i is freed right after call k
  U[t, k]        bytes alive while stage t computes call k

Calls run in the traced order, and each call runs at most once in a stage. Values and gradients may be recomputed in
every stage, so every canonical strategy is a solution. The variables FREE need not be integers. Freeing memory is never
worse, so an optimal solution gives FREE the largest value that its constraints allow.

Source: Jain et al. 2020 (arXiv 1910.02653), sections 4.3 to 4.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

import numpy as np

from recompviz.core.steps.joint import JointGraph

try:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array
except ImportError as error:
    raise ImportError(f"the exact benchmark needs SciPy ({error}): pip install recompviz[test]") from error

# Largest distance of an integer variable from an integer.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Optimum:
    """The result of the integer program.

    Attributes
    ----------
    value : float
        The objective of the best solution found: cost of the recomputed calls, or bytes. Infinite if none was found.
    bound : float
        A lower bound on the objective of all solutions; infinite if it is proven that no solution exists.
    proven : bool
        Whether it is proven that ``value`` is optimal, or that no solution exists.
    computed : numpy.ndarray of bool, shape (N, N), or None
        Element [t, i] says whether stage t of the best solution computes call i; the diagonal is True. None if no
        solution was found.
    """

    value: float
    bound: float
    proven: bool
    computed: Any = None


def least_overhead(
    joint: JointGraph, costs: Sequence[float], budget: int, seconds: float = inf, at_most: float = inf
) -> Optimum:
    """Compute the least cost of recomputation with which a training step fits into a budget.

    Parameters
    ----------
    joint : JointGraph
        Call i must allocate storage i and no other, as in :func:`recompviz.core.steps.paper_model.paper_step`.
    costs : sequence of float
        Cost of each call, in any unit.
    budget : int
        The most bytes that may be alive at the same time.
    seconds : float
        Time limit of the solver.
    at_most : float
        Upper bound on the cost. The cost of a known solution speeds up the search.

    Returns
    -------
    Optimum
        ``value`` is the cost of the recomputed calls.

    Raises
    ------
    ValueError
        If a call does not allocate the storage of its own number.
    RuntimeError
        If the solver fails.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> from recompviz.core.steps.paper_model import paper_step
    >>> joint = paper_step(Graph.from_edges([(0, 1), (1, 2), (2, 3)], memory=[1] * 4))
    >>> [least_overhead(joint, [1] * 8, budget).value for budget in (5, 3, 2)]
    [0.0, 3.0, inf]
    """
    model = _Model(joint)
    for variable in model.memory.values():
        model.upper[variable] = budget
    objective = {variable: float(costs[i]) for (_, i), variable in model.computed.items()}
    if at_most < inf:
        model.add([*objective.items()], at_most)
    whole = all(float(cost).is_integer() for cost in costs)
    return model.solve(objective, seconds, whole)


def least_memory(joint: JointGraph, seconds: float = inf) -> Optimum:
    """Compute the least number of bytes in which a training step can run, with any amount of recomputation.

    Parameters
    ----------
    joint : JointGraph
        As for :func:`least_overhead`.
    seconds : float
        Time limit of the solver.

    Returns
    -------
    Optimum
        ``value`` is the peak in bytes.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> from recompviz.core.steps.paper_model import paper_step
    >>> least_memory(paper_step(Graph.from_edges([(0, 1), (1, 2), (2, 3)], memory=[1] * 4))).value
    3.0
    """
    model = _Model(joint)
    most = model.variable(inf)
    for variable in model.memory.values():
        model.add([(variable, 1), (most, -1)], 0)
    return model.solve({most: 1.0}, seconds, whole=True)


class _Model:
    """Variables and constraints of the program for one training step, without budget and objective."""

    def __init__(self, joint: JointGraph) -> None:
        self.upper: list[float] = []
        self.whole: list[int] = []
        self.rows: list[tuple[list[tuple[int, float]], float, float]] = []
        self.sizes = joint.sizes
        self.reads = [call.reads for call in joint.calls]
        self.count = len(joint.calls)
        if any(call.makes != (i,) for i, call in enumerate(joint.calls)):
            raise ValueError("each call must make one storage of its own number; see recompviz.core.steps.paper_model")
        self.users: list[list[int]] = [[j for j, reads in enumerate(self.reads) if i in reads]
                                       for i in range(self.count)]  # fmt: skip
        pairs = [(t, i) for t in range(self.count) for i in range(t)]
        self.computed = {pair: self.variable(1, whole=1) for pair in pairs}
        self.held = {pair: self.variable(1, whole=1) for pair in pairs}
        self.memory = {(t, k): self.variable(inf) for t in range(self.count) for k in range(t + 1)}
        for t in range(self.count):
            self._dependencies(t)
            self._bytes(t)

    def variable(self, upper: float, whole: int = 0) -> int:
        """Add a variable between 0 and ``upper``, integer if ``whole`` is 1; return its index."""
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.upper) - 1

    def add(self, terms: list[tuple[int, float]], at_most: float, at_least: float = -inf) -> None:
        """Add the constraint ``at_least`` ≤ sum of variable × factor ≤ ``at_most``; ``terms``: (variable, factor)."""
        self.rows.append((terms, at_least, at_most))

    def _dependencies(self, t: int) -> None:
        """Add the constraints of stage t: which results are available to its calls, and that none is idle."""
        for i in range(t):
            for j in (j for j in self.users[i] if j <= t):
                # R[t, j] ≤ R[t, i] + S[t, i], where R[t, t] = 1
                have: list[tuple[int, float]] = [(self.computed[t, i], -1), (self.held[t, i], -1)]
                if j < t:
                    self.add([(self.computed[t, j], 1), *have], 0)
                else:
                    self.add(have, -1)
            # no call is computed whose result is held: useless, and excluding it narrows the search
            self.add([(self.computed[t, i], 1), (self.held[t, i], 1)], 1)
            # S[t, i] ≤ R[t − 1, i] + S[t − 1, i], where R[t − 1, t − 1] = 1
            if i < t - 1:
                before: list[tuple[int, float]] = [(self.computed[t - 1, i], -1), (self.held[t - 1, i], -1)]
                self.add([(self.held[t, i], 1), *before], 0)
            # a held or computed result is used in this stage or held for the next: excludes useless solutions, too
            if t not in self.users[i]:
                used: list[tuple[int, float]] = [(self.computed[t, j], -1) for j in self.users[i] if j < t]
                if t + 1 < self.count:
                    used.append((self.held[t + 1, i], -1))
                self.add([(self.computed[t, i], 1), (self.held[t, i], 1), *used], 0)

    def _bytes(self, t: int) -> None:
        """Add the constraints U[t, k] = U[t, k − 1] − bytes freed after call k − 1 + bytes that call k allocates."""
        sizes = self.sizes
        for k in range(t + 1):
            terms: list[tuple[int, float]] = [(self.memory[t, k], 1)]
            if k:
                terms.append((self.memory[t, k - 1], -1))
                for i in (*self.reads[k - 1], k - 1):
                    freed = self._freed(t, i, k - 1)
                    if freed >= 0:
                        terms.append((freed, sizes[i]))
            else:
                terms += [(self.held[t, i], -sizes[i]) for i in range(t)]
            makes = 0.0
            if k < t:
                terms.append((self.computed[t, k], -sizes[k]))
            else:
                makes = sizes[t]
            self.add(terms, makes, makes)

    def _freed(self, t: int, i: int, k: int) -> int:
        """Add the variable FREE[t, i, k] for k < t and return its index.

        Return −1 if call t reads storage i, because i then stays alive until the end of the stage.
        """
        if t in self.users[i]:
            return -1
        free = self.variable(1)
        self.add([(free, 1), (self.computed[t, k], -1)], 0)
        if t + 1 < self.count:
            self.add([(free, 1), (self.held[t + 1, i], 1)], 1)
        for j in (j for j in self.users[i] if k < j < t):
            self.add([(free, 1), (self.computed[t, j], 1)], 1)
        return free

    def solve(self, objective: dict[int, float], seconds: float, whole: bool) -> Optimum:
        """Minimize the objective. ``whole`` means that its value is an integer for every solution."""
        weights = np.zeros(len(self.upper))
        for variable, weight in objective.items():
            weights[variable] = weight
        entries = [(r, v, factor) for r, (terms, _, _) in enumerate(self.rows) for v, factor in terms]
        r, v, factor = (np.array(column) for column in zip(*entries, strict=True))
        matrix = coo_array((factor.astype(float), (r, v)), shape=(len(self.rows), len(self.upper))).tocsr()
        low, high = np.array([row[1] for row in self.rows]), np.array([row[2] for row in self.rows])
        found = milp(
            weights,
            integrality=np.array(self.whole),
            bounds=Bounds(np.zeros(len(self.upper)), np.array(self.upper)),
            constraints=LinearConstraint(matrix, low, high),
            options={"time_limit": seconds, "mip_rel_gap": 0.0} if seconds < inf else {"mip_rel_gap": 0.0},
        )
        if found.status == 2:
            return Optimum(inf, inf, True)
        if found.status not in (0, 1):
            raise RuntimeError(f"the solver gave up with status {found.status}: {found.message}")
        bound = float(found.mip_dual_bound) if found.mip_dual_bound is not None else 0.0
        bound = float(ceil(bound - TOLERANCE)) if whole and abs(bound) < inf else bound
        if found.x is None:
            return Optimum(inf, bound, False)
        value = float(found.fun)
        value = float(round(value)) if whole else value
        computed = np.eye(self.count, dtype=np.bool_)
        for (t, i), variable in self.computed.items():
            computed[t, i] = found.x[variable] > 0.5
        return Optimum(value, bound, found.status == 0 or bound >= value - TOLERANCE, computed)
