"""Check a set of nodes against the definition of a lower set, and list all lower sets as a lattice.

A set of nodes is a lower set if no edge enters it from outside. The closure of a set is the smallest lower set that
contains the set. The lattice is drawn as a Hasse diagram, which joins two lower sets that differ by one node.

Source: Kusumoto et al. 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name

# A Hasse diagram with more lower sets is too crowded to read.
MOST_DRAWN = 80


@dataclass(frozen=True)
class SetReport:
    """The result of checking a set of nodes against the definition of a lower set.

    Attributes
    ----------
    chosen : int
        The set as a bit mask, a Python int whose bit v is 1 if node v is in the set.
    closure : int
        The smallest lower set that contains the set, as a bit mask.
    boundary : int
        ∂(closure): the nodes of the closure with a successor outside it, as a bit mask.
    violations : tuple of (int, int)
        The edges (from, to) that enter the set from outside, as node numbers; empty for a lower set.
    """

    chosen: int
    closure: int
    boundary: int
    violations: tuple[tuple[int, int], ...]

    @property
    def is_lower_set(self) -> bool:
        """Whether no edge enters the set from outside."""
        return not self.violations


def inspect_set(graph: Graph, nodes: Iterable[Name]) -> SetReport:
    """Check a set of nodes against the definition of a lower set.

    Parameters
    ----------
    graph : Graph
    nodes : iterable of node names

    Returns
    -------
    SetReport

    Raises
    ------
    GraphError
        If a name is not a node.
    TypeError
        If ``nodes`` is not iterable.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("b", "c")], memory=dict(a=1, b=1, c=1))
    >>> report = inspect_set(g, {"b"})
    >>> report.violations, report.is_lower_set, sorted(g.set_of(report.closure)), sorted(g.set_of(report.boundary))
    (((0, 1),), False, ['a', 'b'], ['b'])
    """
    chosen = graph.mask(nodes)
    closure = 0
    for v in bits(chosen):
        closure |= graph.ancestors[v]
    entering = tuple((u, v) for u, v in graph.edges.tolist() if chosen >> v & 1 and not chosen >> u & 1)
    return SetReport(chosen, closure, graph.boundary_mask(closure), entering)


@dataclass(frozen=True)
class Hasse:
    """The Hasse diagram of all lower sets of a graph.

    Attributes
    ----------
    sets : tuple of int
        All lower sets as bit masks, by rising number of nodes: the first is ∅, the last is V.
    boundaries : tuple of int
        The boundary ∂(L) of each lower set L, as bit masks in the order of ``sets``.
    covers : tuple of (int, int)
        The lines of the diagram, as pairs of positions in ``sets``. The second lower set is the first plus one node.
    """

    sets: tuple[int, ...]
    boundaries: tuple[int, ...]
    covers: tuple[tuple[int, int], ...]


def hasse(graph: Graph, limit: int = MOST_DRAWN) -> Hasse:
    """Compute the Hasse diagram of all lower sets of a graph.

    Parameters
    ----------
    graph : Graph
    limit : int
        The largest number of lower sets allowed.

    Returns
    -------
    Hasse

    Raises
    ------
    TooManyLowerSets
        If the graph has more than ``limit`` lower sets.

    Examples
    --------
    >>> diagram = hasse(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)))
    >>> diagram.sets, diagram.covers
    ((0, 1, 3), ((0, 1), (1, 2)))
    """
    found: list[int] = []
    for mask in graph.lower_set_masks():
        if len(found) == limit:
            raise TooManyLowerSets(limit)
        found.append(mask)
    found.sort(key=lambda mask: (mask.bit_count(), mask))
    place = {mask: i for i, mask in enumerate(found)}
    covers = tuple(
        (i, place[mask | 1 << v])
        for i, mask in enumerate(found)
        for v in bits(graph.everything & ~mask)
        if mask | 1 << v in place
    )
    return Hasse(tuple(found), tuple(graph.boundary_mask(mask) for mask in found), covers)


def set_text(graph: Graph, mask: int) -> str:
    """Return a set of nodes (a bit mask) in mathematical notation, for example ``{a, b}``; ∅ for the empty set.

    Examples
    --------
    >>> set_text(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    '{a, b}'
    """
    return "{" + ", ".join(str(graph.names[v]) for v in bits(mask)) + "}" if mask else "∅"


def with_everything(graph: Graph, masks: Sequence[int]) -> list[int]:
    """Return a list of the lower sets ``masks``. V, the set of all nodes, is appended if it is not the last one.

    Examples
    --------
    >>> with_everything(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), [0b01])
    [1, 3]
    """
    return list(masks) if masks and masks[-1] == graph.everything else [*masks, graph.everything]
