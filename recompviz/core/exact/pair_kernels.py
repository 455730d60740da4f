"""The recursion over pairs of lower sets of a family, compiled by numba. This module is imported only when it is used.

The recursion is explained in :mod:`recompviz.core.exact.recursion`. A label is a row (t, R, from, low) of int64. The
third number is the row of the label of L′ from which the label was computed. The labels of a set have rising t and
falling R. Sums over nodes are looked up for each byte of a bitset (:func:`byte_sums`).

``low`` counts the error of a search that allows one. It is t, unless the label stands for labels that were dropped.
When a label is dropped, a label of no larger R stands for it, and the low of this label becomes the smaller low of the
two. From there on, t and low grow by the same numbers. Hence, for each sequence of sets that follows a set L, L has a
label with no larger R, and with a low that is at most the overhead of the sequence. The error of a label is at most
t − low. In the labels of a finished set, low rises from label to label. The low of the first of several labels is
therefore a bound for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.exact.lattice_kernels import grown, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

T, R, FROM, LOW = 0, 1, 2, 3
COLUMNS = 4


class LowerSetFamily(NamedTuple):
    """The lower sets of a family by falling size: set 0 has all nodes and the last set is empty.

    Each array has one row for each set L. ``sets`` and ``boundaries`` are L and its boundary ∂(L) as bitsets.
    ``memory_of`` is M(L), and ``inflow`` is the sum of the last two terms of the peak formula (:class:`SegmentTerms`),
    both in bytes. ``closable`` says whether a segment may end at L.
    """

    sets: NDArray[np.uint64]
    boundaries: NDArray[np.uint64]
    inflow: NDArray[np.int64]
    memory_of: NDArray[np.int64]
    closable: NDArray[np.bool_]


class NodeSums(NamedTuple):
    """Costs, pins and sizes of the nodes, prepared for sums over sets of nodes.

    ``time`` is :func:`byte_sums` of T_v in quanta (:mod:`recompviz.core.exact.whole_times`). ``pinned`` is
    :func:`byte_sums` of an array that is 1 for nodes that must be kept and 0 for the others. ``memory`` is M_v in
    bytes, and ``total_time`` is the sum of all T_v in quanta.
    """

    time: NDArray[np.int64]
    pinned: NDArray[np.int64]
    memory: NDArray[np.int64]
    total_time: int


class Move(NamedTuple):
    """A step of the recursion from a lower set L′ to a smaller lower set L.

    The labels of L′ in rows ``first`` to ``end − 1`` become labels of L. A label has an overhead t (cost of
    recomputation) and a peak R. The new t is t + ``extra_t``, and the new R is max(``p``, R + ``delta_m``).
    """

    first: int
    end: int
    extra_t: int
    delta_m: int
    p: int


@kernel
def byte_sums(values):
    """Return a table with which a sum over a bitset takes one look-up per byte; shape (number of bytes, 256).

    Entry [b, c] is the sum of ``values`` over the nodes whose bits are 1 in byte b of the bitset, if this byte is c.
    """
    blocks = (len(values) + 7) // 8
    sums = np.zeros((8 * ((blocks + 7) // 8), 256), np.int64)
    for v in range(len(values)):
        for content in range(256):
            if content >> (v & 7) & 1:
                sums[v >> 3, content] += values[v]
    return sums


@kernel
def pair_costs(low, high, edge, inner_sums, memory):
    """Return the recomputation and the kept bytes of a segment L′∖L, or (−1, −1) if L is not a subset of L′.

    The recomputation is T((L′∖L)∖∂(L′)) in quanta (integer units of cost), and the kept bytes are M(∂(L′)∖L). ``low``,
    ``high`` and ``edge`` are the bitsets of L, L′ and ∂(L′). ``inner_sums`` is :func:`byte_sums` of T_v, and ``memory``
    is M_v in bytes.
    """
    for w in range(len(low)):
        if low[w] & ~high[w] != np.uint64(0):
            return np.int64(-1), np.int64(-1)
    extra_t, delta_m = np.int64(0), np.int64(0)
    for w in range(len(low)):
        rest = edge[w] & ~low[w]
        while rest != np.uint64(0):
            delta_m += memory[w * 64 + trailing_zeros(rest)]
            rest &= rest - np.uint64(1)
        rest = high[w] & ~low[w] & ~edge[w]
        block = 8 * w
        while rest != np.uint64(0):
            extra_t += inner_sums[block, np.int64(rest & np.uint64(255))]
            rest >>= np.uint64(8)
            block += 1
    return extra_t, delta_m


@kernel
def is_beaten(front, size, t, peak, low):
    """Return whether a front has a point whose overhead is at most ``t`` and whose peak is at most ``peak``.

    The points are the first ``size`` rows of ``front``, by rising overhead and falling peak. If there is such a point,
    it beats the label (``t``, ``peak``) and stands for it from now on. If the low of the point is larger than ``low``,
    the low of the label, it is set to ``low``. The docstring of the module explains low.
    """
    first, end = 0, size
    while first < end:
        middle = (first + end) >> 1
        if front[middle, T] <= t:
            first = middle + 1
        else:
            end = middle
    if first == 0 or front[first - 1, R] > peak:
        return False
    front[first - 1, LOW] = min(front[first - 1, LOW], low)
    return True


@kernel
def first_unbeaten(front, size, labels, move):
    """Return the row of the first label of a move that none of the first ``size`` labels of ``front`` beats.

    If ``front`` beats every label, the result is ``move.end``. The labels of the move are compared after the step to L
    (:class:`Move`). A label beats another label if neither its overhead t nor its peak R is larger. A label of
    ``front`` stands for the labels that it beats, so its low may be set to a smaller number; see the docstring of the
    module. Both lists are sorted by t.
    """
    end, extra_t, delta_m, p = move.end, move.extra_t, move.delta_m, move.p
    a, b = 0, move.first
    while b < end:
        t = labels[b, T] + extra_t
        step = 1
        while a + step < size and front[a + step, T] <= t:
            a += step
            step *= 2
        while step > 0:
            if a + step < size and front[a + step, T] <= t:
                a += step
            step >>= 1
        if size == 0 or front[a, T] > t or front[a, R] > max(p, labels[b, R] + delta_m):
            return b
        front[a, LOW] = min(front[a, LOW], labels[b, LOW] + extra_t)
        if p >= front[a, R]:
            return end
        least = front[a, R] - delta_m
        step = 1
        while b + step < end and labels[b + step, R] >= least:
            b += step
            step *= 2
        while step > 0:
            if b + step < end and labels[b + step, R] >= least:
                b += step
            step >>= 1
        b += 1
    return end


@kernel
def useful_end(labels, move):
    """Return the row after the last needed label of a move (:class:`Move`).

    The last label needed is the first one with ``delta_m`` + R ≤ ``p``: later labels would get the same peak ``p`` and
    a larger t. If no label fulfils this, all are needed, and ``move.end`` is returned.
    """
    end, high = move.first, move.end - 1
    while end < high:
        middle = (end + high) >> 1
        if labels[middle, R] + move.delta_m > move.p:
            end = middle + 1
        else:
            high = middle
    return end + 1


@kernel
def absorb(front, size, labels, move, merged):
    """Merge the labels of a move (:class:`Move`) with the first ``size`` labels of ``front``.

    The Pareto front of both is written to ``merged``. Of two equal labels, the label of ``front`` is taken. Return the
    number of labels in ``merged``. If no label of the move improves the front, return 0 and leave ``merged`` unchanged.
    """
    extra_t, delta_m, p = move.extra_t, move.delta_m, move.p
    end = useful_end(labels, move)
    fresh = first_unbeaten(front, size, labels, Move(move.first, end, extra_t, delta_m, p))
    if fresh == end:
        return 0
    a, b, best = 0, fresh, np.int64(np.iinfo(np.int64).max)
    while a < size and front[a, T] < labels[fresh, T] + extra_t:
        for c in range(COLUMNS):
            merged[a, c] = front[a, c]
        best = front[a, R]
        a += 1
    out = a
    while a < size or b < end:
        t, peak = np.int64(0), np.int64(0)
        if b < end:
            t, peak = labels[b, T] + extra_t, max(p, labels[b, R] + delta_m)
        if b == end or (a < size and (front[a, T] < t or (front[a, T] == t and front[a, R] <= peak))):
            if front[a, R] < best:
                best = front[a, R]
                merged[out, T], merged[out, R] = front[a, T], best
                merged[out, FROM], merged[out, LOW] = front[a, FROM], front[a, LOW]
                out += 1
            else:
                merged[out - 1, LOW] = min(merged[out - 1, LOW], front[a, LOW])
            a += 1
        else:
            if peak < best:
                best = peak
                merged[out, T], merged[out, R] = t, peak
                merged[out, FROM], merged[out, LOW] = b, labels[b, LOW] + extra_t
                out += 1
            else:
                merged[out - 1, LOW] = min(merged[out - 1, LOW], labels[b, LOW] + extra_t)
            b += 1
    return out


@kernel
def thinned(front, size, allowed):
    """Drop points of a Pareto front, in place, where a later point can stand for them within the allowed error.

    The points are the first ``size`` rows of ``front``, by rising t and falling R. A later point takes over the smaller
    low of a point that it replaces, so its t − low grows, but not above ``allowed``. Afterwards, low rises from point
    to point. Return the number of points left.
    """
    at = 0
    for i in range(size):
        t, low = front[i, T], front[i, LOW]
        while at > 0 and t - front[at - 1, LOW] <= allowed:
            at -= 1
            low = min(low, front[at, LOW])
        for c in range(COLUMNS):
            front[at, c] = front[i, c]
        front[at, LOW] = low
        at += 1
    return at


@kernel
def pair_sweep(first, last, family, sums, sign, allowed, labels, start):
    """Compute the labels (pairs of overhead and peak) of the sets ``first`` to ``last − 1`` of a family.

    The labels of set i are the rows ``start[i]`` to ``start[i + 1] − 1`` of ``labels``. Their first column is ``sign``
    times the overhead, where ``sign`` is 1 to minimize the overhead and −1 to maximize it. The labels of all sets
    before ``first`` must be in ``labels``. This function adds the labels of the sets ``first`` to ``last − 1``. It also
    writes the entries ``first + 1`` to ``last`` of ``start``. ``family`` is a :class:`LowerSetFamily`, and ``sums`` a
    :class:`NodeSums`. Return ``labels``, or a larger copy if ``labels`` is too small; use only the returned array.

    ``allowed[i]`` is the largest error that the labels of set i may have, in quanta. It must not fall from a set to the
    next; it is 0 where the search is exact.
    """
    front, merged = np.empty((1024, COLUMNS), np.int64), np.empty((1024, COLUMNS), np.int64)
    # local variables: reading an array from a named tuple in the innermost loop costs 10 % of the time
    sets, boundaries, closable = family.sets, family.boundaries, family.closable
    memory_of, inflow = family.memory_of, family.inflow
    time, pinned, memory = sums.time, sums.pinned, sums.memory
    check_pins = pinned.any()
    least_extra = 0 if sign > 0 else -sums.total_time
    for i in range(first, last):
        size = 0
        for j in range(i - 1, -1, -1):
            if not closable[j] or start[j] == start[j + 1]:
                continue
            p = 2 * (memory_of[j] - memory_of[i]) + inflow[j]
            begin = start[j]
            low = labels[begin, LOW]
            if is_beaten(front, size, labels[begin, T] + least_extra, p, low + least_extra):
                continue
            extra_t, delta_m = pair_costs(sets[i], sets[j], boundaries[j], time, memory)
            if extra_t < 0:
                continue
            if check_pins and pair_costs(sets[i], sets[j], boundaries[j], pinned, memory)[0] > 0:
                continue
            extra_t *= sign
            least = max(p, labels[start[j + 1] - 1, R] + delta_m)
            if is_beaten(front, size, labels[begin, T] + extra_t, least, low + extra_t):
                continue
            space = size + start[j + 1] - start[j]
            if space > len(merged):
                front, merged = grown(front, 2 * space), grown(merged, 2 * space)
            move = Move(start[j], start[j + 1], extra_t, delta_m, p)
            new_size = absorb(front, size, labels, move, merged)
            if new_size > 0:
                front, merged = merged, front
                size = new_size
        if allowed[i] > 0:
            size = thinned(front, size, allowed[i])
        begin = start[i]
        if begin + size > len(labels):
            labels = grown(labels, 4 * (begin + size))
        labels[begin : begin + size] = front[:size]
        start[i + 1] = begin + size
    return labels


@kernel
def ancestors(labels, start, last):
    """Return all labels that the labels of set ``last`` were computed from, and these labels themselves.

    The result is two arrays of int32 with one entry for each label: the number of its set, and the entry of the label
    that it was computed from. The second number is −1 for the label of set 0. The labels of set ``last`` come first,
    in their order.
    """
    first, end = start[last], start[last + 1]
    entry = np.full(end, -1, np.int32)
    sets, parents = np.empty(end, np.int32), np.empty(end, np.int32)
    count = end - first
    for label in range(first, end):
        entry[label] = label - first
    for i in range(last, -1, -1):
        for label in range(start[i], start[i + 1]):
            here, parent = entry[label], labels[label, FROM]
            if here < 0:
                continue
            sets[here], parents[here] = i, -1
            if parent >= 0:
                if entry[parent] < 0:
                    entry[parent] = count
                    count += 1
                parents[here] = entry[parent]
    return sets[:count].copy(), parents[:count].copy()
