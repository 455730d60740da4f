"""The recursion over pairs of lower sets in compiled code, for families of lower sets.

Without a tolerance, the results equal the results of :func:`recompviz.core.exact.recursion.pairwise_front`. The
recursion of :mod:`recompviz.core.exact.open_segments` is faster if there are thousands of lower sets, or if the graph
is nearly a chain. However, it visits all lower sets, and not only the sets of the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.exact.lattice import adjacency_of
from recompviz.core.exact.open_segments import allowed_errors
from recompviz.core.exact.tolerances import TooManyLabels
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bit_words
from recompviz.core.graphs.pins import NO_PINS, Pins
from recompviz.core.plans.curve import Objective, ParetoFront

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph

# lower sets per call of the compiled loop; between calls progress is reported, and labels are counted
CHUNK = 8
# bytes of memory for each label, with the copy that is made when the table grows
LABEL_BYTES = 125
# a search with a tolerance is exact up to this many labels
EXACT_LABELS = 4096


def compiled_pairwise_front(
    graph: Graph,
    family: Sequence[int],
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
    *,
    most_bytes: int | None = None,
    tolerance: float = 0.0,
) -> ParetoFront:
    """Compute the Pareto front of overhead (cost of recomputation) and peak over all sequences of sets from a family.

    Most parameters and the result are as for :func:`recompviz.core.exact.recursion.pairwise_front`. ``progress`` is
    called once for every 8 lower sets. The labels (partial solutions) may take about ``most_bytes``; None is no limit.
    ``tolerance`` is the allowed error of the overheads, as a part of T(V), the sum of all costs. The search is exact
    until there are more than ``EXACT_LABELS`` labels. The attribute ``error`` of the result is a proven bound of the
    error, in the unit of ``graph.time``.

    Without numba, the code is not compiled, so it is slow.

    Raises
    ------
    TooManyLabels
        If the search needs more than ``most_bytes``.
    """
    from recompviz.core.exact import lattice_kernels
    from recompviz.core.exact import pair_kernels as kernels

    sets = sorted(set(family) | {0, graph.everything}, key=lambda mask: (-mask.bit_count(), mask))
    count = len(sets)
    times, scale = whole_times(graph.time)
    words = bit_words(sets, len(graph))
    adjacency = adjacency_of(graph)
    boundaries = lattice_kernels.boundaries_of(words, adjacency)
    lower_sets = kernels.LowerSetFamily(
        words,
        boundaries,
        lattice_kernels.inflows(words, boundaries, graph.memory, adjacency),
        lattice_kernels.sums_of(words, graph.memory),
        ~np.any(boundaries & bit_words([pins.recompute], len(graph)), axis=1),
    )
    pinned = np.array([pins.keep >> v & 1 for v in range(len(graph))], dtype=np.int64)
    sums = kernels.NodeSums(kernels.byte_sums(times), kernels.byte_sums(pinned), graph.memory.copy(), int(times.sum()))
    sign = 1 if objective == "time" else -1
    labels = np.zeros((4096, kernels.COLUMNS), np.int64)
    labels[0] = 0, 0, -1, 0  # R(V, 0) = 0
    start = np.zeros(count + 1, np.int64)
    start[1] = 1
    allowed = np.zeros(count, np.int64)
    by_size = allowed_errors(len(graph), tolerance * float(times.sum()))
    for first in range(1, count, CHUNK):
        last = min(first + CHUNK, count)
        labels = kernels.pair_sweep(first, last, lower_sets, sums, sign, allowed, labels, start)
        if most_bytes is not None and start[last] * LABEL_BYTES > most_bytes:
            raise TooManyLabels
        if start[last] > EXACT_LABELS:
            allowed[last:] = by_size[[mask.bit_count() for mask in sets[last:]]]
        if progress is not None:
            progress(last, count)
    front = labels[start[count - 1] : start[count]]
    set_of, parent_of = kernels.ancestors(labels, start, count - 1)

    def walk_back(position: int) -> list[int]:
        sequence, label = [], int(parent_of[position])
        while label >= 0:
            sequence.append(sets[set_of[label]])
            label = int(parent_of[label])
        return sequence

    return ParetoFront(
        sign * front[:, 0] / scale,
        front[:, 1].copy(),
        walk_back,
        int((front[:, kernels.T] - front[:, kernels.LOW]).max(initial=0)) / scale,
    )
