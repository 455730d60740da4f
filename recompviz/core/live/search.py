"""Liveness-aware planning: a curve in the bytes that will be measured.

The formula's curves are optimal in the paper's own memory model. In a real step parameter gradients accumulate,
backward saves fewer values than the formula counts, and blocks die at their last use. Real peaks are not additive
over segments, so no recursion gives the optimum. Here any subset of V may be kept, lower-set boundaries or not. Each
subset is judged by the simulated peak of its real schedule, and the search is local:

*seeds*      all plans of the formula's two curves, and keep-all;
*descent*    from the best of these, drop in each round the value alive at the peak that reduces the
             excess over the next budget most for its recomputation;
*refill*     keep values again, most time per byte first, as long as they fit in the budget reached;
*exchange*   keep one value more than fits and drop others for it, as long as that reduces the overhead;
*annealing*  simulated annealing finds what no single step does: once for the least peak, and at some
             budgets for the least overhead.

The curve is the Pareto front of all candidates, so it is never worse than the formula's plans in real bytes. It
is not proven optimal; ``python -m recompviz.benchmarks.liveness`` compares it with brute force on small steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.errors import ImpossiblePin
from recompviz.core.graphs.bitsets import bits
from recompviz.core.live.candidates import Candidates
from recompviz.core.live.model import LiveModel
from recompviz.core.live.moves import Moves
from recompviz.core.plans.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph, Name
    from recompviz.core.steps.joint import JointGraph

# the kind of these plans
KIND = "live"
# number of budgets between keep-all and the least peak
BUDGETS = 96
# at most this many seeds are simulated
SEEDS = 2000
# candidates refilled per budget, fewer on graphs of many nodes
REFILLED = 3
# simulated calls spent on exchanges, over all budgets
EFFORT = 40_000_000
# annealing for less overhead happens at every fourth budget
ANNEALED_EVERY = 4
# simulated calls spent on annealing; annealing for the least peak takes eight times the share of a budget
WALKED = 60_000_000
FLOOR_SHARE = 8
# proposals of annealing per node: more than the most do not help, and fewer than the least do not either
MOST_TRIES, LEAST_TRIES = 60, 5


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
        Of the same step; calibrated if workspace is to count.
    seeds : iterable of Plan
        Where the search starts, for example both curves of :func:`recompviz.solve`.
    progress : callable (done, total), optional
        Called between budgets; raise :class:`recompviz.Cancelled` in it to stop.
    keep, recompute : iterable of node names
        What-if pins: every plan keeps the first, and no plan keeps the others. (A value that no backward call needs
        is never recomputed and counts as kept.)
    seconds : float
        Processor time after which the search stops with the plans found so far.

    Returns
    -------
    list of Plan
        Kind ``"live"``, by rising overhead, where overhead is T of the nodes that the schedule really
        recomputes. Values that no backward call needs count as kept.

    Raises
    ------
    ImportError
        Without numba.
    ImpossiblePin
        For a node in both.
    """
    model = LiveModel(graph, joint)
    candidates = Candidates(model, _pinned(graph, keep, recompute))
    starts = [plan.keep_mask for plan in seeds]
    is_random = np.zeros(len(graph), np.bool_)
    is_random[[call.node for call in joint.calls if call.random and call.node >= 0]] = True
    if joint.rng_bytes and is_random.any():
        # a recomputed random call holds the generator's state twice, which the formula does not count
        starts += [keep_mask | is_random for keep_mask in starts]
    moves = Moves(candidates, time.process_time() + seconds)
    _search(moves, starts, progress or (lambda _done, _total: None))
    found = [
        candidate.keep_mask | model.is_view & ~model.simulate(candidate.keep_mask).recomputed
        for candidate in candidates.front()
    ]
    return [Plan.from_keep_mask(graph, keep_mask, KIND) for keep_mask in found]


def _pinned(graph: Graph, keep: Iterable[Name], recompute: Iterable[Name]) -> NDArray[np.int8]:
    """1 for nodes pinned to be kept, −1 for nodes pinned to be recomputed, otherwise 0."""
    pinned = np.zeros(len(graph), np.int8)
    pinned[list(bits(graph.mask(keep)))] = 1
    for v in bits(graph.mask(recompute)):
        if pinned[v]:
            raise ImpossiblePin(f"{graph.names[v]!r} is pinned both to be kept and to be recomputed; drop one pin")
        pinned[v] = -1
    return pinned


def _search(moves: Moves, seeds: list[NDArray[np.bool_]], progress: Progress) -> None:
    """Fill the candidates: seeds, descents and annealing for the least peak, then each budget from low to high."""
    candidates, model = moves.candidates, moves.model
    n = len(model.graph)
    keep_all = candidates.with_pins(np.ones(n, np.bool_))
    thinned = np.unique(np.linspace(0, len(seeds) - 1, SEEDS).astype(int)).tolist() if seeds else []
    for keep_mask in (keep_all, *(seeds[i] for i in thinned)):
        candidates.add(candidates.with_pins(keep_mask))
    highest, lowest = candidates.front()[0].peak, candidates.front()[-1].peak
    # descend from keep-all, then from the lowest candidate, which may be a seed
    step = max(1, (highest - lowest) // BUDGETS)
    moves.descend(keep_all, step)
    for candidate in candidates.front():
        moves.refill(candidate, candidate.peak)
    moves.descend(candidates.front()[-1].keep_mask, step)
    moves.settle()
    tries = WALKED // (len(model.joint.calls) * (FLOOR_SHARE + BUDGETS // ANNEALED_EVERY))
    if not moves.out_of_time:
        moves.anneal_peak(min(FLOOR_SHARE * tries, 10 * MOST_TRIES * n))
    budgets = np.linspace(candidates.front()[-1].peak, highest, BUDGETS).astype(np.int64).tolist()
    effort = EFFORT // (len(model.joint.calls) * len(budgets))
    for done, budget in enumerate(budgets):
        progress(done, len(budgets))
        if moves.out_of_time:
            break
        if done % ANNEALED_EVERY == 0 and tries >= LEAST_TRIES * n:
            moves.anneal_overhead(budget, highest, min(tries, MOST_TRIES * n), done)
        fitting = [candidate for candidate in candidates.front() if candidate.peak <= budget]
        for candidate in fitting[: REFILLED // moves.per_round or 1]:
            moves.refill(candidate, budget)
        moves.exchange(budget, model.simulations + effort)
