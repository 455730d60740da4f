"""The moves of the search for live plans.

A move starts from a keep mask, simulates others that differ in some nodes, and adds the results to the candidates. To
*drop* a value is to recompute it instead of keeping it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.live.candidates import Candidate, Candidates
from recompviz.core.live.model import Annealing
from recompviz.core.live.repeated import NO_BLOCKS, repeated_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.live.archive import Archive

# nodes that a drop tries in its first round; the others have fewer bytes per time
TRIED = 40
# a drop takes away one more value for each this many nodes of the graph
MANY = 256
# added to a time before dividing by it
TINY = 1e-9
# annealing near a budget: how fast the weight adapts, and the share of proposals that change repeated blocks
RATE, OF_BLOCKS = 0.003, 0.3
# the temperature of annealing of the excess, as a multiple of the bytes by which the peak is to fall
HEAT = 0.2


class Moves:
    """The moves of one search for live plans. Peaks and budgets are in transient bytes (see :class:`LiveRun`).

    A move starts from a keep mask, simulates masks that differ in some nodes, and adds the results to the candidates.

    Parameters
    ----------
    candidates : Candidates
        The moves read the candidates and add to them.
    deadline : float
        The processor time of this process, in seconds as ``time.process_time()`` returns it, after which the caller
        should start no further move.
    """

    def __init__(self, candidates: Candidates, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.candidates, self.model, self.pinned = candidates, candidates.model, candidates.pinned
        graph = self.model.graph
        self.time, self.memory = graph.time, graph.memory.astype(np.float64)
        # nodes that may be kept, most time per byte first
        dearest = np.argsort(-(self.time + TINY) / (self.memory + 1), kind="stable").astype(np.int64)
        self.dearest = dearest[self.pinned[dearest] >= 0]
        self.free = np.flatnonzero(self.pinned == 0).astype(np.int64)
        self.repeated = repeated_blocks(graph, self.free)
        self.per_round = 1 + len(graph) // MANY
        self._failures = np.zeros(len(graph), np.int64)  # how often dropping a node reduced no excess

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return time.process_time() > self.deadline

    def refill(self, start: Candidate, budget: int) -> Candidate:
        """Keep further values that fit in the budget, and return the new candidate.

        The values that ``start`` does not keep are tried one after another, in order of falling cost T_v per byte.
        ``budget`` is in transient bytes (:class:`LiveRun`). On graphs of more than 600 nodes, some values that are
        unlikely to fit are not tried.
        """
        keep_mask = start.keep_mask.copy()
        self.model.keep_more(keep_mask, self.dearest, budget)
        return self.candidates.add(keep_mask)

    def descend(self, keep_mask: NDArray[np.bool_], step: int) -> None:
        """Lower the peak of a keep mask in steps of ``step`` bytes, by calls of :meth:`drop`, until no drop helps.

        All keep masks on the way are added to the candidates.
        """
        candidate: Candidate | None = self.candidates.add(keep_mask)
        target = candidate.peak - step if candidate else 0
        while candidate is not None:
            candidate = self.drop(candidate, target)
            if candidate is not None and candidate.peak <= target:
                target -= ((target - candidate.peak) // step + 1) * step

    def drop(self, start: Candidate, budget: int, rounds: int = 99) -> Candidate | None:
        """Recompute one or more values: those that reduce the excess most per unit of additional overhead.

        The excess is the number of bytes above the budget, summed over the steps of the schedule. Only values that are
        alive at the peak are tried, in at most ``rounds`` rounds. On graphs of 256 nodes or more, several values may be
        recomputed at once.

        Returns
        -------
        Candidate or None
            The new candidate. None if no value tried in ``rounds`` rounds reduces the excess over the budget.
        """
        keep_mask = start.keep_mask.copy()
        run = self.model.simulate(keep_mask, budget)
        alive = run.alive_at_peak[self.pinned[run.alive_at_peak] <= 0]
        ranked = alive[np.lexsort((-self.memory[alive] / (self.time[alive] + TINY), self._failures[alive]))]
        first = 0
        for k in range(rounds):
            tried = ranked[first : first + (TRIED << k)]
            first += len(tried)
            if len(tried) == 0:
                break
            results = self.model.flip_each(keep_mask, tried, budget)
            gain = run.excess - results[:, 1]
            self._failures[tried] += gain <= 0
            worth = np.where(gain > 0, gain / np.maximum(results[:, 2] - start.overhead, TINY), -1.0)
            best = np.argsort(-worth, kind="stable")[: self.per_round]
            best = best[worth[best] > 0]
            if len(best):
                keep_mask[tried[best]] = False
                return self.candidates.add(keep_mask)
        return None

    def settle(self, most_simulations: int) -> None:
        """Lower the least peak found so far by changing the flag of one node at a time.

        The move starts from the candidate of least peak. Its budget is about 0.5 % below the least peak found so far.
        Each change reduces the excess over this budget (the bytes above it, summed over the steps of the schedule) as
        much as possible. The move ends when no change reduces the excess, when the deadline has passed, or before
        ``model.simulations`` would exceed ``most_simulations``.
        """
        best = candidate = self.candidates.front()[-1]
        for _ in range(len(self.free)):
            if self.out_of_time or self.model.simulations + len(self.free) > most_simulations:
                return
            budget = best.peak - 1 - best.peak // 200
            excess = self.model.simulate(candidate.keep_mask, budget).excess
            found = self.model.flip_each(candidate.keep_mask.copy(), self.free, budget)[:, 1]
            if len(found) == 0 or found.min() >= excess:
                return
            keep_mask = candidate.keep_mask.copy()
            keep_mask[self.free[int(found.argmin())]] ^= True
            candidate = self.candidates.add(keep_mask)
            best = candidate if candidate.peak < best.peak else best

    def anneal_peak(self, tries: int, *, blocks: bool = False) -> None:
        """Search for a lower peak by simulated annealing, from the candidate of least peak.

        ``tries`` is the number of proposals; see :class:`Annealing`. With ``blocks``, a proposal changes nodes at
        the same position in several repeated blocks; see :class:`Repeated`.
        """
        start = self.candidates.front()[-1]
        weight = 1e-3 * start.peak / max(float(self.time.sum()), TINY)
        annealing = Annealing(0.02 * start.peak, weight, tries)
        self._anneal(start, 0, annealing, 0, blocks)

    def anneal_overhead(self, budget: int, highest: int, tries: int, seed: int, *, blocks: bool = False) -> None:
        """Search for less overhead within a budget by simulated annealing.

        The move starts from the candidate of least overhead that fits in the budget. ``highest`` is the largest budget
        of the whole search. The temperature and the weight of the :class:`Annealing` are proportional to ``highest``.
        ``tries`` is the number of proposals, and ``seed`` is the seed of the random generator. With ``blocks``, a
        proposal changes nodes at the same position in several repeated blocks; see :class:`Repeated`.
        """
        start = self.candidates.best_within(budget)
        weight = 0.1 * highest / max(float(self.time.sum()), TINY)
        annealing = Annealing(1e-3 * highest, weight, tries)
        self._anneal(start, budget, annealing, seed, blocks)

    def anneal_near(self, budget: int, highest: int, tries: int, seed: int, *, above: int = 0) -> None:
        """Search for less overhead within a budget by simulated annealing that stays near the budget.

        The parameters are those of :meth:`anneal_overhead`. The weight of the :class:`Annealing` adapts to the budget.
        If there are repeated blocks, some of the proposals change several blocks. The candidate from which the move
        starts may exceed the budget by ``above`` bytes.
        """
        start = self.candidates.best_within(budget + above)
        weight = 0.1 * highest / max(float(self.time.sum()), TINY)
        annealing = Annealing(1e-4 * highest, weight, tries, RATE, OF_BLOCKS)
        self._anneal(start, budget, annealing, seed, True)

    def lower_peak(self, step: int, tries: int, seed: int) -> None:
        """Search for a peak that is lower than the least one by ``step`` bytes, by annealing of the excess over it.

        ``tries`` is the largest number of proposals, and ``seed`` is the seed of the random generator.
        """
        start, archive = self.candidates.front()[-1], self.candidates.archive()
        annealing = Annealing(HEAT * step, 0.0, tries)
        best = self.model.anneal_excess(start.keep_mask, self.free, start.peak - step, annealing, seed, archive)
        self._add_found(best, archive)

    def _anneal(self, start: Candidate, budget: int, annealing: Annealing, seed: int, blocks: bool) -> None:
        """Anneal from a candidate, and add what is found."""
        repeated, archive = self.repeated if blocks else NO_BLOCKS, self.candidates.archive()
        best = self.model.anneal(start.keep_mask, self.free, budget, annealing, seed, repeated, archive)
        self._add_found(best, archive)

    def _add_found(self, best: NDArray[np.bool_], archive: Archive) -> None:
        """Add what an annealing found: the best keep mask, and those that are the best for other budgets."""
        self.candidates.add(best)
        for keep_mask in archive.keep_masks[archive.changed]:
            self.candidates.add(keep_mask)

    def exchange(self, budget: int, most_simulations: int) -> None:
        """Keep one more value, and recompute other values in its place, so that the overhead falls.

        The move starts from the candidate of least overhead that fits in the budget, and is repeated as long as it
        reduces the overhead. It ends early when ``model.simulations`` exceeds ``most_simulations``.
        """
        best = self.candidates.best_within(budget)
        improved = True
        while improved:
            improved = False
            for v in self.dearest[~best.keep_mask[self.dearest]].tolist():
                if self.model.simulations > most_simulations:
                    return
                found = self._exchanged(best, v, budget)
                if found is not None and found.overhead < best.overhead:
                    best, improved = found, True
                    break

    def _exchanged(self, start: Candidate, v: int, budget: int) -> Candidate | None:
        """Keep node v, drop others until the plan fits in the budget, then refill.

        Return None if no drop helps, or if the overhead reaches the overhead of ``start`` before the plan fits.
        """
        keep_mask = start.keep_mask.copy()
        keep_mask[v] = True
        found: Candidate | None = self.candidates.add(keep_mask)
        while found is not None and found.peak > budget and found.overhead < start.overhead:
            found = self.drop(found, budget, rounds=2)
        if found is None or found.peak > budget:
            return None
        return self.refill(found, budget)
