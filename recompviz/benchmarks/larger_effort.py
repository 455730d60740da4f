"""Search longer for plans and bounds at one budget, to find the reason for the gap between them.

The gap between a plan and the bound for all strategies has three parts. The plan may be worse than the best plan; this
part is at most the gap between the plan and the bound for plans. The best plan may be worse than the best strategy,
because a plan runs each call at most once more and holds what it made. And the bound may be below what any strategy
needs. The larger effort for each part:

*plan*      The integer program for plans counts memory at every backward call. The keep mask of its solution is
            simulated; if it does not fit, values are dropped. Annealing follows, with several weights and seeds. In
            every second turn, the weight adapts to the budget.
*strategy*  The integer program for all strategies also counts memory at every backward call. Its solution is a
            strategy, whose peak is simulated. If it fits, plans are worse than strategies by at least the difference.
*bound*     The bounds that the two programs prove.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.benchmarks.repeated_runs import needed_runs, peak_of_runs
from recompviz.core.bounds.plan_program import PlanProgram
from recompviz.core.bounds.relaxation import Relaxation
from recompviz.core.bounds.uses import Uses
from recompviz.core.live.candidates import Candidates
from recompviz.core.live.model import LiveModel
from recompviz.core.live.moves import Moves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

# steps of at most this many calls get a point at every backward call in the program for all strategies, others POINTS
FEW, POINTS = 350, 20
# the same for the program for plans, which is smaller
FEW_FOR_PLANS, POINTS_FOR_PLANS = 700, 80
# the weight and temperature of annealing are multiplied by these in turn
FACTORS = (1.0, 0.3, 3.0, 0.1)
# proposals of one annealing, per node
TRIES = 200
# a difference below this share of the forward pass is none
SMALLEST = 1e-3


@dataclass(frozen=True)
class Found:
    """The result at one budget, in shares of the cost of a forward pass.

    Attributes
    ----------
    before : float
        The overhead of the plan that was known before the effort.
    any_before, any_after : float
        The bound for all strategies, before and after the effort.
    plan : float
        The least overhead of the plans that fit, after the effort.
    plans_after : float
        The bound for plans, after the effort.
    strategy : float
        The overhead of the best strategy that fits; infinite if none with less overhead than the plan was found.
    """

    before: float
    any_before: float
    any_after: float
    plan: float
    plans_after: float
    strategy: float

    @property
    def sides(self) -> str:
        """Why plan and bound are apart, as text; ``"unknown"`` if the effort found nothing better.

        ``"search"``: a better plan was found. ``"plans"``: a strategy that is no plan recomputes less than the best
        plan found. ``"bound"``: the bound for all strategies rose.
        """
        sides = []
        if self.before - self.plan > SMALLEST:
            sides.append("search")
        if self.plan - self.strategy > SMALLEST:
            sides.append("plans")
        if self.any_after - self.any_before > SMALLEST:
            sides.append("bound")
        return ", ".join(sides) or "unknown"


class LargerEffort:
    """A long search for plans and bounds of one training step.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step.
    keep_masks : iterable of numpy.ndarray of bool, shape (#V,)
        The keep masks of the plans found so far. At least one must fit in each budget.
    seconds : float
        The time limit of each integer program, and of annealing at one budget.
    """

    def __init__(
        self, graph: Graph, joint: JointGraph, keep_masks: Iterable[NDArray[np.bool_]], seconds: float
    ) -> None:
        self._graph, self._joint, self._seconds = graph, joint, seconds
        uses, calls = Uses(graph, joint), len(joint.calls)
        self._node_calls = uses.node_calls
        self._plans = PlanProgram(uses, calls if calls <= FEW_FOR_PLANS else POINTS_FOR_PLANS)
        self._strategies = Relaxation(uses, calls if calls <= FEW else POINTS)
        self._candidates = Candidates(LiveModel(graph, joint), np.zeros(len(graph), np.int8))
        for keep_mask in keep_masks:
            self._candidates.add(keep_mask)
        # peak in transient bytes and overhead of the strategies found
        self._strategies_found: list[tuple[int, float]] = []

    def at(self, budget: int, before: float, any_before: float, plans_before: float = 0.0) -> Found:
        """Search at one budget, in transient bytes.

        ``before`` is the known overhead of the plan, ``any_before`` the known bound for all strategies, and
        ``plans_before`` the known bound for plans, in the unit of ``graph.time``.
        """
        forward = float(self._graph.time.sum())
        known_plan = self._candidates.best_within(budget).overhead
        proven, solution = self._plans.integer_solution(budget, self._seconds, known_plan)
        plan = self._search(budget, None if solution is None else self._plans.keep_mask(solution))
        bound = any_before
        # on larger steps, the solver proves less with a known solution
        for known in (None, known_plan) if len(self._joint.calls) <= FEW else (None,):
            proven_now, solution = self._strategies.integer_solution(budget, self._seconds, known)
            bound = max(bound, proven_now)
            if solution is not None:
                self._strategies_found.append(self._simulated(solution))
        fitting = [overhead for peak, overhead in self._strategies_found if peak <= budget and overhead < plan]
        strategy = min(fitting, default=float("inf"))
        values = (before, any_before, bound, plan, max(proven, bound, plans_before), strategy)
        return Found(*(value / forward for value in values))

    def _search(self, budget: int, keep_mask: NDArray[np.bool_] | None) -> float:
        """Return the least overhead of a plan within the budget, after a search from a keep mask and from the best."""
        candidates, moves = self._candidates, Moves(self._candidates)
        found = None if keep_mask is None else candidates.add(keep_mask)
        while found is not None and found.peak > budget:
            found = moves.drop(found, budget)
        if found is not None:
            moves.refill(found, budget)
        end, seed, highest = time.process_time() + self._seconds, 0, candidates.front()[0].peak
        has_blocks = len(moves.repeated.start) > 0
        while time.process_time() < end:
            turn, tries = seed // 2, TRIES * len(self._graph)
            if seed % 2:
                moves.anneal_near(budget, highest, tries, 1000 + seed)
            else:
                blocks = has_blocks and turn % 3 == 0
                scale = int(highest * FACTORS[turn % len(FACTORS)])
                moves.anneal_overhead(budget, scale, tries, 1000 + seed, blocks=blocks)
            for candidate in [candidate for candidate in candidates.front() if candidate.peak <= budget][:3]:
                moves.refill(candidate, budget)
            moves.exchange(budget, candidates.model.simulations + 50 * len(self._graph))
            seed += 1
        return candidates.best_within(budget).overhead

    def _simulated(self, solution: NDArray[np.float64]) -> tuple[int, float]:
        """Return the peak in transient bytes and the overhead of the strategy of a solution."""
        runs = needed_runs(self._joint, self._strategies.runs(solution))
        overhead = 0.0
        for v, calls in enumerate(self._node_calls):
            counts = [sum(c in again for again in runs.values()) for c in calls]
            overhead += float(self._graph.time[v]) * max(counts, default=0)
        return peak_of_runs(self._joint, runs), overhead
