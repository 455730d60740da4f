"""Compiled steps of the open-segment recursion: imported only when numba is there and wanted.

A label is a row (t, x, y, origin, last) of int64: its origin is the closed label whose segment comes next,
``last`` the rank of the node removed last. Two things keep the labels few.

*Dominance.* Removing a node adds at most half as much to x as to y, so where y leads now, y leads for
good. Labels of a state are therefore compared by (t, z, y) with z = max(x, y), and kept sorted by it,
each beaten by none of the others.

*One path.* Only falling ranks are removed, so that each segment L′∖C is shrunk along one path and each
label reaches a state once. A label dropped on its path is beaten by one that reaches all that it would
have reached, along its own path. For this ties must be broken by what a further removal cannot
turn round: smaller x, then smaller origin.
"""

from __future__ import annotations

import numba
import numpy as np

from recompviz.core.exact.lattice_kernels import drop, has, trailing_zeros

T, X, Y, ORIGIN, LAST = 0, 1, 2, 3, 4
COLUMNS = 5


@numba.njit(cache=True)
def shift_run(source, first, last, rank, node_time, node_memory, kept, out, at):
    """Remove one node from open segments: move a sorted run of labels to ``out[at:]``.

    A kept node adds its memory to x, a recomputed one its time to t; either adds 2M to y. Returns
    the end of the run in ``out``, which is sorted by (t, z, y) again.
    """
    dt = 0 if kept else node_time
    dx = node_memory if kept else 0
    start = at
    for i in range(first, last):
        if source[i, LAST] <= rank:
            continue
        t, x, y = source[i, T] + dt, source[i, X] + dx, source[i, Y] + 2 * node_memory
        z = max(x, y)
        # within one t the labels in which y leads now come first, and each is beaten by the next of smaller y
        while at > start and out[at - 1, T] == t and max(out[at - 1, X], out[at - 1, Y]) >= z:
            at -= 1
        out[at, T], out[at, X], out[at, Y], out[at, ORIGIN], out[at, LAST] = t, x, y, source[i, ORIGIN], rank
        at += 1
    return at


@numba.njit(cache=True)
def is_useful(t, z, cells):
    """Whether overhead t and peak z lie in a cell below the known curve.

    A sequence improves on the known curve when for some j its overhead is at most ``cells[j, 0]``
    (rising) and its peak at most ``cells[j, 1]`` (falling).
    """
    low, high = 0, len(cells)
    while low < high:
        middle = (low + high) >> 1
        if cells[middle, 0] < t:
            low = middle + 1
        else:
            high = middle
    return low < len(cells) and z <= cells[low, 1]


@numba.njit(cache=True)
def is_before(rows, a, b):
    """Whether row a comes before row b by (t, z, y), ties by x and origin."""
    if rows[a, T] != rows[b, T]:
        return rows[a, T] < rows[b, T]
    z_a, z_b = max(rows[a, X], rows[a, Y]), max(rows[b, X], rows[b, Y])
    if z_a != z_b:
        return z_a < z_b
    if rows[a, Y] != rows[b, Y]:
        return rows[a, Y] < rows[b, Y]
    if rows[a, X] != rows[b, X]:
        return rows[a, X] < rows[b, X]
    return rows[a, ORIGIN] < rows[b, ORIGIN]


