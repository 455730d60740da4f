"""The compiled recursion over pairs of lower sets of a family. This module needs numba and is imported only when used.

The recursion is explained in :mod:`recompviz.core.exact.oracle`. A label is a row (t, R, set, label) of int64. The last
two numbers identify the label of L′ from which the label was computed. The labels of a set have rising t and falling R.
Sums over nodes are looked up for each byte of a bitset (:func:`byte_sums`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.exact.lattice_kernels import grown, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

T, R, FROM_SET, FROM_LABEL = 0, 1, 2, 3


class LowerSetFamily(NamedTuple):
    """The lower sets of a family by falling size: set 0 is V and the last set is ∅.

    Each array has one row for each set L. ``sets`` and ``boundaries`` are L and its boundary ∂(L) as bitsets.
    ``memory_of`` is M(L), and ``inflow`` is the sum of the last two terms of the paper's peak formula, both in bytes.
    ``closable`` says whether a segment may end at L.
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
    bytes, and ``total_time`` is T(V) in quanta.
    """

    time: NDArray[np.int64]
    pinned: NDArray[np.int64]
    memory: NDArray[np.int64]
    total_time: int


class Move(NamedTuple):
    """A step of the recursion from a lower set L′ to a smaller lower set L.

    The labels of L′ in rows ``first`` to ``end − 1`` become labels of L. A label has an overhead t and a peak R. The
    new t is t + ``extra_t``, and the new R is max(``p``, R + ``delta_m``). ``end_set`` is the number of L′.
    """

    end_set: int
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
    ``high`` and ``edge`` are the bitsets of L, L′ and ∂(L′). ``inner_sums`` is :func:`byte_sums` of T_v.
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
def is_beaten(front, size, t, peak):
    """Return whether a front has a point whose overhead is at most ``t`` and whose peak is at most ``peak``.

    The points are the first ``size`` rows of ``front``, by rising overhead and falling peak.
    """
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if front[middle, T] <= t:
            low = middle + 1
        else:
            high = middle
    return low > 0 and front[low - 1, R] <= peak


@kernel
def first_unbeaten(front, size, labels, move):
    """Return the row of the first label of a move that none of the first ``size`` labels of ``front`` beats.

    If ``front`` beats every label, the result is ``move.end``. The labels of the move are compared after the step to L
    (:class:`Move`). A label beats another label if neither its overhead t nor its peak R is larger. Both lists are
    sorted by t, so the search advances in steps that double.
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
    """Merge the labels of a move (:class:`Move`) into the first ``size`` labels of ``front``; write them to ``merged``.

    Of two equal labels, the label of ``front`` is taken. Return the number of labels in ``merged``. If no label of the
    move improves the front, return 0 and leave ``merged`` unchanged.
    """
    extra_t, delta_m, p = move.extra_t, move.delta_m, move.p
    end = useful_end(labels, move)
    fresh = first_unbeaten(front, size, labels, Move(move.end_set, move.first, end, extra_t, delta_m, p))
    if fresh == end:
        return 0
    a, b, best = 0, fresh, np.int64(np.iinfo(np.int64).max)
    while a < size and front[a, T] < labels[fresh, T] + extra_t:
        for c in range(4):
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
                merged[out, FROM_SET], merged[out, FROM_LABEL] = front[a, FROM_SET], front[a, FROM_LABEL]
                out += 1
            a += 1
        else:
            if peak < best:
                best = peak
                merged[out, T], merged[out, R] = t, peak
                merged[out, FROM_SET], merged[out, FROM_LABEL] = move.end_set, b
                out += 1
            b += 1
    return out


@kernel
def thinned(front, size, most):
    """Replace each run of points of a Pareto front whose t differ by at most ``most`` by its last point, in place.

    The points (t, R) are the first ``size`` rows of ``front``. The last point of a run has its largest t and smallest
    R. Return the number of points left, and the largest difference of t within a run.
    """
    at, first, worst = 0, np.int64(0), np.int64(0)
    for i in range(size):
        t = front[i, T]
        if i > 0 and t - first <= most:
            at -= 1
            worst = max(worst, t - first)
        else:
            first = t
        for c in range(4):
            front[at, c] = front[i, c]
        at += 1
    return at, worst


@kernel
def is_subset(low, high):
    """Return whether bitset ``low`` is a subset of bitset ``high``."""
    missing = np.uint64(0)
    for w in range(len(low)):
        missing |= low[w] & ~high[w]
    return missing == np.uint64(0)


@kernel
def pair_sweep(first, last, family, sums, sign, allowed, errors, labels, start):
    """Compute the labels (points of overhead and peak) of the sets ``first`` to ``last − 1`` of a family.

    The labels of set i are the rows ``start[i]`` to ``start[i + 1] − 1`` of ``labels``. Their first column is ``sign``
    times the overhead, where ``sign`` is 1 to minimize the overhead and −1 to maximize it. The labels of all sets
    before ``first`` must be in ``labels``. This function adds the labels of the sets ``first`` to ``last − 1``. It also
    writes the entries ``first + 1`` to ``last`` of ``start``, and the entries ``first`` to ``last − 1`` of ``errors``.
    Return ``labels``, or a larger copy if ``labels`` is too small; use only the returned array.

    ``errors[i]`` is the error of set i in quanta: for each sequence of sets from i on, a label of set i has no larger
    peak, and a t that is larger by at most ``errors[i]``. It is the largest error of the sets that contain set i, plus
    the largest difference by which the front of set i is thinned. It is at most ``allowed[i]``.
    """
    front, merged = np.empty((1024, 4), np.int64), np.empty((1024, 4), np.int64)
    # local variables: reading an array from a named tuple in the innermost loop costs 10 % of the time
    sets, boundaries, closable = family.sets, family.boundaries, family.closable
    memory_of, inflow = family.memory_of, family.inflow
    time, pinned, memory = sums.time, sums.pinned, sums.memory
    check_pins = pinned.any()
    least_extra = 0 if sign > 0 else -sums.total_time
    for i in range(first, last):
        size, error = 0, np.int64(0)
        for j in range(i - 1, -1, -1):
            if not closable[j] or start[j] == start[j + 1]:
                continue
            if errors[j] > error and is_subset(sets[i], sets[j]):
                error = errors[j]
            p = 2 * (memory_of[j] - memory_of[i]) + inflow[j]
            if is_beaten(front, size, labels[start[j], T] + least_extra, p):
                continue
            extra_t, delta_m = pair_costs(sets[i], sets[j], boundaries[j], time, memory)
            if extra_t < 0:
                continue
            if check_pins and pair_costs(sets[i], sets[j], boundaries[j], pinned, memory)[0] > 0:
                continue
            extra_t *= sign
            least = max(p, labels[start[j + 1] - 1, R] + delta_m)
            if is_beaten(front, size, labels[start[j], T] + extra_t, least):
                continue
            space = size + start[j + 1] - start[j]
            if space > len(merged):
                front, merged = grown(front, 2 * space), grown(merged, 2 * space)
            move = Move(j, start[j], start[j + 1], extra_t, delta_m, p)
            new_size = absorb(front, size, labels, move, merged)
            if new_size > 0:
                front, merged = merged, front
                size = new_size
        if allowed[i] > error:
            size, worst = thinned(front, size, allowed[i] - error)
            error += worst
        errors[i] = error
        begin = start[i]
        if begin + size > len(labels):
            labels = grown(labels, 2 * (begin + size))
        labels[begin : begin + size] = front[:size]
        start[i + 1] = begin + size
    return labels
