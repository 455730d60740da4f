"""The small graphs of the course. Each shows one idea, and has few enough lower sets to draw them all.

Sizes M_v are integers from 1 to 16, in bytes. Costs T_v are integers from 1 to 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from recompviz.core.base.arguments import expect
from recompviz.core.graphs.graph import Graph

#: The names that :func:`small_graph` accepts.
NAMES = (
    "chain",
    "diamond",
    "residual",
    "inception",
    "u-net",
    "branches",
    "uneven chain",
    "long skip",
    "transformer block",
)


def small_graph(name: str) -> Graph:
    """Return a small graph of the course.

    Parameters
    ----------
    name : str
        ``"chain"``, ``"diamond"``, ``"residual"``, ``"inception"``, ``"u-net"`` and ``"transformer block"`` have the
        shapes of networks. On ``"branches"``, ``"uneven chain"`` and ``"long skip"`` a simple planning rule is not
        optimal. Upper and lower case make no difference.

    Returns
    -------
    Graph
        Node names are single letters.

    Raises
    ------
    TypeError
        If ``name`` is not a str.
    ValueError
        If there is no small graph of this name. The message lists all names.

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
        "transformer block": _transformer_block,
    }
    expect(name, str, "name", "the name of a small graph", 'write for example "diamond"')
    name = name.lower()
    if name not in made:
        raise ValueError(f"there is no small graph {name!r}; choose {', '.join(map(repr, made))}")
    return made[name]()


def graph_of(graph: Graph | str) -> Graph:
    """Return a given graph itself, or the small graph with a given name.

    Raises
    ------
    TypeError
        If the argument is neither a graph nor a str.
    ValueError
        If there is no small graph of this name.
    """
    expect(graph, (Graph, str), "graph", "a Graph or the name of a small graph", 'write for example "diamond"')
    return small_graph(graph) if isinstance(graph, str) else graph


def even_chain(length: int) -> Graph:
    """Return a chain v1 → v2 → … of ``length`` values with size M = 1 and cost T = 1.

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
    """Two levels down and two levels up; each skip connection passes through a crop."""
    edges = "ab bc cd df be ef ag gh fh"
    return _graph(
        edges,
        {"a": 4, "b": 2, "c": 1, "d": 2, "e": 2, "f": 2, "g": 4, "h": 4},
        {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1, "f": 2, "g": 1, "h": 2},
    )


def _branches() -> Graph:
    """Two long parallel branches. Before they join, every closure Lᵛ reaches into one of them only."""
    edges = "ab bc cd ae ef fg dh gh hi"
    names = "abcdefghi"
    return _graph(edges, dict.fromkeys(names, 2) | {"d": 1, "g": 1}, dict.fromkeys(names, 1) | {"c": 5, "f": 5})


def _uneven_chain() -> Graph:
    """A chain of ever smaller values, as in a convolutional network. Segments of equal length are not optimal."""
    names = "abcdefghi"
    sizes = (16, 16, 8, 8, 4, 4, 2, 2, 1)
    return _graph("ab bc cd de ef fg gh hi", dict(zip(names, sizes, strict=True)), dict.fromkeys(names, 1))


def _long_skip() -> Graph:
    """A chain with an additional edge from the first value to the last."""
    names = "abcdefgh"
    sizes = (5, 2, 5, 1, 4, 2, 5, 5)
    return _graph("ab bc cd de ef fg gh ah", dict(zip(names, sizes, strict=True)), dict.fromkeys(names, 1))


def _transformer_block() -> Graph:
    """One block: x, norm, qkv, scores, softmax p, attention v, out, sum r; norm m, up, gelu, down, sum y.

    A size of 1 is the residual stream, [batch, length, width]. Scores and softmax have [batch, heads, length, length]:
    4 if the length times the number of heads is four times the width.
    """
    return _graph(
        "xn nq qs sp qv pv vo xr or rm mu ug gd ry dy",
        {"x": 1, "n": 1, "q": 3, "s": 4, "p": 4, "v": 1, "o": 1, "r": 1, "m": 1, "u": 4, "g": 4, "d": 1, "y": 1},
        {"x": 1, "n": 1, "q": 3, "s": 2, "p": 1, "v": 2, "o": 1, "r": 1, "m": 1, "u": 4, "g": 1, "d": 4, "y": 1},
    )
