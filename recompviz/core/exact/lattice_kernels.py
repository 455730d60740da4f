"""Compiled enumeration of the lower sets of a graph: imported only when numba is there and wanted.

Lower sets are visited by size, smallest first. A set is extended by each node whose predecessors it
contains; the available nodes, the boundary ∂(L) and the hash of the bitset are carried from a set
to its extension, so that one set costs a few words of work. A bitset is a row of uint64 words,
node v at bit v % 64 of word v // 64.
"""

from __future__ import annotations

import numba
import numpy as np

ONE = np.uint64(1)
LOW_SIX = np.uint64(63)


@numba.njit(cache=True, inline="always")
def has(words, v):
    """Whether node v is in a bitset."""
    return (words[v >> 6] >> (np.uint64(v) & LOW_SIX)) & ONE != np.uint64(0)


@numba.njit(cache=True, inline="always")
def put(words, v):
    """Add node v to a bitset."""
    words[v >> 6] |= ONE << (np.uint64(v) & LOW_SIX)


@numba.njit(cache=True, inline="always")
def drop(words, v):
    """Remove node v from a bitset."""
    words[v >> 6] &= ~(ONE << (np.uint64(v) & LOW_SIX))


@numba.njit(cache=True, inline="always")
def trailing_zeros(word):
    """The position of the lowest set bit of a non-zero word."""
    count = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if word & ((ONE << np.uint64(shift)) - ONE) == np.uint64(0):
            word >>= np.uint64(shift)
            count += shift
    return count


@numba.njit(cache=True)
def extend(i, v, child, sets, free, edge, pred_start, pred, succ_start, succ):
    """Write L ∪ {v}, its available nodes and its boundary at ``child``; L is set ``i``."""
    width = sets.shape[1]
    for w in range(width):
        sets[child, w] = sets[i, w]
        free[child, w] = free[i, w]
        edge[child, w] = edge[i, w]
    put(sets[child], v)
    drop(free[child], v)
    if succ_start[v + 1] > succ_start[v]:
        put(edge[child], v)
    for k in range(succ_start[v], succ_start[v + 1]):
        ready = True
        for q in range(pred_start[succ[k]], pred_start[succ[k] + 1]):
            if not has(sets[child], pred[q]):
                ready = False
                break
        if ready:
            put(free[child], succ[k])
    for k in range(pred_start[v], pred_start[v + 1]):
        needed = False
        for q in range(succ_start[pred[k]], succ_start[pred[k] + 1]):
            if not has(sets[child], succ[q]):
                needed = True
                break
        if not needed:
            drop(edge[child], pred[k])


@numba.njit(cache=True)
def grown(array, rows):
    """A copy of an array with room for ``rows`` rows."""
    bigger = np.zeros((rows, array.shape[1]), array.dtype)
    bigger[: len(array)] = array
    return bigger


