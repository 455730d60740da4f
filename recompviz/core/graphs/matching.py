"""Which nodes of two graphs are the same, for example of a model before and after a change of its code.

Nodes are matched in three passes. The first aligns the orders in which the nodes of the graphs run, by module and
operator, so that a new node does not hide the nodes after it. The second matches nodes that have the same key and
operator. The third matches two nodes that are left, if they have the same operator, shape and dtype, and one of three
conditions holds: the inputs of one node are matched with the inputs of the other, the last part of the module's path is
equal, or equally many nodes with this operator, shape and dtype are left in both graphs. Nodes matched in the third
pass have *moved*: usually, the path of the module has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from recompviz.core.graphs.graph import Graph


@dataclass(frozen=True)
class Matching:
    """The nodes that two graphs share; frozen.

    Attributes
    ----------
    pairs : dict of int to int
        For each matched node: its number in the first graph → its number in the second graph.
    moved : frozenset of int
        Matched nodes whose place in the model changed, usually because their module has another path in the second
        graph; numbers in the first graph. The module docstring states the conditions.
    gone : tuple of int
        Numbers of the nodes of the first graph that have no match, in topological order (:attr:`Graph.order`).
    new : tuple of int
        Numbers of the nodes of the second graph that have no match, in topological order.
    """

    pairs: dict[int, int]
    moved: frozenset[int]
    gone: tuple[int, ...]
    new: tuple[int, ...]


def match_graphs(before: Graph, after: Graph) -> Matching:
    """Find the nodes that two graphs share, for example before and after a change of the model's code.

    The docstring of the module describes when two nodes count as the same.

    Parameters
    ----------
    before, after : Graph
        The first and the second graph of the :class:`Matching`.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from recompviz.core.graphs.node_info import NodeInfo
    >>> def chain(*ops):
    ...     edges = [(v, v + 1) for v in range(len(ops) - 1)]
    ...     info = tuple(NodeInfo(key=f"m/{op}", op=op, module="m") for op in ops)
    ...     return replace(Graph.from_edges(edges, memory=[1] * len(ops)), info=info)
    >>> found = match_graphs(chain("mm", "relu", "mm"), chain("mm", "norm", "relu", "mm"))
    >>> found.pairs, found.new, found.gone
    ({0: 0, 1: 2, 2: 3}, (1,), ())
    """
    first, second = before.order, after.order
    pairs: dict[int, int] = {}
    tokens = [[_token(graph, v) for v in order] for graph, order in ((before, first), (after, second))]
    for a, b, size in SequenceMatcher(None, tokens[0], tokens[1], autojunk=False).get_matching_blocks():
        pairs.update(zip(first[a : a + size], second[b : b + size], strict=True))
    taken = set(pairs.values())
    by_key = {_key(after, v): v for v in second if v not in taken}
    for u in first:
        v = by_key.get(_key(before, u))
        if u not in pairs and v is not None and v not in taken and _kind(before, u) == _kind(after, v):
            pairs[u] = v
            taken.add(v)
    moved = _match_moved(before, after, first, second, pairs, taken)
    return Matching(pairs, moved, tuple(u for u in first if u not in pairs), tuple(v for v in second if v not in taken))


def _match_moved(
    before: Graph, after: Graph, first: Sequence[int], second: Sequence[int], pairs: dict[int, int], taken: set[int]
) -> frozenset[int]:
    """Match what is left by operator, shape and inputs, or by the end of the module's path. Return those nodes."""
    moved: set[int] = set()
    sources: list[dict[int, set[int]]] = []
    for graph in (before, after):
        found: dict[int, set[int]] = defaultdict(set)
        for u, v in graph.edges.tolist():
            found[v].add(u)
        sources.append(found)
    for by_inputs in (True, False, True):  # a match can let those after it match
        waiting: dict[Hashable, list[int]] = defaultdict(list)
        for v in second:
            if v not in taken:
                waiting[_place(after, v, sources[1], None, by_inputs)].append(v)
        for u in first:
            if u in pairs:
                continue
            found_at = waiting.get(_place(before, u, sources[0], pairs, by_inputs), [])
            if found_at:
                v = found_at.pop(0)
                pairs[u] = v
                taken.add(v)
                moved.add(u)
    left: list[dict[tuple[str, tuple[int, ...], str], list[int]]] = [defaultdict(list), defaultdict(list)]
    for side, graph, order, done in ((0, before, first, pairs.keys()), (1, after, second, taken)):
        for v in order:
            if v not in done:
                left[side][graph.info[v].op, graph.info[v].shape, graph.info[v].dtype].append(v)
    for kind, nodes in left[0].items():
        others = left[1].get(kind, [])
        if kind[0] and len(nodes) == len(others):
            pairs.update(zip(nodes, others, strict=True))
            taken.update(others)
            moved.update(nodes)
    return frozenset(moved)


def _place(
    graph: Graph, v: int, sources: dict[int, set[int]], pairs: dict[int, int] | None, by_inputs: bool
) -> Hashable:
    """A key that a node keeps when it moves. Its inputs are given by their numbers in the second graph."""
    info = graph.info[v]
    kind = (info.op, info.shape, info.dtype)
    if not by_inputs:
        return (*kind, info.module.rpartition(".")[2])
    inputs = sources.get(v, set())
    if not inputs or (pairs is not None and any(u not in pairs for u in inputs)):
        return (object(),)
    return (*kind, frozenset(inputs if pairs is None else (pairs[u] for u in inputs)))


def _token(graph: Graph, v: int) -> Hashable:
    info = graph.info[v]
    return (info.module, info.op) if info.op else graph.names[v]


def _key(graph: Graph, v: int) -> Hashable:
    return graph.info[v].key or graph.names[v]


def _kind(graph: Graph, v: int) -> Hashable:
    return graph.info[v].op
