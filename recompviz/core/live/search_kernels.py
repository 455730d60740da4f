"""Moves of the search for live plans, compiled by numba. This module is imported only when it is used.

Each move simulates many keep masks that differ in a few nodes. Budgets and peaks are in transient bytes: the bytes
allocated during the training step. For ``step_fields`` and ``scratch_fields``, see
:func:`recompviz.core.live.kernels.simulate_fully`.
"""

from __future__ import annotations

import numpy as np

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.live.archive import Archive
from recompviz.core.live.kernels import order_calls, overhead_of, peak_within, simulate
from recompviz.core.live.repeated import Repeated
from recompviz.core.live.step_arrays import ENDLESS, Scratch, StepArrays

# The constants of SplitMix64 (Steele, Lea and Flood, 2014).
_STEP, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)

# the weight of annealing changes by at most this factor
MOST_CHANGE = 1e4


@kernel
def flip_each(keep_mask, nodes, step_fields, scratch_fields, budget, results):
    """For each node in ``nodes``, change the flag of this node in the keep mask, and simulate the result.

    Write (peak, excess, overhead) for node ``nodes[k]`` to ``results[k]``. Peaks are in transient bytes. The excess is
    the number of bytes above ``budget``, summed over the steps of the schedule. ``keep_mask`` is unchanged afterwards.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    for k in range(len(nodes)):
        v = nodes[k]
        keep_mask[v] = not keep_mask[v]
        totals = simulate(keep_mask, step, scratch, budget)
        results[k, 0], results[k, 1] = totals.peak, totals.excess
        results[k, 2] = overhead_of(step, scratch)
        keep_mask[v] = not keep_mask[v]


@kernel
def find_absences(steps, step, scratch):
    """Find between which steps of the schedule the value of each recomputed node is not in memory.

    A simulation of ``steps`` calls must have filled ``scratch``. The value of node v is absent in the steps
    ``absent[v, 0]`` to ``absent[v, 1] − 1`` of the schedule: after its last use in the forward pass and before its
    recomputation. ``scratch.absent`` is filled with these numbers. Nodes that are not recomputed have (0, 0).
    """
    absent, make_start, forward = scratch.absent, step.make_start, step.forward_count
    absent[:, 0], absent[:, 1] = 0, 0
    for i in range(forward, steps):
        c = scratch.order[i]
        if c < forward and scratch.recomputed[c] and step.node[c] >= 0:
            first = c
            for k in range(make_start[c], make_start[c + 1]):
                s = step.makes[k]
                if not scratch.saved[s] and not step.is_result[s]:
                    first = max(first, step.last_forward_use[s])
            v = step.node[c]
            if absent[v, 1] == 0 or first + 1 < absent[v, 0]:
                absent[v, 0] = first + 1
            absent[v, 1] = max(absent[v, 1], i)


@kernel
def would_fit(v, step_peaks, step, scratch, budget):
    """Return whether the value of node v would fit in the budget in every step of the schedule in which it is absent.

    :func:`find_absences` explains absence. ``step_peaks`` has the largest number of transient bytes alive in each step
    of the schedule, and ``budget`` is in transient bytes, too.
    """
    for i in range(scratch.absent[v, 0], scratch.absent[v, 1]):  # noqa: SIM110 (numba compiles no generator)
        if step_peaks[i] + step.memory[v] > budget:
            return False
    return True


@kernel
def keep_more(keep_mask, nodes, skip_unlikely, step_fields, scratch_fields, budget):
    """Add each of the nodes to the keep mask, in place, unless the peak would then exceed the budget.

    The nodes are tried in their order. With ``skip_unlikely``, nodes that :func:`would_fit` rejects are not simulated.
    Return the number of simulations.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    step_peaks, absences_are_current = scratch.step_peaks, False
    count = 0
    for k in range(len(nodes)):
        v = nodes[k]
        if keep_mask[v]:
            continue
        if skip_unlikely:
            if not absences_are_current:
                totals = simulate(keep_mask, step, scratch, budget)
                count += 1
                find_absences(totals.steps - 1, step, scratch)
                step_peaks = scratch.step_peaks.copy()
                absences_are_current = True
            if not would_fit(v, step_peaks, step, scratch, budget):
                continue
        keep_mask[v] = True
        count += 1
        if peak_within(order_calls(keep_mask, step, scratch), step, scratch, budget) > budget:
            keep_mask[v] = False
        else:
            absences_are_current = False
    return count