@numba.njit(cache=True)
def merge_runs(runs, run_first, run_last, count, stair, out, at, least_t, least_x, cells):
    """Merge sorted runs into one Pareto front of (t, z, y) at ``out[at:]``; returns its end.

    ``stair`` holds the (z, y) front of all labels met so far, z rising and y falling.
    """
    steps = 0
    while True:
        best, i = -1, -1
        for k in range(count):
            a = run_first[k]
            if a < run_last[k] and (i < 0 or is_before(runs, a, i)):
                best, i = k, a
        if i < 0:
            return at
        run_first[best] += 1
        z, y = max(runs[i, X], runs[i, Y]), runs[i, Y]
        # the first step of the stair with a larger z
        low, high = 0, steps
        while low < high:
            middle = (low + high) >> 1
            if stair[middle, 0] <= z:
                low = middle + 1
            else:
                high = middle
        if low > 0 and stair[low - 1, 1] <= y:
            continue
        end = low
        while end < steps and stair[end, 1] >= y:
            end += 1
        if low > 0 and stair[low - 1, 0] == z:
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
        stair[low, 0], stair[low, 1] = z, y
        if not is_useful(runs[i, T] + least_t, z + least_x, cells):
            continue
        for c in range(COLUMNS):
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
            a = list_first[k]
            while a < list_last[k] and max(lists[a, X], lists[a, Y]) >= least:
                a += 1
            list_first[k] = a
            if a < list_last[k] and (best < 0 or is_before(lists, a, list_first[best])):
                best = k
        if best < 0:
            return size
        i = list_first[best]
        least = max(lists[i, X], lists[i, Y])
        out[size, 0], out[size, 1], out[size, 2] = lists[i, T], least, lists[i, ORIGIN]
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
def find_states(c, base, covers, states_of, old, new, pinned, run):
    """The states that the covers of C lead to, from row ``base`` of ``new`` on, and the runs into them.

    Fills ``run`` with rows (old state, node, new state); returns the numbers of states and runs.
    """
    cover_start, cover_set, cover_node = covers
    state_first, state_last = states_of
    old_pattern, old_start, _ = old
    new_pattern = new[0]
    states, count = base, 0
    for e in range(cover_start[c], cover_start[c + 1]):
        v = cover_node[e]
        for q in range(state_first[cover_set[e]], state_last[cover_set[e]]):
            if old_start[q] == old_start[q + 1] or (pinned[v] and not has(old_pattern[q], v)):
                continue
            s = base
            while s < states and not same_without(old_pattern[q], v, new_pattern[s]):
                s += 1
            if s == states:
                new_pattern[s] = old_pattern[q]
                drop(new_pattern[s], v)
                states += 1
            run[count, 0], run[count, 1], run[count, 2] = q, v, s
            count += 1
    return states, count


@numba.njit(cache=True)
def opening_last(c, base, states, count, boundary, new_pattern, run):
    """Make the state (C, ∂(C)), where a segment that ends at C opens, the last one; returns how many there are."""
    s = base
    while s < states and not same_without(boundary[c], -1, new_pattern[s]):
        s += 1
    if s == states:
        new_pattern[s] = boundary[c]
        return states + 1
    end = states - 1
    for w in range(boundary.shape[1]):
        new_pattern[s, w], new_pattern[end, w] = new_pattern[end, w], new_pattern[s, w]
    for r in range(count):
        if run[r, 2] == s:
            run[r, 2] = end
        elif run[r, 2] == end:
            run[r, 2] = s
    return states


@numba.njit(cache=True)
def fill_state(s, count, run, old, new, nodes, runs, run_first, run_last, stair, least_t, least_x, at, cells):
    """Shrink the segments of all runs into state s and merge them; returns the end of its labels."""
    old_pattern, old_start, old_labels = old
    time, memory, rank = nodes
    used, k = 0, 0
    for r in range(count):
        if run[r, 2] == s:
            q, v = run[r, 0], run[r, 1]
            run_first[k] = used
            kept = has(old_pattern[q], v)
            used = shift_run(
                old_labels, old_start[q], old_start[q + 1], rank[v], time[v], memory[v], kept, runs, used
            )  # fmt: skip
            run_last[k] = used
            k += 1
    return merge_runs(runs, run_first, run_last, k, stair, new[2], at, least_t, least_x, cells)


@numba.njit(cache=True)
def open_segment(
    c, inflow, highest, closing, size, closed, closed_count, new_labels, start, end,
    runs, run_first, run_last, stair, least_t, least_x, cells,
):  # fmt: skip
    """Open a segment that ends at C for each label closed there, among the labels of state (C, ∂(C)).

    Returns the end of the state's labels and the number of closed labels.
    """
    used = end - start
    runs[:used] = new_labels[start:end]
    run_first[0], run_last[0], run_first[1] = 0, used, used
    for i in range(size):
        t, x, parent = closing[i, 0], closing[i, 1], closing[i, 2]
        if not is_useful(t + least_t, x + least_x, cells):
            continue
        # past the first label with R ≤ y the leading y stays while t only rises
        if used > run_first[1] and runs[used - 1, X] <= inflow:
            break
        closed[closed_count, 0], closed[closed_count, 1] = c, parent
        runs[used, T], runs[used, X], runs[used, Y] = t, x, inflow
        runs[used, ORIGIN], runs[used, LAST] = closed_count, highest
        closed_count += 1
        used += 1
    run_last[1] = used
    end = merge_runs(runs, run_first, run_last, 2, stair, new_labels, start, least_t, least_x, cells)
    return end, closed_count


