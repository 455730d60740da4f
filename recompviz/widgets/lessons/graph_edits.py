"""Edits of the playground's graph: make a new graph from a graph and a message of the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph


def edited(graph: Graph, change: dict[str, Any]) -> Graph | str:
    """Return the graph that results from an edit.

    Parameters
    ----------
    graph : Graph
        The graph to edit. It is not changed.
    change : dict
        The edit. ``change["verb"]`` is one of the following words. The other keys of the edit are in brackets.

        - ``"preset"`` (``name``) shows another small graph. The name ``"my own"`` stands for the same graph.
        - ``"node"`` (``name``, ``memory``, ``time``) adds a node, or changes the node's size and cost.
        - ``"remove"`` (``name``) removes a node and its edges.
        - ``"edge"`` (``from``, ``to``) adds an edge, or removes the edge if it exists.

    Returns
    -------
    Graph or str
        The new graph. For ``"preset"`` with another name than ``"my own"``, the name.

    Raises
    ------
    GraphError
        If the verb is unknown, or the result is not a valid graph: for example if it has a cycle, a negative size, an
        unknown node, or a node without a name.
    TypeError, ValueError
        If ``memory`` or ``time`` is not a number.
    KeyError
        If a key of the edit is missing.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> edited(g, {"verb": "edge", "from": "a", "to": "b"})
    Graph(#V=2, #E=0)
    """
    verb = change.get("verb")
    if verb == "preset":
        return graph if change["name"] == "my own" else str(change["name"])
    names = [str(name) for name in graph.names]
    memory = dict(zip(names, graph.memory.tolist(), strict=True))
    time = dict(zip(names, graph.time.tolist(), strict=True))
    edges = [(names[u], names[v]) for u, v in graph.edges.tolist()]
    if verb == "edge":
        edge = (str(change["from"]), str(change["to"]))
        edges = [e for e in edges if e != edge] if edge in edges else [*edges, edge]
    elif verb in ("node", "remove"):
        name = str(change["name"])
        if not name:
            raise GraphError("the node has no name; write one, for example x")
        if verb == "node":
            size, cost = float(change["memory"] or 0), float(change["time"] or 0)
            if not size.is_integer() or not np.isfinite(cost):
                raise GraphError(f"M must be a whole number of bytes and T a number ≥ 0, got {size:g} and {cost:g}")
            memory[name], time[name] = int(size), cost
        elif name not in memory:
            raise GraphError(f"there is no node {name!r}; the nodes are {', '.join(names)}")
        else:
            del memory[name], time[name]
            edges = [e for e in edges if name not in e]
    else:
        raise GraphError(f"edit {verb!r} is unknown; choose preset, node, remove or edge")
    return Graph.from_edges(edges, memory, time)
