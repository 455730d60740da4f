"""Loops of the open-segment recursion, compiled by numba. This module is imported only when it is used.

:mod:`recompviz.core.exact.open_segments` explains the recursion, and :mod:`recompviz.core.exact.label_kernels` has the
operations on labels. A state is a lower set C and a *pattern* P = ∂(L′) ∩ C, where L′ is the end of the open segment.
The states of all sets of one size are computed from the states of all sets with one member more.

The functions share the names of their parameters. ``nodes`` is a :class:`Nodes`, ``sets`` a :class:`Sets`, ``closed`` a
:class:`Closed`, ``scratch`` a :class:`SweepBuffers`, and ``bound`` a
:class:`recompviz.core.exact.label_kernels.PruningBound`. ``new`` has the :class:`States` of the size now being solved,
and ``old`` the states of sets with one member more. ``c`` is the number of a lower set, ``base`` the row of its first
state, and ``states`` the row after its last state. ``allowed`` is the allowed error of overheads in quanta, or −1 in an
exact search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.exact.label_kernels import (
    COLUMNS,
    LAST,
    LOW,
    ORIGIN,
    PruningBound,
    Removal,
    SortedRuns,
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
    """The cost, size, rank and pin of each node, as arrays.

    ``time`` is T_v in quanta (:mod:`recompviz.core.exact.whole_times`), negative for the memory-centric objective.
    ``memory`` is M_v in bytes. ``rank`` is the position in the topological order. ``pinned`` is True if the node must
    be kept.
    """

    time: NDArray[np.int64]
    memory: NDArray[np.int64]
    rank: NDArray[np.int64]
    pinned: NDArray[np.bool_]


class Sets(NamedTuple):
    """All lower sets, by rising size, as in :class:`recompviz.core.exact.lattice.Lattice`.

    Four arrays are not in the lattice. ``time_of`` is the sum of ``Nodes.time`` over the set. ``closable`` says whether
    a segment may end at the set. The states of set c are ``state_first[c]`` to ``state_last[c] − 1``; the sweep fills
    these two arrays.
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
    """The states of all lower sets of one size. A state is a pair (lower set C, pattern P); see the module's docstring.

    ``pattern[s]`` is the pattern of state s as a bitset. The labels (partial solutions) of state s are the rows
    ``start[s]`` to ``start[s + 1] − 1`` of ``labels``.
    """

    pattern: NDArray[np.uint64]
    start: NDArray[np.int64]
    labels: NDArray[np.int64]


class Closed(NamedTuple):
    """The labels (partial solutions) whose segment is complete, from which the sequences of lower sets are read.

    A row of ``labels`` is (lower set, parent). The lower set is the end of a segment. The parent is the row of the
    label for the following segment, or −1 if the lower set has all nodes. ``front`` has the Pareto front of the lower
    set solved last, as rows (t, R, origin, low): t is the overhead (cost of recomputation), R the peak, and origin a
    row of ``labels``.
    """

    labels: NDArray[np.int32]
    front: NDArray[np.int64]


class Cursor(NamedTuple):
    """The position of a sweep over the lower sets.

    ``level`` is the number of members of the next lower set, or −1 at the end. ``next_set`` is the number of this set.
    """

    level: int
    next_set: int


class Counts(NamedTuple):
    """The number of filled rows of each table of the open-segment recursion.

    ``states`` and ``labels`` count the rows of :class:`States` for the current set size. ``closed`` and ``front`` count
    the rows of :class:`Closed`.
    """

    states: int
    labels: int
    closed: int
    front: int


class SweepBuffers(NamedTuple):
    """Scratch memory of a sweep over the lower sets.

    A row of ``moves`` is (old state, node removed, new state). ``runs`` has lists of labels to merge, and ``stair`` is
    used by :func:`recompviz.core.exact.label_kernels.merge_runs`.
    """

    moves: NDArray[np.int64]
    runs: SortedRuns
    stair: NDArray[np.int64]


@kernel
def new_sweep_buffers(moves, labels):
    """Return scratch memory for the given numbers of moves and labels."""
    runs = SortedRuns(np.empty((labels, COLUMNS), np.int64), np.empty(moves, np.int64), np.empty(moves, np.int64))
    return SweepBuffers(np.empty((moves, 3), np.int64), runs, np.empty((labels, 3), np.int64))


