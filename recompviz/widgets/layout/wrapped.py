"""The wrapped layout: a deep network in lines from left to right, like a text, or as a U.

A real network has hundreds of ranks with a few nodes each, so one line would be too thin to read. The ranks are
therefore broken into lines, between blocks of the model rather than inside them, at places that few edges cross. The
number of lines is chosen so that the graph fills the window. If labels would then be too small to read, the lines are
made as long as a narrow window allows with legible labels. The picture may then be up to four times as high as the
window; if it would be higher, the graph fills the window as before.

Each line has a layered layout. An edge to a later line runs through the gaps between the lines. An edge that skips
lines also runs along the left margin.

A graph with nested skip connections (:mod:`recompviz.widgets.layout.nested_skips`) is drawn as a U if the U fills the
window about as well as lines do. In a U, two lines share a row: a part of the way down, and the part of the way up that
the skip connections of the row lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt

from recompviz.core.graphs.graph import Graph
from recompviz.widgets.layout.layered import Arrangement, arrange, ranks_within
from recompviz.widgets.layout.nested_skips import nested_skips, spread

Point = tuple[float, float]
PITCH = 46.0  # from rank to rank
GAP = 16.0  # between the lines of text
MARGIN = 26.0
LINE_HEIGHT = 60.0  # first estimate
NODE_PITCH = 29.0  # from node to node in a rank
STRETCHES = (1.15, 1.0, 1.3, 0.9, 1.5, 1.22, 1.07, 1.4)
# for more nodes only two widths are tried
TRY_OUT = 1_000
# a U is drawn if its scale in the window is at least this share of the scale of the best text
U_SHARE = 0.6
ROWS_SHARE = 0.7  # the same for a U with more rows than the largest U
# more rows are not tried: they would not be legible, and each try takes time
MOST_ROWS = 24
# columns between the two sides of a U, and by which each row is indented
U_GAP, U_INDENT = 2.0, 0.7
MOST_SCALE = 1.25  # a page does not draw a picture larger
LANE = 6.0  # between skip connections above a row
# a line that ends inside a block makes a text worth this share of its scale
CUT_SHARE = 0.6
# a line may be shorter, down to this share of the longest, to end between modules
SHORTEST = 0.45
# at a smaller scale labels are not legible
LEGIBLE = 0.88
# a narrow window, of a notebook beside a file browser; a picture of this width divided by LEGIBLE is legible there
NARROW = 820.0
# a legible picture may be this many times as high as the window
MOST_HEIGHTS = 4.0


@dataclass(frozen=True)
class LineRanks:
    """The ranks of one line, and where the line begins.

    Attributes
    ----------
    first, last : int
        The first and the last rank in the line.
    row : int
        The row of the picture in which the line is drawn; 0 is the highest row.
    shift : float
        The column in which the first rank is drawn; 0 is the column on the left. Columns are numbered like ranks.
    """

    first: int
    last: int
    row: int
    shift: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line of the wrapped layout.

    Attributes
    ----------
    ranks : LineRanks
    top : float
        The y coordinate of the upper side of the line, in pixels.
    arrangement : Arrangement
        The coordinates of the nodes in the line, and of the edges between them.
    members : tuple of int
        The numbers of the nodes in the line, in the order of ``arrangement.across``.
    edges : tuple of int
        The numbers of the edges between nodes of the line. The keys of ``arrangement.lines`` are positions in this
        tuple.
    row_top, row_bottom : float
        The y coordinates of the upper and the lower side of the row of the line.
    """

    ranks: LineRanks
    top: float
    arrangement: Arrangement
    members: tuple[int, ...]
    edges: tuple[int, ...]
    row_top: float
    row_bottom: float


