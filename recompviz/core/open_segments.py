"""The exact curve over all lower sets, with no pairs of them: open segments, in compiled code.

The pairwise recursion goes from an end L′ of a segment to every start C ⊊ L′. Here the start shrinks
by one maximal node n at a time instead. A state is (C, P) with P = ∂(L′) ∩ C, a label (t, x, y) with
x = Δm so far + R(L′) and y = 2M(L′∖C) + the two gradient terms of L′. Removing n keeps it if n ∈ P
(x grows by M_n) and recomputes it otherwise (t grows by T_n); y grows by 2M_n either way. Closing
the segment at C gives R(C, t) = max(x, y), and the next segment opens at (C, ∂(C)).

Source: derived from Kusumoto et al. 2019, algorithm 1; no pair of lower sets is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.lattice import Lattice
from recompviz.core.tradeoff import Front, Objective
from recompviz.core.whole_times import whole_times

if TYPE_CHECKING:
    from recompviz.core.graph import Graph

# sets per call of the compiled step: often enough for progress and cancellation
CHUNK = 128


def open_segment_front(
    graph: Graph,
    lattice: Lattice,
    objective: Objective,
    progress: Callable[[int, int], None] | None = None,
    known: Any = None,
    stats: Any = None,
) -> Front:
    from recompviz.core import open_segments_kernels as kernels

    n, count = len(graph), len(lattice)
    times, scale = whole_times(graph.time)
    if objective == "memory":
        times = -times
    sign = 1 if objective == "time" else -1
    cells = np.zeros((0, 3)); slack = np.zeros(0)
    if known is not None:
        cells, slack = known
    nodes = (times, graph.memory.copy())
    weight, work = _sums(lattice, *nodes)
    words = lattice.sets.shape[1]
    J = len(cells)
    def buffers(states, labels):
        return (np.zeros((states, words), np.uint64), np.zeros(states + 1, np.int64), np.empty((labels, 4), np.int64), np.zeros((states, J)))
    old, new = buffers(256, 4096), buffers(256, 4096)
    closed = np.empty((4096, 2), np.int32); closing = np.empty((1024, 3), np.int64)
    states_of = (np.zeros(count, np.int64), np.zeros(count, np.int64))
    covers = (lattice.cover_start, lattice.cover_set, lattice.cover_node)
    cursor = np.zeros(3, np.int64); need = np.zeros(4, np.int64)
    tot_labels = tot_states = 0
    base_phi = None
    for level in range(n, -1, -1):
        first, end = int(lattice.level_start[level]), int(lattice.level_start[level + 1])
        old, new = new, old
        cursor[:2] = 0
        while first < end:
            last = min(end, first + CHUNK)
            first = kernels.sweep(first, last, cursor, need, lattice.boundaries, lattice.inflow, weight, work, covers, states_of, old, new, nodes, closed, closing, cells, slack)
            if first < last:
                new = _with_room(new, int(need[0]) + 1, int(need[1]))
                closed = _rows(closed, int(need[2])); closing = _rows(closing, int(need[3]))
            elif progress is not None:
                progress(count - first, count)
        tot_labels += cursor[1]; tot_states += cursor[0]
    if stats is not None: stats.update(labels=tot_labels, states=tot_states, closed=int(cursor[2]), arena=sum(a.nbytes for a in (*old, *new, closed)))
    found = closing[: need[3]].copy()
    closed = closed[: cursor[2]].copy()
    def walk_back(position):
        sequence = []
        at = int(found[position, 2])
        while at >= 0:
            sequence.append(lattice.mask(int(closed[at, 0])))
            at = int(closed[at, 1])
        return sequence
    return Front(sign * found[:, 0] / scale, found[:, 1].copy(), walk_back)


def _sums(lattice, times, memory):
    count = len(lattice)
    bits = np.unpackbits(lattice.sets.view(np.uint8), axis=1, bitorder="little", count=len(times))
    return bits @ memory, bits @ times


def _rows(array, rows):
    if len(array) >= rows:
        return array
    bigger = np.zeros((2 * rows, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def _with_room(buffers, states, labels):
    pattern, start, rows, phi = buffers
    pattern = _rows(pattern, states)
    return pattern, _rows(start, len(pattern) + 1), _rows(rows, labels), _rows(phi, len(pattern))
