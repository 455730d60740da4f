"""Short texts in pictures: subscripts, and sets as the names of their members."""

from __future__ import annotations

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def sub(number: int) -> str:
    """Write a number as a subscript.

    Examples
    --------
    >>> sub(12)
    '₁₂'
    """
    return str(number).translate(SUBSCRIPT)


def short_set(graph: Graph, mask: int) -> str:
    """Write a set as the names of its members, ``abd``, or ∅ for the empty set.

    Examples
    --------
    >>> short_set(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    'ab'
    """
    separator = "" if all(len(str(name)) == 1 for name in graph.names) else " "
    return separator.join(str(graph.names[v]) for v in bits(mask)) or "∅"


def label_width(text: str) -> float:
    """The width of a lower set's label, pixels."""
    return max(30.0, 8.6 * len(text) + 14)
