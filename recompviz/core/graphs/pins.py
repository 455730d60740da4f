"""Pins: nodes that every plan must keep, and nodes that every plan must recompute.

What-if questions are answered by a solve whose sequences are restricted: a pinned-to-keep node must be
in U_k, so it must lie on the boundary of the segment it belongs to; a pinned-to-recompute node must
not be in U_k, so no segment may end at a lower set whose boundary holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recompviz.core.base.errors import ImpossiblePin
from recompviz.core.graphs.bitsets import bits

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph, Name


@dataclass(frozen=True)
class Pins:
    """Masks of the nodes that must be in U_k, and of those that must not."""

    keep: int = 0
    recompute: int = 0

    def __bool__(self) -> bool:
        return bool(self.keep or self.recompute)


NO_PINS = Pins()


def pins_of(graph: Graph, keep: Iterable[Name], recompute: Iterable[Name]) -> Pins:
    """Read pins by node name and check that some lower-set sequence obeys them all.

    A kept node v needs a lower set L with v ∈ ∂(L) and no pinned-to-recompute node in ∂(L). The least
    such candidate is the closure of v in which each pinned-to-recompute member brings its successors;
    it serves unless it holds all successors of v. Two such closures are nested or leave each other's
    boundary alone, so nodes that can be kept one by one can be kept together.

    Raises
    ------
    GraphError
        For an unknown name.
    ImpossiblePin
        For a node in both, a sink that must be kept, or a kept node cut off by recomputed ones.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([("a", "b"), ("b", "c")], memory=dict(a=1, b=1, c=1))
    >>> pins_of(g, ["a"], ["b"])
    Pins(keep=1, recompute=2)
    """
    pins = Pins(graph.mask(keep), graph.mask(recompute))
    for v in bits(pins.keep & pins.recompute):
        raise ImpossiblePin(f"{graph.names[v]!r} is pinned both to be kept and to be recomputed; drop one pin")
    for v in bits(pins.keep):
        after = graph.successors[v]
        if not after:
            raise ImpossiblePin(
                f"{graph.names[v]!r} cannot be pinned to be kept: nothing is computed from it, so it is on no "
                "boundary, and every canonical plan recomputes it; drop the pin"
            )
        if after & ~_closure(graph, v, pins.recompute) == 0:
            raise ImpossiblePin(
                f"{graph.names[v]!r} cannot be kept: each lower set whose boundary holds it also has a node on its "
                "boundary that is pinned to be recomputed; drop one of these pins"
            )
    return pins


def _closure(graph: Graph, v: int, recompute: int) -> int:
    lower, todo = 0, graph.ancestors[v]
    while todo:
        lower |= todo
        todo = 0
        for u in bits(lower & recompute):
            for w in bits(graph.successors[u] & ~lower):
                todo |= graph.ancestors[w] & ~lower
    return lower
