"""Compiled steps of the liveness simulation: imported only when numba is there and wanted.

The same schedule and the same sums as :mod:`recompviz.core.steps.schedule` and :mod:`recompviz.core.steps.simulation`,
on arrays, in some twenty microseconds instead of some milliseconds, so that a search can ask for
thousands of plans. The slow pair is the specification; a test holds this file against it.
"""

from __future__ import annotations

import numba
import numpy as np

# what a simulation fills in for the caller, by position in ``out``
PEAK, PEAK_STEP, STEPS, EXCESS = 0, 1, 2, 3


@numba.njit(cache=True)
def is_kept(c, kept, calls):
    """Whether what a call makes stays until the backward pass, as :meth:`JointGraph.kept_calls` has it."""
    node, pinned, view_start, views, follow_start, follows = (
        calls[4],
        calls[5],
        calls[8],
        calls[9],
        calls[10],
        calls[11],
    )
    if pinned[c] or (node[c] >= 0 and kept[node[c]]):
        return True
    view_is_kept = False
    for k in range(view_start[c], view_start[c + 1]):
        view_is_kept |= kept[views[k]]
    if view_is_kept or node[c] >= 0:
        return view_is_kept
    readers_are_kept = True
    for k in range(follow_start[c], follow_start[c + 1]):
        readers_are_kept &= kept[follows[k]]
    return readers_are_kept


@numba.njit(cache=True)
def order_calls(kept, calls, storages, scratch, order, saved, recomputed):
    """Calls in running order into ``order``; returns how many. Fills ``saved`` and ``recomputed``."""
    read_start, reads = calls[0], calls[1]
    maker, count_calls = storages[1], len(calls[4])
    stack, pulled = scratch
    forward = np.int64(storages[4][0])
    saved[:] = False
    recomputed[:] = False
    steps = 0
    for c in range(forward):
        order[steps] = c
        steps += 1
    for b in range(forward, count_calls):
        top, count = 1, 0
        stack[0] = b
        while top > 0:
            top -= 1
            asking = stack[top]
            for k in range(read_start[asking], read_start[asking + 1]):
                s = reads[k]
                c = maker[s]
                if c < 0 or c >= forward or recomputed[c] or saved[s]:
                    continue
                if is_kept(c, kept, calls):
                    saved[s] = True
                else:
                    recomputed[c] = True
                    pulled[count] = c
                    count += 1
                    stack[top] = c
                    top += 1
        pulled[:count].sort()
        for k in range(count):
            order[steps] = pulled[k]
            steps += 1
        order[steps] = b
        steps += 1
    return steps


@numba.njit(cache=True)
def last_uses(order, steps, calls, storages, saved, recomputed, last):
    """The step after which each storage is freed, in the forward and in the backward pass; −1 for never."""
    read_start, reads, make_start, makes = calls[:4]
    maker, result, border = storages[1], storages[2], storages[4]
    forward = np.int64(border[0])
    last[:, :] = -1
    for i in range(steps):
        c = order[i]
        half = 0 if i < forward else 1
        for k in range(make_start[c], make_start[c + 1]):
            last[half, makes[k]] = i
        for k in range(read_start[c], read_start[c + 1]):
            if maker[reads[k]] >= 0:
                last[half, reads[k]] = i
    for s in range(len(maker)):
        if maker[s] < 0:
            continue
        if saved[s] or result[s]:
            last[0, s] = -1
        made_again = maker[s] < forward and recomputed[maker[s]]
        if result[s] and not made_again:
            last[1, s] = -1


@numba.njit(cache=True)
def simulate(kept, calls, storages, extras, work, budget, step_peaks, out):
    """Transient bytes of the schedule of a keep mask: fills ``out`` and the peak within each step.

    ``extras`` are (bytes of the first gradient, of a generator's state); EXCESS adds up by how much each
    step exceeds ``budget``.
    """
    scratch, order, saved, recomputed, last, held = work
    read_start, reads, make_start, makes = calls[:4]
    random, workspace = calls[6], calls[7]
    size, border, clone_of, clone_size = storages[0], storages[4], storages[3], storages[5]
    forward = np.int64(border[0])
    steps = order_calls(kept, calls, storages, scratch, order, saved, recomputed)
    last_uses(order, steps, calls, storages, saved, recomputed, last)
    held[:] = False
    live, peak, peak_step, excess = 0, 0, -1, 0
    for i in range(steps):
        c = order[i]
        half = 0 if i < forward else 1
        most = live
        for k in range(make_start[c], make_start[c + 1]):
            live += size[makes[k]]
            held[makes[k]] = True
        most = max(most, live)
        state = extras[1] if random[c] and c < forward and recomputed[c] else 0
        live += state
        most = max(most, live + workspace[c])
        if i >= forward:
            live -= 2 * state
        for k in range(make_start[c], make_start[c + 1] + read_start[c + 1] - read_start[c]):
            s = makes[k] if k < make_start[c + 1] else reads[k - make_start[c + 1] + read_start[c]]
            if last[half, s] == i and held[s]:
                held[s] = False
                live -= size[s]
        if i == forward - 1:
            live += extras[0]
            most = max(most, live)
        step_peaks[i] = most
        if most > peak:
            peak, peak_step = most, i
        if most > budget:
            excess += most - budget
    most = live
    for k in range(len(clone_of)):
        s = clone_of[k]
        most = max(most, live + clone_size[k])
        live += clone_size[k] - (size[s] if held[s] else 0)
        held[s] = False
    step_peaks[steps] = most
    if most > peak:
        peak, peak_step = most, steps
    if most > budget:
        excess += most - budget
    out[PEAK], out[PEAK_STEP], out[STEPS], out[EXCESS] = peak, peak_step, steps + 1, excess


