"""Compiled loops of the open-segment recursion. Imported only where numba is installed and needed.

A state is a lower set C and a pattern P = ∂(L′) ∩ C, where L′ is the end of the open segment. The states of all
sets of one size are computed from those of the next larger size. :mod:`recompviz.core.exact.open_segments` has the
recursion, :mod:`recompviz.core.exact.label_kernels` the operations on labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from recompviz.core.exact.label_kernels import (
    COLUMNS,
    LAST,
    ORIGIN,
    Bound,
    Removal,
    Runs,
    T,
    X,
    Y,
    close_front,
    is_useful,
    merge_runs,
    shift_run,
)
from recompviz.core.exact.lattice_kernels import drop, has, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Nodes(NamedTuple):
    """Values of the nodes: signed T, M in bytes, rank in the topological order, and the pins to keep."""

    time: NDArray[np.int64]
    memory: NDArray[np.int64]
    rank: NDArray[np.int64]
    pinned: NDArray[np.bool_]


class Sets(NamedTuple):
    """All lower sets, smallest first: boundary, inflow, T, and the sets that cover each one.

    The sets with k members are ``level_start[k]`` to ``level_start[k + 1] − 1``. A segment may end only at sets
    that are ``closable``. ``state_first`` and ``state_last`` are filled with the range of states of each set.
    """

    level_start: NDArray[np.int64]
    boundary: NDArray[np.uint64]
    inflow: NDArray[np.int64]
    time_of: NDArray[np.int64]
    closable: NDArray[np.bool_]
    cover_start: NDArray[np.int64]
    cover_set: NDArray[np.int32]
    cover_node: NDArray[np.int32]
    state_first: NDArray[np.int64]
    state_last: NDArray[np.int64]


class States(NamedTuple):
    """The states of the sets of one size: pattern P, and labels ``start[s]`` to ``start[s + 1] − 1`` of state s."""

    pattern: NDArray[np.uint64]
    start: NDArray[np.int64]
    labels: NDArray[np.int64]


class Closed(NamedTuple):
    """Closed labels as rows (lower set, parent), and the front (t, R, origin) of the set closed last."""

    labels: NDArray[np.int32]
    front: NDArray[np.int64]


class Cursor(NamedTuple):
    """Where a sweep stands: the size of the sets it is at (−1 at the end), and the next set."""

    level: int
    next_set: int


class Counts(NamedTuple):
    """Numbers of rows: states of this size, their labels, closed labels, points of the last front."""

    states: int
    labels: int
    closed: int
    front: int


class Scratch(NamedTuple):
    """Scratch memory: moves as rows (old state, node, new state), runs of labels, a stair for merging."""

    moves: NDArray[np.int64]
    runs: Runs
    stair: NDArray[np.int64]


@numba.njit(cache=True)
def new_scratch(moves, labels):
    """Scratch memory for the given numbers of moves and labels."""
    runs = Runs(np.empty((labels, COLUMNS), np.int64), np.empty(moves, np.int64), np.empty(moves, np.int64))
    return Scratch(np.empty((moves, 3), np.int64), runs, np.empty((labels, 2), np.int64))


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
    total = np.int64(0)
    for w in range(len(words)):
        rest = words[w]
        while rest != np.uint64(0):
            total += values[w * 64 + trailing_zeros(rest)]
            rest &= rest - np.uint64(1)
    return total


@numba.njit(cache=True, inline="always")
def find_states(c, base, nodes, sets, old, new, moves):
    """The states that the covers of C lead to, from row ``base`` of ``new`` on.

    Fills ``moves`` with rows (old state, node, new state). Returns the end of the states and the number of moves.
    """
    states, count = base, 0
    for e in range(sets.cover_start[c], sets.cover_start[c + 1]):
        v, upper = sets.cover_node[e], sets.cover_set[e]
        for q in range(sets.state_first[upper], sets.state_last[upper]):
            if old.start[q] == old.start[q + 1] or (nodes.pinned[v] and not has(old.pattern[q], v)):
                continue
            s = base
            while s < states and not same_without(old.pattern[q], v, new.pattern[s]):
                s += 1
            if s == states:
                new.pattern[s] = old.pattern[q]
                drop(new.pattern[s], v)
                states += 1
            moves[count, 0], moves[count, 1], moves[count, 2] = q, v, s
            count += 1
    return states, count


@numba.njit(cache=True, inline="always")
def put_opening_last(c, base, states, count, sets, new, moves):
    """Move the state (C, ∂(C)) to the last place, or add it there; return the number of states.

    A segment that ends at C starts in this state, because the recursion runs from V down to ∅.
    """
    boundary, pattern = sets.boundary, new.pattern
    s = base
    while s < states and not same_without(boundary[c], -1, pattern[s]):
        s += 1
    if s == states:
        pattern[s] = boundary[c]
        return states + 1
    end = states - 1
    for w in range(boundary.shape[1]):
        pattern[s, w], pattern[end, w] = pattern[end, w], pattern[s, w]
    for r in range(count):
        if moves[r, 2] == s:
            moves[r, 2] = end
        elif moves[r, 2] == end:
            moves[r, 2] = s
    return states


@numba.njit(cache=True, inline="always")
def fill_state(s, count, nodes, old, new, scratch, bound, at):
    """Shrink the segments of all moves into state s and merge them at ``at``; returns the end of the labels."""
    moves, runs = scratch.moves, scratch.runs
    used, k = 0, 0
    for r in range(count):
        if moves[r, 2] == s:
            q, v = moves[r, 0], moves[r, 1]
            removal = Removal(nodes.rank[v], nodes.time[v], nodes.memory[v], has(old.pattern[q], v))
            runs.first[k] = used
            used = shift_run(old.labels, old.start[q], old.start[q + 1], removal, runs.labels, used)
            runs.last[k] = used
            k += 1
    return merge_runs(runs, k, scratch.stair, bound, new.labels, at)


@numba.njit(cache=True)
def front_of(c, base, states, sets, new, closed, scratch):
    """The front of the sequences that may end a segment at C, in ``closed.front``; returns its size."""
    if c == len(sets.boundary) - 1:
        closed.front[0, 0], closed.front[0, 1], closed.front[0, 2] = 0, 0, -1  # R(V, 0) = 0
        return 1
    if not sets.closable[c]:
        return 0
    first, last = scratch.runs.first, scratch.runs.last
    first[: states - base] = new.start[base:states]
    last[: states - base] = new.start[base + 1 : states + 1]
    return close_front(Runs(new.labels, first, last), states - base, closed.front)


@numba.njit(cache=True, inline="always")
def open_segment(c, highest, made, sets, new, closed, scratch, bound):
    """Open a segment that ends at C for each point of its front, among the labels of the last state, (C, ∂(C)).

    ``made`` counts what there is so far, ``highest`` is above every rank. Returns the new counts.
    """
    runs, stair, inflow, labels = scratch.runs, scratch.stair, sets.inflow[c], scratch.runs.labels
    start, closed_count = new.start[made.states - 1], made.closed
    used = made.labels - start
    labels[:used] = new.labels[start : made.labels]
    runs.first[0], runs.last[0], runs.first[1] = 0, used, used
    for i in range(made.front):
        t, x, parent = closed.front[i, 0], closed.front[i, 1], closed.front[i, 2]
        if not is_useful(t, x, bound):
            continue
        # after the first label with R ≤ y the maximum stays y while t only rises
        if used > runs.first[1] and labels[used - 1, X] <= inflow:
            break
        closed.labels[closed_count, 0], closed.labels[closed_count, 1] = c, parent
        labels[used, T], labels[used, X], labels[used, Y] = t, x, inflow
        labels[used, ORIGIN], labels[used, LAST] = closed_count, highest
        closed_count += 1
        used += 1
    runs.last[1] = used
    end = merge_runs(runs, 2, stair, bound, new.labels, start)
    return Counts(made.states, end, closed_count, made.front)


@numba.njit(cache=True, inline="always")
def most_needed(c, sets, old_start):
    """The most states, and the most labels in all of them, that the covers of C can lead to."""
    states, labels = 2, 2
    for e in range(sets.cover_start[c], sets.cover_start[c + 1]):
        first, last = sets.state_first[sets.cover_set[e]], sets.state_last[sets.cover_set[e]]
        states += last - first
        labels += old_start[last] - old_start[first]
    return states, labels


@numba.njit(cache=True, inline="always")
def rows_needed(c, used, sets, old):
    """The array lengths that are enough for :func:`solve_set` to process set C, as :class:`Counts`.

    ``used`` has the numbers of rows that are already filled.
    """
    states, labels = most_needed(c, sets, old.start)
    return Counts(used.states + states, used.labels + 2 * labels, used.closed + labels, labels)


@numba.njit(cache=True, inline="always")
def has_rows(needed, new, closed):
    """Whether the arrays have the rows needed."""
    return (
        needed.states < len(new.pattern)
        and needed.labels <= len(new.labels)
        and needed.closed <= len(closed.labels)
        and needed.front <= len(closed.front)
    )


@numba.njit(cache=True, inline="always")
def solve_set(c, used, nodes, sets, cells, old, new, closed, scratch):
    """Compute the states of C, close segments at C and open segments that end there; returns the new counts."""
    base = used.states
    states, count = find_states(c, base, nodes, sets, old, new, scratch.moves)
    states = put_opening_last(c, base, states, count, sets, new, scratch.moves)
    labels, bound = used.labels, Bound(cells, np.int64(0), np.int64(0))
    for s in range(base, states):
        # the rest of the sequence adds at least M(P) to the peak, and recomputes at most C∖P
        least_t = min(np.int64(0), sets.time_of[c] - sum_over(new.pattern[s], nodes.time))
        bound = Bound(cells, least_t, sum_over(new.pattern[s], nodes.memory))
        new.start[s] = labels
        labels = fill_state(s, count, nodes, old, new, scratch, bound, labels)
        new.start[s + 1] = labels
    size = front_of(c, base, states, sets, new, closed, scratch)
    made = Counts(states, labels, used.closed, size)
    used = open_segment(c, len(nodes.time), made, sets, new, closed, scratch, bound)
    new.start[states] = used.labels
    sets.state_first[c], sets.state_last[c] = base, states
    return used


@numba.njit(cache=True)
def sweep(cursor, count, used, nodes, sets, cells, even, odd, closed):
    """Close and open segments at the next ``count`` lower sets, from the largest size to the smallest.

    ``even`` and ``odd`` are the states of sets of even and of odd size; ``used`` counts the rows filled so far.
    Returns (cursor, used, needed). If the arrays are too small for the next set, the sweep stops before it and
    ``needed`` is the number of rows they must have; otherwise ``needed.states`` is 0.
    """
    level, c = cursor.level, cursor.next_set
    scratch = new_scratch(64, 1024)
    for _ in range(count):
        while level >= 0 and c == sets.level_start[level + 1]:
            level -= 1
            c = sets.level_start[max(level, 0)]
            used = Counts(0, 0, used.closed, used.front)
        if level < 0:
            break
        old, new = (odd, even) if level % 2 == 0 else (even, odd)
        needed = rows_needed(c, used, sets, old)
        if not has_rows(needed, new, closed):
            return Cursor(level, c), used, needed
        moves, labels = needed.states - used.states, needed.labels - used.labels
        if moves > len(scratch.moves) or labels > len(scratch.stair):
            scratch = new_scratch(max(2 * moves, len(scratch.moves)), max(2 * labels, len(scratch.stair)))
        used = solve_set(c, used, nodes, sets, cells, old, new, closed, scratch)
        c += 1
    return Cursor(level, c), used, Counts(0, 0, 0, 0)