@kernel
def draw(rng):
    """Return a random number from 0 to 1, without 1, and advance the state of the generator (SplitMix64).

    ``rng`` is an array of one ``uint64``. A NumPy generator is not used here: numba reads its fields with Python code
    and does not check for errors, so that an interrupt at this point ends the process.
    """
    rng[0] += _STEP
    bits = rng[0]
    bits = (bits ^ (bits >> _30)) * _MIX_1
    bits = (bits ^ (bits >> _27)) * _MIX_2
    return ((bits ^ (bits >> _31)) >> _11) / 9007199254740992.0


@kernel
def draw_integer(rng, start, end):
    """Return a random integer from ``start`` to ``end − 1``."""
    return start + np.int64(draw(rng) * (end - start))


@kernel
def propose(keep_mask, free, flips, rng):
    """Change random flags of the keep mask in place, and return the number of changes.

    A proposal changes the flag of one node, exchanges a kept and a recomputed node, or changes the flags of two to four
    nodes. Only nodes in ``free`` are changed. The numbers of the changed nodes are written to ``flips``.
    """
    n = len(free)
    kind = draw(rng)
    at = draw_integer(rng, 0, n)
    flips[0] = free[at]
    count = 1
    if kind < 0.25:
        near = draw(rng) < 0.7
        count = draw_integer(rng, 2, 5)
        for k in range(1, count):
            flips[k] = free[(at + draw_integer(rng, 1, 12)) % n if near else draw_integer(rng, 0, n)]
    elif kind < 0.6:
        for _ in range(20):
            v = free[(at + draw_integer(rng, -12, 13)) % n if kind < 0.5 else draw_integer(rng, 0, n)]
            if keep_mask[v] != keep_mask[flips[0]]:
                flips[1], count = v, 2
                break
    for k in range(count):
        keep_mask[flips[k]] = not keep_mask[flips[k]]
    return count


@kernel
def propose_for_blocks(keep_mask, repeated, flips, rng):
    """Change flags of the keep mask in several repeated blocks, in place, and return the number of changed flags.

    :class:`Repeated` explains series, positions and members. Either one position of a series gets the same flag in a
    range of members, or the flags of one member are copied to a range of members. The changed nodes are written to
    ``flips``.
    """
    s = draw_integer(rng, 0, len(repeated.start))
    start, positions, members = repeated.start[s], repeated.positions[s], repeated.members[s]
    first, last = 0, members
    if draw(rng) < 0.6:
        first = draw_integer(rng, 0, members)
        last = min(members, first + 1 + int(draw(rng) ** 2 * members))
    source = draw_integer(rng, 0, members)
    row, rows = 0, positions
    value = False
    if draw(rng) < 0.7:
        row = draw_integer(rng, 0, positions)
        rows = row + 1
        v = repeated.cells[start + row * members + draw_integer(rng, first, last)]
        value = v >= 0 and not keep_mask[v]
        source = -1
    count = 0
    for p in range(row, rows):
        if source >= 0:
            v = repeated.cells[start + p * members + source]
            if v < 0:
                continue
            value = keep_mask[v]
        for m in range(first, last):
            v = repeated.cells[start + p * members + m]
            if v >= 0 and keep_mask[v] != value:
                keep_mask[v] = value
                flips[count] = v
                count += 1
    return count