def wrap(
    graph: Graph, node: tuple[float, float], view: tuple[float, float]
) -> tuple[list[Point], list[list[Point]], float, float]:
    """Lay out a graph in lines from left to right, as a page breaks a text into lines, or as a U.

    The docstring of the module says when a graph is drawn as a U.

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
    edges = [(u, v) for u, v in graph.edges.tolist()]
    rank = ranks_within(graph, PITCH / NODE_PITCH * view[1] / view[0])
    count = max(rank, default=-1) + 1
    guess = sqrt(count * LINE_HEIGHT / PITCH * view[0] / view[1])
    tried: set[tuple[LineRanks, ...]] = set()
    best: tuple[float, list[Line]] = (-1.0, [])

    def laid(line_ranks: list[LineRanks]) -> tuple[float, list[Line]]:
        lines = _set_lines(rank, edges, line_ranks, node)
        width, height = _extent(lines, node)
        return min(view[0] / width, view[1] / height, MOST_SCALE), lines

    cut, blocks_cut = _cuts(graph, rank, count)

    def broken(columns: int) -> tuple[LineRanks, ...]:
        starts = _breaks(rank, edges, count, columns, cut)
        stops = [*starts[1:], count]
        return tuple(LineRanks(a, b - 1, i) for i, (a, b) in enumerate(zip(starts, stops, strict=True)))

    # heights depend on where the lines break, so several widths are tried; the one that fills the window best is used
    small = len(graph) <= TRY_OUT
    widths = [max(8, round(guess * stretch)) for stretch in (STRETCHES if small else STRETCHES[:2])]
    widths += sorted(_between_blocks(blocks_cut, guess), key=lambda columns: abs(columns - guess))[: 4 if small else 1]
    preferred = -1.0
    for columns in widths:
        line_ranks = broken(columns)
        if line_ranks not in tried:
            tried.add(line_ranks)
            one = laid(list(line_ranks))
            worth = one[0] * (CUT_SHARE if any(blocks_cut[ranks.first] for ranks in line_ranks) else 1.0)
            if worth > preferred:
                preferred, best = worth, one
    chain = nested_skips(rank, edges)
    us = [laid(_u_lines(rank, edges, spread(chain, rows), count)) for rows in range(2, min(len(chain), MOST_ROWS) + 1)]
    largest = max((scale for scale, _ in us), default=0.0)
    # the U with the most rows that is about as large as the largest
    most = next((u for u in reversed(us) if u[0] >= ROWS_SHARE * largest), None)
    if most and most[0] >= U_SHARE * best[0]:
        best = most
    elif best[0] < LEGIBLE:
        columns = int((NARROW / LEGIBLE - 2 * MARGIN - node[0]) / PITCH) + 1
        if count / columns * (node[1] + GAP) <= MOST_HEIGHTS * view[1]:
            lines = _set_lines(rank, edges, broken(columns), node)
            if _extent(lines, node)[1] <= MOST_HEIGHTS * view[1]:
                best = 1.0, lines
    return _place(rank, edges, best[1], node)


def _u_lines(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], chain: Sequence[int], count: int
) -> list[LineRanks]:
    """Return the lines of a U: for each skip connection a row with a line on each side, and below them the middle."""
    down = [rank[edges[e][0]] for e in chain]
    up = [rank[edges[e][1]] for e in chain]
    left = [(a + 1, b) for a, b in zip([-1, *down], down, strict=False)]
    right = [(a, b - 1) for a, b in zip(up, [count, *up], strict=False)]
    middle = (down[-1] + 1, up[-1] - 1)
    need = [
        b - a + 1 + d - c + 1 + U_GAP + 2 * U_INDENT * i
        for i, ((a, b), (c, d)) in enumerate(zip(left, right, strict=True))
    ]
    width = max([*need, middle[1] - middle[0] + 1 + 2 * U_INDENT * len(chain)])
    lines = [LineRanks(a, b, i, U_INDENT * i) for i, (a, b) in enumerate(left)]
    if middle[0] <= middle[1]:
        lines.append(LineRanks(*middle, len(chain), (width - (middle[1] - middle[0] + 1)) / 2))
    lines += [LineRanks(a, b, i, width - U_INDENT * i - (b - a + 1)) for i, (a, b) in reversed(list(enumerate(right)))]
    return lines


def _cuts(graph: Graph, rank: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """Return how many modules, and how many repeated blocks, a line that begins at each rank would cut in two."""
    spans: dict[str, tuple[int, int]] = {}
    blocks: dict[str, tuple[int, int]] = {}
    for r, info in zip(rank, graph.info, strict=True):
        names = info.module.split(".") if info.module else []
        for depth in range(1, len(names) + 1):
            _widen(spans, ".".join(names[:depth]), r)
        if info.member:
            _widen(blocks, info.member, r)
    return _covered(spans.values(), count), _covered(blocks.values(), count)


def _widen(spans: dict[str, tuple[int, int]], name: str, rank: int) -> None:
    low, high = spans.get(name, (rank, rank))
    spans[name] = min(low, rank), max(high, rank)


def _covered(spans: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Return for each rank the number of spans (first, last) that begin before it and do not end before it."""
    change = [0] * (count + 2)
    for low, high in spans:
        change[low + 1] += 1
        change[high + 1] -= 1
    return list(accumulate(change))[: count + 1]


