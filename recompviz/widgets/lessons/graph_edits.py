"""Edits of the playground's graph: the page sends a change, and a new graph is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph


def edited(graph: Graph, change: dict[str, Any]) -> Graph | str:
    """Make the graph that results from an edit.

    Parameters
    ----------
    graph : Graph
    change : dict
        ``verb`` is one of ``"preset"`` (name), ``"node"`` (name, memory, time: add or change a node), ``"remove"``
        (name) and ``"edge"`` (from, to: add the edge, or remove it if it exists).

    Returns
    -------
    Graph or str
        The name of the small graph for ``"preset"``.

    Raises
    ------
    GraphError
        If the result is not a valid graph: a cycle, a negative size, an unknown node or a node without a name.

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
