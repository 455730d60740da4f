"""Enumeration of the lower sets of a graph, compiled by numba. This module is imported only when it is used.

Lower sets are visited by size, smallest first. A set L is extended by each *available* node: a node outside L with all
its predecessors in L. The available nodes, the boundary and the hash of an extension are computed from the values for
L, so the work per set is small. A bitset is a row of uint64 words: node v is bit v % 64 of word v // 64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONE = np.uint64(1)
LOW_SIX = np.uint64(63)


class Rows(NamedTuple):
    """The lower sets found so far. Row i of each array belongs to lower set i.

    ``sets`` has the members of the set, ``available`` the nodes outside the set whose predecessors are all in the set,
    and ``boundary`` the members with a successor outside the set. These three are bitsets: node v is bit v % 64 of word
    v // 64. ``hashes`` has one column, the hash of the set.
    """

    sets: NDArray[np.uint64]
    available: NDArray[np.uint64]
    boundary: NDArray[np.uint64]
    hashes: NDArray[np.uint64]


class LowerSets(NamedTuple):
    """All lower sets of a graph by rising size.

    ``number`` is the number of lower sets, or −1 if there are more than the limit. ``sets`` and ``boundaries`` are
    bitsets with one row for each set: node v is bit v % 64 of word v // 64. The sets with k members are the rows
    ``level_start[k]`` to ``level_start[k + 1] − 1``. A row of ``covers`` is (number of L, node v, number of L ∪ {v}).
    """

    number: int
    sets: NDArray[np.uint64]
    boundaries: NDArray[np.uint64]
    level_start: NDArray[np.int64]
    covers: NDArray[np.int32]


@kernel(inline="always")
def has(words, v):
    """Return whether node v is in a bitset, a row of uint64 words."""
    return (words[v >> 6] >> (np.uint64(v) & LOW_SIX)) & ONE != np.uint64(0)


@kernel(inline="always")
def put(words, v):
    """Add node v to a bitset, a row of uint64 words."""
    words[v >> 6] |= ONE << (np.uint64(v) & LOW_SIX)


@kernel(inline="always")
def drop(words, v):
    """Remove node v from a bitset, a row of uint64 words."""
    words[v >> 6] &= ~(ONE << (np.uint64(v) & LOW_SIX))


@kernel(inline="always")
def trailing_zeros(word):
    """Return the position of the lowest bit that is 1 in a word; the word must not be 0."""
    count = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if word & ((ONE << np.uint64(shift)) - ONE) == np.uint64(0):
            word >>= np.uint64(shift)
            count += shift
    return count


@kernel(inline="always")
def extend(i, v, child, rows, adjacency):
    """Write the lower set L ∪ {v} to row ``child`` of ``rows``, with its available nodes and its boundary.

    L is row ``i``. :class:`Rows` explains available nodes. ``adjacency`` has the edges of the graph.
    """
    sets, available, boundary = rows.sets, rows.available, rows.boundary
    pred_start, pred, succ_start, succ = adjacency.pred_start, adjacency.pred, adjacency.succ_start, adjacency.succ
    for w in range(sets.shape[1]):
        sets[child, w] = sets[i, w]
        available[child, w] = available[i, w]
        boundary[child, w] = boundary[i, w]
    put(sets[child], v)
    drop(available[child], v)
    if succ_start[v + 1] > succ_start[v]:
        put(boundary[child], v)
    for k in range(succ_start[v], succ_start[v + 1]):
        ready = True
        for q in range(pred_start[succ[k]], pred_start[succ[k] + 1]):
            if not has(sets[child], pred[q]):
                ready = False
                break
        if ready:
            put(available[child], succ[k])
    for k in range(pred_start[v], pred_start[v + 1]):
        needed = False
        for q in range(succ_start[pred[k]], succ_start[pred[k] + 1]):
            if not has(sets[child], succ[q]):
                needed = True
                break
        if not needed:
            drop(boundary[child], pred[k])


@kernel
def grown(array, rows):
    """Return a copy of a two-dimensional array with ``rows`` rows. New rows are 0."""
    bigger = np.zeros((rows, array.shape[1]), array.dtype)
    bigger[: len(array)] = array
    return bigger


@kernel
def first_row(n, adjacency, zobrist):
    """Return :class:`Rows` with space for 1024 sets. Row 0 is the empty set, the other rows are not used yet.

    The available nodes of the empty set are the nodes without predecessors. ``n`` is the number of nodes, ``adjacency``
    has the edges of the graph, and ``zobrist`` one random word for each node.
    """
    width = max(1, (n + 63) // 64)
    rows = Rows(
        np.zeros((1024, width), np.uint64),
        np.zeros((1024, width), np.uint64),
        np.zeros((1024, width), np.uint64),
        np.zeros((1024, 1), zobrist.dtype),
    )
    for v in range(n):
        if adjacency.pred_start[v + 1] == adjacency.pred_start[v]:
            put(rows.available[0], v)
    return rows


@kernel
def enumerate_sets(n, adjacency, zobrist, limit):
    """Enumerate all lower sets of a graph of ``n`` nodes; return :class:`LowerSets`.

    A hash table tells whether a set was found before. The hash of a set is the xor of the ``zobrist`` words of its
    members, one random word for each node. ``adjacency`` has the edges of the graph, and ``limit`` is the largest
    number of sets.
    """
    rows = first_row(n, adjacency, zobrist)
    space, width = rows.sets.shape
    covers = np.zeros((4096, 3), np.int32)
    cover_count = 0
    level_start = np.zeros(n + 2, np.int64)
    count = 1
    level_start[1] = 1
    table = np.full(1024, -1, np.int64)
    for level in range(n):
        first, last = level_start[level], level_start[level + 1]
        table[:] = -1
        for i in range(first, last):
            for w in range(width):
                rest = rows.available[i, w]
                while rest != np.uint64(0):
                    v = w * 64 + trailing_zeros(rest)
                    rest &= rest - ONE
                    if count + 1 >= space:
                        space *= 2
                        rows = Rows(
                            grown(rows.sets, space),
                            grown(rows.available, space),
                            grown(rows.boundary, space),
                            grown(rows.hashes, space),
                        )
                    if cover_count == len(covers):
                        covers = grown(covers, 2 * cover_count)
                    key = rows.hashes[i, 0] ^ zobrist[v]
                    slot = _slot_of(table, key, rows.sets, rows.hashes, i, v)
                    if table[slot] < 0:
                        if count >= limit:
                            return LowerSets(-1, rows.sets, rows.boundary, level_start, covers)
                        extend(i, v, count, rows, adjacency)
                        rows.hashes[count, 0] = key
                        table[slot] = count
                        count += 1
                    covers[cover_count, 0] = i
                    covers[cover_count, 1] = v
                    covers[cover_count, 2] = table[slot]
                    cover_count += 1
                    if 2 * (count - last) > len(table):
                        table = _rehash(rows.hashes, last, count, 2 * len(table))
        level_start[level + 2] = count
    return LowerSets(
        count, rows.sets[:count].copy(), rows.boundary[:count].copy(), level_start, covers[:cover_count].copy()
    )


@kernel(inline="always")
def _slot_of(table, key, sets, hashes, i, v):
    """Return the slot of the hash table that holds L ∪ {v}, or the free slot for it. L is row ``i``."""
    slot = np.int64(key & np.uint64(len(table) - 1))
    while table[slot] >= 0:
        other = table[slot]
        if hashes[other, 0] == key and _is_extension(sets, i, v, other):
            break
        slot = (slot + 1) & (len(table) - 1)
    return slot


@kernel(inline="always")
def _is_extension(sets, i, v, other):
    for w in range(sets.shape[1]):
        word = sets[i, w]
        if w == v >> 6:
            word |= ONE << (np.uint64(v) & LOW_SIX)
        if word != sets[other, w]:
            return False
    return True


@kernel
def _rehash(hashes, first, last, size):
    table = np.full(size, -1, np.int64)
    for i in range(first, last):
        slot = np.int64(hashes[i, 0] & np.uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i
    return table


@kernel
def boundaries_of(sets, adjacency):
    """Return the boundary ∂(L) of each lower set L in ``sets``: the members of L that have a successor outside L.

    Sets are bitsets. ``adjacency`` has the edges of the graph.
    """
    succ_start, succ = adjacency.succ_start, adjacency.succ
    result = np.zeros_like(sets)
    for i in range(len(sets)):
        for v in range(len(succ_start) - 1):
            if has(sets[i], v):
                for k in range(succ_start[v], succ_start[v + 1]):
                    if not has(sets[i], succ[k]):
                        put(result[i], v)
                        break
    return result


@kernel
def sums_of(sets, values):
    """Return, for each bitset in ``sets``, the sum of ``values`` over its members."""
    result = np.zeros(len(sets), np.int64)
    for i in range(len(sets)):
        for w in range(sets.shape[1]):
            rest = sets[i, w]
            while rest != np.uint64(0):
                result[i] += values[w * 64 + trailing_zeros(rest)]
                rest &= rest - ONE
    return result


@kernel
def inflows(sets, boundary, memory, adjacency):
    """Return for each lower set L the sum of the last two terms of the peak formula (:class:`SegmentTerms`), in bytes.

    The sum is M(δ⁺(L)∖L) + M(δ⁻(δ⁺(L))∖L). δ⁺(S) are the successors of a set S of nodes, δ⁻(S) its predecessors, and
    M(S) is the sum of ``memory`` over S. ``sets`` and ``boundary`` have L and ∂(L) as bitsets, and ``adjacency`` has
    the edges of the graph.
    """
    pred_start, pred, succ_start, succ = adjacency.pred_start, adjacency.pred, adjacency.succ_start, adjacency.succ
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
