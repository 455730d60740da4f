"""The small graphs of the course. Each shows one idea and has at most 30 lower sets, few enough to draw.

Sizes M_v are small integers of formula bytes; costs T_v are integers from 1 to 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from recompviz.core.graphs.graph import Graph

#: the names that :func:`small_graph` accepts
NAMES = ("chain", "diamond", "residual", "inception", "u-net", "branches", "uneven chain", "long skip")


def small_graph(name: str) -> Graph:
    """Get a small graph by name.

    Parameters
    ----------
    name : str
        ``"chain"``, ``"diamond"``, ``"residual"``, ``"inception"`` and ``"u-net"`` have the shapes of networks.
        ``"branches"``, ``"uneven chain"`` and ``"long skip"`` show where a simple rule fails.

    Raises
    ------
    ValueError
        If there is no small graph of this name; the message lists all names.

    Examples
    --------
    >>> small_graph("diamond").count_lower_sets()
    7
    """
    made: dict[str, Callable[[], Graph]] = {
        "chain": _chain,
        "diamond": _diamond,
        "residual": _residual,
        "inception": _inception,
        "u-net": _u_net,
        "branches": _branches,
        "uneven chain": _uneven_chain,
        "long skip": _long_skip,
    }
    name = name.lower()
    if name not in made:
        raise ValueError(f"there is no small graph {name!r}; choose {', '.join(map(repr, made))}")
    return made[name]()


def even_chain(length: int) -> Graph:
    """A chain v1 → v2 → … of equal values: M = T = 1.

    Examples
    --------
    >>> even_chain(3).names
    ('v1', 'v2', 'v3')
    """
    names = [f"v{i}" for i in range(1, length + 1)]
    return Graph.from_edges(itertools.pairwise(names), memory=dict.fromkeys(names, 1))


def _graph(edges: str, memory: dict[str, int], time: dict[str, int]) -> Graph:
    return Graph.from_edges([(e[0], e[1]) for e in edges.split()], memory, time)


def _chain() -> Graph:
    return _graph(
        "ab bc cd de ef",
        {"a": 2, "b": 1, "c": 1, "d": 1, "e": 2, "f": 4},
        {"a": 2, "b": 1, "c": 1, "d": 2, "e": 1, "f": 2},
    )


def _diamond() -> Graph:
    """A fork, a join, and one value after it."""
    return _graph("ab ac bd cd de", {"a": 2, "b": 1, "c": 1, "d": 1, "e": 3}, {"a": 3, "b": 1, "c": 1, "d": 2, "e": 1})


def _residual() -> Graph:
    """Two residual blocks: x → conv → relu → (+ x), twice."""
    edges = "ab bc ad cd de ef dg fg"
    return _graph(
        edges,
        {"a": 2, "b": 3, "c": 3, "d": 2, "e": 3, "f": 3, "g": 2},
        {"a": 1, "b": 3, "c": 1, "d": 1, "e": 3, "f": 1, "g": 1},
    )


def _inception() -> Graph:
    """A stem, three parallel branches of 1, 2 and 2 values, and their concatenation."""
    edges = "ab ac cd ae ef bg dg fg"
    return _graph(
        edges,
        {"a": 4, "b": 1, "c": 3, "d": 2, "e": 2, "f": 1, "g": 6},
        {"a": 1, "b": 1, "c": 1, "d": 3, "e": 3, "f": 2, "g": 3},
    )


def _u_net() -> Graph:
    """Two levels down, two levels up, and a crop on each skip."""
    edges = "ab bc cd df be ef ag gh fh"
    return _graph(
        edges,
        {"a": 4, "b": 2, "c": 1, "d": 2, "e": 2, "f": 2, "g": 4, "h": 4},
        {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1, "f": 2, "g": 1, "h": 2},
    )


def _branches() -> Graph:
    """Two long parallel branches; no closure L^v contains the ends of both before they meet."""
    edges = "ab bc cd ae ef fg dh gh hi"
    names = "abcdefghi"
    return _graph(edges, dict.fromkeys(names, 2) | {"d": 1, "g": 1}, dict.fromkeys(names, 1) | {"c": 5, "f": 5})


def _uneven_chain() -> Graph:
    """A chain of shrinking values, as in a convolutional network: segments of equal length are a poor choice."""
    names = "abcdefghi"
    sizes = (16, 16, 8, 8, 4, 4, 2, 2, 1)
    return _graph("ab bc cd de ef fg gh hi", dict(zip(names, sizes, strict=True)), dict.fromkeys(names, 1))


def _long_skip() -> Graph:
    """A chain whose last value also needs the first."""
    names = "abcdefgh"
    sizes = (5, 2, 5, 1, 4, 2, 5, 5)
    return _graph("ab bc cd de ef fg gh ah", dict(zip(names, sizes, strict=True)), dict.fromkeys(names, 1))
