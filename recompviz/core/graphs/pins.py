"""Pins: nodes that every plan must keep, and nodes that every plan must recompute.

Pins restrict the lower-set sequences that a solver may use. U_k is the set of nodes that a sequence keeps. A node to
keep must be in U_k, so it must be on the boundary of the lower set that ends its segment. A node to recompute must not
be in U_k, so no segment may end at a lower set with this node on its boundary.
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
    """The pinned nodes of one graph. ``bool(pins)`` is True if at least one node is pinned.

    Attributes
    ----------
    keep : int
        Bit mask of the nodes that every plan must keep.
    recompute : int
        Bit mask of the nodes that every plan must recompute.
    """

    keep: int = 0
    recompute: int = 0

    def __bool__(self) -> bool:
        return bool(self.keep or self.recompute)


NO_PINS = Pins()


def pins_of(graph: Graph, keep: Iterable[Name], recompute: Iterable[Name]) -> Pins:
    """Return pins for nodes given by name, after checking that at least one plan obeys all of them.

    Parameters
    ----------
    graph : Graph
    keep, recompute : iterable of node names
        The nodes that every plan must keep, and the nodes that every plan must recompute.

    Returns
    -------
    Pins

    Raises
    ------
    GraphError
        If a name is unknown.
    ImpossiblePin
        If a node has both pins, if a node without successors must be kept, or if the nodes to recompute make it
        impossible to keep a node.
    TypeError
        If ``keep`` or ``recompute`` is not iterable.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([("a", "b"), ("b", "c")], memory=dict(a=1, b=1, c=1))
    >>> pins_of(g, ["a"], ["b"])
    Pins(keep=1, recompute=2)
    """
    pins = Pins(graph.mask(keep), graph.mask(recompute))
    check_opposite_pins(graph, pins.keep, pins.recompute)
    # To keep a node v, a sequence needs a lower set whose boundary contains v, but no node of recompute. The smallest
    # candidate S(v) contains v, all ancestors of each member, and all successors of each member that is in recompute.
    # S(v) is suitable unless it contains all successors of v. If another such set S(w) contains v, S(v) is a subset of
    # S(w). Otherwise S(w) contains no successor of v. A sequence can therefore add the sets S(v) of the nodes of keep
    # one after another, smaller sets first, and keeps each of these nodes.
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


def check_opposite_pins(graph: Graph, keep: int, recompute: int) -> None:
    """Raise :class:`ImpossiblePin` if a node is both in ``keep`` and in ``recompute``. Both are bit masks."""
    for v in bits(keep & recompute):
        raise ImpossiblePin(f"{graph.names[v]!r} is pinned both to be kept and to be recomputed; drop one pin")


def _closure(graph: Graph, v: int, recompute: int) -> int:
    """Return the smallest lower set that contains v and has no node of ``recompute`` on its boundary.

    ``recompute`` and the result are bit masks.
    """
    lower, todo = 0, graph.ancestors[v]
    while todo:
        lower |= todo
        todo = 0
        for u in bits(lower & recompute):
            for w in bits(graph.successors[u] & ~lower):
                todo |= graph.ancestors[w] & ~lower
    return lower
