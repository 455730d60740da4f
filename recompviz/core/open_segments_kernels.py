"""Compiled steps of the open-segment recursion: imported only when numba is there and wanted.

A label is a row (t, x, y, origin) of int64. Labels of one state are kept sorted by (t, x, y), each
beaten by none of the others in all three. x is raised to max(x, y) at once: removing a node adds at
most half as much to x as to y, so wherever y leads now, y leads at the end, and x no longer tells two
labels apart. For the same reason y is raised to x − 2M(C) where it could never catch up.
"""

from __future__ import annotations

import numba
import numpy as np

from recompviz.core.lattice_kernels import drop, has, put, trailing_zeros

T, X, Y, ORIGIN = 0, 1, 2, 3


@numba.njit(cache=True)
def shift_run(source, first, last, node_time, node_memory, kept, floor, out, at):
    """Remove one node from the open segment: move a sorted run of labels to ``out[at:]``.

    A kept node adds its memory to x, a recomputed one its time to t; either adds 2M to y. Returns
    the end of the run in ``out``, which is sorted by (t, x, y) again.
    """
    dt = 0 if kept else node_time
    dx = node_memory if kept else 0
    start = at
    for i in range(first, last):
        t, x, y = source[i, T] + dt, source[i, X] + dx, source[i, Y] + 2 * node_memory
        x = max(x, y)
        y = max(y, x - floor)
        # within one t the labels raised to x = y come first, and each is beaten by the next of smaller x
        while at > start and out[at - 1, T] == t and out[at - 1, X] >= x and out[at - 1, Y] >= y:
            at -= 1
        if at > start and out[at - 1, T] == t and out[at - 1, X] <= x and out[at - 1, Y] <= y:
            continue
        out[at, T], out[at, X], out[at, Y], out[at, ORIGIN] = t, x, y, source[i, ORIGIN]
        at += 1
    return at


@numba.njit(cache=True)
def useful(t, x, phi, least_t, least_x, cells, slack):
    """Whether a label may still lead below the known curve in one of its cells.

    In cell j a sequence improves on the known curve when its overhead is at most ``cells[j, 0]`` and its
    peak at most ``cells[j, 1]``. ``phi[j]`` bounds, by the multiplier ``cells[j, 2]``, what the nodes still
    to come add at least; ``least_t`` and ``least_x`` bound it in each coordinate alone.
    """
    for j in range(len(cells)):
        if t + least_t <= cells[j, 0] and x + least_x <= cells[j, 1] and t + cells[j, 2] * x + phi[j] <= slack[j]:
            return True
    return False


@numba.njit(cache=True)
def merge_runs(runs, run_first, run_last, count, stair, out, at, phi, least_t, least_x, cells, slack):
    """Merge sorted runs into one Pareto front of (t, x, y) at ``out[at:]``; returns its end.

    ``stair`` holds the (x, y) front of all labels of smaller t met so far, x rising and y falling.
    """
    steps = 0
    while True:
        best = -1
        for k in range(count):
            if run_first[k] < run_last[k]:
                a = run_first[k]
                if best < 0:
                    best = k
                else:
                    b = run_first[best]
                    if runs[a, T] < runs[b, T] or (
                        runs[a, T] == runs[b, T]
                        and (runs[a, X] < runs[b, X] or (runs[a, X] == runs[b, X] and runs[a, Y] < runs[b, Y]))
                    ):
                        best = k
        if best < 0:
            return at
        i = run_first[best]
        run_first[best] += 1
        x, y = runs[i, X], runs[i, Y]
        # the first step of the stair with a larger x
        low, high = 0, steps
        while low < high:
            middle = (low + high) >> 1
            if stair[middle, 0] <= x:
                low = middle + 1
            else:
                high = middle
        if low > 0 and stair[low - 1, 1] <= y:
            continue
        end = low
        while end < steps and stair[end, 1] >= y:
            end += 1
        if low > 0 and stair[low - 1, 0] == x:
            low -= 1
        if end == low:
            for s in range(steps, low, -1):
                stair[s, 0], stair[s, 1] = stair[s - 1, 0], stair[s - 1, 1]
            steps += 1
        elif end > low + 1:
            gap = end - low - 1
            for s in range(end, steps):
                stair[s - gap, 0], stair[s - gap, 1] = stair[s, 0], stair[s, 1]
            steps -= gap
        stair[low, 0], stair[low, 1] = x, y
        if len(cells) and not useful(runs[i, T], x, phi, least_t, least_x, cells, slack):
            continue
        for c in range(4):
            out[at, c] = runs[i, c]
        at += 1


