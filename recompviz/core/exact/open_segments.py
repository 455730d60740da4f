"""The exact curve over all lower sets by open segments, in compiled code.

The recursion over pairs goes from an end L′ of a segment to every start C ⊊ L′. This file instead shrinks the start by
one maximal node n per step, and never forms a pair. A state is (C, P) with P = ∂(L′) ∩ C. A label is (t, x, y) with
x = Δm so far + R(L′) and y = 2M(L′∖C) + the two gradient terms of L′. Removing n keeps it if n ∈ P
(x grows by M_n) and recomputes it otherwise (t grows by T_n); y grows by 2M_n in both cases. Closing
the segment at C gives R(C, t) = max(x, y), and the next segment opens at (C, ∂(C)).

The states of one size of C are computed from those of the next larger size, so two buffers of labels suffice.
Only closed labels (the end of a segment, and the label of the next one) are stored for walking back.

Source: derived from Kusumoto et al. 2019, algorithm 1.
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
    from recompviz.core.exact.open_segments_kernels import Cursor, Nodes, Sets, States
    from recompviz.core.graphs.graph import Graph

# lower sets per call of the compiled loop; between calls progress is reported and the user can cancel
CHUNK = 16
# of a label, see the kernels
COLUMNS = 5


def open_segment_front(
    graph: Graph,
    lattice: Lattice,
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
    known: Sequence[ParetoFront] = (),
    ends: Iterable[int] | None = None,
) -> ParetoFront:
    """The exact Pareto front of one objective over all lower-set sequences.

    Parameters
    ----------
    graph : Graph
    lattice : Lattice
        All lower sets of the graph.
    objective : "time" or "memory"
    progress : callable (done, total), optional
        Called with the number of lower sets; raise :class:`recompviz.Cancelled` in it to stop.
    pins : Pins
        Nodes that must, or must not, be in U_k.
    known : sequence of ParetoFront
        Fronts of sequences that are allowed here, one of them with the least peak of all. Only
        improvements on them are searched for.
    ends : iterable of int, optional
        The lower sets, as bit masks, at which segments may end. Default: all.

    Returns
    -------
    ParetoFront
        Empty if no sequence obeys the pins.

    Raises
    ------
    ImportError
        Without numba.
    """
    from recompviz.core.exact import open_segments_kernels as kernels

    count = len(lattice)
    times, scale = whole_times(graph.time)
    sign = 1 if objective == "time" else -1
    curve = KnownCurve(known, sign * scale)
    nodes, sets = _nodes(graph, sign * times, pins), _sets(graph, lattice, sign * times, pins, ends)
    even, odd = (_states(lattice.sets.shape[1]) for _ in range(2))
    closed = kernels.Closed(np.empty((4096, 2), np.int32), np.empty((1024, 3), np.int64))
    cursor, used, cells = kernels.Cursor(len(graph), count - 1), kernels.Counts(0, 0, 0, 0), curve.cells()
    done = 0
    while done < count:
        cursor, used, needed = kernels.sweep(cursor, CHUNK, used, nodes, sets, cells, even, odd, closed)
        done = _sets_done(lattice, cursor)
        if needed.states:
            if cursor.level % 2:
                odd = _with_rows(odd, needed.states + 1, needed.labels)
            else:
                even = _with_rows(even, needed.states + 1, needed.labels)
            closed = kernels.Closed(_rows(closed.labels, needed.closed), _rows(closed.front, needed.front))
        elif progress is not None:
            progress(done, count)
    found = _front(lattice, closed.front[: used.front].copy(), closed.labels[: used.closed].copy(), sign / scale)
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


def _nodes(graph: Graph, times: NDArray[np.int64], pins: Pins) -> Nodes:
    from recompviz.core.exact import open_segments_kernels as kernels

    rank = np.empty(len(graph), np.int64)
    rank[list(graph.order)] = np.arange(len(graph))
    pinned = np.array([pins.keep >> v & 1 for v in range(len(graph))], dtype=np.bool_)
    return kernels.Nodes(times, graph.memory.copy(), rank, pinned)


def _sets(graph: Graph, lattice: Lattice, times: NDArray[np.int64], pins: Pins, ends: Iterable[int] | None) -> Sets:
    from recompviz.core.exact import open_segments_kernels as kernels

    closable = ~np.any(lattice.boundaries & bit_words([pins.recompute], len(graph)), axis=1)
    if ends is not None:
        closable &= _is_among(lattice, ends)
    return kernels.Sets(
        lattice.level_start,
        lattice.boundaries,
        lattice.inflow,
        _sums_over_sets(lattice, times),
        closable,
        lattice.cover_start,
        lattice.cover_set,
        lattice.cover_node,
        np.zeros(len(lattice), np.int64),
        np.zeros(len(lattice), np.int64),
    )


def _sums_over_sets(lattice: Lattice, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the values of the members of each lower set, from one set that it covers."""
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
    """For each lower set whether it is one of the bit masks."""
    wanted = set(masks)
    return np.array([lattice.mask(i) in wanted for i in range(len(lattice))], dtype=np.bool_)


def _sets_done(lattice: Lattice, cursor: Cursor) -> int:
    """How many sets a sweep has solved: all larger ones, and those of this size before the next one."""
    if cursor.level < 0:
        return len(lattice)
    first, end = lattice.level_start[cursor.level : cursor.level + 2].tolist()
    return len(lattice) - int(end) + cursor.next_set - int(first)


def _states(words: int) -> States:
    from recompviz.core.exact import open_segments_kernels as kernels

    count = 256
    return kernels.States(
        np.zeros((count, words), np.uint64), np.zeros(count + 1, np.int64), np.empty((4096, COLUMNS), np.int64)
    )


def _rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array, or a copy of twice the rows needed if it has fewer than ``rows`` rows."""
    if len(array) >= rows:
        return array
    bigger = np.empty((2 * rows, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def _with_rows(states: States, count: int, labels: int) -> States:
    pattern = _rows(states.pattern, count)
    return type(states)(pattern, _rows(states.start, len(pattern) + 1), _rows(states.labels, labels))
