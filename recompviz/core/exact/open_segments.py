"""The exact trade-off curve over all lower sets by *open segments*, in compiled code.

A segment L′∖C has an end L′ and a start C ⊊ L′. The recursion of :mod:`recompviz.core.exact.recursion` compares all
pairs of an end and a start. Here a segment opens at its end L′, with C = L′, and grows while nodes without a successor
in C are removed from C one by one.

A state is (C, P), where P = ∂(L′) ∩ C is the part of the end's boundary that is still in C. Segments with different
ends share the states in which C and P are equal. A label of a state is (t, x, y). With R as in that recursion:

    t   the overhead of the sequence from C on
    x = M(∂(L′)∖C) + R(L′, overhead from L′ on)
    y = 2M(L′∖C) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′)

If a removed node n is in P, it is kept, and x grows by M_n. Otherwise it is recomputed, and t grows by T_n. In both
cases y grows by 2M_n. Closing the segment at C gives R(C, t) = max(x, y), and the next segment opens in the state
(C, ∂(C)).

The states of sets C with k members are computed from the states of sets with k + 1 members, so two buffers of labels
suffice. The labels at which segments are closed stay in memory, to walk back from a point of the curve to its sequence.
Such a closed label consists of two numbers: the number of the lower set at which a segment ends, and the number of the
closed label at the end of the following segment.

Source: derived from Kusumoto et al. 2019, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.exact.known_curve import ENDLESS, KnownCurve
from recompviz.core.exact.tolerances import TooManyLabels
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
# numbers in a label, see label_kernels.py
COLUMNS = 6
# rows of the tables of labels at the start
FIRST_LABELS = 4096
# bytes of memory for each row of the tables of open and of closed labels, with their copies and scratch memory
LABEL_BYTES, CLOSED_BYTES = 144, 12
# a search with a tolerance is exact up to this many labels of sets of equal size
EXACT_LABELS = 1024


def open_segment_front(
    graph: Graph,
    lattice: Lattice,
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
    known: Sequence[ParetoFront] = (),
    ends: Iterable[int] | None = None,
    *,
    most_bytes: int | None = None,
    tolerance: float = 0.0,
) -> ParetoFront:
    """Compute the Pareto front of overhead and peak over all sequences of lower sets, or of the lower sets in ``ends``.

    The overhead is the cost of recomputation. Without numba, the code is not compiled, so it is slow.

    Parameters
    ----------
    graph : Graph
    lattice : Lattice
        All lower sets of the graph.
    objective : "time" or "memory"
        ``"time"`` finds the least overhead under each budget, ``"memory"`` the largest.
    progress : callable (done, total), optional
        Called during the search with the number of lower sets solved and the number of all lower sets. Raise
        :class:`recompviz.Cancelled` in it to stop.
    pins : Pins
        Nodes that every sequence must keep, and nodes that every sequence must recompute.
    known : sequence of ParetoFront
        Fronts of sequences that this search allows. They make the search faster. If ``known`` is not empty, one of the
        fronts must have a point with the least peak of all allowed sequences.
    ends : iterable of int, optional
        The lower sets, as bit masks, at which segments may end; the empty set must be among them. Default: all.
    most_bytes : int, optional
        Raise :class:`TooManyLabels` before the tables of labels (partial solutions) take more than about this many
        bytes. None is no limit.
    tolerance : float
        The allowed error of the overheads, as a part of T(V), the sum of the costs of all nodes. The search is exact
        until the sets of one size have more than ``EXACT_LABELS`` labels together.

    Returns
    -------
    ParetoFront
        Overheads in the unit of ``graph.time``, peaks by the paper's formula (:attr:`Plan.peak`) in bytes. Empty if no
        sequence obeys the pins. The attribute ``error`` of the front is at most ``tolerance`` times T(V), or the
        largest ``error`` of the fronts in ``known`` if that is larger.

    Raises
    ------
    TooManyLabels
        If the search needs more than ``most_bytes``.
    """
    from recompviz.core.exact import open_segments_kernels as kernels

    count = len(lattice)
    times, scale = whole_times(graph.time)
    sign = 1 if objective == "time" else -1
    curve = KnownCurve(known, sign * scale)
    nodes, sets = _nodes(graph, sign * times, pins), _sets(graph, lattice, sign * times, pins, ends)
    even, odd = (_states(lattice.sets.shape[1]) for _ in range(2))
    closed = kernels.Closed(np.empty((FIRST_LABELS, 2), np.int32), np.empty((1024, 4), np.int64))
    cursor, used, cells = kernels.Cursor(len(graph), count - 1), kernels.Counts(0, 0, 0, 0), curve.cells()
    done = 0
    allowed = np.full(len(graph) + 1, -1, np.int64)
    most_exact = EXACT_LABELS if tolerance else ENDLESS
    while done < count:
        cursor, used, needed = kernels.sweep(
            cursor, CHUNK, used, nodes, sets, cells, most_exact, allowed, even, odd, closed
        )
        done = _sets_done(lattice, cursor)
        if needed.states:
            if most_bytes is not None and max(needed.labels * LABEL_BYTES, needed.closed * CLOSED_BYTES) > most_bytes:
                raise TooManyLabels
            if cursor.level % 2:
                odd = _with_rows(odd, needed.states + 1, needed.labels)
            else:
                even = _with_rows(even, needed.states + 1, needed.labels)
            closed = kernels.Closed(_rows(closed.labels, needed.closed), _rows(closed.front, needed.front))
        elif progress is not None:
            progress(done, count)
        if used.labels > most_exact:
            most_exact = ENDLESS
            allowed[: cursor.level] = allowed_errors(len(graph), tolerance * float(times.sum()))[: cursor.level]
    found = _front(lattice, closed.front[: used.front].copy(), closed.labels[: used.closed].copy(), sign / scale)
    return curve.joined(found)


def allowed_errors(nodes: int, error: float) -> NDArray[np.int64]:
    """Return, for each size of a lower set from 0 to ``nodes``, the allowed error of the labels (partial solutions).

    The solver begins with the set of all nodes and removes one node after another. The allowed error grows with each
    removed node, up to ``error`` at the empty set, so that each step of the search can drop some labels. Errors are in
    quanta (:mod:`recompviz.core.exact.whole_times`).

    Examples
    --------
    >>> allowed_errors(4, 100).tolist()
    [100, 75, 50, 25, 0]
    """
    return (error * np.arange(nodes, -1, -1) / max(nodes, 1)).astype(np.int64)


def _front(lattice: Lattice, found: NDArray[np.int64], closed: NDArray[np.int32], unit: float) -> ParetoFront:
    def walk_back(position: int) -> list[int]:
        sequence = []
        at = int(found[position, 2])
        while at >= 0:
            here, at = closed.item(at, 0), closed.item(at, 1)
            sequence.append(lattice.mask(here))
        return sequence

    error = abs(unit) * int((found[:, 0] - found[:, 3]).max(initial=0))
    return ParetoFront((found[:, 0] * unit).astype(np.float64), found[:, 1].copy(), walk_back, error)


def _nodes(graph: Graph, times: NDArray[np.int64], pins: Pins) -> Nodes:
    from recompviz.core.exact import open_segments_kernels as kernels

    pinned = np.array([pins.keep >> v & 1 for v in range(len(graph))], dtype=np.bool_)
    return kernels.Nodes(times, graph.memory.copy(), graph.position.copy(), pinned)


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
    """Return, for each lower set, the sum of ``values`` over its members.

    Each sum is computed from the sum of a lower set with one member less.
    """
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
    """Return, for each lower set, whether it is one of the bit masks."""
    wanted = set(masks)
    return np.array([lattice.mask(i) in wanted for i in range(len(lattice))], dtype=np.bool_)


def _sets_done(lattice: Lattice, cursor: Cursor) -> int:
    """Return how many lower sets have been solved before ``cursor``: larger sets come first."""
    if cursor.level < 0:
        return len(lattice)
    first, end = lattice.level_start[cursor.level : cursor.level + 2].tolist()
    return len(lattice) - int(end) + cursor.next_set - int(first)


def _states(words: int) -> States:
    from recompviz.core.exact import open_segments_kernels as kernels

    count = 256
    return kernels.States(
        np.zeros((count, words), np.uint64), np.zeros(count + 1, np.int64), np.empty((FIRST_LABELS, COLUMNS), np.int64)
    )


def _rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return the array if it has at least ``rows`` rows, otherwise a copy with space for twice that many."""
    if len(array) >= rows:
        return array
    bigger = np.empty((2 * rows, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def _with_rows(states: States, count: int, labels: int) -> States:
    pattern = _rows(states.pattern, count)
    return type(states)(pattern, _rows(states.start, len(pattern) + 1), _rows(states.labels, labels))
