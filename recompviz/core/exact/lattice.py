"""All lower sets of a graph as arrays: the sets by size, their boundaries, and the sets that cover each set.

L ∪ {v} *covers* L if both are lower sets and v is not in L. This file calls the compiled enumeration, and sorts the
pairs (L, L ∪ {v}) by L for the compiled solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.errors import TooManyLowerSets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph


class Adjacency(NamedTuple):
    """The edges of a graph by node.

    The predecessors of node v are ``pred[pred_start[v]:pred_start[v + 1]]``, and its successors are
    ``succ[succ_start[v]:succ_start[v + 1]]``.
    """

    pred_start: NDArray[np.int64]
    pred: NDArray[np.int32]
    succ_start: NDArray[np.int64]
    succ: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Lattice:
    """All lower sets of a graph, numbered by rising size: set 0 is empty and the last set has all nodes.

    Attributes
    ----------
    sets, boundaries : numpy.ndarray of uint64, shape (count, words)
        Each lower set L and its boundary ∂(L) as a bitset: node v is bit v % 64 of word v // 64.
    level_start : numpy.ndarray of int64, shape (#V + 2,)
        The sets with k members have the numbers ``level_start[k]`` to ``level_start[k + 1] − 1``.
    inflow : numpy.ndarray of int64, shape (count,)
        M(δ⁺(L)∖L) + M(δ⁻(δ⁺(L))∖L) in bytes, the last two terms of the peak formula (:class:`SegmentTerms`).
    cover_start : numpy.ndarray of int64, shape (count + 1,)
        The sets that cover set i are the entries ``cover_start[i]`` to ``cover_start[i + 1] − 1`` of ``cover_set``. A
        set covers set i if it is set i with one more node.
    cover_set, cover_node : numpy.ndarray of int32
        The number of the set that covers set i, and the node that is in this set but not in set i.
    """

    sets: NDArray[np.uint64]
    boundaries: NDArray[np.uint64]
    level_start: NDArray[np.int64]
    inflow: NDArray[np.int64]
    cover_start: NDArray[np.int64]
    cover_set: NDArray[np.int32]
    cover_node: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.sets)

    def mask(self, i: int) -> int:
        """Return lower set number i as a bit mask: a Python int whose bit v is 1 if node v is in the set."""
        return int.from_bytes(self._bytes[i * self._stride : (i + 1) * self._stride], "little")

    @cached_property
    def _bytes(self) -> bytes:
        return self.sets.astype("<u8").tobytes()

    @cached_property
    def _stride(self) -> int:
        return 8 * int(self.sets.shape[1])


def enumerate_lattice(graph: Graph, limit: int) -> Lattice:
    """Enumerate all lower sets of a graph in compiled code. Without numba, the code is not compiled, so it is slow.

    Parameters
    ----------
    graph : Graph
    limit : int
        The largest number of lower sets allowed, the empty set and the set of all nodes included.

    Returns
    -------
    Lattice

    Raises
    ------
    TooManyLowerSets
        If there are more than ``limit`` lower sets.
    """
    from recompviz.core.exact import lattice_kernels as kernels

    n = len(graph)
    adjacency = adjacency_of(graph)
    # random words, one per node; equal hashes of two sets cost a comparison and change no answer
    zobrist = np.random.default_rng(1905_11722).integers(0, 2**64, size=max(n, 1), dtype=np.uint64)
    found = kernels.enumerate_sets(n, adjacency, zobrist, limit)
    if found.number < 0:
        raise TooManyLowerSets(limit)
    lower, node, upper = found.covers.T
    by_lower = np.argsort(lower, kind="stable")
    cover_start = np.zeros(found.number + 1, np.int64)
    np.cumsum(np.bincount(lower, minlength=found.number), out=cover_start[1:])
    inflow = kernels.inflows(found.sets, found.boundaries, graph.memory, adjacency)
    return Lattice(
        found.sets, found.boundaries, found.level_start, inflow, cover_start,
        np.ascontiguousarray(upper[by_lower]), np.ascontiguousarray(node[by_lower]),
    )  # fmt: skip


def adjacency_of(graph: Graph) -> Adjacency:
    """Return the predecessors and successors of each node as arrays."""
    n = len(graph)
    arrays = []
    for here, there in ((1, 0), (0, 1)):
        order = np.argsort(graph.edges[:, here], kind="stable")
        start = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(graph.edges[:, here], minlength=n), out=start[1:])
        arrays += [start, np.ascontiguousarray(graph.edges[order, there])]
    return Adjacency(*arrays)
