"""Pins: nodes that every plan must keep, and nodes that every plan must recompute.

A what-if question is solved over restricted sequences. A node pinned to be kept must be in U_k, so it must be on
the boundary at the end of its segment. A node pinned to be recomputed must not be in U_k, so no segment may end at a
lower set whose boundary contains it.
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
    """Bit masks of the nodes that must be in U_k, and of those that must not."""

    keep: int = 0
    recompute: int = 0

    def __bool__(self) -> bool:
        return bool(self.keep or self.recompute)


NO_PINS = Pins()


def pins_of(graph: Graph, keep: Iterable[Name], recompute: Iterable[Name]) -> Pins:
    """Pins by node name; checks that some lower-set sequence obeys all of them.

    A kept node v needs a lower set L with v ∈ ∂(L) and no node in ∂(L) that is pinned to be recomputed. The smallest
    candidate is the closure of v that also contains all successors of its members pinned to be recomputed. It is
    suitable unless it contains all successors of v. Of two such closures, either one contains the other or neither
    changes the other's boundary, so nodes that can be kept separately can be kept together.

    Raises
    ------
    GraphError
        For an unknown name.
    ImpossiblePin
        For a node with both pins, for a sink that must be kept, and for a kept node that other pins exclude.

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
                f"{graph.names[v]!r} cannot be kept: each lower set with it on the boundary also has a node on its "
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
