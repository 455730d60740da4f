"""The compiled recursion over pairs of lower sets, for families: imported only when numba is there and wanted.

The same recursion as in :mod:`recompviz.core.exact.oracle`. A front is kept as rows (t, R, set, label) with t
rising and R falling, the last two being the label it came from. Sums over segments are looked up a byte of the
bitset at a time.
"""

from __future__ import annotations

import numba
import numpy as np

from recompviz.core.exact.lattice_kernels import grown, trailing_zeros

T, R, FROM_SET, FROM_LABEL = 0, 1, 2, 3


@numba.njit(cache=True)
def byte_sums(values):
    """For each byte of a bitset and each of its 256 contents the sum of the members' values."""
    blocks = (len(values) + 7) // 8
    sums = np.zeros((8 * ((blocks + 7) // 8), 256), np.int64)
    for v in range(len(values)):
        for content in range(256):
            if content >> (v & 7) & 1:
                sums[v >> 3, content] += values[v]
    return sums


@numba.njit(cache=True)
def pair_costs(low, high, edge, inner_sums, memory):
    """T((L′∖L)∖∂(L′)) and M(∂(L′)∖L), or −1 and −1 where L is no part of L′."""
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


@numba.njit(cache=True)
def is_beaten(front, size, t, peak):
    """Whether a front holds a label of no larger t and no larger peak."""
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if front[middle, T] <= t:
            low = middle + 1
        else:
            high = middle
    return low > 0 and front[low - 1, R] <= peak


@numba.njit(cache=True)
def first_unbeaten(front, size, labels, first, end, extra_t, delta_m, p):
    """The first of the labels of L′, moved to L, that the running front does not beat; ``end`` if none.

    Two stairs are compared in leaps: a label of the front beats all labels of L′ down to its own peak.
    """
    a, b = 0, first
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


@numba.njit(cache=True)
def absorb(front, size, labels, first, last, j, extra_t, delta_m, p, merged):
    """Merge the labels of L′, moved to L, into the running front; returns the size, 0 where nothing changed.

    The result is in ``merged``; on a tie the label already there stays.
    """
    # past the first label with Δm + R ≤ p the peak stays p while t only rises
    end, high = first, last - 1
    while end < high:
        middle = (end + high) >> 1
        if labels[middle, R] + delta_m > p:
            end = middle + 1
        else:
            high = middle
    end += 1
    fresh = first_unbeaten(front, size, labels, first, end, extra_t, delta_m, p)
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
                merged[out, T], merged[out, R], merged[out, FROM_SET], merged[out, FROM_LABEL] = t, peak, j, b
                out += 1
            b += 1
    return out


@numba.njit(cache=True)
def pair_sweep(first, last, sets, edges, inflow, M_of, T_of, sign, inner_sums, memory, pinned, closable, labels, start):
    """Solve for the sets ``first`` to ``last − 1``; the sets are sorted by falling size, V first.

    ``inner_sums`` are the byte sums of T, ``pinned`` the byte sums of how many nodes must be kept,
    ``closable`` whether a segment may end at a set. Labels of set i are the rows from ``start[i]``
    to ``start[i + 1]``; t is counted with ``sign``. Returns the array of labels, which may have been
    replaced by a larger one.
    """
    front, merged = np.empty((1024, 4), np.int64), np.empty((1024, 4), np.int64)
    check = pinned.any()
    least_extra = 0 if sign > 0 else -T_of[0]
    for i in range(first, last):
        size = 0
        for j in range(i - 1, -1, -1):
            if not closable[j] or start[j] == start[j + 1]:
                continue
            p = 2 * (M_of[j] - M_of[i]) + inflow[j]
            if is_beaten(front, size, labels[start[j], T] + least_extra, p):
                continue
            extra_t, delta_m = pair_costs(sets[i], sets[j], edges[j], inner_sums, memory)
            if extra_t < 0:
                continue
            if check and pair_costs(sets[i], sets[j], edges[j], pinned, memory)[0] > 0:
                continue
            extra_t *= sign
            least = max(p, labels[start[j + 1] - 1, R] + delta_m)
            if is_beaten(front, size, labels[start[j], T] + extra_t, least):
                continue
            room = size + start[j + 1] - start[j]
            if room > len(merged):
                front, merged = grown(front, 2 * room), grown(merged, 2 * room)
            new_size = absorb(front, size, labels, start[j], start[j + 1], j, extra_t, delta_m, p, merged)
            if new_size > 0:
                front, merged = merged, front
                size = new_size
        begin = start[i]
        if begin + size > len(labels):
            labels = grown(labels, 2 * (begin + size))
        labels[begin : begin + size] = front[:size]
        start[i + 1] = begin + size
    return labels
