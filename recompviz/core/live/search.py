"""Liveness-aware planning: a curve in the bytes that will be measured.

The formula's curves are optimal in the paper's own memory model. In a real step other things decide:
parameter gradients pile up, backward saves less than every value, blocks die at their last use. Real
peaks are not additive over segments, so no recursion gives the optimum; here every subset of V may be
kept (the family is all keep masks, lower-set boundaries or not), each is judged by the simulated peak of
its real schedule, and the search is local:

*seeds*      every plan of the formula's two curves, and keep-all;
*descent*    from the best of these, drop at each turn the value alive at the peak that lowers the
             excess over the next budget most for its recomputation;
*refill*     keep again, dearest first, whatever fits under the budget reached;
*exchange*   keep one value more than fits and drop others for it, as long as that pays;
*annealing*  what no single step improves, a random walk that grows ever less willing to climb often does: once for
             the least peak of all, and at some budgets for the least recomputation.

The curve is the Pareto front of all plans met, so it is never worse than the formula's plans in real
bytes; it is not proven optimal. How far it is from the best of all masks is measured by brute force
where that can be had (``python -m recompviz.benchmarks.liveness``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.errors import ImpossiblePin
from recompviz.core.graphs.bitsets import bits
from recompviz.core.live.model import LiveModel
from recompviz.core.plans.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph, Name
    from recompviz.core.steps.joint import JointGraph

# what a plan of this search is called
KIND = "live"
# budgets aimed at between keep-all and the least peak
BUDGETS = 96
# candidates tried exactly at each turn of a descent, at first; the others look worse by bytes per time
TRIED = 40

# a descent drops one value at a turn for each so many nodes
MANY = 256
# more seeds than this are thinned out
SEEDS = 2000
# plans refilled at each budget, fewer on graphs of many nodes
REFILLED = 3
# simulated calls spent on exchanges, over all budgets
EFFORT = 40_000_000
# budgets at which a random walk tries for less, every so many of those aimed at
ANNEALED_EVERY = 4
# simulated calls spent on these walks; the one for the least peak takes so many times a budget's share
WALKED = 60_000_000
FLOOR_SHARE = 8
# tries of a walk for each node: more than the most bring nothing, and fewer than the least neither
MOST_TRIES, LEAST_TRIES = 60, 5
# stands for no time at all where one divides by it
TINY = 1e-9


def live_plans(
    graph: Graph,
    joint: JointGraph,
    seeds: Iterable[Plan],
    progress: Progress | None = None,
    *,
    keep: Iterable[Name] = (),
    recompute: Iterable[Name] = (),
    seconds: float = math.inf,
) -> list[Plan]:
    """Plans of falling simulated peak and rising real overhead.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        Of the same step; calibrated, if workspace is to count.
    seeds : iterable of Plan
        Where the search starts, for example both curves of :func:`recompviz.solve`.
    progress : callable (done, total), optional
        Called now and then; raise :class:`recompviz.Cancelled` in it to stop.
    keep, recompute : iterable of node names
        What-if pins: every plan keeps the first, and none keeps the others (but what no backward call asks for is
        not computed twice, and counts as kept).

    seconds : float
        Processor time after which the search stops with the plans found so far.

    Returns
    -------
    list of Plan
        Kind ``"live"``, by rising overhead, where overhead is T of what the schedule really computes
        twice. What no backward call asks for counts as kept.

    Raises
    ------
    ImportError
        Without numba.
    ImpossiblePin
        For a node in both.
    """
    pinned = np.zeros(len(graph), np.int8)
    pinned[list(bits(graph.mask(keep)))] = 1
    for v in bits(graph.mask(recompute)):
        if pinned[v]:
            raise ImpossiblePin(f"{graph.names[v]!r} is pinned both to be kept and to be recomputed; drop one pin")
        pinned[v] = -1
    search = _Search(LiveModel(graph, joint), progress or (lambda _done, _total: None), pinned, seconds)
    starts = [plan.keep_mask for plan in seeds]
    drawn = np.zeros(len(graph), np.bool_)
    drawn[[call.node for call in joint.calls if call.random and call.node >= 0]] = True
    if joint.rng_bytes and drawn.any():
        # to run a random call again takes the generator's state twice over, which the formula knows nothing of
        starts += [kept | drawn for kept in starts]
    return [Plan.from_keep_mask(graph, kept, KIND) for kept in search.run(starts)]


@dataclass(frozen=True, eq=False)
class Met:
    """A plan that was simulated: transient peak in bytes, T of what is really computed twice, what is kept."""

    peak: int
    overhead: float
    kept: NDArray[np.bool_]


class _Search:
    """The plans met so far, and the moves between them."""

    def __init__(
        self, model: LiveModel, progress: Progress, pinned: NDArray[np.int8], seconds: float = math.inf
    ) -> None:
        self.model, self.progress = model, progress
        self.deadline = time.process_time() + seconds
        self.pinned = pinned  # 1 always kept, −1 never
        self.time, self.memory = model.graph.time, model.graph.memory.astype(np.float64)
        self.met: dict[bytes, Met] = {}
        # keep first what costs most time a byte
        dearest = np.argsort(-(self.time + TINY) / (self.memory + 1), kind="stable").astype(np.int64)
        self.dearest = dearest[pinned[dearest] >= 0]
        self.free = np.flatnonzero(pinned == 0).astype(np.int64)
        self.useless = np.zeros(len(self.time), np.int64)  # how often dropping a value lowered nothing
        self.has_constants = any(call.follows for call in model.joint.calls)
        self.at_once = 1 + len(self.time) // MANY

    def run(self, seeds: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
        everything = self.obeying(np.ones(len(self.time), np.bool_))
        thinned = np.unique(np.linspace(0, len(seeds) - 1, SEEDS).astype(int)).tolist() if seeds else []
        for kept in (everything, *(seeds[i] for i in thinned)):
            self.visit(self.obeying(kept))
        highest, lowest = self.front()[0].peak, self.front()[-1].peak
        # down from keep-all, then from where that leaves off or a seed is better already
        step = max(1, (highest - lowest) // BUDGETS)
        self.descend(everything, step)
        for met in self.front():
            self.refill(met.kept, met.peak)
        self.descend(self.front()[-1].kept, step)
        self.settle()
        tries = WALKED // (len(self.model.joint.calls) * (FLOOR_SHARE + BUDGETS // ANNEALED_EVERY))
        if not self.late:
            self.anneal_floor(min(FLOOR_SHARE * tries, 10 * MOST_TRIES * len(self.time)))
        budgets = np.linspace(self.front()[-1].peak, highest, BUDGETS).astype(np.int64).tolist()
        effort = EFFORT // (len(self.model.joint.calls) * len(budgets))
        for done, budget in enumerate(budgets):
            self.progress(done, len(budgets))
            if self.late:
                break
            if done % ANNEALED_EVERY == 0 and tries >= LEAST_TRIES * len(self.time):
                self.anneal(budget, highest, min(tries, MOST_TRIES * len(self.time)), done)
            for met in [met for met in self.front() if met.peak <= budget][: REFILLED // self.at_once or 1]:
                self.refill(met.kept, budget)
            self.exchange(budget, self.model.simulations + effort)
        return [met.kept | self.model.is_view & ~self.model.recomputed_by(met.kept) for met in self.front()]

    @property
    def late(self) -> bool:
        """Whether the search has used its processor time."""
        return time.process_time() > self.deadline

    def obeying(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The same values kept, but for the pinned ones."""
        return (kept | (self.pinned > 0)) & (self.pinned >= 0)

    def visit(self, kept: NDArray[np.bool_]) -> Met:
        """Simulate and remember; what is not really recomputed counts as kept."""
        peak = self.model.peak(np.ascontiguousarray(kept))
        recomputed = self.model.recomputed
        if self.has_constants:  # what follows its readers may stay now, or go
            peak = self.model.peak(~recomputed)
        # a view's flag acts on the call it looks at, which has one of its own: that alone is moved
        found = Met(peak, float(self.time[recomputed].sum()), ~recomputed & ~self.model.is_view)
        return self.met.setdefault(np.packbits(found.kept).tobytes(), found)

    def front(self) -> list[Met]:
        """The Pareto front of what was met: overhead rising, peak falling."""
        front: list[Met] = []
        for met in sorted(self.met.values(), key=lambda met: (met.overhead, met.peak)):
            if not front or met.peak < front[-1].peak:
                front.append(met)
        return front

    def refill(self, kept: NDArray[np.bool_], budget: int) -> Met:
        """Keep again what fits under the budget, most time a byte first."""
        kept = kept.copy()
        self.model.keep_more(kept, self.dearest, budget)
        return self.visit(kept)

    def descend(self, kept: NDArray[np.bool_], step: int) -> None:
        """Drop values alive at the peak until nothing lowers it any more."""
        met: Met | None = self.visit(kept)
        target = met.peak - step if met else 0
        while met is not None:
            met = self.drop(met, target)
            while met is not None and met.peak <= target:
                target -= step

    def drop(self, met: Met, budget: int, rounds: int = 99) -> Met | None:
        """Recompute the value whose loss lowers the excess over the budget most for its time; None if none does.

        Tries those first that have seldom been of no use, of most bytes for their time; in each round twice as many.
        """
        kept = met.kept.copy()
        self.model.peak(kept, budget)
        excess = self.model.excess
        alive = self.model.alive_at_peak(kept)
        alive = alive[self.pinned[alive] <= 0]
        ranked = alive[np.lexsort((-self.memory[alive] / (self.time[alive] + TINY), self.useless[alive]))]
        first = 0
        for k in range(rounds):
            candidates = ranked[first : first + (TRIED << k)]
            first += len(candidates)
            if len(candidates) == 0:
                break
            results = self.model.flip_each(kept, candidates, budget)
            gain = excess - results[:, 1]
            self.useless[candidates] += gain <= 0
            worth = np.where(gain > 0, gain / np.maximum(results[:, 2] - met.overhead, TINY), -1.0)
            best = np.argsort(-worth, kind="stable")[: self.at_once]
            best = best[worth[best] > 0]
            if len(best):
                kept[candidates[best]] = False
                return self.visit(kept)
        return None

    def settle(self) -> None:
        """From the leanest plan met, keep or drop single values as long as that lowers what exceeds a lower peak."""
        every = self.free
        best = self.front()[-1]
        met = best
        for _ in range(len(every)):
            if self.late:
                return
            budget = best.peak - 1 - best.peak // 200
            self.model.peak(met.kept, budget)
            excess = self.model.excess
            found = self.model.flip_each(met.kept.copy(), every, budget)[:, 1]
            if len(found) == 0 or found.min() >= excess:
                return
            kept = met.kept.copy()
            kept[every[int(found.argmin())]] ^= True
            met = self.visit(kept)
            best = met if met.peak < best.peak else best

    def anneal_floor(self, tries: int) -> None:
        """Walk at random for a lower peak than any, from the leanest plan met."""
        start = self.front()[-1]
        weight = 1e-3 * start.peak / max(float(self.time.sum()), TINY)
        self.visit(self.model.walk(start.kept, self.free, 0, 0.02 * start.peak, weight, tries))

    def anneal(self, budget: int, highest: int, tries: int, seed: int) -> None:
        """Walk at random for less recomputation within a budget, from the best plan met that fits it."""
        start = next(met for met in self.front() if met.peak <= budget)
        weight = 0.1 * highest / max(float(self.time.sum()), TINY)
        self.visit(self.model.walk(start.kept, self.free, budget, 1e-3 * highest, weight, tries, seed))

    def exchange(self, budget: int, most: int) -> None:
        """Keep one value more than fits, drop others until it fits again, as long as that pays."""
        best = next(met for met in self.front() if met.peak <= budget)
        improved = True
        while improved:
            improved = False
            for v in self.dearest[~best.kept[self.dearest]].tolist():
                if self.model.simulations > most:
                    return
                kept = best.kept.copy()
                kept[v] = True
                met: Met | None = self.visit(kept)
                while met is not None and met.peak > budget and met.overhead < best.overhead:
                    met = self.drop(met, budget, rounds=2)
                if met is None or met.peak > budget:
                    continue
                met = self.refill(met.kept, budget)
                if met.overhead < best.overhead:
                    best, improved = met, True
                    break
