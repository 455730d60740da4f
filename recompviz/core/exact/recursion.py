"""The reference solver: dynamic programming over pairs of lower sets, in NumPy, for the whole trade-off curve.

R(L, t) is the least peak, in formula bytes, of the segments after L, if these segments have overhead t. It does not
count the values that were cached up to L:

    R(V, 0) = 0
    R(L, t) = min over L′ ⊋ L of  max( p(L, L′),  Δm(L, L′) + R(L′, t − T((L′∖L)∖∂(L′))) )

Here Δm = M(∂(L′)∖L) and p = 2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′). The budget is not part of the recursion,
so the Pareto front of the points (t, R(∅, t)) has the plans for all budgets. The time-centric front has the least t
under each budget, the memory-centric front the largest t. This solver visits all pairs of lower sets and is slow. It is
the reference in the tests of the fast solvers. It is also used without numba, and for small families as long as nothing
is compiled.

Source: derived from Kusumoto et al. 2019, algorithm 1, which has the budget in its recursion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recompviz.core.base.progress import Progress
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bit_matrix
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.pins import NO_PINS, Pins
from recompviz.core.plans.curve import Objective, ParetoFront
from recompviz.core.plans.formula import inflow


def pairwise_front(
    graph: Graph,
    family: Sequence[int],
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
) -> ParetoFront:
    """Compute the Pareto front of overhead (cost of recomputation) and peak over all sequences of sets from a family.

    Parameters
    ----------
    graph : Graph
    family : sequence of int
        The lower sets that a sequence may use, as bit masks. The empty set and the set of all nodes are added if they
        are missing.
    objective : "time" or "memory"
        ``"time"`` finds the least overhead under each budget, ``"memory"`` the largest.
    progress : callable (done, total), optional
        Called during the search with the number of lower sets solved and the number of lower sets in the family. Raise
        :class:`recompviz.Cancelled` in it to stop.
    pins : Pins
        Nodes that every sequence must keep, and nodes that every sequence must recompute.

    Returns
    -------
    ParetoFront
        Overheads in the unit of ``graph.time``, peaks by the paper's formula (:attr:`Plan.peak`) in bytes. Empty if no
        sequence of sets from the family obeys the pins.
    """
    sets = sorted(set(family) | {0, graph.everything}, key=lambda mask: (-mask.bit_count(), mask))
    n, count = len(graph), len(sets)
    if n == 0:
        return ParetoFront(np.zeros(1), np.zeros(1, np.int64), lambda _position: ())
    member = bit_matrix(sets, n)
    boundary = bit_matrix([graph.boundary_mask(mask) for mask in sets], n)
    memory = graph.memory
    time, scale = whole_times(graph.time)
    must_keep = bit_matrix([pins.keep], n)[0]
    may_close = [not graph.boundary_mask(mask) & pins.recompute for mask in sets]
    inner = member & ~boundary
    inflows = np.array([sum(inflow(graph, mask)) for mask in sets], dtype=np.int64)
    M_of, T_inner = member @ memory, inner @ time
    sign = 1 if objective == "time" else -1

    none = np.zeros(0, np.int64)
    fronts: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(1, np.int64), np.zeros(1, np.int64))]
    parents: list[tuple[np.ndarray, np.ndarray]] = [(np.full(1, -1), np.full(1, -1))]
    for i in range(1, count):
        here = member[i]
        larger = [j for j in range(i) if sets[i] & ~sets[j] == 0 and may_close[j] and len(fronts[j][0])]
        if pins.keep:
            larger = [j for j in larger if not np.any(inner[j] & ~here & must_keep)]
        if not larger:
            fronts.append((none, none))
            parents.append((none, none))
            continue
        # T((L′∖L)∖∂(L′)) and M(∂(L′)∖L) for all L′
        extra_t = T_inner[larger] - inner[larger][:, here] @ time[here]
        delta_m = boundary[larger][:, ~here] @ memory[~here]
        p = 2 * (M_of[larger] - M_of[i]) + inflows[larger]
        sizes = [len(fronts[j][0]) for j in larger]
        t = np.concatenate([fronts[j][0] for j in larger]) + np.repeat(extra_t, sizes)
        peak = np.maximum(
            np.repeat(p, sizes), np.repeat(delta_m, sizes) + np.concatenate([fronts[j][1] for j in larger])
        )
        which = np.repeat(larger, sizes)
        label = np.concatenate([np.arange(size) for size in sizes])
        best = _pareto(sign * t, peak)
        fronts.append((t[best], peak[best]))
        parents.append((which[best], label[best]))
        if progress is not None:
            progress(i + 1, count)

    overheads, peaks = fronts[-1]

    def walk_back(position: int) -> list[int]:
        sequence, here, label = [], count - 1, position
        while here != 0:
            here, label = int(parents[here][0][label]), int(parents[here][1][label])
            sequence.append(sets[here])
        return sequence

    return ParetoFront(overheads / scale, peaks, walk_back)


def _pareto(t: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return the positions of the points on the Pareto front, in order of rising t and strictly falling peak."""
    order = np.lexsort((peak, t))
    falling = peak[order]
    best_before = np.minimum.accumulate(falling)
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = falling[1:] < best_before[:-1]
    return order[first]
