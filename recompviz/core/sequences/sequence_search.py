"""The least expensive computation sequence that fits in a memory budget, with a proven lower bound.

1. One or two linear programs give a lower bound, or prove that no sequence fits; see
   :mod:`recompviz.core.sequences.stage_program`. Without scipy, there are no programs, and the bound is 0.
2. Simulated annealing searches for sequences, in runs of growing length, until the time is over or a sequence costs no
   more than the bound.
3. If time is left, an integer program raises the bound. If it has a solution, the last runs start from this solution.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.arguments import expect_number, shown
from recompviz.core.base.compiled_code import has_numba
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.bounds.bound_curve import has_scipy
from recompviz.core.bounds.memory_program import TOLERANCE
from recompviz.core.sequences.ordered_graph import OrderedGraph
from recompviz.core.sequences.stage_program import Bound, StageProgram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recompviz.core.graphs.graph import Graph, Name

# Points of two linear programs. More points usually give a larger bound, but not always. The second program has fewer
# if it would have more than about MOST_PRESENT variables *present*.
FEW_POINTS, POINTS, MOST_PRESENT = 20, 200, 40_000
# the most variables of an integer program
MOST_WHOLE = 60_000
# proposals of the first annealing run; each further run has twice as many
PROPOSALS = 50_000
# temperature at the start and at the end, as shares of the mean cost of a value
HEAT = (1.0, 0.01)
# share of the peak of the base order above the budget, at one position, that costs as much as one value of mean cost
PRICED_SHARE = 0.05
# share of the time for annealing before the integer program, and the share of the integer program
FIRST_SHARE, WHOLE_SHARE = 0.15, 0.4
# the reasons of the errors: see ``InfeasibleBudget.estimated``
PROVEN, NOT_FOUND = "a proven lower bound", "no sequence was found, but one may exist"
# the search ends this close to the bound, as a share of the cost of all values; more than an integer bound is lowered
NEAR = 2 * TOLERANCE


@dataclass(frozen=True, eq=False)
class ComputationSequence:
    """The values of a graph in the order in which they are computed, with repetitions; frozen.

    Attributes
    ----------
    values : tuple of names
        The name of the value computed at each position.
    peak : int
        The largest number of bytes in memory at any position.
    overhead : float
        The cost of the repeated computations, in the unit of ``graph.time``.
    bound : float
        A lower bound on the overhead, in the unit of ``graph.time``. It holds for each sequence within the budget
        whose first computations of the values are in the same order as here. 0 if scipy is not installed.
    total : float
        The cost of computing each value once, in the unit of ``graph.time``.
    budget : int
        The budget in bytes.
    """

    values: tuple[Name, ...]
    peak: int
    overhead: float
    bound: float
    total: float
    budget: int

    @property
    def gap(self) -> float:
        """How far the overhead is above its lower bound, as a share of ``total``: (overhead − bound) / total."""
        return max(0.0, self.overhead - self.bound) / self.total if self.total else 0.0

    def __repr__(self) -> str:
        extra = self.overhead / self.total if self.total else 0.0
        return (
            f"ComputationSequence({len(self.values)} computations, peak {format_bytes(self.peak)}, "
            f"+{extra:.2%} time, at most {self.gap:.2%} above the optimum)"
        )


def shortest_sequence(
    graph: Graph,
    budget: int | float | str,
    order: Sequence[Name] | None = None,
    seconds: float = 60.0,
    seed: int = 0,
) -> ComputationSequence:
    """Search for the least expensive sequence of computations within a memory budget.

    Every value may be computed again at any later position. This is the model of Checkmate (arXiv 1910.02653) and
    Moccasin (arXiv 2304.14463), in which the graph has the values of forward and backward pass. For the training step
    of a traced model, use :func:`recompviz.trace` and its planner instead.

    Parameters
    ----------
    graph : Graph
        All values of the computation, with sizes in bytes and costs in any unit.
    budget : int, float or str
        Bytes, or a string such as ``"10 GiB"``.
    order : sequence of names, optional
        The order in which the nodes are computed for the first time. It must be a topological order of all nodes.
        Default: ``graph.order``.
    seconds : float
        Processor time of the search, in seconds. The search ends earlier if it finds a sequence that costs no more than
        the lower bound. For a large graph it may take longer, because a run that has begun is completed.
    seed : int
        Seed of the random proposals, from 0 to 2⁶⁴ − 1.

    Returns
    -------
    ComputationSequence

    Raises
    ------
    InfeasibleBudget
        If no sequence was found that fits in the budget. If it is proven that there is none, the attribute ``least`` of
        the error is a lower bound on the least feasible budget. Otherwise ``least`` is a budget in which a sequence
        fits. The attribute ``estimated`` says which of the two is the case.
    GraphError
        If ``order`` is not a topological order of the nodes.
    TypeError
        If ``budget`` is neither a number nor a string, ``order`` is not a sequence, or ``seed`` is not a whole number.
    ValueError
        If ``budget`` is not a size, ``seconds`` is not a number above 0, or ``seed`` is out of its range.
    ImportError
        If numba is not installed.

    Examples
    --------
    >>> from recompviz import Graph
    >>> graph = Graph.from_edges(
    ...     [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")], memory=dict(a=2, b=3, c=3, d=1)
    ... )
    >>> shortest_sequence(graph, 6, seconds=1).values
    ('a', 'b', 'c', 'a', 'd')
    """
    if not has_numba():
        raise ImportError("the search for sequences needs numba: pip install recompviz[fast]")
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"seconds is {shown(seconds)}, expected a number above 0; write seconds=60")
    expect_number(seed, Integral, "seed", "a whole number from 0 to 2⁶⁴ − 1")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {shown(seed)}, expected a whole number from 0 to 2⁶⁴ − 1; write seed=0")
    limit = parse_bytes(budget)
    ordered = OrderedGraph.from_graph(graph, order)
    total = float(ordered.time.sum())
    clock = _Clock(float(seconds))
    bound, stages = _first_bound(ordered, limit, clock)
    if math.isinf(bound.cost):
        raise InfeasibleBudget(limit, max(ordered.working_set(), limit + 1), "sequence", PROVEN)
    runs = _AnnealingRuns(ordered, limit, seed)
    near = NEAR * total
    runs.until(bound.cost + near, clock, FIRST_SHARE if stages is not None else 1.0)
    if stages is not None and runs.cost > bound.cost + near and clock.left(1.0) > 0:
        whole = stages.bound(seconds=max(0.1, WHOLE_SHARE * clock.seconds), whole=True)
        if math.isinf(whole.cost) and not math.isfinite(runs.cost):
            raise InfeasibleBudget(limit, limit + 1, "sequence", PROVEN)
        if math.isfinite(whole.cost) and whole.cost > bound.cost:
            bound = whole
        if whole.extra:
            runs.begin_from(whole.extra)
        runs.until(bound.cost + near, clock, 1.0)
    if not math.isfinite(runs.cost):
        raise InfeasibleBudget(limit, runs.least_peak(), "sequence", NOT_FOUND)
    sequence = ordered.sequence(runs.extra)
    peak = int(ordered.profile(sequence).max(initial=0))
    return ComputationSequence(
        tuple(ordered.names[v] for v in sequence), peak, runs.cost, min(bound.cost, runs.cost), total, limit
    )


class _Clock:
    """Processor time since the start of a search."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._start = seconds, time.process_time()

    def left(self, share: float) -> float:
        """Return the seconds until a share of the time is over; negative afterwards."""
        return share * self.seconds - (time.process_time() - self._start)


def _first_bound(ordered: OrderedGraph, budget: int, clock: _Clock) -> tuple[Bound, StageProgram | None]:
    """Return the bound of the linear programs, and the last of them if it is small enough for whole numbers."""
    if ordered.working_set() > budget:
        return Bound(math.inf, []), None
    if not has_scipy():
        return Bound(0.0, []), None
    seconds, best = max(0.1, FIRST_SHARE * clock.seconds), Bound(0.0, [])
    stages = StageProgram(ordered, budget, FEW_POINTS)
    if len(ordered) > FEW_POINTS:
        best = stages.bound(seconds)
        stages = StageProgram(ordered, budget, max(FEW_POINTS, min(POINTS, MOST_PRESENT // len(ordered))))
    best = max(best, stages.bound(seconds), key=lambda bound: bound.cost)
    return best, stages if stages.columns() <= MOST_WHOLE else None


class _AnnealingRuns:
    """Runs of simulated annealing. They keep the best extra computations found, and their cost."""

    def __init__(self, ordered: OrderedGraph, budget: int, seed: int) -> None:
        from recompviz.core.sequences.annealing_kernels import GraphArrays, Positions

        n = len(ordered)
        most = 4 * n + 64
        lengths = [len(row) for row in ordered.reads]
        start = np.zeros(n + 1, np.int64)
        start[1:] = np.cumsum(lengths)
        reads = np.array([u for row in ordered.reads for u in row], np.int64)
        self._arrays = GraphArrays(ordered.memory.astype(np.int64), ordered.time.astype(np.float64), start, reads)
        at = [np.zeros(n + most + 2, np.int64) for _ in range(4)]
        self._positions = Positions(at[0], at[1], at[2], at[3], np.zeros(n, np.int64), np.zeros(n, np.int64))
        self._ordered, self._budget, self._most = ordered, budget, most
        self._rng = np.array([seed], np.uint64)
        self._best = np.zeros((most, 2), np.int64)
        self._start: list[tuple[int, int]] = []
        self._proposals = PROPOSALS
        mean = float(ordered.time.mean()) or 1.0
        self._heat = (HEAT[0] * mean, HEAT[1] * mean)
        profile = ordered.profile(range(n))
        self._price = mean / (PRICED_SHARE * max(1, int(profile.max(initial=1))))
        self.extra: list[tuple[int, int]] = []
        self.cost = 0.0 if int(profile.max(initial=0)) <= budget else math.inf

    def begin_from(self, extra: list[tuple[int, int]]) -> None:
        """Use these extra computations as the start of the next run."""
        self._start = sorted(extra, key=lambda pair: pair[0])[: self._most]

    def until(self, cost: float, clock: _Clock, share: float) -> None:
        """Run until a sequence of at most this cost is found, or the share of the time is over. Run at least once."""
        from recompviz.core.sequences.annealing_kernels import anneal

        left = clock.seconds
        while self.cost > cost and left > 0:
            before = clock.left(1.0)
            extra = np.zeros((self._most, 2), np.int64)
            for i, pair in enumerate(self._start):
                extra[i] = pair
            heat = self._heat if not self._start else (self._heat[1] * 10, self._heat[1])
            count, found = anneal(
                extra, len(self._start), self._best, tuple(self._arrays), tuple(self._positions), self._budget,
                self._proposals, heat, self._price, self._rng,
            )  # fmt: skip
            if found < self.cost:
                self.cost = float(found)
                self.extra = [(int(stage), int(v)) for stage, v in self._best[:count]]
            used, left = before - clock.left(1.0), clock.left(share)
            # the next run takes twice as long, but no longer than the time left
            grow = min(2.0, max(0.25, left / max(used, 1e-3)))
            self._proposals = max(1000, int(self._proposals * grow))
            # every second run starts from the best sequence found
            self._start = list(self.extra) if not self._start else []

    def least_peak(self) -> int:
        """Return a number of bytes in which a sequence fits: the peak of the base order."""
        return int(self._ordered.profile(range(len(self._ordered))).max(initial=0))
