"""Positions of boxes in rows, and lines between them that pass over no box.

A line within a part of a row runs as in the layered layout, and a line between the two sides of a row is straight if
no box lies between its ends. Every other line leaves its box in the gap between two columns, runs along a *channel*
between two rows, and enters the next box in the gap before its column. Between rows that are not neighbours it runs
down a margin of the picture. Each source has its own track in a gap, a channel and a margin, so that lines which lie on
each other come from the same box or lead to the same box.

A value that many boxes use, such as a time embedding, is a *bus*: its track runs above the rows, and a stub leads from
there into the upper side of each box.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recompviz.widgets.layout.box_rows import COLUMN_GAP, U_GAP, Part
from recompviz.widgets.layout.layered import NODE_GAP, Arrangement, arrange

Point = tuple[float, float]
# a box with lines to so many others, in several columns and rows, is a bus
BUS = 4
# between two tracks
TRACK = 7.0
# between the boxes of a column; between a row and the nearest track; the least height of a channel between two rows
BOX_GAP, CHANNEL_PAD, CHANNEL = 10.0, 9.0, 24.0
# the ends of a straight line differ in height by less than this, which is less than is seen
LEVEL = 0.05
# stubs of several buses into one box
STUB, STUB_PITCH = 13.0, 9.0


@dataclass(frozen=True)
class RowLayout:
    """The positions of boxes and of the lines between them, in pixels.

    Attributes
    ----------
    centres : list of (x, y)
        The centre of each box.
    routes : list of list of (x, y)
        The points through which each line is drawn.
    thin : list of bool
        Whether each line is part of a bus.
    width, height : float
        The size of the picture.
    """

    centres: list[Point]
    routes: list[list[Point]]
    thin: list[bool]
    width: float
    height: float


def buses(edges: Sequence[tuple[int, int]]) -> set[int]:
    """Return the boxes with lines to many others.

    Examples
    --------
    >>> buses([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2)])
    {0}
    """
    return {u for u, count in Counter(u for u, _ in edges).items() if count >= BUS}


def lay_out_rows(
    sizes: Sequence[tuple[float, float]],
    rank: Sequence[int],
    edges: Sequence[tuple[int, int]],
    parts: Sequence[Part],
) -> RowLayout:
    """Return the positions of boxes whose rows are known.

    Parameters
    ----------
    sizes : sequence of (width, height)
        The size of each box in pixels.
    rank : sequence of int
        The rank of each box.
    edges : sequence of (u, v)
        Edges between the boxes; v must have a higher rank than u.
    parts : sequence of Part
        The parts of the rows. Each rank is in one of them.

    Examples
    --------
    >>> layout = lay_out_rows([(60, 30)] * 2, [0, 1], [(0, 1)], [Part(0, 1, 0)])
    >>> layout.centres, layout.routes
    ([(30.0, 15.0), (110.0, 15.0)], [[(60.0, 15.0), (80.0, 15.0)]])
    """
    if not rank:
        return RowLayout([], [], [], 0.0, 0.0)
    return _Rows(sizes, rank, edges, parts).layout()


def _tracks(spans: Mapping[int, tuple[float, float]], order: Sequence[int], gap: float) -> dict[int, int]:
    """Return the number of the track of each span. Spans on one track do not overlap."""
    taken: list[list[tuple[float, float]]] = []
    found: dict[int, int] = {}
    for key in order:
        low, high = spans[key]
        track = 0
        while track < len(taken) and any(low < b + gap and a < high + gap for a, b in taken[track]):
            track += 1
        if track == len(taken):
            taken.append([])
        taken[track].append((low, high))
        found[key] = track
    return found


class _Rows:
    def __init__(
        self,
        sizes: Sequence[tuple[float, float]],
        rank: Sequence[int],
        edges: Sequence[tuple[int, int]],
        parts: Sequence[Part],
    ) -> None:
        self.sizes, self.rank, self.edges, self.parts = sizes, rank, edges, parts
        self.box_height = max(height for _, height in sizes)
        self.rows = 1 + max(part.row for part in parts)
        of_rank = {r: p for p, part in enumerate(parts) for r in range(part.first, part.last + 1)}
        self.part = [of_rank[r] for r in rank]
        self.row = [parts[p].row for p in self.part]
        self.columns = [0.0] * (max(rank) + 1)
        for r, (width, _) in zip(rank, sizes, strict=True):
            self.columns[r] = max(self.columns[r], width)
        targets: dict[int, set[int]] = defaultdict(set)
        for u, v in edges:
            targets[u].add(v)
        self.buses = {
            u
            for u in buses(edges)
            if any(self.part[u] != self.part[v] for v in targets[u]) and len({rank[v] for v in targets[u]}) > 1
        }
        self._arrange()
        self._classify()

    # ------------------------------------------------------------------ which way each line takes

    def _beside(self, u: int, v: int) -> bool:
        """Whether a line between the two sides of a row passes no column."""
        p, q = self.parts[self.part[u]], self.parts[self.part[v]]
        return p is not q and p.row == q.row and self.rank[u] == p.last and self.rank[v] == q.first

    def _inside(self, u: int, v: int) -> bool:
        near = self.rank[v] - self.rank[u] == 1
        return self.part[u] == self.part[v] and (near or u not in self.buses)

    def _arrange(self) -> None:
        """Compute the places of boxes and lines within each part."""
        members: list[list[int]] = [[] for _ in self.parts]
        for v, p in enumerate(self.part):
            members[p].append(v)
        inner: list[list[int]] = [[] for _ in self.parts]
        for e, (u, v) in enumerate(self.edges):
            if self._inside(u, v):
                inner[self.part[u]].append(e)
        stretch = (self.box_height + BOX_GAP) / NODE_GAP
        self.across = [0.0] * len(self.rank)  # of the centres
        self.passed: dict[int, list[tuple[int, float]]] = {}
        self.extents: list[float] = []
        for boxes, lines in zip(members, inner, strict=True):
            local = {v: j for j, v in enumerate(boxes)}
            pairs = [(local[self.edges[e][0]], local[self.edges[e][1]]) for e in lines]
            found: Arrangement = arrange([self.rank[v] for v in boxes], pairs)
            for v, y in zip(boxes, found.across, strict=True):
                self.across[v] = y * stretch
            for j, passed in found.lines.items():
                self.passed[lines[j]] = [(r, y * stretch) for r, y in passed]
            self.extents.append(found.extent * stretch)
        places: dict[tuple[int, int], list[float]] = defaultdict(list)
        for v, y in enumerate(self.across):
            places[self.part[v], self.rank[v]].append(y)
        for e, line in self.passed.items():
            for r, y in line:
                places[self.part[self.edges[e][0]], r].append(y)
        self.highest = [y <= min(places[self.part[v], self.rank[v]]) for v, y in enumerate(self.across)]
        self.lowest = [y >= max(places[self.part[v], self.rank[v]]) for v, y in enumerate(self.across)]
        self.lowered = [0.0] * len(self.parts)  # so that a skip connection is straight
        for u, v in self.edges:
            p, q = self.part[u], self.part[v]
            if self._beside(u, v) and not self.lowered[p] and not self.lowered[q]:
                rise = self.across[u] - self.across[v]
                self.lowered[q], self.lowered[p] = max(0.0, rise), max(0.0, -rise)

    def _classify(self) -> None:
        """Find the lines that run along channels, and what they need: channels, gaps, margins and stubs."""
        self.channels: dict[int, tuple[int, int]] = {}  # line → the channels by which it leaves and arrives
        self.margin: dict[tuple[str, int], tuple[float, float]] = {}  # side and source → the channels it spans
        self.side: dict[int, str] = {}
        gaps: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)  # part and column after it → its runs
        self.stubs: dict[int, tuple[int, int]] = {}  # line → −1 for the upper side or 1 for the lower one, its place
        count: Counter[tuple[int, int]] = Counter()
        stub_of: dict[tuple[int, int], tuple[int, int]] = {}
        for e, (u, v) in enumerate(self.edges):
            if self._inside(u, v):
                continue
            rise = self.across[u] + self.lowered[self.part[u]] - self.across[v] - self.lowered[self.part[v]]
            if self._beside(u, v) and abs(rise) < LEVEL:
                continue
            a, b = self.row[u], self.row[v]
            leave, arrive = (a + 1, b) if a < b else (a, a) if a == b else (a, b + 1)
            self.channels[e] = leave, arrive
            if leave != arrive:
                side = "right" if self.parts[self.part[u]].side == "right" else "left"
                self.side[e] = side
                low, high = self.margin.get((side, u), (leave, leave))
                self.margin[side, u] = min(low, leave, arrive), max(high, leave, arrive)
            first = self.parts[self.part[u]].first
            if ("out", u) not in gaps[self.part[u], self.rank[u] - first + 1]:
                gaps[self.part[u], self.rank[u] - first + 1].append(("out", u))
            free = self.highest[v] if arrive == b else self.lowest[v]
            if u in self.buses and free:
                end = -1 if arrive == b else 1
                if (u, v) not in stub_of:
                    stub_of[u, v] = end, count[v, end]
                    count[v, end] += 1
                self.stubs[e] = stub_of[u, v]
            else:
                gap = gaps[self.part[v], self.rank[v] - self.parts[self.part[v]].first]
                if ("in", v) not in gap:
                    gap.append(("in", v))
        for runs in gaps.values():
            runs.sort(key=lambda run: (run[0] == "in", run[1]))
        self.gaps = gaps

    # ------------------------------------------------------------------ coordinates

    def _gap(self, p: int, g: int) -> float:
        runs = len(self.gaps.get((p, g), ()))
        outer = g in (0, self.parts[p].last - self.parts[p].first + 1)
        return (TRACK * (runs + 1) if runs else 0.0) if outer else max(COLUMN_GAP, TRACK * (runs + 1))

    def _along(self) -> float:
        """Compute the x coordinates of columns and of vertical tracks; return the width."""
        lengths, ends = [], []
        for p, part in enumerate(self.parts):
            inner = sum(self._gap(p, g) for g in range(1, part.last - part.first + 1))
            lengths.append(sum(self.columns[part.first : part.last + 1]) + inner)
            ends.append((self._gap(p, 0), self._gap(p, part.last - part.first + 1)))
        width = 0.0
        for row in range(self.rows):
            of_row = {part.side: p for p, part in enumerate(self.parts) if part.row == row}
            need = sum(lengths[p] + self.parts[p].indent for p in of_row.values())
            if {"left", "right"} <= of_row.keys():
                need += max(U_GAP, ends[of_row["left"]][1] + ends[of_row["right"]][0] + TRACK)
            width = max(width, need)
        self.start = [0.0] * len(self.columns)
        self.run_x: dict[tuple[str, int], float] = {}
        lows, highs = [0.0], [width]
        for p, part in enumerate(self.parts):
            spare = width - lengths[p]
            x = part.indent if part.side == "left" else spare - part.indent if part.side == "right" else spare / 2
            lows.append(x - ends[p][0])
            highs.append(x + lengths[p] + ends[p][1])
            x -= ends[p][0]
            for g in range(part.last - part.first + 2):
                gap, runs = self._gap(p, g), self.gaps.get((p, g), [])
                for i, run in enumerate(runs):
                    self.run_x[run] = x + gap * (i + 1) / (len(runs) + 1)
                x += gap
                if g <= part.last - part.first:
                    self.start[part.first + g] = x
                    x += self.columns[part.first + g]
        left, right = min(lows), max(highs)
        self.margin_x: dict[tuple[str, int], float] = {}
        outer = [left, right]
        for side, sign, at in (("left", -1, 0), ("right", 1, 1)):
            spans = {u: span for (where, u), span in self.margin.items() if where == side}
            order = sorted(spans, key=lambda u: (spans[u][1] - spans[u][0], spans[u]))
            for u, track in _tracks(spans, order, 0.5).items():
                x = (left, right)[at] + sign * TRACK * (track + 1)
                self.margin_x[side, u] = x
                outer[at] = min(outer[at], x) if sign < 0 else max(outer[at], x)
        self.shift = -outer[0]
        return outer[1] - outer[0]

    def _box_x(self, v: int) -> float:
        return self.start[self.rank[v]] + self.columns[self.rank[v]] / 2

    def _end_x(self, e: int) -> float:
        """Return the x coordinate at which a line leaves its last channel."""
        v = self.edges[e][1]
        if e not in self.stubs:
            return self.run_x["in", v]
        return self._box_x(v) - self.sizes[v][0] / 2 + STUB + STUB_PITCH * self.stubs[e][1]

    def _down(self) -> float:
        """Compute the y coordinates of rows and of tracks in channels; return the height."""
        points: dict[tuple[int, int], list[float]] = defaultdict(list)  # channel and source → x of its track
        for e, (leave, arrive) in self.channels.items():
            u = self.edges[e][0]
            points[leave, u].append(self.run_x["out", u])
            points[arrive, u].append(self._end_x(e))
            if leave != arrive:
                for channel in (leave, arrive):
                    points[channel, u].append(self.margin_x[self.side[e], u])
        heights = [0.0] * (self.rows + 1)
        track_of: dict[tuple[int, int], int] = {}
        for channel in range(self.rows + 1):
            spans = {u: (min(xs), max(xs)) for (c, u), xs in points.items() if c == channel}
            # a bus is next to the boxes of the row below it
            order = sorted(spans, key=lambda u: (u not in self.buses, spans[u][1] - spans[u][0], spans[u]))
            for u, track in _tracks(spans, order, TRACK).items():
                track_of[channel, u] = track
            count = 1 + max((track_of[channel, u] for u in spans), default=-1)
            least = CHANNEL if 0 < channel < self.rows else 0.0
            heights[channel] = max(least, 2 * CHANNEL_PAD + TRACK * (count - 1)) if count else least
        self.track_y: dict[tuple[int, int], float] = {}
        self.top: list[float] = []
        y = 0.0
        for channel in range(self.rows + 1):
            count = 1 + max((track for (c, _), track in track_of.items() if c == channel), default=-1)
            spare = heights[channel] - TRACK * (count - 1)
            for (c, u), track in track_of.items():
                if c == channel:
                    self.track_y[c, u] = y + heights[channel] - spare / 2 - TRACK * track
            y += heights[channel]
            self.top.append(y)
            if channel < self.rows:
                of_row = [p for p, part in enumerate(self.parts) if part.row == channel]
                y += self.box_height + max(self.lowered[p] + self.extents[p] for p in of_row)
        return y

    def layout(self) -> RowLayout:
        width, height = self._along(), self._down()
        half = self.box_height / 2
        level = [self.top[row] + self.lowered[p] + half for row, p in zip(self.row, self.part, strict=True)]
        y = [a + b for a, b in zip(level, self.across, strict=True)]
        routes: list[list[Point]] = []
        for e, (u, v) in enumerate(self.edges):
            begin = [(self._box_x(u) + self.sizes[u][0] / 2, y[u])]
            end = [(self._box_x(v) - self.sizes[v][0] / 2, y[v])]
            if e not in self.channels:
                middle = [
                    (self.start[r] + far, level[u] + at)
                    for r, at in self.passed.get(e, ())
                    for far in (0.0, self.columns[r])
                ]
                if y[u] != y[v] or middle:
                    # level as far as the widest boxes of the columns reach
                    begin.append((self.start[self.rank[u]] + self.columns[self.rank[u]], y[u]))
                    end.insert(0, (self.start[self.rank[v]], y[v]))
            else:
                leave, arrive = self.channels[e]
                out, into = self.run_x["out", u], self._end_x(e)
                middle = [(out, y[u]), (out, self.track_y[leave, u])]
                if leave != arrive:
                    side = self.margin_x[self.side[e], u]
                    middle += [(side, self.track_y[leave, u]), (side, self.track_y[arrive, u])]
                middle.append((into, self.track_y[arrive, u]))
                if e in self.stubs:
                    end = [(into, y[v] + self.stubs[e][0] * self.sizes[v][1] / 2)]
                else:
                    middle.append((into, y[v]))
            routes.append([(a + self.shift, b) for a, b in [*begin, *middle, *end]])
        thin = [e in self.channels and u in self.buses for e, (u, _) in enumerate(self.edges)]
        centres = [(self._box_x(v) + self.shift, y[v]) for v in range(len(self.rank))]
        return RowLayout(centres, routes, thin, width, height)