@kernel
def same_without(a, v, b):
    """Return whether bitset ``a`` without node v equals bitset ``b``. With v = −1, compare the bitsets themselves."""
    for w in range(len(a)):
        word = a[w]
        if w == v >> 6:
            word &= ~(np.uint64(1) << (np.uint64(v) & np.uint64(63)))
        if word != b[w]:
            return False
    return True


@kernel
def sum_over(words, values):
    """Return the sum of ``values`` over the members of a bitset."""
    total = np.int64(0)
    for w in range(len(words)):
        rest = words[w]
        while rest != np.uint64(0):
            total += values[w * 64 + trailing_zeros(rest)]
            rest &= rest - np.uint64(1)
    return total


@kernel(inline="always")
def find_states(c, base, nodes, sets, old, new, moves):
    """Find the states of lower set ``c`` that follow from the states of the lower sets with one node more.

    The docstring of the module explains states and parameters. Write the patterns of the states to ``new``, from row
    ``base`` on. Write a row (old state, node removed, new state) to ``moves`` for each old state from which a new state
    follows. Return the row after the last new state, and the number of moves.
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


@kernel(inline="always")
def put_opening_last(c, base, states, count, sets, new, moves):
    """Move the state (C, ∂(C)) to the last row of the states of lower set C (number ``c``), or add it there.

    The search runs backwards, and a segment that ends at C opens in this state. The docstring of the module explains
    states and parameters. The numbers of the states in the first ``count`` rows of ``moves`` are changed accordingly.
    Return the row after the last state.
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


@kernel(inline="always")
def fill_state(s, count, nodes, old, new, scratch, bound, allowed, at):
    """Compute the labels (partial solutions) of state ``s``, and write them to ``new.labels[at:]``.

    These labels follow from the labels of the old states in the first ``count`` rows of ``scratch.moves``. Return the
    row after the last label. The docstring of the module explains the other parameters.
    """
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
    return merge_runs(runs, k, scratch.stair, bound, allowed, new.labels, at)


@kernel
def front_of(c, base, states, sets, new, closed, allowed, scratch):
    """Write the Pareto front of the lower set C with number ``c`` to ``closed.front``, and return its number of points.

    A point is (t, R): the overhead (cost of recomputation) and the peak of the segments after C, if a segment ends at
    C. The front has no points if no segment may end at C. If C has all nodes, the only point is (0, 0). The docstring
    of the module explains the parameters.
    """
    if c == len(sets.boundary) - 1:
        closed.front[0, 0], closed.front[0, 1], closed.front[0, 2], closed.front[0, 3] = 0, 0, -1, 0  # R(V, 0) = 0
        return 1
    if not sets.closable[c]:
        return 0
    first, last = scratch.runs.first, scratch.runs.last
    first[: states - base] = new.start[base:states]
    last[: states - base] = new.start[base + 1 : states + 1]
    return close_front(SortedRuns(new.labels, first, last), states - base, allowed, closed.front)


