"""Check a set of nodes against the definition of a lower set, and list all lower sets as a lattice.

A set is a lower set if no edge enters it from outside. Otherwise its closure is the smallest lower set that contains
it. The Hasse diagram of the lattice joins two lower sets if one is the other plus a single node. A lower-set sequence
goes upwards in it.

Source: Kusumoto et al. 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name

# a Hasse diagram with more sets cannot be read
MOST_DRAWN = 80


@dataclass(frozen=True)
class SetReport:
    """A set of nodes checked against the definition of a lower set.

    Attributes
    ----------
    chosen, closure, boundary : int
        The set, its closure, and ∂(closure), as bit masks of node numbers.
    violations : tuple of (int, int)
        The edges that enter the set from outside; empty for a lower set.
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
    """Check a set of node names against the definition of a lower set.

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
    """The Hasse diagram of a small graph's lower sets.

    Attributes
    ----------
    sets : tuple of int
        All lower sets as bit masks, by size: the first is ∅, the last is V.
    boundaries : tuple of int
        ∂(L) of each lower set.
    covers : tuple of (int, int)
        Pairs of positions in ``sets``; the second set is the first plus one node.
    """

    sets: tuple[int, ...]
    boundaries: tuple[int, ...]
    covers: tuple[tuple[int, int], ...]


def hasse(graph: Graph, limit: int = MOST_DRAWN) -> Hasse:
    """Compute the Hasse diagram of all lower sets.

    Raises
    ------
    TooManyLowerSets
        If there are more than ``limit``.

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
    """Write a set in mathematical notation: ``{a, b}``, or ∅ for the empty set.

    Examples
    --------
    >>> set_text(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    '{a, b}'
    """
    return "{" + ", ".join(str(graph.names[v]) for v in bits(mask)) + "}" if mask else "∅"


def with_everything(graph: Graph, masks: Sequence[int]) -> list[int]:
    """Append V to a sequence of lower sets if it does not end with V.

    Examples
    --------
    >>> with_everything(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), [0b01])
    [1, 3]
    """
    return list(masks) if masks and masks[-1] == graph.everything else [*masks, graph.everything]
