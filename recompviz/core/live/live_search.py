"""Planning with liveness: a local search for plans with low simulated peaks.

The formula's curves are optimal in the paper's memory model. In a real training step, parameter gradients accumulate,
autograd saves fewer values than the formula counts, and storages are freed at their last use. The peak of a real step
is not a sum over segments, so the recursion of the exact solver does not apply. Here a plan may keep any subset of V,
whether or not it consists of boundaries of lower sets. Each subset is judged by the simulated peak of its schedule.

To *drop* a value is to recompute it instead of keeping it. The parts of the search are:

*seeds*      Simulate the given plans, such as plans of the formula's curves, and the plan that keeps all values.
*descent*    Lower the budget in small steps. At each step, drop values alive at the peak until the plan fits.
*refill*     Keep further values that fit in a budget, the highest T_v per byte first.
*exchange*   Keep one more value and drop others for it, as long as this reduces the overhead.
*annealing*  Change random values by simulated annealing: once for the least peak, and at some budgets for the least
             overhead. If the model repeats blocks, corresponding values of several blocks are changed together first.
             The range of peaks is divided into 192 intervals; the best plan simulated in each interval is a candidate,
             too.
*sweeps*     Search every fourth budget again with other random numbers, until that brings little. Then search for less
             overhead at the least peak.
*low end*    Search again near some budgets in the lower half of the range. The price of bytes in units of overhead
             adapts to the budget.
*excess*     Lower the least peak by annealing of the bytes above a lower budget, summed over the steps of the schedule.
             Then search for less overhead near the new least peak.

The result is the Pareto front of all candidates. No simulated seed is better than the plans on it. The plans are not
proven optimal. ``python -m recompviz.benchmarks.liveness`` compares them with brute force on small training steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from itertools import count
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
# simulated calls spent on changing single nodes for the least peak: a change tries all nodes, so it is quadratic
SETTLED = 150_000_000
# annealing for less overhead happens at every fourth budget
ANNEALED_EVERY = 4
# further sweeps, each over every fourth budget, begin until this many calls are simulated (about 5 seconds), or until a
# sweep reduces the mean overhead by less than this share of the forward pass
SWEPT = 150_000_000
LEAST_GAIN = 1e-4
# simulated calls spent on annealing; the search for the least peak gets eight times as many as one budget
WALKED = 60_000_000
FLOOR_SHARE = 8
# the sweeps often lower the least peak once more; then it is searched this many times for less overhead there
LAST, LAST_SEED = 4, 10**6
# Annealing of the excess lowers the least peak: steps as shares of the range, at most this many times each, as long as
# it falls by this share of the range.
LOWER, MOST_LOWERED, LEAST_FALL = (0.02, 0.01, 0.005), 6, 1e-5
# at most this many proposals per node, and simulated calls, each time
EXCESS_TRIES, EXCESS, EXCESS_SEED = 30, 20_000_000, 4 * 10**6
# At the end, annealing stays near this many budgets; it gets this many simulated calls, and at most this many proposals
# per node at each budget.
NEAR_BUDGETS, NEAR, NEAR_TRIES, NEAR_SEED = 12, 120_000_000, 100, 2 * 10**6
# On large graphs, these are few proposals per node. If they are fewer than half of that number, a second round follows.
MORE, MORE_SEED = 160_000_000, 3 * 10**6
# The last annealings for the least peak start from plans whose peaks exceed it by at most these shares of the range.
ABOVE = (0.005, 0.01, 0.02)
# proposals of annealing for repeated blocks, per position in a block
BLOCK_TRIES = 60
# proposals of annealing per node: more than MOST_TRIES bring nothing more, and fewer than LEAST_TRIES bring nothing
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
    """Search for plans with a low simulated peak and little overhead, for all budgets. Without numba, it is very slow.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step. The simulation counts the operators' workspace only if the trace was
        calibrated.
    seeds : iterable of Plan
        The plans from which the search starts, for example the plans of both fronts of :func:`recompviz.solve`. If
        there are more than 2,000 plans, 2,000 evenly spaced ones are simulated.
    progress : callable (done, total), optional
        Called many times during the search. ``done`` counts the budgets that were searched, and stays below ``total``.
        Raise :class:`recompviz.Cancelled` in it to stop the search.
    keep, recompute : iterable of node names
        Nodes that every plan must keep, and nodes that every plan must recompute. A node that the schedule need not
        recompute counts as kept, even if it is in ``recompute``.
    seconds : float
        Processor time in seconds after which the search ends early and returns the plans found. The simulation of the
        seeds and a first search for low peaks are always completed.

    Returns
    -------
    list of Plan
        Plans of kind ``"live"``, in order of rising overhead and falling simulated peak. A plan keeps all nodes that
        its schedule does not recompute.

    Raises
    ------
    GraphError
        If ``keep`` or ``recompute`` has an unknown name.
    ImpossiblePin
        If a node is in both ``keep`` and ``recompute``.
    """
    if not len(graph):
        return [Plan.from_keep_mask(graph, np.zeros(0, np.bool_), KIND)]
    candidates = Candidates(LiveModel(graph, joint), _pinned(graph, keep, recompute))
    starts = [plan.keep_mask for plan in seeds]
    is_random = np.zeros(len(graph), np.bool_)
    is_random[[call.node for call in joint.calls if call.random and call.node >= 0]] = True
    if joint.rng_bytes and is_random.any():
        # a recomputed random call holds the generator's state twice, which the formula does not count
        starts += [keep_mask | is_random for keep_mask in starts]
    moves = Moves(candidates, time.process_time() + seconds)
    _search(moves, starts, progress or (lambda _done, _total: None))
    return _plans(candidates)


def pinned_plans(
    graph: Graph,
    joint: JointGraph,
    plans: Iterable[Plan],
    *,
    keep: Iterable[Name] = (),
    recompute: Iterable[Name] = (),
) -> list[Plan]:
    """Return given plans after they are changed so that they obey pins, without those that another plan dominates.

    Of each plan, only the pinned nodes are changed. The parameters, errors and the result are those of
    :func:`live_plans`, which starts from such plans.
    """
    candidates = Candidates(LiveModel(graph, joint), _pinned(graph, keep, recompute))
    for plan in plans:
        candidates.add(candidates.with_pins(plan.keep_mask))
    return _plans(candidates)


def _plans(candidates: Candidates) -> list[Plan]:
    """Return the plans on the Pareto front of the candidates. A view is kept if its schedule does not recompute it."""
    model = candidates.model
    found = [
        candidate.keep_mask | model.is_view & ~model.simulate(candidate.keep_mask).recomputed
        for candidate in candidates.front()
    ]
    return [Plan.from_keep_mask(model.graph, keep_mask, KIND) for keep_mask in found]


def _pinned(graph: Graph, keep: Iterable[Name], recompute: Iterable[Name]) -> NDArray[np.int8]:
    """Return 1 for each node pinned to be kept, −1 for each node pinned to be recomputed, and 0 for the others."""
    pinned = np.zeros(len(graph), np.int8)
    pinned[list(bits(graph.mask(keep)))] = 1
    for v in bits(graph.mask(recompute)):
        if pinned[v]:
            raise ImpossiblePin(f"{graph.names[v]!r} is pinned both to be kept and to be recomputed; drop one pin")
        pinned[v] = -1
    return pinned


def _search(moves: Moves, seeds: list[NDArray[np.bool_]], progress: Progress) -> None:
    """Make all moves of the search: first for the least peak, then for little overhead at each budget."""
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
    moves.settle(model.simulations + SETTLED // len(model.joint.calls))
    tries = WALKED // (len(model.joint.calls) * (FLOOR_SHARE + BUDGETS // ANNEALED_EVERY))
    block_tries = BLOCK_TRIES * int(moves.repeated.positions.sum())
    if not moves.out_of_time:
        if block_tries:
            moves.anneal_peak(min(FLOOR_SHARE * tries, block_tries), blocks=True)
        moves.anneal_peak(min(FLOOR_SHARE * tries, 10 * MOST_TRIES * n))
    lowest = candidates.front()[-1].peak
    budgets = [lowest + (highest - lowest) * i // (BUDGETS - 1) for i in range(BUDGETS)]
    of_nodes = min(tries, MOST_TRIES * n) if tries >= LEAST_TRIES * n else 0
    proposals = (min(tries, block_tries), of_nodes)
    effort = EFFORT // (len(model.joint.calls) * len(budgets))
    forward, mean = float(model.graph.time.sum()), math.inf
    for sweep in count():
        for done, budget in enumerate(budgets):
            progress(done if sweep == 0 else len(budgets) - 1, len(budgets))
            annealed = (done + sweep) % ANNEALED_EVERY == 0
            if moves.out_of_time:
                return
            if sweep == 0 or annealed:
                _lower_overhead(
                    moves, budget, highest, proposals if annealed else (0, 0), effort, BUDGETS * sweep + done
                )
        before, mean = mean, sum(candidates.best_within(budget).overhead for budget in budgets) / len(budgets)
        if model.simulations * len(model.joint.calls) > SWEPT or before - mean <= LEAST_GAIN * forward:
            break
    for last in range(LAST):
        if moves.out_of_time:
            return
        of_blocks = proposals[0] if last % 2 or not of_nodes else 0
        _lower_overhead(moves, candidates.front()[-1].peak, highest, (of_blocks, of_nodes), effort, LAST_SEED + last)
    _anneal_near_low_budgets(moves, highest, progress)
    _lower_least_peak(moves, highest, progress)


def _lower_least_peak(moves: Moves, highest: int, progress: Progress) -> None:
    """Lower the least peak further, by annealing of the excess over budgets that are lower by some shares of the range.

    Several steps often need the same bytes as the peak, so that no change of a few values lowers it. Their excess falls
    before the peak does. Each share is tried until it brings nothing. Then less overhead is searched near budgets from
    the new least peak to the old one.
    """
    model, candidates = moves.model, moves.candidates
    n = len(model.graph)
    tries = min(EXCESS_TRIES * n, EXCESS // len(model.joint.calls))
    if tries < LEAST_TRIES * n:
        return
    seeds, lowest = count(EXCESS_SEED), candidates.front()[-1].peak
    for share in LOWER:
        for _ in range(MOST_LOWERED):
            progress(BUDGETS - 1, BUDGETS)
            if moves.out_of_time:
                return
            before = candidates.front()[-1].peak
            span = highest - before
            moves.lower_peak(int(share * span), tries, next(seeds))
            if before - candidates.front()[-1].peak <= LEAST_FALL * span:
                break
    new = candidates.front()[-1].peak
    if lowest - new <= LEAST_FALL * (highest - new):
        return
    # the plans found so far are those of least excess, which may recompute far more than others of the same peak
    of_near = min(NEAR // (len(model.joint.calls) * NEAR_BUDGETS), NEAR_TRIES * n)
    for share, above in ((0.0, 0.0), (0.0, ABOVE[0]), (0.0, ABOVE[-1]), (0.5, 0.0), (0.0, 0.0)):
        if moves.out_of_time:
            return
        budget, more = new + int(share * (lowest - new)), int(above * (highest - new))
        moves.anneal_near(budget, highest, of_near, next(seeds), above=more)


def _anneal_near_low_budgets(moves: Moves, highest: int, progress: Progress) -> None:
    """Search again for less overhead, near some budgets up to half of the range, most of them close to the least peak.

    The first budget is the least peak, and so are the last ones, because the move often lowers the least peak. Few
    plans fit there, and the best one known may be far from better ones. Plans of slightly higher peaks recompute much
    less. The last walks of the first round start from such plans. On large graphs, a second round follows.
    """
    model, candidates = moves.model, moves.candidates
    calls, most = len(model.joint.calls) * NEAR_BUDGETS, NEAR_TRIES * len(model.graph)
    tries = min(NEAR // calls, most)
    low = [(i, 0.0) for i in range(NEAR_BUDGETS)]
    walks = [
        (tries, NEAR_SEED + walk, i, above)
        for walk, (i, above) in enumerate([*low, (0, 0.0), *((0, above) for above in ABOVE)])
    ]
    if tries < most // 2:
        walks += [(min(MORE // calls, most - tries), MORE_SEED + i, i, 0.0) for i in range(NEAR_BUDGETS)]
    for tried, seed, i, above in walks:
        progress(BUDGETS - 1, BUDGETS)
        if moves.out_of_time:
            return
        lowest = candidates.front()[-1].peak
        budget = lowest + int((highest - lowest) * (i / NEAR_BUDGETS) ** 3 / 2)
        moves.anneal_near(budget, highest, tried, seed, above=int((highest - lowest) * above))


def _lower_overhead(
    moves: Moves, budget: int, highest: int, proposals: tuple[int, int], effort: int, seed: int
) -> None:
    """Search for less overhead within one budget.

    Parameters
    ----------
    moves : Moves
    budget, highest : int
        The budget, and the largest budget of the search, in transient bytes.
    proposals : tuple of int
        The number of proposals of annealing for repeated blocks, and for single nodes.
    effort : int
        The most simulations that exchanges may take.
    seed : int
        The seed of annealing.
    """
    of_blocks, of_nodes = proposals
    if of_blocks:
        moves.anneal_overhead(budget, highest, of_blocks, seed, blocks=True)
    if of_nodes:
        moves.anneal_overhead(budget, highest, of_nodes, seed)
    fitting = [candidate for candidate in moves.candidates.front() if candidate.peak <= budget]
    for candidate in fitting[: REFILLED // moves.per_round or 1]:
        moves.refill(candidate, budget)
    moves.exchange(budget, moves.model.simulations + effort)
