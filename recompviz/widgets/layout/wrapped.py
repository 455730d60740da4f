"""The wrapped layout: a deep network in lines from left to right, like a text.

A real network has hundreds of ranks with a few nodes each, so one line would be too thin to read. The ranks are
therefore broken into lines, at places that few edges cross. The number of lines is chosen so that the graph fills the
window. Each line has a layered layout. An edge to a later line runs through the gaps between the lines. An edge that
skips lines also runs along the left margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from recompviz.core.graphs.graph import Graph
from recompviz.widgets.layout.layered import Arrangement, arrange, ranks_of

Point = tuple[float, float]
PITCH = 46.0  # from rank to rank
GAP = 16.0  # between the lines of text
MARGIN = 26.0
LINE_HEIGHT = 60.0  # first estimate
STRETCHES = (1.15, 1.0, 1.3, 0.9, 1.5, 1.22, 1.07, 1.4)
# for more nodes only two widths are tried
TRY_OUT = 1_000


@dataclass(frozen=True)
class Line:
    """One line of the wrapped layout.

    Attributes
    ----------
    first, last : int
        The first and the last rank in the line.
    top : float
        The y coordinate of the upper side of the line, in pixels.
    arrangement : Arrangement
        The coordinates of the nodes in the line, and of the edges between them.
    members : tuple of int
        The numbers of the nodes in the line, in the order of ``arrangement.across``.
    edges : tuple of int
        The numbers of the edges between nodes of the line. The keys of ``arrangement.lines`` are positions in this
        tuple.
    """

    first: int
    last: int
    top: float
    arrangement: Arrangement
    members: tuple[int, ...]
    edges: tuple[int, ...]


def wrap(
    graph: Graph, node: tuple[float, float], view: tuple[float, float]
) -> tuple[list[Point], list[list[Point]], float, float]:
    """Lay out a graph in lines from left to right, as a page breaks a text into lines.

    Parameters
    ----------
    graph : Graph
    node : (width, height)
        The size of every node in pixels.
    view : (width, height)
        The size of the window in pixels. The number of ranks in a line is chosen so that the graph fills the
        window.

    Returns
    -------
    centres : list of (x, y)
        The centre of each node.
    routes : list of list of (x, y)
        The points through which each edge is drawn.
    width, height : float
        The size of the picture in pixels.
    """
    rank = ranks_of(graph)
    edges = [(u, v) for u, v in graph.edges.tolist()]
    count = max(rank, default=-1) + 1
    guess = sqrt(count * LINE_HEIGHT / PITCH * view[0] / view[1])
    tried: set[tuple[int, ...]] = set()
    best: tuple[float, list[Line]] = (-1.0, [])
    # heights depend on where the lines break, so several widths are tried; the one that fills the window best is used
    for stretch in STRETCHES if len(graph) <= TRY_OUT else STRETCHES[:2]:
        starts = _breaks(rank, edges, count, max(8, round(guess * stretch)))
        if tuple(starts) not in tried:
            tried.add(tuple(starts))
            lines = _set_lines(rank, edges, starts, node)
            width, height = _extent(lines, node)
            scale = min(view[0] / width, view[1] / height)
            if scale > best[0]:
                best = scale, lines
    return _place(rank, edges, best[1], node)


def _breaks(rank: Sequence[int], edges: Sequence[tuple[int, int]], count: int, columns: int) -> list[int]:
    """Return the first rank of each line.

    A line has at most ``columns`` ranks. It ends within the last third of them, where the fewest edges cross.
    """
    crossing = [0] * (count + 1)
    for u, v in edges:
        crossing[rank[u] + 1] += 1
        crossing[rank[v] + 1] -= 1
    for r in range(1, count + 1):
        crossing[r] += crossing[r - 1]  # crossing[r]: edges from before rank r to r or later
    starts = [0]
    while count - starts[-1] > columns:
        begin = starts[-1]
        candidates = range(begin + max(1, columns * 2 // 3), begin + columns + 1)
        starts.append(min(candidates, key=lambda r: (crossing[r], -r)))
    return starts


def _set_lines(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], starts: Sequence[int], node: tuple[float, float]
) -> list[Line]:
    line_of_rank: list[int] = []
    stops = [*starts[1:], max(rank, default=-1) + 1]
    for i, (a, b) in enumerate(zip(starts, stops, strict=True)):
        line_of_rank += [i] * (b - a)
    members: list[list[int]] = [[] for _ in starts]
    inner: list[list[int]] = [[] for _ in starts]
    for v, r in enumerate(rank):
        members[line_of_rank[r]].append(v)
    for e, (u, v) in enumerate(edges):
        if line_of_rank[rank[u]] == line_of_rank[rank[v]]:
            inner[line_of_rank[rank[u]]].append(e)
    lines: list[Line] = []
    top = 0.0
    for i, (a, b) in enumerate(zip(starts, stops, strict=True)):
        local = {v: j for j, v in enumerate(members[i])}
        arrangement = arrange(
            [rank[v] for v in members[i]], [(local[edges[e][0]], local[edges[e][1]]) for e in inner[i]]
        )
        lines.append(Line(a, b - 1, top, arrangement, tuple(members[i]), tuple(inner[i])))
        top += arrangement.extent + node[1] + GAP
    return lines


def _place(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], lines: Sequence[Line], node: tuple[float, float]
) -> tuple[list[Point], list[list[Point]], float, float]:
    half = node[0] / 2
    centre: list[Point] = [(0.0, 0.0)] * len(rank)
    line_of = [0] * len(rank)
    routes: list[list[Point]] = [[] for _ in edges]

    def x_of(r: int, line: Line) -> float:
        return MARGIN + half + (r - line.first) * PITCH

    for i, line in enumerate(lines):
        for j, v in enumerate(line.members):
            centre[v] = (x_of(rank[v], line), line.top + node[1] / 2 + line.arrangement.across[j])
            line_of[v] = i
        for j, e in enumerate(line.edges):
            u, v = edges[e]
            passed = [(x_of(r, line), line.top + node[1] / 2 + y) for r, y in line.arrangement.lines.get(j, ())]
            routes[e] = [(centre[u][0] + half, centre[u][1]), *passed, (centre[v][0] - half, centre[v][1])]

    def gap_below(i: int) -> float:
        return lines[i].top + lines[i].arrangement.extent + node[1] + GAP / 2

    for e, (u, v) in enumerate(edges):
        if routes[e]:
            continue
        out, into = centre[u][0] + half + 4, centre[v][0] - half - 4
        start, end = (centre[u][0] + half, centre[u][1]), (centre[v][0] - half, centre[v][1])
        leave, arrive = gap_below(line_of[u]), gap_below(line_of[v] - 1)
        middle = [(out, leave), (into, leave)]
        if leave != arrive:
            lane = MARGIN / 2 - 2 - 3 * (e % 3)  # three lanes in the margin for edges that skip lines
            middle = [(out, leave), (lane, leave), (lane, arrive), (into, arrive)]
        routes[e] = [start, (out, start[1]), *middle, (into, end[1]), end]
    return (centre, routes, *_extent(lines, node))


def _extent(lines: Sequence[Line], node: tuple[float, float]) -> tuple[float, float]:
    widest = max((line.last - line.first for line in lines), default=0)
    height = lines[-1].top + lines[-1].arrangement.extent if lines else 0.0
    return 2 * MARGIN + node[0] + widest * PITCH, height + node[1]