@numba.njit(cache=True)
def overhead_of(recomputed, calls, time, seen):
    """T of the nodes that are really recomputed, and the views on them; ``seen`` is filled with them."""
    node, view_start, views = calls[4], calls[8], calls[9]
    seen[:] = False
    total = 0.0
    for c in range(len(node)):
        if recomputed[c] and node[c] >= 0:
            if not seen[node[c]]:
                seen[node[c]] = True
                total += time[node[c]]
            for k in range(view_start[c], view_start[c + 1]):
                if not seen[views[k]]:
                    seen[views[k]] = True
                    total += time[views[k]]
    return total


@numba.njit(cache=True)
def flip_each(kept, candidates, calls, storages, extras, time, work, budget, step_peaks, out, seen, results):
    """What flipping each candidate alone would give: rows (peak, excess, overhead) in ``results``."""
    recomputed = work[3]
    for k in range(len(candidates)):
        v = candidates[k]
        kept[v] = not kept[v]
        simulate(kept, calls, storages, extras, work, budget, step_peaks, out)
        results[k, 0], results[k, 1] = out[PEAK], out[EXCESS]
        results[k, 2] = overhead_of(recomputed, calls, time, seen)
        kept[v] = not kept[v]


@numba.njit(cache=True)
def absences(steps, forward, calls, order, recomputed, last, out):
    """For each node the steps (first, end) in which its value is away: last forward use to recomputation."""
    make_start, makes, node = calls[2], calls[3], calls[4]
    out[:, 0], out[:, 1] = 0, 0
    for i in range(forward, steps):
        c = order[i]
        if c < forward and recomputed[c] and node[c] >= 0:
            first = c
            for k in range(make_start[c], make_start[c + 1]):
                first = max(first, last[0, makes[k]])
            v = node[c]
            if out[v, 1] == 0 or first + 1 < out[v, 0]:
                out[v, 0] = first + 1
            out[v, 1] = max(out[v, 1], i)


@numba.njit(cache=True)
def keep_more(kept, candidates, memory, quickly, calls, storages, extras, work, budget, step_peaks, out, absent):
    """Keep each candidate in turn if the peak then stays within the budget; returns how many were simulated.

    ``quickly``: do not even try a value whose bytes, on top of what is alive while it is away now, exceed
    the budget. (Keeping it might free others and so fit after all: a try that pays on small graphs only.)
    """
    forward = np.int64(storages[4][0])
    order, recomputed, last = work[1], work[3], work[4]
    simulate(kept, calls, storages, extras, work, budget, step_peaks, out)
    count = 1
    fresh = False
    for k in range(len(candidates)):
        v = candidates[k]
        if kept[v]:
            continue
        if quickly:
            if not fresh:
                absences(out[STEPS] - 1, forward, calls, order, recomputed, last, absent)
                fresh = True
            fits = True
            for i in range(absent[v, 0], absent[v, 1]):
                if step_peaks[i] + memory[v] > budget:
                    fits = False
                    break
            if not fits:
                continue
        kept[v] = True
        simulate(kept, calls, storages, extras, work, budget, step_peaks, out)
        count += 1
        fresh = False
        if out[PEAK] > budget:
            kept[v] = False
            if quickly:
                simulate(kept, calls, storages, extras, work, budget, step_peaks, out)
                count += 1
    return count


@numba.njit(cache=True)
def anneal(
    kept, best, free, budget, heat, weight, tries, dice, calls, storages, extras, time, work, step_peaks, out, seen
):
    """Walk at random from ``kept``, ever less willing to climb; returns how many plans were simulated.

    The energy to lower is the bytes above ``budget`` and ``weight`` for each unit of overhead; ``heat`` is what a climb
    may cost at first. A try flips one value, exchanges a kept one for a recomputed one, or flips some that stand near
    each other; only those that are ``free`` are flipped. ``best`` is filled with the one met that exceeds the budget
    least, and of these recomputes least.
    """
    n = len(free)
    flipped = np.zeros(4, np.int64)
    here = np.inf
    best_excess, best_overhead = np.int64(2**62), np.inf
    for i in range(tries + 1):
        count = 0
        if i > 0:  # the first round only looks where it stands
            move = dice.random()
            at = dice.integers(0, n)
            flipped[0] = free[at]
            count = 1
            if move < 0.25:
                near = dice.random() < 0.7
                count = dice.integers(2, 5)
                for k in range(1, count):
                    flipped[k] = free[(at + dice.integers(1, 12)) % n if near else dice.integers(0, n)]
            elif move < 0.6:
                for _ in range(20):
                    v = free[(at + dice.integers(-12, 13)) % n if move < 0.5 else dice.integers(0, n)]
                    if kept[v] != kept[flipped[0]]:
                        flipped[1], count = v, 2
                        break
            for k in range(count):
                kept[flipped[k]] = not kept[flipped[k]]
        simulate(kept, calls, storages, extras, work, budget, step_peaks, out)
        overhead = overhead_of(work[3], calls, time, seen)
        excess = max(out[PEAK] - budget, 0)
        there = excess + weight * overhead
        left = max(heat * (1 - i / (tries + 1)) ** 2, 1e-9)
        if there <= here or dice.random() < np.exp((here - there) / left):
            here = there
            if excess < best_excess or (excess == best_excess and overhead < best_overhead):
                best_excess, best_overhead = excess, overhead
                best[:] = kept
        else:
            for k in range(count - 1, -1, -1):
                kept[flipped[k]] = not kept[flipped[k]]
    return tries + 1
