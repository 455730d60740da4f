"""The compiled recursion over pairs of lower sets of a family. Imported only where numba is installed and needed.

The recursion is that of :mod:`recompviz.core.exact.oracle`. A label is a row (t, R, set, label) of int64; the last
two name the label that it was computed from. The labels of a set have rising t and falling R. Sums over segments
are looked up by the bytes of the bitset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from recompviz.core.exact.lattice_kernels import grown, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

T, R, FROM_SET, FROM_LABEL = 0, 1, 2, 3


class Family(NamedTuple):
    """The lower sets of a family, those with the most nodes first, so that V is the first.

    Each array has one entry for each set. ``memory_of`` is M(L), and ``inflow`` is the sum of the last two terms of the
    peak formula, both in bytes. A segment may end only at sets that are ``closable``.
    """

    sets: NDArray[np.uint64]
    boundaries: NDArray[np.uint64]
    inflow: NDArray[np.int64]
    memory_of: NDArray[np.int64]
    closable: NDArray[np.bool_]


class NodeSums(NamedTuple):
    """Values of the nodes: :func:`byte_sums` of T and of the pins to keep, M in bytes, and T(V)."""

    time: NDArray[np.int64]
    pinned: NDArray[np.int64]
    memory: NDArray[np.int64]
    total_time: int


class Move(NamedTuple):
    """The labels ``first`` to ``end − 1`` of L′, and what moving them to L adds: extra time, Δm and the peak p."""

    end_set: int
    first: int
    end: int
    extra_t: int
    delta_m: int
    p: int


@numba.njit(cache=True)
def byte_sums(values):
    """For each byte of a bitset and each of its 256 values the sum of the members' ``values``."""
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
    """Whether a front has a label of no larger t and no larger peak."""
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if front[middle, T] <= t:
            low = middle + 1
        else:
            high = middle
    return low > 0 and front[low - 1, R] <= peak


@numba.njit(cache=True)
def first_unbeaten(front, size, labels, move):
    """The first moved label that the front does not beat; ``move.end`` if there is none.

    Both lists are sorted, so the search advances in doubling steps: a label of the front beats all labels of L′
    down to its own peak.
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


@numba.njit(cache=True)
def useful_end(labels, move):
    """One past the first label with Δm + R ≤ p: after it the peak stays p and t only rises."""
    end, high = move.first, move.end - 1
    while end < high:
        middle = (end + high) >> 1
        if labels[middle, R] + move.delta_m > move.p:
            end = middle + 1
        else:
            high = middle
    return end + 1


@numba.njit(cache=True)
def absorb(front, size, labels, move, merged):
    """Merge moved labels into the front of L; returns the size of the result in ``merged``, 0 for no change.

    On a tie the label of the front stays.
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


@numba.njit(cache=True)
def pair_sweep(first, last, family, sums, sign, labels, start):
    """Solve for the sets ``first`` to ``last − 1`` of a family.

    The labels of set i are the rows ``start[i]`` to ``start[i + 1] − 1``; ``start`` is filled here. Times are
    multiplied by ``sign``: −1 maximizes them. Returns the array of labels, a larger one if they did not fit.
    """
    front, merged = np.empty((1024, 4), np.int64), np.empty((1024, 4), np.int64)
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
        begin = start[i]
        if begin + size > len(labels):
            labels = grown(labels, 2 * (begin + size))
        labels[begin : begin + size] = front[:size]
        start[i + 1] = begin + size
    return labels