@kernel
def store(keep_mask, peak, overhead, archive):
    """Store a keep mask in its interval of the archive, if its overhead is less than ``archive.overheads`` there."""
    i = max(0, -((archive.lowest - peak) // archive.step)) if peak > archive.lowest else 0
    if i < len(archive.overheads) and overhead < archive.overheads[i]:
        archive.overheads[i] = overhead
        archive.changed[i] = True
        archive.keep_masks[i] = keep_mask


@kernel
def most_stored(overhead, archive):
    """Return the largest peak, in transient bytes, at which :func:`store` stores this overhead; 0 if there is none."""
    for i in range(len(archive.overheads) - 1, -1, -1):
        if overhead < archive.overheads[i]:
            return archive.lowest + i * archive.step
    return 0


@kernel
def anneal(keep_mask, best, free, repeated_fields, annealing, step_fields, scratch_fields, budget, rng, archive_fields):
    """Search by simulated annealing from ``keep_mask``, and return the number of simulations.

    :class:`Annealing` explains energy, weight and temperature. ``best`` is filled with the best of the start and all
    accepted proposals: the keep mask whose peak exceeds the budget by the fewest bytes. Among several such keep masks,
    or several that fit in the budget, it has the least overhead. ``keep_mask`` is overwritten. ``rng`` is the state of
    the random generator; see :func:`draw`. A proposal changes repeated blocks with the probability
    ``annealing.of_blocks``, and otherwise a few nodes in ``free``. Every proposal is offered to the archive.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    repeated, archive = Repeated(*repeated_fields), Archive(*archive_fields)
    flips = np.zeros(len(keep_mask) + 4, np.int64)
    has_blocks = len(repeated.start) > 0
    share, energy, now_excess, now_overhead = 1.0, np.inf, np.int64(0), 0.0
    best_excess, best_overhead = np.int64(2**62), np.inf
    for i in range(annealing.tries + 1):
        # the first round evaluates the start
        if i == 0:
            count = 0
        elif has_blocks and (annealing.of_blocks >= 1 or draw(rng) < annealing.of_blocks):
            count = propose_for_blocks(keep_mask, repeated, flips, rng)
        else:
            count = propose(keep_mask, free, flips, rng)
        steps = order_calls(keep_mask, step, scratch)
        overhead = overhead_of(step, scratch)
        weight = share * annealing.weight
        if i > 0:
            energy = now_excess + weight * now_overhead
        temperature = max(annealing.temperature * share * (1 - i / (annealing.tries + 1)) ** 2, 1e-9)
        # The largest energy that is accepted is known before memory is simulated, so most simulations end early.
        state = rng[0]
        highest = energy - temperature * np.log(draw(rng))
        limit = ENDLESS
        if highest < ENDLESS:
            limit = max(budget + np.int64(highest - weight * overhead) + 1, most_stored(overhead, archive))
        peak = peak_within(steps, step, scratch, limit)
        store(keep_mask, peak, overhead, archive)
        excess = max(peak - budget, 0)
        proposed = excess + weight * overhead
        if proposed <= energy:
            rng[0] = state  # no random number was needed
        if proposed <= highest:
            now_excess, now_overhead = excess, overhead
            if excess < best_excess or (excess == best_excess and overhead < best_overhead):
                best_excess, best_overhead = excess, overhead
                best[:] = keep_mask
        else:
            for k in range(count - 1, -1, -1):
                keep_mask[flips[k]] = not keep_mask[flips[k]]
        share *= 1 - annealing.rate if now_excess > 0 else 1 + annealing.rate
        share = min(max(share, 1 / MOST_CHANGE), MOST_CHANGE)
    return annealing.tries + 1


@kernel
def anneal_excess(keep_mask, best, free, annealing, step_fields, scratch_fields, budget, rng, archive_fields):
    """Search by simulated annealing for a keep mask that fits in the budget, and return the number of simulations.

    The energy is the excess: the number of bytes above the budget, summed over the steps of the schedule. The peak
    alone does not change while another step needs as many bytes, but the excess does. The search ends when it is 0.
    ``best`` is filled with the accepted keep mask of least peak; the other parameters are those of :func:`anneal`.
    """
    step, scratch, archive = StepArrays(*step_fields), Scratch(*scratch_fields), Archive(*archive_fields)
    flips = np.zeros(len(keep_mask) + 4, np.int64)
    now, lowest = np.inf, np.int64(2**62)
    for i in range(annealing.tries + 1):
        # the first round evaluates the start
        count = 0 if i == 0 else propose(keep_mask, free, flips, rng)
        totals = simulate(keep_mask, step, scratch, budget)
        store(keep_mask, totals.peak, overhead_of(step, scratch), archive)
        heat = max(annealing.temperature * (1 - i / (annealing.tries + 1)), 1e-9)
        if totals.excess <= now or draw(rng) < np.exp((now - totals.excess) / heat):
            now = float(totals.excess)
            if totals.peak < lowest:
                lowest = totals.peak
                best[:] = keep_mask
            if totals.excess == 0:
                return i + 1
        else:
            for k in range(count - 1, -1, -1):
                keep_mask[flips[k]] = not keep_mask[flips[k]]
    return annealing.tries + 1