def _between_blocks(blocks_cut: Sequence[int], guess: float) -> set[int]:
    """Return lengths of lines, about as long as ``guess``, that one or several blocks fill."""
    ends = [r for r in range(1, len(blocks_cut)) if not blocks_cut[r]] if any(blocks_cut) else []
    return {b - a for i, a in enumerate(ends[:3]) for b in ends[i + 1 :] if guess / 2 <= b - a <= 2 * guess}


def _breaks(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], count: int, columns: int, cut: Sequence[int]
) -> list[int]:
    """Return the first rank of each line.

    A line has at most ``columns`` ranks. It ends within the last third of them, where it cuts the fewest modules in
    two, and the fewest edges cross. It ends earlier if it then cuts fewer modules.
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
        late = begin + max(1, columns * 2 // 3)
        candidates = range(begin + max(1, int(columns * SHORTEST)), begin + columns + 1)
        least = min(cut[r] for r in candidates)
        if min(cut[r] for r in candidates[late - candidates.start :]) == least:
            candidates = range(late, begin + columns + 1)
        starts.append(min(candidates, key=lambda r: (cut[r], crossing[r], -r)))
    return starts


def _set_lines(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], line_ranks: Sequence[LineRanks], node: tuple[float, float]
) -> list[Line]:
    line_of_rank: list[int] = []
    for i, ranks in enumerate(line_ranks):
        line_of_rank += [i] * (ranks.last - ranks.first + 1)
    members: list[list[int]] = [[] for _ in line_ranks]
    inner: list[list[int]] = [[] for _ in line_ranks]
    rows = max((ranks.row for ranks in line_ranks), default=-1) + 1
    lanes = [0] * rows  # skip connections above a row
    joins: dict[tuple[int, int], tuple[int, int]] = {}  # two lines of one row → an edge between them
    for v, r in enumerate(rank):
        members[line_of_rank[r]].append(v)
    for e, (u, v) in enumerate(edges):
        a, b = line_of_rank[rank[u]], line_of_rank[rank[v]]
        if a == b:
            inner[a].append(e)
        elif line_ranks[a].row == line_ranks[b].row:
            if _straight(rank, u, v, line_ranks[a], line_ranks[b]):
                joins.setdefault((a, b), (u, v))
            else:
                lanes[line_ranks[a].row] += 1
    local = [{v: j for j, v in enumerate(each)} for each in members]
    arrangements = [
        arrange([rank[v] for v in members[i]], [(local[i][edges[e][0]], local[i][edges[e][1]]) for e in inner[i]])
        for i in range(len(line_ranks))
    ]
    lowered = [0.0] * len(line_ranks)  # so that the edge which joins two lines of a row is straight
    for (a, b), (u, v) in joins.items():
        rise = arrangements[a].across[local[a][u]] - arrangements[b].across[local[b][v]]
        lowered[b], lowered[a] = max(0.0, rise), max(0.0, -rise)
    tops = [0.0] * (rows + 1)
    for r in range(rows):
        extent = max(lowered[i] + arrangements[i].extent for i, ranks in enumerate(line_ranks) if ranks.row == r)
        tops[r + 1] = tops[r] + lanes[r] * LANE + extent + node[1] + GAP
    return [
        Line(
            ranks,
            tops[ranks.row] + lanes[ranks.row] * LANE + lowered[i],
            arrangements[i],
            tuple(members[i]),
            tuple(inner[i]),
            tops[ranks.row],
            tops[ranks.row + 1] - GAP,
        )
        for i, ranks in enumerate(line_ranks)
    ]


def _straight(rank: Sequence[int], u: int, v: int, left: LineRanks, right: LineRanks) -> bool:
    """Whether an edge between two lines of a row passes no rank of them."""
    return rank[u] == left.last and rank[v] == right.first


def _place(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], lines: Sequence[Line], node: tuple[float, float]
) -> tuple[list[Point], list[list[Point]], float, float]:
    half = node[0] / 2
    centre: list[Point] = [(0.0, 0.0)] * len(rank)
    line_of = [0] * len(rank)
    routes: list[list[Point]] = [[] for _ in edges]

    def x_of(r: int, ranks: LineRanks) -> float:
        return MARGIN + half + (ranks.shift + r - ranks.first) * PITCH

    for i, line in enumerate(lines):
        for j, v in enumerate(line.members):
            centre[v] = (x_of(rank[v], line.ranks), line.top + node[1] / 2 + line.arrangement.across[j])
            line_of[v] = i
        for j, e in enumerate(line.edges):
            u, v = edges[e]
            # a line is level as far as the nodes of a rank reach, or else it would cut their corners
            passed = [
                (x_of(r, line.ranks) + side, line.top + node[1] / 2 + y)
                for r, y in line.arrangement.lines.get(j, ())
                for side in (-half, half)
            ]
            routes[e] = [(centre[u][0] + half, centre[u][1]), *passed, (centre[v][0] - half, centre[v][1])]

    above = [0] * len(lines)  # how many lanes above each row are taken
    # the innermost skip connection of a row has the lowest lane
    for e in sorted(range(len(edges)), key=lambda e: rank[edges[e][1]] - rank[edges[e][0]]):
        if routes[e]:
            continue
        u, v = edges[e]
        a, b = lines[line_of[u]], lines[line_of[v]]
        start, end = (centre[u][0] + half, centre[u][1]), (centre[v][0] - half, centre[v][1])
        out, into = start[0] + 4, end[0] - 4
        if a.ranks.row == b.ranks.row:
            if _straight(rank, u, v, a.ranks, b.ranks):
                middle = [(out, start[1]), (out, end[1])] if start[1] != end[1] else []
            else:
                above[a.ranks.row] += 1
                lane = min(a.top, b.top) - LANE * above[a.ranks.row] + LANE / 2
                middle = [(out, lane), (into, lane)]
        else:
            leave = a.row_bottom + GAP / 2 if a.ranks.row < b.ranks.row else a.row_top - GAP / 2
            arrive = b.row_top - GAP / 2 if a.ranks.row < b.ranks.row else b.row_bottom + GAP / 2
            middle = [(out, leave), (into, leave)]
            if abs(a.ranks.row - b.ranks.row) > 1:
                side = MARGIN / 2 - 2 - 3 * (e % 3)  # three lanes in the margin for edges that skip rows
                middle = [(out, leave), (side, leave), (side, arrive), (into, arrive)]
        turns = [(out, start[1]), *middle, (into, end[1])] if middle else []
        routes[e] = [start, *turns, end]
    return (centre, routes, *_extent(lines, node))


def _extent(lines: Sequence[Line], node: tuple[float, float]) -> tuple[float, float]:
    widest = max((line.ranks.shift + line.ranks.last - line.ranks.first for line in lines), default=0.0)
    height = max((line.row_bottom for line in lines), default=node[1])
    return 2 * MARGIN + node[0] + widest * PITCH, height
