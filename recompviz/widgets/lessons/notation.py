"""Short texts in pictures: numbers as subscripts, and sets of nodes as labels."""

from __future__ import annotations

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def sub(number: int) -> str:
    """Return a whole number in subscript digits.

    Examples
    --------
    >>> sub(12)
    '₁₂'
    """
    return str(number).translate(SUBSCRIPT)


def short_set(graph: Graph, mask: int) -> str:
    """Return the names of a set's members without braces, for example ``abd``; ∅ for the empty set.

    If some name of the graph is longer than one letter, spaces separate the names.

    Examples
    --------
    >>> short_set(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    'ab'
    """
    separator = "" if all(len(str(name)) == 1 for name in graph.names) else " "
    return separator.join(str(graph.names[v]) for v in bits(mask)) or "∅"


def label_width(text: str) -> float:
    """Return the estimated width of a label with this text, in pixels; at least 30."""
    return max(30.0, 8.6 * len(text) + 14)