@kernel(inline="always")
def open_segment(c, highest, made, sets, new, closed, scratch, bound, allowed):
    """Open a segment that ends at lower set C (number ``c``) for each useful point of ``closed.front``.

    The last state of C is (C, ∂(C)); the docstring of the module explains states and parameters. The labels of the new
    segments are merged with the labels of this state. Points after the first useful one with R ≤ y are left out,
    because they only have a larger t. ``made`` has the numbers of rows filled so far. ``highest`` is larger than the
    rank of every node. Return the new numbers of rows.
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
            labels[used - 1, LOW] = min(labels[used - 1, LOW], closed.front[i : made.front, 3].min())
            break
        closed.labels[closed_count, 0], closed.labels[closed_count, 1] = c, parent
        labels[used, T], labels[used, X], labels[used, Y] = t, x, inflow
        labels[used, ORIGIN], labels[used, LAST], labels[used, LOW] = closed_count, highest, closed.front[i, 3]
        closed_count += 1
        used += 1
    runs.last[1] = used
    end = merge_runs(runs, 2, stair, bound, allowed, new.labels, start)
    return Counts(made.states, end, closed_count, made.front)


@kernel(inline="always")
def most_needed(c, sets, old_start):
    """Return upper bounds on two numbers: the states of lower set ``c``, and the labels of these states.

    Labels of segments that end at ``c`` are not counted. ``old_start`` is ``old.start``; the docstring of the module
    explains ``sets`` and ``old``.
    """
    states, labels = 2, 2
    for e in range(sets.cover_start[c], sets.cover_start[c + 1]):
        first, last = sets.state_first[sets.cover_set[e]], sets.state_last[sets.cover_set[e]]
        states += last - first
        labels += old_start[last] - old_start[first]
    return states, labels


@kernel(inline="always")
def rows_needed(c, used, sets, old):
    """Return upper bounds on the numbers of rows that are filled after :func:`solve_set` is called for lower set ``c``.

    ``used`` has the numbers of rows that are already filled. The arrays of the states need one row more than the bound.
    The docstring of the module explains the other parameters.
    """
    states, labels = most_needed(c, sets, old.start)
    return Counts(used.states + states, used.labels + 2 * labels, used.closed + labels, labels)


@kernel(inline="always")
def has_rows(needed, new, closed):
    """Return whether the arrays of ``new`` and ``closed`` have at least the numbers of rows in ``needed``.

    The arrays of the states need one row more.
    """
    return (
        needed.states < len(new.pattern)
        and needed.labels <= len(new.labels)
        and needed.closed <= len(closed.labels)
        and needed.front <= len(closed.front)
    )


@kernel(inline="always")
def solve_set(c, used, nodes, sets, cells, old, new, closed, allowed, scratch):
    """Compute the states of lower set ``c``, close the segments that start there, and open the segments that end there.

    ``used`` is the :class:`Counts` of the rows filled so far, and the new counts are returned. The docstring of the
    module explains the other parameters. ``cells`` is as in
    :class:`recompviz.core.exact.label_kernels.PruningBound`.
    """
    base = used.states
    states, count = find_states(c, base, nodes, sets, old, new, scratch.moves)
    states = put_opening_last(c, base, states, count, sets, new, scratch.moves)
    labels, bound = used.labels, PruningBound(cells, np.int64(0), np.int64(0))
    for s in range(base, states):
        # the rest of the sequence adds at least M(P) to the peak, and recomputes at most C∖P
        least_t = min(np.int64(0), sets.time_of[c] - sum_over(new.pattern[s], nodes.time))
        bound = PruningBound(cells, least_t, sum_over(new.pattern[s], nodes.memory))
        new.start[s] = labels
        labels = fill_state(s, count, nodes, old, new, scratch, bound, allowed, labels)
        new.start[s + 1] = labels
    size = front_of(c, base, states, sets, new, closed, allowed, scratch)
    made = Counts(states, labels, used.closed, size)
    used = open_segment(c, len(nodes.time), made, sets, new, closed, scratch, bound, allowed)
    new.start[states] = used.labels
    sets.state_first[c], sets.state_last[c] = base, states
    return used


@kernel
def sweep(cursor, count, used, nodes, sets, cells, most_exact, allowed, even, odd, closed):
    """Call :func:`solve_set` for the next ``count`` lower sets. Sets with more members come first.

    ``allowed[k]`` is the allowed error of labels of sets with k members, in quanta; −1 where the search is exact. The
    sweep stops after the last set of some size if the sets of this size have more than ``most_exact`` labels.

    ``even`` and ``odd`` have the states of the sets of even and of odd size. ``used`` has the numbers of rows filled so
    far. Return (cursor, used, needed). If the arrays are too small for the next set, the sweep stops before this set,
    and ``needed`` is the result of :func:`rows_needed`. Otherwise all numbers in ``needed`` are 0. The other parameters
    are as for :func:`solve_set`.
    """
    level, c = cursor.level, cursor.next_set
    scratch = new_sweep_buffers(64, 1024)
    for _ in range(count):
        while level >= 0 and c == sets.level_start[level + 1]:
            if used.labels > most_exact:
                return Cursor(level, c), used, Counts(0, 0, 0, 0)
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
            scratch = new_sweep_buffers(max(2 * moves, len(scratch.moves)), max(2 * labels, len(scratch.stair)))
        used = solve_set(c, used, nodes, sets, cells, old, new, closed, allowed[level], scratch)
        c += 1
    return Cursor(level, c), used, Counts(0, 0, 0, 0)
