"""Compiled moves of the search for live plans. Imported only where numba is installed and needed.

Each move simulates many keep masks that differ in a few nodes. The functions called from Python take the fields of
the named tuples, see :func:`recompviz.core.live.kernels.simulate_fully`.
"""

from __future__ import annotations

import numba
import numpy as np

from recompviz.core.live.kernels import overhead_of, simulate
from recompviz.core.live.step_arrays import Scratch, StepArrays


@numba.njit(cache=True)
def flip_each(keep_mask, nodes, step_fields, scratch_fields, budget, results):
    """For each node, change only its state (kept or recomputed) and simulate.

    Fills one row of ``results`` per node: peak, bytes above ``budget`` summed over the steps, overhead.
    ``keep_mask`` is the same afterwards.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    for k in range(len(nodes)):
        v = nodes[k]
        keep_mask[v] = not keep_mask[v]
        totals = simulate(keep_mask, step, scratch, budget)
        results[k, 0], results[k, 1] = totals.peak, totals.excess
        results[k, 2] = overhead_of(step, scratch)
        keep_mask[v] = not keep_mask[v]


@numba.njit(cache=True)
def find_absences(steps, step, scratch):
    """Fill ``scratch.absent``: for each node the steps (first, end) between last forward use and recomputation."""
    absent, make_start, forward = scratch.absent, step.make_start, step.forward_count
    absent[:, 0], absent[:, 1] = 0, 0
    for i in range(forward, steps):
        c = scratch.order[i]
        if c < forward and scratch.recomputed[c] and step.node[c] >= 0:
            first = c
            for k in range(make_start[c], make_start[c + 1]):
                first = max(first, scratch.last_use[0, step.makes[k]])
            v = step.node[c]
            if absent[v, 1] == 0 or first + 1 < absent[v, 0]:
                absent[v, 0] = first + 1
            absent[v, 1] = max(absent[v, 1], i)


@numba.njit(cache=True)
def would_fit(v, step, scratch, budget):
    """Whether the bytes of a recomputed value fit in the budget in every step in which it is absent."""
    for i in range(scratch.absent[v, 0], scratch.absent[v, 1]):
        if scratch.step_peaks[i] + step.memory[v] > budget:
            return False
    return True


@numba.njit(cache=True)
def keep_more(keep_mask, nodes, skip_unlikely, step_fields, scratch_fields, budget):
    """Keep each node in turn, in place, if the peak then stays within the budget; returns the simulations made.

    With ``skip_unlikely``, a value that :func:`would_fit` rejects is not simulated. Keeping it could free other
    values and so fit after all, but such a simulation pays on small graphs only.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    totals = simulate(keep_mask, step, scratch, budget)
    count = 1
    absences_are_current = False
    for k in range(len(nodes)):
        v = nodes[k]
        if keep_mask[v]:
            continue
        if skip_unlikely:
            if not absences_are_current:
                find_absences(totals.steps - 1, step, scratch)
                absences_are_current = True
            if not would_fit(v, step, scratch, budget):
                continue
        keep_mask[v] = True
        totals = simulate(keep_mask, step, scratch, budget)
        count += 1
        absences_are_current = False
        if totals.peak > budget:
            keep_mask[v] = False
            if skip_unlikely:
                totals = simulate(keep_mask, step, scratch, budget)
                count += 1
    return count


@numba.njit(cache=True)
def propose(keep_mask, free, flips, rng):
    """Flip one node, exchange a kept for a recomputed one, or flip two to four; returns how many were flipped.

    Only ``free`` nodes are flipped; their numbers are written to ``flips``.
    """
    n = len(free)
    kind = rng.random()
    at = rng.integers(0, n)
    flips[0] = free[at]
    count = 1
    if kind < 0.25:
        near = rng.random() < 0.7
        count = rng.integers(2, 5)
        for k in range(1, count):
            flips[k] = free[(at + rng.integers(1, 12)) % n if near else rng.integers(0, n)]
    elif kind < 0.6:
        for _ in range(20):
            v = free[(at + rng.integers(-12, 13)) % n if kind < 0.5 else rng.integers(0, n)]
            if keep_mask[v] != keep_mask[flips[0]]:
                flips[1], count = v, 2
                break
    for k in range(count):
        keep_mask[flips[k]] = not keep_mask[flips[k]]
    return count


@numba.njit(cache=True)
def anneal(keep_mask, best, free, walk, step_fields, scratch_fields, budget, rng):
    """Simulated annealing from ``keep_mask``; returns the number of simulations.

    The energy is the bytes above ``budget`` plus ``walk.weight`` per unit of overhead. The temperature falls from
    ``walk.temperature`` to 0 over ``walk.tries`` proposals. ``best`` is filled with the mask that exceeds the budget
    least, and among these recomputes least.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    flips = np.zeros(4, np.int64)
    energy = np.inf
    best_excess, best_overhead = np.int64(2**62), np.inf
    for i in range(walk.tries + 1):
        # the first round evaluates the start
        count = propose(keep_mask, free, flips, rng) if i > 0 else 0
        totals = simulate(keep_mask, step, scratch, budget)
        overhead = overhead_of(step, scratch)
        excess = max(totals.peak - budget, 0)
        proposed = excess + walk.weight * overhead
        temperature = max(walk.temperature * (1 - i / (walk.tries + 1)) ** 2, 1e-9)
        if proposed <= energy or rng.random() < np.exp((energy - proposed) / temperature):
            energy = proposed
            if excess < best_excess or (excess == best_excess and overhead < best_overhead):
                best_excess, best_overhead = excess, overhead
                best[:] = keep_mask
        else:
            for k in range(count - 1, -1, -1):
                keep_mask[flips[k]] = not keep_mask[flips[k]]
    return walk.tries + 1
