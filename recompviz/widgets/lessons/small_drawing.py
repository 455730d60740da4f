"""Drawing a small graph and its lattice large enough for the last row of a lecture hall.

Positions come from the layouts that the Explorer uses; here they are spread out, edges become curves with an arrow, and
the lower sets are set in rows by size, ∅ at the foot and V at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.sets import Hasse
from recompviz.widgets.layout.layered import arrange
from recompviz.widgets.layout.layout import lay_out

Point = tuple[float, float]
NODE = (56.0, 34.0)
ARROW = 7.0
LATTICE_WIDTH = 420.0  # at least
ROW = 46.0  # from one size of lower sets to the next


@dataclass(frozen=True)
class Drawing:
    """Where everything of a small graph lies; pixels, x to the right and y downwards.

    Attributes
    ----------
    centres : tuple of point, one a node
    curves, arrows : tuple of str, one an edge
        SVG paths.
    width, height : float
    """

    centres: tuple[Point, ...]
    curves: tuple[str, ...]
    arrows: tuple[str, ...]
    width: float
    height: float


def draw_graph(graph: Graph, row: float = 66.0, pitch: float = 92.0, most_width: float = 620.0) -> Drawing:
    """The drawing of a graph from left to right.

    Parameters
    ----------
    graph : Graph
    row, pitch : float
        Pixels from node to node across and along the direction of the edges.
    most_width : float
        The pitch is made smaller where the drawing would be wider.

    Examples
    --------
    >>> drawing = draw_graph(Graph.from_edges([(0, 1)], memory=[1, 1]))
    >>> [round(x) for x, _ in drawing.centres]
    [28, 120]
    """
    layout = lay_out(graph, "right", seconds=0)
    if len(graph) == 0:
        return Drawing((), (), (), *NODE)
    columns = max(1.0, (layout.width - 38.0) / 46.0)
    sx = min(pitch, max(70.0, (most_width - NODE[0]) / columns)) / 46.0
    sy = row / 29.0
    # an edge may pass above the topmost node
    low = min(float(layout.nodes[:, 1].min()) - NODE[1] / 2 / sy, float(layout.points[:, 1].min(initial=1e9)) - 4 / sy)

    def place(point: Sequence[float]) -> Point:
        return NODE[0] / 2 + (float(point[0]) - 19.0) * sx, (float(point[1]) - low) * sy

    centres = tuple(place(p) for p in layout.nodes.tolist())
    curves, arrows = [], []
    lowest = max(y for _, y in centres) + NODE[1] / 2
    for e, (u, v) in enumerate(graph.edges.tolist()):
        passed = [place(p) for p in layout.points[layout.offsets[e] + 1 : layout.offsets[e + 1] - 1].tolist()]
        tip = (centres[v][0] - NODE[0] / 2, centres[v][1])
        curves.append(_curve([(centres[u][0] + NODE[0] / 2, centres[u][1]), *passed, (tip[0] - ARROW, tip[1])]))
        arrows.append(f"M{tip[0]:.1f} {tip[1]:.1f}l{-ARROW - 1:g} -4.5v9Z")
        lowest = max([lowest, *(y + 4 for _, y in passed)])
    return Drawing(centres, tuple(curves), tuple(arrows), max(x for x, _ in centres) + NODE[0] / 2, lowest)


def _curve(points: Sequence[Point]) -> str:
    """A smooth path that leaves and enters every point horizontally."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        path.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    return "".join(path)


def hasse_centres(graph: Graph, diagram: Hasse) -> tuple[tuple[Point, ...], float]:
    """The centre of each lower set, ∅ lowest, V at y = 0, and the width that they take."""
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


def label_width(text: str) -> float:
    """The width of a lower set's label, pixels."""
    return max(30.0, 8.6 * len(text) + 14)


def short_set(graph: Graph, mask: int) -> str:
    """A set as its members' names one after the other, ``abd``; ∅ for none.

    Examples
    --------
    >>> short_set(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    'ab'
    """
    separator = "" if all(len(str(name)) == 1 for name in graph.names) else " "
    return separator.join(str(graph.names[v]) for v in bits(mask)) or "∅"