@numba.njit(cache=True)
def enumerate_sets(n, pred_start, pred, succ_start, succ, zobrist, limit):
    """All lower sets by size, with their boundaries and the covering pairs between them.

    Returns ``sets`` and ``boundary`` (count, words), ``level_start`` (n + 2), and the covering pairs
    as (lower set, node, upper set) in ``cover_low``, ``cover_node``, ``cover_up``. ``count`` is −1
    when there are more than ``limit``.
    """
    width = max(1, (n + 63) // 64)
    room = 1024
    sets = np.zeros((room, width), np.uint64)
    free = np.zeros((room, width), np.uint64)
    edge = np.zeros((room, width), np.uint64)
    hashes = np.zeros((room, 1), np.uint64)
    covers = np.zeros((4096, 3), np.int32)
    cover_count = 0
    level_start = np.zeros(n + 2, np.int64)
    for v in range(n):
        if pred_start[v + 1] == pred_start[v]:
            put(free[0], v)
    count = 1
    level_start[1] = 1
    table = np.full(1024, -1, np.int64)
    for level in range(n):
        first, last = level_start[level], level_start[level + 1]
        table[:] = -1
        for i in range(first, last):
            for w in range(width):
                rest = free[i, w]
                while rest != np.uint64(0):
                    v = w * 64 + trailing_zeros(rest)
                    rest &= rest - ONE
                    key = hashes[i, 0] ^ zobrist[v]
                    if count + 1 >= room:
                        room *= 2
                        sets, free = grown(sets, room), grown(free, room)
                        edge, hashes = grown(edge, room), grown(hashes, room)
                    if cover_count == len(covers):
                        covers = grown(covers, 2 * cover_count)
                    slot = np.int64(key & np.uint64(len(table) - 1))
                    found = -1
                    while table[slot] >= 0:
                        other = table[slot]
                        if hashes[other, 0] == key and _is_extension(sets, i, v, other):
                            found = other
                            break
                        slot = (slot + 1) & (len(table) - 1)
                    if found < 0:
                        if count >= limit:
                            return -1, sets, edge, level_start, covers
                        found = count
                        extend(i, v, found, sets, free, edge, pred_start, pred, succ_start, succ)
                        hashes[found, 0] = key
                        table[slot] = found
                        count += 1
                        if 2 * (count - last) > len(table):
                            table = _rehash(hashes, last, count, 2 * len(table))
                    covers[cover_count, 0] = i
                    covers[cover_count, 1] = v
                    covers[cover_count, 2] = found
                    cover_count += 1
        level_start[level + 2] = count
    return count, sets[:count].copy(), edge[:count].copy(), level_start, covers[:cover_count].copy()


@numba.njit(cache=True)
def _is_extension(sets, i, v, other):
    for w in range(sets.shape[1]):
        word = sets[i, w]
        if w == v >> 6:
            word |= ONE << (np.uint64(v) & LOW_SIX)
        if word != sets[other, w]:
            return False
    return True


@numba.njit(cache=True)
def _rehash(hashes, first, last, size):
    table = np.full(size, -1, np.int64)
    for i in range(first, last):
        slot = np.int64(hashes[i, 0] & np.uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i
    return table


@numba.njit(cache=True)
def boundaries_of(sets, succ_start, succ):
    """∂(L) of each lower set, as bitsets."""
    result = np.zeros_like(sets)
    for i in range(len(sets)):
        for v in range(len(succ_start) - 1):
            if has(sets[i], v):
                for k in range(succ_start[v], succ_start[v + 1]):
                    if not has(sets[i], succ[k]):
                        put(result[i], v)
                        break
    return result


@numba.njit(cache=True)
def sums_of(sets, values):
    """The sum of the members' values for each bitset."""
    result = np.zeros(len(sets), np.int64)
    for i in range(len(sets)):
        for w in range(sets.shape[1]):
            rest = sets[i, w]
            while rest != np.uint64(0):
                result[i] += values[w * 64 + trailing_zeros(rest)]
                rest &= rest - ONE
    return result


@numba.njit(cache=True)
def inflows(sets, boundary, memory, pred_start, pred, succ_start, succ):
    """M(δ⁺(L)∖L) + M(δ⁻(δ⁺(L))∖L), bytes, for each set."""
    count, width = sets.shape
    result = np.zeros(count, np.int64)
    after = np.zeros(width, np.uint64)
    beside = np.zeros(width, np.uint64)
    for i in range(count):
        after[:] = np.uint64(0)
        beside[:] = np.uint64(0)
        for w in range(width):
            rest = boundary[i, w]
            while rest != np.uint64(0):
                v = w * 64 + trailing_zeros(rest)
                rest &= rest - ONE
                for k in range(succ_start[v], succ_start[v + 1]):
                    put(after, succ[k])
        for w in range(width):
            rest = after[w] & ~sets[i, w]
            while rest != np.uint64(0):
                v = w * 64 + trailing_zeros(rest)
                rest &= rest - ONE
                result[i] += memory[v]
                for k in range(pred_start[v], pred_start[v + 1]):
                    put(beside, pred[k])
        for w in range(width):
            rest = beside[w] & ~sets[i, w]
            while rest != np.uint64(0):
                result[i] += memory[w * 64 + trailing_zeros(rest)]
                rest &= rest - ONE
    return result
