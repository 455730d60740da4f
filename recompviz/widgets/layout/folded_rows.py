"""The rows of a folded graph: a text, or a U below the boxes that only prepare values for the whole U.

A network may use one value in all of its blocks: an embedding of the time step, or the text that a picture shows. The
boxes that compute such a value are no part of the U, and would make its highest row long. They have rows of their own
above it, and their lines are not considered when skip connections are looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.widgets.layout.box_rows import Part, text_parts, u_parts
from recompviz.widgets.layout.layered import ranks_of
from recompviz.widgets.layout.nested_skips import nested_skips
from recompviz.widgets.layout.row_lines import RowLayout, buses, lay_out_rows

# the width of the picture in pixels, and the lengths of rows that are tried
WIDTH = 976.0
LIMITS = (976.0, 940.0, 900.0, 860.0, 820.0, 780.0, 720.0, 640.0, 540.0)
# the boxes above a U are at most this share of all boxes
MOST_ABOVE = 0.5


def in_rows(graph: Graph, sizes: Sequence[tuple[float, float]]) -> RowLayout:
    """Return the positions of the boxes of a folded graph, as a U if there are nested skip connections.

    The tracks of lines take width, too, so the rows are made shorter until the picture is narrow enough.

    Parameters
    ----------
    graph : Graph
    sizes : sequence of (width, height)
        The size of each box in pixels.

    Examples
    --------
    >>> graph = Graph.from_edges([(v, v + 1) for v in range(8)] + [(0, 8), (1, 7), (2, 6)], memory=[1] * 9)
    >>> y = [y for _, y in in_rows(graph, [(60, 30)] * 9).centres]
    >>> y[0] == y[8] < y[1] == y[7] < y[2] == y[6] < y[4]
    True
    """
    edges = [(u, v) for u, v in graph.edges.tolist()]
    above = conditions(edges)
    if len(above) > MOST_ABOVE * len(graph):
        above = set()
    many = buses(edges)
    for first in (above, set()):
        upper, lower = sorted(first), sorted(set(range(len(graph))) - first)
        rest = _Ranked(graph, lower, sizes)
        chain = nested_skips(rest.rank, rest.edges, [lower[u] not in many for u, _ in rest.edges])
        if chain or not first:
            break
    top = _Ranked(graph, upper, sizes)
    shift = len(top.widths)
    rank = [0] * len(graph)
    for boxes, ranks, by in ((upper, top.rank, 0), (lower, rest.rank, shift)):
        for v, r in zip(boxes, ranks, strict=True):
            rank[v] = r + by
    for limit in LIMITS:
        parts = text_parts(top.widths, top.rank, top.edges, limit)
        rows = 1 + max((part.row for part in parts), default=-1)
        below = (
            u_parts(rest.widths, rest.rank, rest.edges, chain, limit)
            if chain
            else text_parts(rest.widths, rest.rank, rest.edges, limit)
        )
        parts += [_lower(part, shift, rows) for part in below]
        layout = lay_out_rows(sizes, rank, edges, parts)
        if layout.width <= WIDTH:
            break
    return layout


def conditions(edges: Sequence[tuple[int, int]]) -> set[int]:
    """Return the boxes that only prepare values which many boxes use, and the boxes of these values.

    Examples
    --------
    >>> sorted(conditions([(0, 1), (1, 3), (1, 4), (1, 5), (1, 6), (2, 3), (3, 4), (4, 5), (5, 6)]))
    [0, 1]
    """
    before: dict[int, set[int]] = {}
    after: dict[int, set[int]] = {}
    for u, v in edges:
        before.setdefault(v, set()).add(u)
        after.setdefault(u, set()).add(v)
    found: set[int] = set()
    for bus in sorted(buses(edges)):
        needed, todo = {bus}, [bus]
        while todo:
            new = before.get(todo.pop(), set()) - needed
            needed |= new
            todo += new
        if all(after[u] <= needed | found for u in needed - found - {bus}):
            found |= needed
    return found


def _lower(part: Part, ranks: int, rows: int) -> Part:
    return replace(part, first=part.first + ranks, last=part.last + ranks, row=part.row + rows)


class _Ranked:
    """Some boxes of a graph on their own: their ranks, the edges between them, and the width of each rank."""

    def __init__(self, graph: Graph, boxes: Sequence[int], sizes: Sequence[tuple[float, float]]) -> None:
        local = {v: i for i, v in enumerate(boxes)}
        self.edges = [(local[u], local[v]) for u, v in graph.edges.tolist() if u in local and v in local]
        ones = np.ones(len(boxes), np.int64)
        pairs = np.array(self.edges, np.int32).reshape(-1, 2)
        self.rank = ranks_of(Graph(tuple(boxes), ones, ones.astype(float), pairs, tuple(graph.info[v] for v in boxes)))
        self.widths = [0.0] * (1 + max(self.rank, default=-1))
        for v, r in zip(boxes, self.rank, strict=True):
            self.widths[r] = max(self.widths[r], sizes[v][0])
