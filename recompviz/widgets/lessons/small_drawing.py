"""Positions for large drawings of a small graph and of the lattice of its lower sets.

The positions come from the layout of the Explorer and are scaled up. Edges become curves with an arrowhead. Lower sets
with the same number of nodes are in one row. ∅ is at the bottom and V at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.sets import Hasse
from recompviz.widgets.layout.layered import arrange
from recompviz.widgets.layout.layout import lay_out
from recompviz.widgets.lessons.notation import label_width, short_set

Point = tuple[float, float]
NODE = (56.0, 34.0)
WIDEST_NODE = 96.0
GAP = 14.0  # at least, between neighbouring nodes
ARROW = 7.0
LATTICE_WIDTH = 420.0  # minimum
ROW = 46.0  # distance between rows of lower sets
LANE = 6.0  # distance between edges that pass a column side by side


@dataclass(frozen=True)
class Drawing:
    """The positions of a small graph's nodes and edges, in pixels. x points to the right and y downwards.

    Attributes
    ----------
    centres : tuple of (float, float)
        The centre (x, y) of each node.
    curves : tuple of str
        For each edge, the SVG path of its curve.
    arrows : tuple of str
        For each edge, the SVG path of its arrowhead.
    width, height : float
        Size of the drawing.
    node : (float, float)
        Width and height of a node.
    """

    centres: tuple[Point, ...]
    curves: tuple[str, ...]
    arrows: tuple[str, ...]
    width: float
    height: float
    node: tuple[float, float] = NODE


def draw_graph(
    graph: Graph,
    row: float = 66.0,
    pitch: float = 92.0,
    most_width: float = 620.0,
    above: float = NODE[1] / 2 + 4,
    below: float = NODE[1] / 2 + 32,
) -> Drawing:
    """Lay out a graph, with edges from left to right. The edges go around nodes and their labels.

    Parameters
    ----------
    graph : Graph
    row : float
        Vertical distance between neighbouring nodes, in pixels.
    pitch : float
        Horizontal distance between neighbouring nodes, in pixels.
    most_width : float
        The intended greatest width, in pixels. If the drawing would be wider, the nodes move together until they almost
        touch. The drawing may still be wider then.
    above, below : float
        How far a node and its labels reach above and below the centre of the node, in pixels.

    Returns
    -------
    Drawing

    Examples
    --------
    >>> drawing = draw_graph(Graph.from_edges([(0, 1)], memory=[1, 1]))
    >>> [round(x) for x, _ in drawing.centres]
    [28, 120]
    """
    layout = lay_out(graph, "right", seconds=0)
    if len(graph) == 0:
        return Drawing((), (), (), *NODE)
    node = (min(WIDEST_NODE, max(NODE[0], 9.6 * max(len(str(name)) for name in graph.names) + 8)), NODE[1])
    columns = max(1.0, (layout.width - 38.0) / 46.0)
    pitch += node[0] - NODE[0]
    sx = min(pitch, max(node[0] + GAP, (most_width - node[0]) / columns)) / 46.0
    sy = row / 29.0

    def place(point: Sequence[float]) -> Point:
        return node[0] / 2 + (float(point[0]) - 19.0) * sx, float(point[1]) * sy

    centres = [place(p) for p in layout.nodes.tolist()]
    lanes = _Lanes(centres, node[0], above, below)
    lines = []
    for e, (u, v) in enumerate(graph.edges.tolist()):
        bends = [place(p) for p in layout.points[layout.offsets[e] + 1 : layout.offsets[e + 1] - 1].tolist()]
        lines.append([centres[u], *lanes.passing([centres[u], *bends, centres[v]]), centres[v]])
    # an edge may pass above the topmost node, or below the lowest one
    top = min(y - node[1] / 2 for _, y in centres)
    top = min([top, *(y - 4 for line in lines for _, y in line)])
    bottom = max(y + node[1] / 2 for _, y in centres)
    bottom = max([bottom, *(y + 4 for line in lines for _, y in line)])
    curves, arrows = [], []
    for line in lines:
        (first, *between, last) = [(x, y - top) for x, y in line]
        tip = (last[0] - node[0] / 2, last[1])
        curves.append(_curve([(first[0] + node[0] / 2, first[1]), *between, (tip[0] - ARROW, tip[1])]))
        arrows.append(f"M{tip[0]:.1f} {tip[1]:.1f}l{-ARROW - 1:g} -4.5v9Z")
    placed = tuple((x, y - top) for x, y in centres)
    return Drawing(
        placed, tuple(curves), tuple(arrows), max(x for x, _ in placed) + node[0] / 2, bottom - top, node
    )  # fmt: skip


class _Lanes:
    """Where edges pass the columns of nodes: above, between or below the nodes with their labels, and apart."""

    def __init__(self, centres: Sequence[Point], width: float, above: float, below: float) -> None:
        self.half = width / 2
        self.taken: dict[float, list[tuple[float, float]]] = {}
        for x, y in centres:
            self.taken.setdefault(round(x, 1), []).append((y - above, y + below))

    def passing(self, line: Sequence[Point]) -> list[Point]:
        """Return the points of an edge at the columns that it passes: it crosses each of them horizontally."""
        points = []
        for (x0, y0), (x1, y1) in pairwise(line):
            for x in sorted(self.taken):
                if line[0][0] + 1 < x < line[-1][0] - 1 and x0 < x <= x1:
                    y = self._free(x, y0 + (y1 - y0) * (x - x0) / (x1 - x0))
                    points += [(x - self.half, y), (x + self.half, y)]
        return points

    def _free(self, x: float, y: float) -> float:
        """Return the free height in a column that is next to ``y``, and take it."""
        taken = self.taken[x]
        edges = [y, *(end for pair in taken for end in pair)]
        found = min(
            (end for end in edges if not any(low < end < high for low, high in taken)), key=lambda end: abs(end - y)
        )
        taken.append((found - LANE, found + LANE))
        return found


def _curve(points: Sequence[Point]) -> str:
    """Return the SVG path of a smooth curve through points, horizontal at each of them."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        path.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    return "".join(path)


def hasse_centres(graph: Graph, diagram: Hasse) -> tuple[tuple[Point, ...], float]:
    """Return the centre (x, y) of each lower set in the order of ``diagram.sets``, and the width of the drawing.

    All numbers are in pixels. V is at y = 0, and ∅ has the largest y.
    """
    rank = [mask.bit_count() for mask in diagram.sets]
    across = arrange(rank, list(diagram.covers)).across
    top = max(rank)
    widths = [label_width(short_set(graph, mask)) for mask in diagram.sets]
    rows = [sorted((i for i, r in enumerate(rank) if r == size), key=across.__getitem__) for size in range(top + 1)]
    gaps = [max(widths[i] for i in row) + 16 for row in rows]
    gaps = [max(gap, min(78.0, LATTICE_WIDTH / len(row))) for gap, row in zip(gaps, rows, strict=True)]
    width = max(LATTICE_WIDTH, *(gap * len(row) for gap, row in zip(gaps, rows, strict=True)))
    centres = [(0.0, 0.0)] * len(rank)
    for size, (row, gap) in enumerate(zip(rows, gaps, strict=True)):
        for place, i in enumerate(row):
            centres[i] = (width / 2 + (place - (len(row) - 1) / 2) * gap, (top - size) * ROW)
    return tuple(centres), width