@numba.njit(cache=True)
def room_needed(c, covers, states_of, old_start):
    """How many states, and how many labels in all of them, the covers of C can lead to at most."""
    cover_start, cover_set, _ = covers
    state_first, state_last = states_of
    states, labels = 2, 2
    for e in range(cover_start[c], cover_start[c + 1]):
        u = cover_set[e]
        states += state_last[u] - state_first[u]
        labels += old_start[state_last[u]] - old_start[state_first[u]]
    return states, labels


@numba.njit(cache=True)
def sweep(
    first, last, cursor, need, boundary, inflow, work, covers, states_of, old, new, nodes, pinned, closable,
    closed, closing, cells,
):  # fmt: skip
    """Close and open segments at the lower sets ``first`` to ``last − 1``, all of one size.

    ``old`` and ``new`` are (patterns P, label starts, labels) of the states of the next larger size
    and of this one. ``pinned`` nodes must be kept; a segment may end at ``closable`` sets only.
    ``cursor`` counts the states, labels and closed labels so far. ``closed`` takes rows (lower set,
    parent); ``closing`` is left with the front of the last set. Returns the set before which more room
    is needed, the rows in ``need``; or ``last``.
    """
    state_first, state_last = states_of
    new_pattern, new_start, new_labels = new
    time, memory, _ = nodes
    run = np.empty((64, 3), np.int64)
    run_first, run_last = np.empty(64, np.int64), np.empty(64, np.int64)
    runs, stair = np.empty((1024, COLUMNS), np.int64), np.empty((1024, 2), np.int64)
    for c in range(first, last):
        base, labels, closed_count = cursor[0], cursor[1], cursor[2]
        most, total = room_needed(c, covers, states_of, old[1])
        need[0], need[1], need[2], need[3] = base + most, labels + 2 * total, closed_count + total, total
        if need[0] >= len(new_pattern) or need[1] > len(new_labels) or need[2] > len(closed) or total > len(closing):
            return c
        if most > len(run):
            run = np.empty((2 * most, 3), np.int64)
            run_first, run_last = np.empty(2 * most, np.int64), np.empty(2 * most, np.int64)
        if 2 * total > len(runs):
            runs, stair = np.empty((4 * total, COLUMNS), np.int64), np.empty((4 * total, 2), np.int64)

        states, count = find_states(c, base, covers, states_of, old, new, pinned, run)
        states = opening_last(c, base, states, count, boundary, new_pattern, run)
        least_x, least_t = np.int64(0), np.int64(0)
        for s in range(base, states):
            # what is still to come adds M(P) to the peak at least; at most all of C∖P is recomputed
            least_x = sum_over(new_pattern[s], memory)
            least_t = min(np.int64(0), work[c] - sum_over(new_pattern[s], time))
            new_start[s] = labels
            labels = fill_state(
                s, count, run, old, new, nodes, runs, run_first, run_last, stair, least_t, least_x, labels, cells
            )
            new_start[s + 1] = labels

        size = 0
        if c == len(boundary) - 1:
            closing[0, 0], closing[0, 1], closing[0, 2] = 0, 0, -1  # R(V, 0) = 0
            size = 1
        elif closable[c]:
            run_first[: states - base] = new_start[base:states]
            run_last[: states - base] = new_start[base + 1 : states + 1]
            size = close_front(new_labels, run_first, run_last, states - base, closing)
        need[3] = size
        labels, closed_count = open_segment(
            c, inflow[c], len(time), closing, size, closed, closed_count, new_labels, new_start[states - 1], labels,
            runs, run_first, run_last, stair, least_t, least_x, cells,
        )  # fmt: skip
        new_start[states] = labels
        state_first[c], state_last[c] = base, states
        cursor[0], cursor[1], cursor[2] = states, labels, closed_count
    return last
