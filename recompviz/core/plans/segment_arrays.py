"""The paper's peak formula in array form, computed from the segment number of each node.

The lower sets L₁ ⊊ … ⊊ L_k divide the nodes into segments. δ⁺(S) are the successors of a set S, δ⁻(S) its predecessors,
and U_i is the union of the boundaries of L₁ … L_i. Let s(v) be the segment of v. Let p(v) be the lowest segment of all
predecessors of v; p(v) = s(v) if v has none. Let q(v) be the lowest p(w) of all successors w of v; q(v) = s(v) if v has
none. Each set in the formula then contains a node v for a range of segments i:

- v belongs to U_i for i ≥ s(v) if it has a successor in a later segment.
- v belongs to δ⁺(L_i)∖L_i for p(v) ≤ i < s(v).
- v belongs to δ⁻(δ⁺(L_i))∖L_i for q(v) ≤ i < s(v).

Computing the peak therefore takes O(#V + #E) time, which is fast enough for each movement of a slider.
:mod:`recompviz.core.plans.formula` computes the same from sets, as in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.arguments import expect
from recompviz.core.graphs.bitsets import bit_matrix, bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph


def segments_of(graph: Graph, sequence: Sequence[int]) -> NDArray[np.int32]:
    """Return the segment number of each node for a sequence of bit masks L₁ ⊊ … ⊊ L_k = V.

    A node of V_i = L_i ∖ L_{i−1} has the number i, counted from 1.

    Raises
    ------
    ValueError
        If a set is not a lower set, the sets do not grow, or the last set does not contain all nodes. Also if a mask
        has a bit that stands for no node.
    TypeError
        If ``sequence`` is not a sequence, or a set is not an int.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> segments_of(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]), [0b001, 0b111]).tolist()
    [1, 2, 2]
    """
    expect(sequence, Sequence, "sequence", "a sequence of bit masks", "graph.mask(names) makes one of a set")
    sequence = [graph.checked_mask(lower) for lower in sequence]
    previous = 0
    for i, lower in enumerate(sequence, start=1):
        if lower == previous or previous & ~lower:
            raise ValueError(f"L_{i} does not contain L_{i - 1} properly; a sequence must grow at each step")
        previous = lower
    if previous != graph.everything:
        missing = next(bits(graph.everything & ~previous))
        raise ValueError(f"the last set of the sequence must be V; {graph.names[missing]!r} is missing")
    segment = segments_of_nested(graph, sequence)
    u, v = graph.edges[:, 0], graph.edges[:, 1]
    for e in np.flatnonzero(segment[u] > segment[v])[:1].tolist():
        names = graph.names[u[e]], graph.names[v[e]]
        raise ValueError(
            f"L_{segment[v[e]]} is not a lower set: the edge {names[0]!r} → {names[1]!r} enters it; "
            f"add {names[0]!r} to the set"
        )
    return segment


def segments_of_nested(graph: Graph, sequence: Sequence[int]) -> NDArray[np.int32]:
    """Return what :func:`segments_of` returns, without its checks: for sequences that the solver made.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> segments_of_nested(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]), [0b001, 0b111]).tolist()
    [1, 2, 2]
    """
    member = bit_matrix(sequence, len(graph))
    segment: NDArray[np.int32] = (len(sequence) + 1 - member.sum(axis=0, dtype=np.int32)).astype(np.int32)
    return segment


def keep_mask_of_segments(graph: Graph, segment: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each node whether its value is kept: whether a node of a later segment reads the value."""
    u, v = graph.edges[:, 0], graph.edges[:, 1]
    kept = np.zeros(len(graph), dtype=np.bool_)
    kept[u[segment[u] < segment[v]]] = True
    return kept


def segments_of_keep_mask(graph: Graph, keep_mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the segment number of each node, counted from 1, for a plan that keeps any set of values.

    A segment ends after a prefix of ``graph.order`` if every value of the prefix that a later node reads is kept. A
    value that is not kept is then recomputed and read within its own segment. ``keep_mask`` says for each node whether
    its value is kept.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
    >>> segments_of_keep_mask(g, np.array([True, False, False])).tolist()
    [1, 2, 2]
    """
    is_end = open_values(graph, ~keep_mask) == 0
    count = 1 + np.cumsum(is_end) - is_end  # the ends before each position, plus 1
    segment: NDArray[np.int32] = count[graph.position].astype(np.int32)
    return segment


def open_values(graph: Graph, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each prefix of ``graph.order`` how many of its chosen nodes have a successor outside the prefix.

    Parameters
    ----------
    graph : Graph
    chosen : numpy.ndarray of bool, shape (#V,)

    Returns
    -------
    numpy.ndarray of int64, shape (#V,)
        Entry i counts for the prefix of i + 1 nodes.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([(0, 1), (0, 2), (1, 2)], memory=[1, 1, 1])
    >>> open_values(g, np.array([True, True, True])).tolist()
    [1, 2, 0]
    """
    n = len(graph)
    begins = np.bincount(graph.position[chosen], minlength=n)
    ends = np.bincount(graph.last_read[chosen], minlength=n)
    return np.cumsum(begins - ends)


def peaks_by_segment(
    graph: Graph, segment: NDArray[np.int32], keep_mask: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the sum of the four terms of the peak formula for each of the k segments, in bytes, shape (k,).

    The sum for segment i is M(U_{i−1}) + 2M(V_i) + M(δ⁺(L_i)∖L_i) + M(δ⁻(δ⁺(L_i))∖L_i); see :class:`SegmentTerms`. If
    ``keep_mask`` is given, all kept nodes of L_{i−1} are counted in place of U_{i−1}.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
    >>> peaks_by_segment(g, np.array([1, 2, 2], np.int32)).tolist()
    [3, 5]
    """
    count = int(segment.max(initial=0))
    memory, u, v = graph.memory, graph.edges[:, 0], graph.edges[:, 1]
    # p(v): the lowest segment of a predecessor; s(v) if there is none, so the range of segments is empty
    earliest = segment.copy()
    np.minimum.at(earliest, v, segment[u])
    beside = segment.copy()
    np.minimum.at(beside, u, earliest[v])
    # bytes added from segment i on; the last entry is beyond V_k
    change = np.zeros(count + 2, dtype=np.int64)
    for first in (earliest, beside):
        np.add.at(change, first, memory)
        np.subtract.at(change, segment, memory)
    kept = keep_mask_of_segments(graph, segment) if keep_mask is None else keep_mask
    np.add.at(change, segment[kept] + 1, memory[kept])
    own = np.zeros(count + 2, dtype=np.int64)
    np.add.at(own, segment, 2 * memory)
    peaks: NDArray[np.int64] = (np.cumsum(change) + own)[1 : count + 1]
    return peaks
