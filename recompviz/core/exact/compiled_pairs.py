"""The pairwise recursion in compiled code, for families of lower sets that open segments would leave.

An open segment shrinks one node at a time through lower sets that a pruned family lacks, so a family
is solved over its pairs. The answers are those of :func:`recompviz.core.exact.oracle.pairwise_front`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.exact.lattice import adjacency_of
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bit_words
from recompviz.core.graphs.pins import NO_PINS, Pins
from recompviz.core.plans.curve import Objective, ParetoFront

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph

# sets per call of the compiled step: often enough for progress and cancellation
CHUNK = 64


def compiled_pairwise_front(
    graph: Graph,
    family: Sequence[int],
    objective: Objective,
    progress: Progress | None = None,
    pins: Pins = NO_PINS,
) -> ParetoFront:
    """The exact front of one objective over sequences drawn from a family; the arguments of ``pairwise_front``.

    Raises
    ------
    ImportError
        Without numba.
    """
    from recompviz.core.exact import lattice_kernels
    from recompviz.core.exact import pair_kernels as kernels

    sets = sorted(set(family) | {0, graph.everything}, key=lambda mask: (-mask.bit_count(), mask))
    count = len(sets)
    times, scale = whole_times(graph.time)
    words = bit_words(sets, len(graph))
    adjacency = adjacency_of(graph)
    edges = lattice_kernels.boundaries_of(words, *adjacency[2:])
    inflows = lattice_kernels.inflows(words, edges, graph.memory, *adjacency)
    M_of, T_of = (lattice_kernels.sums_of(words, values) for values in (graph.memory, times))
    closable = ~np.any(edges & bit_words([pins.recompute], len(graph)), axis=1)
    keep = np.array([pins.keep >> v & 1 for v in range(len(graph))], dtype=np.int64)
    sign = 1 if objective == "time" else -1
    inner_sums, pinned, memory = kernels.byte_sums(times), kernels.byte_sums(keep), graph.memory.copy()
    labels = np.zeros((4096, 4), np.int64)
    labels[0] = 0, 0, -1, -1  # R(V, 0) = 0
    start = np.zeros(count + 1, np.int64)
    start[1] = 1
    for first in range(1, count, CHUNK):
        last = min(first + CHUNK, count)
        labels = kernels.pair_sweep(
            first,
            last,
            words,
            edges,
            inflows,
            M_of,
            T_of,
            sign,
            inner_sums,
            memory,
            pinned,
            closable,
            labels,
            start,
        )
        if progress is not None:
            progress(last, count)
    front = labels[start[count - 1] : start[count]]
    parents = labels[: start[count], 2:].astype(np.int32)
    first_of_last = int(start[count - 1])

    def walk_back(position: int) -> list[int]:
        sequence = []
        here, label = parents[first_of_last + position].tolist()
        while here >= 0:
            sequence.append(sets[here])
            here, label = parents[label].tolist()
        return sequence

    return ParetoFront(sign * front[:, 0] / scale, front[:, 1].copy(), walk_back)
