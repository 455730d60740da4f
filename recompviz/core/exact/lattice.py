"""The lattice of all lower sets as arrays: the sets by size, their boundaries and the covering relation.

L ∪ {v} *covers* L when both are lower sets. The compiled solver walks from a set to those it is covered by, one
node at a time. This file calls the compiled enumeration and sorts the covers for that walk.
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
    """Edges by node: the predecessors of v are ``pred[pred_start[v]:pred_start[v + 1]]``; successors alike."""

    pred_start: NDArray[np.int64]
    pred: NDArray[np.int32]
    succ_start: NDArray[np.int64]
    succ: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Lattice:
    """All lower sets of a graph, smallest first: set 0 is ∅, the last one is V.

    Attributes
    ----------
    sets, boundaries : numpy.ndarray of uint64, shape (count, words)
        Each L and its ∂(L) as a bitset: node v is bit v % 64 of word v // 64.
    level_start : numpy.ndarray of int64, shape (#V + 2,)
        The sets with k members are ``level_start[k]`` to ``level_start[k + 1] − 1``.
    inflow : numpy.ndarray of int64, shape (count,)
        M(δ⁺(L)∖L) + M(δ⁻(δ⁺(L))∖L), bytes.
    cover_start : numpy.ndarray of int64, shape (count + 1,)
    cover_set, cover_node : numpy.ndarray of int32
        Set i is covered by the sets ``cover_set[cover_start[i]:cover_start[i + 1]]``, each larger
        by the node in ``cover_node``.
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
        """Set i as a mask, the form in which graphs and plans take it."""
        return int.from_bytes(self._bytes[i * self._stride : (i + 1) * self._stride], "little")

    @cached_property
    def _bytes(self) -> bytes:
        return self.sets.astype("<u8").tobytes()

    @cached_property
    def _stride(self) -> int:
        return 8 * int(self.sets.shape[1])


def enumerate_lattice(graph: Graph, limit: int) -> Lattice:
    """Enumerate all lower sets in compiled code.

    Parameters
    ----------
    graph : Graph
    limit : int
        The most lower sets, ∅ and V included.

    Raises
    ------
    TooManyLowerSets
        Beyond ``limit``.
    ImportError
        Without numba.
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
    """Predecessors and successors of each node as arrays."""
    n = len(graph)
    arrays = []
    for here, there in ((1, 0), (0, 1)):
        order = np.argsort(graph.edges[:, here], kind="stable")
        start = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(graph.edges[:, here], minlength=n), out=start[1:])
        arrays += [start, np.ascontiguousarray(graph.edges[order, there])]
    return Adjacency(*arrays)