@numba.njit(cache=True)
def close_front(lists, list_first, list_last, count, out):
    """The (t, R) front of closing any of the labels: rows (t, R, origin) in ``out``; returns how many."""
    least = np.iinfo(np.int64).max
    size = 0
    while True:
        best = -1
        for k in range(count):
            while list_first[k] < list_last[k] and lists[list_first[k], X] >= least:
                list_first[k] += 1
            if list_first[k] < list_last[k] and (
                best < 0
                or lists[list_first[k], T] < lists[list_first[best], T]
                or (
                    lists[list_first[k], T] == lists[list_first[best], T]
                    and lists[list_first[k], X] < lists[list_first[best], X]
                )
            ):
                best = k
        if best < 0:
            return size
        i = list_first[best]
        least = lists[i, X]
        out[size, 0], out[size, 1], out[size, 2] = lists[i, T], lists[i, X], lists[i, ORIGIN]
        size += 1


@numba.njit(cache=True)
def same_without(a, v, b):
    """Whether bitset ``a`` without node v is bitset ``b``."""
    for w in range(len(a)):
        word = a[w]
        if w == v >> 6:
            word &= ~(np.uint64(1) << (np.uint64(v) & np.uint64(63)))
        if word != b[w]:
            return False
    return True


@numba.njit(cache=True)
def sum_over(words, values):
    """The sum of ``values`` over the members of a bitset."""
    total = values[0] - values[0]
    for w in range(len(words)):
        rest = words[w]
        while rest != np.uint64(0):
            total += values[w * 64 + trailing_zeros(rest)]
            rest &= rest - np.uint64(1)
    return total


@numba.njit(cache=True)
def find_states(c, base, covers, states_of, old, new, nodes, cells, run):
    """The states that the covers of C lead to, from row ``base`` of ``new`` on, and the runs into them.

    Fills ``run`` with rows (old state, node, new state); returns the numbers of states and runs.
    """
    cover_start, cover_set, cover_node = covers
    state_first, state_last = states_of
    old_pattern, old_start, _, old_phi = old
    new_pattern, _, _, new_phi = new
    time, memory = nodes
    states, count = base, 0
    for e in range(cover_start[c], cover_start[c + 1]):
        v = cover_node[e]
        for q in range(state_first[cover_set[e]], state_last[cover_set[e]]):
            if old_start[q] == old_start[q + 1]:
                continue
            s = base
            while s < states and not same_without(old_pattern[q], v, new_pattern[s]):
                s += 1
            if s == states:
                new_pattern[s] = old_pattern[q]
                drop(new_pattern[s], v)
                kept = has(old_pattern[q], v)
                for j in range(len(cells)):
                    price = cells[j, 2] * memory[v]
                    new_phi[s, j] = old_phi[q, j] - (price if kept else min(float(time[v]), price))
                states += 1
            run[count, 0], run[count, 1], run[count, 2] = q, v, s
            count += 1
    return states, count


@numba.njit(cache=True)
def opening_last(c, base, states, count, boundary, new, nodes, cells, run):
    """Make the state (C, ∂(C)), where a segment that ends at C opens, the last one; returns how many there are."""
    new_pattern, _, _, new_phi = new
    time, memory = nodes
    s = base
    while s < states and not same_without(boundary[c], -1, new_pattern[s]):
        s += 1
    if s == states:
        new_pattern[s] = boundary[c]
        if s == base:  # C = V: everything is still to come
            for j in range(len(cells)):
                new_phi[s, j] = 0.0
                for v in range(len(time)):
                    new_phi[s, j] += min(float(time[v]), cells[j, 2] * memory[v])
            return states + 1
        new_phi[s] = new_phi[base]
        for w in range(boundary.shape[1]):
            # P is a part of ∂(C): what it lacks is forced to be kept now
            rest = boundary[c, w] & ~new_pattern[base, w]
            while rest != np.uint64(0):
                v = w * 64 + trailing_zeros(rest)
                rest &= rest - np.uint64(1)
                for j in range(len(cells)):
                    new_phi[s, j] += max(0.0, cells[j, 2] * memory[v] - time[v])
        return states + 1
    end = states - 1
    for w in range(boundary.shape[1]):
        new_pattern[s, w], new_pattern[end, w] = new_pattern[end, w], new_pattern[s, w]
    for j in range(len(cells)):
        new_phi[s, j], new_phi[end, j] = new_phi[end, j], new_phi[s, j]
    for r in range(count):
        if run[r, 2] == s:
            run[r, 2] = end
        elif run[r, 2] == end:
            run[r, 2] = s
    return states


