"""The paper's cost model: overhead and peak of a lower-set sequence.

A sequence ∅ = L₀ ⊊ L₁ ⊊ … ⊊ L_k = V divides V into segments V_i = L_i ∖ L_{i−1}. The canonical strategy keeps U_k =
∂(L₁) ∪ … ∪ ∂(L_k) and recomputes the other nodes. All sizes are in *formula bytes*, which count intermediate values
and their gradients, but neither parameters nor workspace.

Source: Kusumoto et al. 2019, section 3, equations (1) and (2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph


@dataclass(frozen=True)
class SegmentTerms:
    """The four terms of the peak formula of Kusumoto et al. 2019 for one segment of a plan, in bytes.

    A plan is a sequence of lower sets L₁ ⊊ L₂ ⊊ …, and its segments are V_i = L_i ∖ L_{i−1}. δ⁺(S) are the successors
    of a set S of nodes, and δ⁻(S) its predecessors. M(S) is the sum of the sizes of S. U_{i−1} is the union of the
    boundaries of L₁ … L_{i−1}.

    Attributes
    ----------
    cache : int
        M(U_{i−1}): the values that earlier segments keep.
    segment : int
        2 M(V_i): the values and gradients of the segment.
    gradients : int
        M(δ⁺(L_i)∖L_i): the gradients of the nodes outside L_i that read a value of L_i.
    needed : int
        M(δ⁻(δ⁺(L_i))∖L_i): the values outside L_i that are read by a node that also reads a value of L_i.
    """

    cache: int
    segment: int
    gradients: int
    needed: int

    @property
    def total(self) -> int:
        """The sum of the four terms of this segment, in bytes.

        The peak of a canonical plan (:class:`Plan`) is the largest sum of its segments.
        """
        return self.cache + self.segment + self.gradients + self.needed


def inflow(graph: Graph, lower: int) -> tuple[int, int]:
    """Return the last two terms of the peak formula (:class:`SegmentTerms`) for a lower set L.

    Parameters
    ----------
    graph : Graph
    lower : int
        L as a bit mask.

    Returns
    -------
    tuple of (int, int)
        M(δ⁺(L)∖L) and M(δ⁻(δ⁺(L))∖L), in bytes. δ⁺(S) are the successors of a set S, and δ⁻(S) its predecessors.
    """
    after = 0
    for v in bits(lower):
        after |= graph.successors[v]
    after_outside = after & ~lower
    beside = 0
    # δ⁻(δ⁺(L)) ∖ L: predecessors of members of δ⁺(L) inside L lie in L themselves, L being a lower set
    for w in bits(after_outside):
        beside |= graph.predecessors[w]
    return graph.memory_of(after_outside), graph.memory_of(beside & ~lower)


def segment_terms(graph: Graph, sequence: Sequence[int]) -> tuple[SegmentTerms, ...]:
    """Return the terms of the peak formula for each segment of a lower-set sequence L₁ … L_k = V, in order.

    ``sequence`` has the lower sets as bit masks; :class:`Plan` explains lower-set sequences.

    Examples
    --------
    >>> g = Graph.from_edges([(0, 1)], memory=[1, 1])
    >>> [terms.total for terms in segment_terms(g, [0b01, 0b11])]
    [3, 3]
    """
    terms = []
    kept = previous = 0
    for lower in sequence:
        gradients, needed = inflow(graph, lower)
        terms.append(SegmentTerms(graph.memory_of(kept), 2 * graph.memory_of(lower & ~previous), gradients, needed))
        kept |= graph.boundary_mask(lower)
        previous = lower
    return tuple(terms)


def kept_mask(graph: Graph, sequence: Sequence[int]) -> int:
    """Return U_k, the union of the boundaries of the lower sets L₁ … L_k in ``sequence``. All sets are bit masks."""
    kept = 0
    for lower in sequence:
        kept |= graph.boundary_mask(lower)
    return kept


def formula_peak(graph: Graph, sequence: Sequence[int]) -> int:
    """Return the peak of a lower-set sequence L₁ … L_k = V by the formula of Kusumoto et al. 2019, in bytes.

    ``sequence`` has the lower sets as bit masks; :class:`Plan` explains lower-set sequences. The peak is the maximum
    over the segments i of M(U_{i−1}) + 2M(V_i) + M(δ⁺(L_i)∖L_i) + M(δ⁻(δ⁺(L_i))∖L_i); see :class:`SegmentTerms`. It is
    0 for an empty sequence.
    """
    return max((terms.total for terms in segment_terms(graph, sequence)), default=0)


def overhead(graph: Graph, sequence: Sequence[int]) -> float:
    """Return T(V ∖ U_k), the cost of the recomputed nodes of a lower-set sequence L₁ … L_k = V.

    ``sequence`` has the lower sets as bit masks; :class:`Plan` explains lower-set sequences. The cost is in the unit of
    ``graph.time``.
    """
    return graph.time_of(graph.everything & ~kept_mask(graph, sequence))
