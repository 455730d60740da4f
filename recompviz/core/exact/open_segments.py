"""The exact curve over all lower sets, with no pairs of them: open segments, in compiled code.

The pairwise recursion goes from an end L′ of a segment to every start C ⊊ L′. Here the start shrinks
by one maximal node n at a time instead. A state is (C, P) with P = ∂(L′) ∩ C, a label (t, x, y) with
x = Δm so far + R(L′) and y = 2M(L′∖C) + the two gradient terms of L′. Removing n keeps it if n ∈ P
(x grows by M_n) and recomputes it otherwise (t grows by T_n); y grows by 2M_n either way. Closing
the segment at C gives R(C, t) = max(x, y), and the next segment opens at (C, ∂(C)).

All states of one size of C need those of the next larger size only, so two buffers of labels serve,
and only closed labels (where a segment ended, and which one follows) are kept for walking back.

Source: derived from Kusumoto et al. 2019, algorithm 1; no pair of lower sets is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.exact.known_curve import KnownCurve
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bit_words
from recompviz.core.graphs.pins import NO_PINS, Pins
from recompviz.core.plans.curve import Objective, ParetoFront

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.base.progress import Progress
    from recompviz.core.exact.lattice import Lattice
    from recompviz.core.graphs.graph import Graph

# sets per call of the compiled step: often enough for progress and cancellation
CHUNK = 64

# of a label, as the kernels count them
COLUMNS = 5

# patterns P, where the labels of each state start, labels (t, x, y, origin, last)
Buffers = tuple["NDArray[np.uint64]", "NDArray[np.int64]", "NDArray[np.int64]"]


def open_segment_front(
    graph: Graph,
    lattice: Lattice,
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
    known: Sequence[ParetoFront] = (),
    ends: Iterable[int] | None = None,
) -> ParetoFront:
    """The exact front of one objective over all lower-set sequences.

    Parameters
    ----------
    graph : Graph
    lattice : Lattice
        All lower sets of the graph.
    objective : "time" or "memory"
    progress : callable (done, total), optional
        Called now and then with lower sets; raise :class:`recompviz.Cancelled` in it to stop.
    pins : Pins
        Nodes that must, or must not, be in U_k.
    known : sequence of ParetoFront
        Fronts of sequences that are allowed here, one of them with the least peak of all: only what
        improves on them is searched for.
    ends : iterable of masks, optional
        The lower sets at which segments may end; all, if left out.

    Returns
    -------
    ParetoFront
        Empty where no sequence obeys the pins.

    Raises
    ------
    ImportError
        Without numba.
    """
    from recompviz.core.exact import open_segments_kernels as kernels

    count = len(lattice)
    times, scale = whole_times(graph.time)
    sign = 1 if objective == "time" else -1
    rank = np.empty(len(graph), np.int64)
    rank[list(graph.order)] = np.arange(len(graph))
    nodes = (sign * times, graph.memory.copy(), rank)
    work = _sums_over_sets(lattice, nodes[0])
    pinned = np.array([pins.keep >> v & 1 for v in range(len(graph))], dtype=np.bool_)
    closable = ~np.any(lattice.boundaries & bit_words([pins.recompute], len(graph)), axis=1)
    if ends is not None:
        closable &= _is_among(lattice, ends)
    curve = KnownCurve(known, sign * scale)
    cells = curve.cells()
    old, new = (_buffers(lattice.sets.shape[1]) for _ in range(2))
    closed, closing = np.empty((4096, 2), np.int32), np.empty((1024, 3), np.int64)
    states_of = (np.zeros(count, np.int64), np.zeros(count, np.int64))
    covers = (lattice.cover_start, lattice.cover_set, lattice.cover_node)
    cursor, need = np.zeros(3, np.int64), np.zeros(4, np.int64)
    for level in range(len(graph), -1, -1):
        first, end = lattice.level_start[level : level + 2].tolist()
        old, new = new, old
        cursor[:2] = 0
        while first < end:
            last = min(end, first + CHUNK)
            first = kernels.sweep(
                first, last, cursor, need, lattice.boundaries, lattice.inflow, work, covers, states_of,
                old, new, nodes, pinned, closable, closed, closing, cells,
            )  # fmt: skip
            if first < last:
                new = _with_room(new, int(need[0]) + 1, int(need[1]))
                closed, closing = _rows(closed, int(need[2])), _rows(closing, int(need[3]))
            elif progress is not None:
                progress(count - lattice.level_start[level].item() - (end - first), count)
    found = _front(lattice, closing[: need[3]].copy(), closed[: cursor[2]].copy(), sign / scale)
    return curve.joined(found)


def _front(lattice: Lattice, found: NDArray[np.int64], closed: NDArray[np.int32], unit: float) -> ParetoFront:
    def walk_back(position: int) -> list[int]:
        sequence = []
        at = int(found[position, 2])
        while at >= 0:
            here, at = closed[at].tolist()
            sequence.append(lattice.mask(here))
        return sequence

    return ParetoFront((found[:, 0] * unit).astype(np.float64), found[:, 1].copy(), walk_back)


def _sums_over_sets(lattice: Lattice, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the values of the members, for each lower set; one cover below each set suffices."""
    count = len(lattice)
    lower = np.repeat(np.arange(count), np.diff(lattice.cover_start))
    below, node = np.zeros(count, np.int64), np.zeros(count, np.int64)
    below[lattice.cover_set] = lower
    node[lattice.cover_set] = lattice.cover_node
    sums = np.zeros(count, np.int64)
    for first, end in zip(lattice.level_start[1:-1].tolist(), lattice.level_start[2:].tolist(), strict=True):
        sums[first:end] = sums[below[first:end]] + values[node[first:end]]
    return sums


def _is_among(lattice: Lattice, masks: Iterable[int]) -> NDArray[np.bool_]:
    """For each lower set whether it is one of the masks."""
    wanted = set(masks)
    return np.array([lattice.mask(i) in wanted for i in range(len(lattice))], dtype=np.bool_)


def _buffers(words: int) -> Buffers:
    states = 256
    return (
        np.zeros((states, words), np.uint64),
        np.zeros(states + 1, np.int64),
        np.empty((4096, COLUMNS), np.int64),
    )


def _rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array with room for so many rows, doubled where it lacks it."""
    if len(array) >= rows:
        return array
    bigger = np.empty((2 * rows, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def _with_room(buffers: Buffers, states: int, labels: int) -> Buffers:
    pattern, start, rows = buffers
    pattern = _rows(pattern, states)
    return pattern, _rows(start, len(pattern) + 1), _rows(rows, labels)