@numba.njit(cache=True)
def sweep(
    first, last, cursor, need, boundary, inflow, weight, work, covers, states_of, old, new, nodes, closed, closing,
    cells, slack,
):  # fmt: skip
    """Close and open segments at the lower sets ``first`` to ``last − 1``, all of one size.

    ``old`` and ``new`` are (patterns P, label starts, labels, bounds) of the states of the next larger size
    and of this one. ``cursor`` counts the states, labels and closed labels so far. ``closed`` takes rows
    (lower set, parent); ``closing`` is left with the front of the last set. Returns the set
    before which more room is needed, the rows in ``need``; or ``last``.
    """
    state_first, state_last = states_of
    _, old_start, old_labels, _ = old
    new_pattern, new_start, new_labels, new_phi = new
    time, memory = nodes
    cover_start, cover_set, _ = covers
    run = np.empty((64, 3), np.int64)
    run_first, run_last = np.empty(64, np.int64), np.empty(64, np.int64)
    runs, stair = np.empty((1024, 4), np.int64), np.empty((1024, 2), np.int64)
    for c in range(first, last):
        base, labels, closed_count = cursor[0], cursor[1], cursor[2]
        count, total = 2, 2
        for e in range(cover_start[c], cover_start[c + 1]):
            u = cover_set[e]
            count += state_last[u] - state_first[u]
            total += old_start[state_last[u]] - old_start[state_first[u]]
        need[0], need[1], need[2], need[3] = base + count, labels + 2 * total, closed_count + total, total
        if (
            need[0] >= len(new_pattern) or need[1] > len(new_labels) or need[2] > len(closed) or need[3] > len(closing)
        ):
            return c
        if count > len(run):
            run = np.empty((2 * count, 3), np.int64)
            run_first, run_last = np.empty(2 * count, np.int64), np.empty(2 * count, np.int64)
        if 2 * total > len(runs):
            runs, stair = np.empty((4 * total, 4), np.int64), np.empty((4 * total, 2), np.int64)

        states, count = find_states(c, base, covers, states_of, old, new, nodes, cells, run)
        states = opening_last(c, base, states, count, boundary, new, nodes, cells, run)
        floor = 2 * weight[c]
        least_x, least_t = np.int64(0), np.int64(0)
        for s in range(base, states):
            used, k = 0, 0
            for r in range(count):
                if run[r, 2] == s:
                    q, v = run[r, 0], run[r, 1]
                    run_first[k] = used
                    used = shift_run(
                        old_labels, old_start[q], old_start[q + 1], time[v], memory[v],
                        has(old[0][q], v), floor, runs, used,
                    )  # fmt: skip
                    run_last[k] = used
                    k += 1
            least_x = sum_over(new_pattern[s], memory)
            least_t = min(0, work[c] - sum_over(new_pattern[s], time))
            new_start[s] = labels
            labels = merge_runs(
                runs, run_first, run_last, k, stair, new_labels, labels, new_phi[s], least_t, least_x, cells, slack
            )
            new_start[s + 1] = labels

        if count == 0 and cover_start[c] == cover_start[c + 1]:
            closing[0, 0], closing[0, 1], closing[0, 2] = 0, 0, -1  # R(V, 0) = 0
            size = 1
        else:
            for s in range(base, states):
                run_first[s - base], run_last[s - base] = new_start[s], new_start[s + 1]
            size = close_front(new_labels, run_first, run_last, states - base, closing)
        need[3] = size

        # a segment that ends at C opens: its labels join those already in the state (C, ∂(C))
        s = states - 1
        start = new_start[s]
        for i in range(labels - start):
            for d in range(4):
                runs[i, d] = new_labels[start + i, d]
        run_first[0], run_last[0] = 0, labels - start
        used = labels - start
        for i in range(size):
            t, x, parent = closing[i, 0], closing[i, 1], closing[i, 2]
            if len(cells) and not useful(t, x, new_phi[s], least_t, least_x, cells, slack):
                continue
            x = max(x, inflow[c])
            y = max(inflow[c], x - floor)
            if used > run_last[0] and runs[used - 1, X] <= x:
                continue
            closed[closed_count, 0], closed[closed_count, 1] = c, parent
            runs[used, T], runs[used, X], runs[used, Y], runs[used, ORIGIN] = t, x, y, closed_count
            closed_count += 1
            used += 1
        run_first[1], run_last[1] = run_last[0], used
        labels = merge_runs(
            runs, run_first, run_last, 2, stair, new_labels, start, new_phi[s], least_t, least_x, cells, slack
        )
        new_start[s + 1] = labels
        state_first[c], state_last[c] = base, states
        cursor[0], cursor[1], cursor[2] = states, labels, closed_count
    return last
