"""Operations on the labels of open segments, compiled by numba. This module is imported only when it is used.

:mod:`recompviz.core.exact.open_segments` explains states (C, P) and labels (t, x, y). Here a label is a row (t, x, y,
origin, last, low) of int64. ``origin`` is the row number of the closed label at the end of the segment. ``last`` is the
rank of the node that was removed last from C. The rank of a node is its position in the topological order. ``low`` is
t, unless the label has replaced others (see below). Times are in quanta, the integer units of
:mod:`recompviz.core.exact.whole_times`. Two rules keep the number of labels small.

*Dominance.* With z = max(x, y), a label *beats* another label of the same state if none of its t, z and y is larger.
The other label is then dropped. For example, (t, x, y) = (5, 40, 30) beats (5, 20, 44), although its x is larger. The
smaller x of the second label never helps it: removing a node adds at most half as much to x as to y, so its y stays the
larger of the two. The labels of a state are sorted by (t, z, y), and none of them beats another.

*One path.* Nodes are removed only in the order of falling rank. For example, of the nodes a and b with ranks 1 and 2, b
is removed first. A label therefore reaches each state in one way only. If a label is dropped, some label that beats it
reaches every state that the dropped label would have reached. This holds because ties between labels are broken by
values whose order no further removal changes: the smaller x, then the smaller origin.

*Replacement*, a third rule, is used where a small error is allowed. A label also replaces a label of smaller t if its z
and y are not larger and its t − low stays within the allowed error. Whenever a label beats or replaces another, its low
becomes the smaller low of the two, and its last the larger last. It may therefore remove every node that the dropped
label might remove, and its low is at most the t of each label dropped for it. From there on, t and low grow by the same
numbers. Hence each sequence of lower sets has a point in the final front with no larger peak, and with a t that is
larger by at most t − low. This covers labels that were dropped before, in an exact part of the search: a label of no
larger t, z and y reaches each of their states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

T, X, Y, ORIGIN, LAST, LOW = 0, 1, 2, 3, 4, 5
COLUMNS = 6
# the origin of a label that another one has replaced
REPLACED = -2


class SortedRuns(NamedTuple):
    """Several sorted lists of labels (partial solutions) in one array.

    List k has the rows ``first[k]`` to ``last[k] − 1`` of ``labels``. The docstring of the module explains labels.
    """

    labels: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


class Removal(NamedTuple):
    """A node v that is removed from C, the lower set before an open segment of a plan. The segment then contains v.

    ``rank`` is the position of v in the topological order. ``time`` is T_v in quanta (integer units of cost), negative
    for the memory-centric objective. ``memory`` is M_v in bytes. ``kept`` says whether the value of v is kept.
    """

    rank: int
    time: int
    memory: int
    kept: bool


class PruningBound(NamedTuple):
    """A test for labels (partial solutions) that cannot lead to a better result than the curve known before the search.

    A sequence of lower sets improves on the known curve if, for some j, its overhead t (cost of recomputation) is at
    most ``cells[j, 0]`` and its peak is at most ``cells[j, 1]``. The part of the sequence that is missing in a label
    adds at least ``least_t`` to t and at least ``least_x`` bytes to the peak.
    """

    cells: NDArray[np.int64]
    least_t: np.int64
    least_x: np.int64


@kernel
def shift_run(source, first, last, removal, out, at):
    """Remove node ``removal`` from C in the labels ``source[first:last]``, and write the new labels to ``out[at:]``.

    The docstring of the module explains C and the labels (t, x, y). A kept node v adds M_v to x. A recomputed node
    adds T_v to t. Both add 2M_v to y. Labels whose last removed node has no larger rank than this node are left out,
    and so are some labels that another new label beats. The new labels are sorted by (t, z, y), where z = max(x, y).
    Return the row after the last new label.
    """
    dt = 0 if removal.kept else removal.time
    dx = removal.memory if removal.kept else 0
    dy = 2 * removal.memory
    start = at
    for i in range(first, last):
        if source[i, LAST] <= removal.rank:
            continue
        t, x, y = source[i, T] + dt, source[i, X] + dx, source[i, Y] + dy
        z = max(x, y)
        low = source[i, LOW] + dt
        # among labels of equal t, those with y > x now come first, and each is beaten by the next of smaller y
        while at > start and out[at - 1, T] == t and max(out[at - 1, X], out[at - 1, Y]) >= z:
            at -= 1
            low = min(low, out[at, LOW])
        out[at, T], out[at, X], out[at, Y] = t, x, y
        out[at, ORIGIN], out[at, LAST], out[at, LOW] = source[i, ORIGIN], removal.rank, low
        at += 1
    return at


@kernel
def is_useful(t, z, bound):
    """Return whether a label (partial solution) with overhead t and peak z can still improve on the known curve.

    ``bound`` describes the known curve; see :class:`PruningBound`.
    """
    cells = bound.cells
    t, z = t + bound.least_t, z + bound.least_x
    low, high = 0, len(cells)
    while low < high:
        middle = (low + high) >> 1
        if cells[middle, 0] < t:
            low = middle + 1
        else:
            high = middle
    return low < len(cells) and z <= cells[low, 1]


@kernel
def is_before(labels, a, b):
    """Return whether row ``a`` of ``labels`` comes before row ``b`` when sorted by (t, z, y, x, origin).

    z is max(x, y). The docstring of the module explains the columns.
    """
    if labels[a, T] != labels[b, T]:
        return labels[a, T] < labels[b, T]
    z_a, z_b = max(labels[a, X], labels[a, Y]), max(labels[b, X], labels[b, Y])
    if z_a != z_b:
        return z_a < z_b
    if labels[a, Y] != labels[b, Y]:
        return labels[a, Y] < labels[b, Y]
    if labels[a, X] != labels[b, X]:
        return labels[a, X] < labels[b, X]
    return labels[a, ORIGIN] < labels[b, ORIGIN]


@kernel
def merge_runs(runs, count, stair, bound, allowed, out, at):
    """Merge the first ``count`` lists of labels into one Pareto front of (t, z, y), and write it to ``out[at:]``.

    Each label (partial solution) is a row (t, x, y, …), which the docstring of the module explains, and z is max(x, y).
    Labels that cannot improve on the known curve ``bound`` are left out (:func:`is_useful`). ``allowed`` is the allowed
    error of t in quanta (integer units of cost), or −1 in an exact search. ``stair`` is scratch memory for the front so
    far, by rising z and falling y: rows (z, y, row in ``out``), with −1 for a label that was left out. ``runs.first``
    is changed. Return the row after the last label written.
    """
    # one function: split into smaller ones, the whole solver took 5 to 15 % longer
    labels, run_first, run_last = runs.labels, runs.first, runs.last
    steps, begin, replaced = 0, at, 0
    while True:
        best, i = -1, -1
        for k in range(count):
            a = run_first[k]
            if a < run_last[k] and (i < 0 or is_before(labels, a, i)):
                best, i = k, a
        if i < 0:
            break
        run_first[best] += 1
        z, y = max(labels[i, X], labels[i, Y]), labels[i, Y]
        low, high = 0, steps  # to the first step of the stair with a larger z
        while low < high:
            middle = (low + high) >> 1
            if stair[middle, 0] <= z:
                low = middle + 1
            else:
                high = middle
        if low > 0 and stair[low - 1, 1] <= y:
            if allowed >= 0 and stair[low - 1, 2] >= 0:
                row = stair[low - 1, 2]
                out[row, LOW] = min(out[row, LOW], labels[i, LOW])
                out[row, LAST] = max(out[row, LAST], labels[i, LAST])
            continue
        end = low
        while end < steps and stair[end, 1] >= y:
            end += 1
        useful = is_useful(labels[i, T], z, bound)
        smallest, last = labels[i, LOW], labels[i, LAST]
        if allowed >= 0 and useful:
            for s in range(low - 1 if low > 0 and stair[low - 1, 0] == z else low, end):
                row = stair[s, 2]
                if row >= 0 and labels[i, T] - out[row, LOW] <= allowed:
                    smallest, last = min(smallest, out[row, LOW]), max(last, out[row, LAST])
                    out[row, ORIGIN] = REPLACED
                    replaced += 1
        if low > 0 and stair[low - 1, 0] == z:
            low -= 1
        if end == low:
            for s in range(steps, low, -1):
                stair[s, 0], stair[s, 1], stair[s, 2] = stair[s - 1, 0], stair[s - 1, 1], stair[s - 1, 2]
            steps += 1
        elif end > low + 1:
            gap = end - low - 1
            for s in range(end, steps):
                stair[s - gap, 0], stair[s - gap, 1], stair[s - gap, 2] = stair[s, 0], stair[s, 1], stair[s, 2]
            steps -= gap
        stair[low, 0], stair[low, 1], stair[low, 2] = z, y, -1
        if not useful:
            continue
        stair[low, 2] = at
        for c in range(COLUMNS):
            out[at, c] = labels[i, c]
        out[at, LAST], out[at, LOW] = last, smallest
        at += 1
    return without_replaced(out, begin, at) if replaced else at


@kernel
def without_replaced(labels, first, last):
    """Remove from ``labels[first:last]`` the labels that :func:`merge_runs` marked as replaced, and close the gaps.

    Return the row after the last label left.
    """
    at = first
    for i in range(first, last):
        if labels[i, ORIGIN] != REPLACED:
            for c in range(COLUMNS):
                labels[at, c] = labels[i, c]
            at += 1
    return at


@kernel
def close_front(runs, count, allowed, out):
    """Close the open segments of the first ``count`` lists of labels, and write the Pareto front of (t, R) to ``out``.

    Here t is the overhead and R = max(x, y) the peak of the segments after C; the docstring of the module explains x,
    y, origin and low. The rows of ``out`` are (t, R, origin, low), by rising t and falling R. ``allowed`` is the
    allowed error in quanta, or −1 in an exact search. ``runs.first`` is changed. Return the number of rows.
    """
    labels = runs.labels
    least = np.iinfo(np.int64).max
    size = 0
    while True:
        best = -1
        for k in range(count):
            a = runs.first[k]
            while a < runs.last[k] and max(labels[a, X], labels[a, Y]) >= least:
                if allowed >= 0:
                    out[size - 1, 3] = min(out[size - 1, 3], labels[a, LOW])
                a += 1
            runs.first[k] = a
            if a < runs.last[k] and (best < 0 or is_before(labels, a, runs.first[best])):
                best = k
        if best < 0:
            return size
        i = runs.first[best]
        least = max(labels[i, X], labels[i, Y])
        low = labels[i, LOW]
        if allowed >= 0:
            while size > 0 and labels[i, T] - out[size - 1, 3] <= allowed:
                low = min(low, out[size - 1, 3])
                size -= 1
        out[size, 0], out[size, 1], out[size, 2], out[size, 3] = labels[i, T], least, labels[i, ORIGIN], low
        size += 1
