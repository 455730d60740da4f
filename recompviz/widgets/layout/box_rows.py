"""Which ranks of a folded graph lie in which row of a picture: rows like the lines of a text, or a U.

Boxes of a folded graph have different widths, so a row holds as many ranks as fit into the width of the picture. Rows
are broken where few lines lead from row to row.

A graph with nested skip connections (:mod:`recompviz.widgets.layout.nested_skips`) is always a U. Each skip connection
is a level of the U. A side of a level that is too wide for one row takes more rows above it, so the two ends of the
skip connection share a row in any case.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Literal

from recompviz.widgets.layout.nested_skips import spread

Side = Literal["left", "middle", "right"]
# columns of a row have at least this distance
COLUMN_GAP = 20.0
# the least distance between the two sides of a U, and by how much each level is indented
U_GAP, U_INDENT = 48.0, 14.0
# a text has one more row if then so many lines fewer, or more, lead from row to row
ROW_COST = 2
MOST_MORE = 3
# a U with more skip connections has some of them above a row
MOST_LEVELS = 16


@dataclass(frozen=True)
class Part:
    """The ranks of one part of a row. A row has one part, or the two sides of a U.

    Attributes
    ----------
    first, last : int
        The first and the last rank.
    row : int
        The row; 0 is the highest one.
    side : "left", "middle" or "right"
        Where the part lies: at the left or the right end of the picture, or in its middle.
    indent : float
        The distance from this end, in pixels.
    """

    first: int
    last: int
    row: int
    side: Side = "left"
    indent: float = 0.0


def text_parts(
    widths: Sequence[float], rank: Sequence[int], edges: Sequence[tuple[int, int]], limit: float
) -> list[Part]:
    """Return the rows of a graph as a text has them.

    Parameters
    ----------
    widths : sequence of float
        The width of each rank in pixels.
    rank : sequence of int
        The rank of each box.
    edges : sequence of (u, v)
        Edges between the boxes.
    limit : float
        The width of a row in pixels. A rank that is wider has its own row.

    Examples
    --------
    >>> chain = [(v, v + 1) for v in range(4)]
    >>> [(part.first, part.last) for part in text_parts([60.0] * 5, range(5), chain, 240)]
    [(0, 1), (2, 4)]
    """
    if not widths:
        return []
    breaks = _Breaks(widths, rank, edges)
    count = len(widths)
    least = breaks.fewest(0, count, limit)
    most = min(count, least + min(least // 2, MOST_MORE))
    tried = [breaks.rows(0, count, rows, limit) for rows in range(least, most + 1)]
    rows = min(tried, key=lambda found: breaks.lines(found) + ROW_COST * len(found))
    return [Part(first, last, row) for row, (first, last) in enumerate(rows)]


def u_parts(
    widths: Sequence[float],
    rank: Sequence[int],
    edges: Sequence[tuple[int, int]],
    chain: Sequence[int],
    limit: float,
) -> list[Part]:
    """Return the rows of a U.

    The parameters are those of :func:`text_parts`, and the positions in ``edges`` of the skip connections, the
    outermost first. If two ranks do not fit beside each other, a row is wider than the limit.

    Examples
    --------
    >>> edges = [(v, v + 1) for v in range(8)] + [(0, 8), (1, 7), (2, 6)]
    >>> parts = u_parts([60.0] * 9, range(9), edges, [8, 9, 10], 300)
    >>> [(part.first, part.row, part.side) for part in parts][:4]
    [(0, 0, 'left'), (8, 0, 'right'), (1, 1, 'left'), (7, 1, 'right')]
    """
    breaks = _Breaks(widths, rank, edges)
    count = len(widths)
    chain = spread(chain, min(len(chain), MOST_LEVELS))
    down = [rank[edges[e][0]] for e in chain]
    up = [rank[edges[e][1]] for e in chain]
    parts: list[Part] = []
    row = 0
    for level, (a, b) in enumerate(zip([-1, *down], down, strict=False)):
        indent = U_INDENT * level
        left, right = (a + 1, b + 1), (up[level], up[level - 1] if level else count)
        room = limit - U_GAP - 2 * indent
        rows_left, rows_right = breaks.beside(left, right, room)
        height = max(len(rows_left), len(rows_right))
        # both sides end in the last row of the level, where the skip connection is
        top = row + height - len(rows_left)
        parts += [Part(first, last, top + i, "left", indent) for i, (first, last) in enumerate(rows_left)]
        bottom = row + height - 1
        parts += [Part(first, last, bottom - i, "right", indent) for i, (first, last) in enumerate(rows_right)]
        row += height
    if down[-1] + 1 < up[-1]:
        room = limit - 2 * U_INDENT * len(chain)
        first, stop = down[-1] + 1, up[-1]
        middle = breaks.rows(first, stop, breaks.fewest(first, stop, room), room)
        parts += [Part(a, b, row + i, "middle") for i, (a, b) in enumerate(middle)]
    return parts


class _Breaks:
    """Breaks of some ranks into rows."""

    def __init__(self, widths: Sequence[float], rank: Sequence[int], edges: Sequence[tuple[int, int]]) -> None:
        self.ends = [0.0, *accumulate(width + COLUMN_GAP for width in widths)]
        last: dict[int, int] = {}
        for u, v in edges:
            last[u] = max(last.get(u, 0), rank[v])
        change = [0] * (len(widths) + 1)
        for u, r in last.items():
            change[rank[u] + 1] += 1
            change[r + 1] -= 1
        self.crossing = list(accumulate(change))  # for each rank the boxes with lines over its left side

    def width(self, first: int, stop: int) -> float:
        return self.ends[stop] - self.ends[first] - COLUMN_GAP

    def lines(self, rows: Sequence[tuple[int, int]]) -> int:
        """Return how many lines lead from row to row."""
        return sum(self.crossing[first] for first, _ in rows[1:])

    def fewest(self, first: int, stop: int, limit: float) -> int:
        """Return the least number of rows of at most this width."""
        rows, begin = 1, first
        for r in range(first + 1, stop):
            if self.width(begin, r + 1) > limit:
                rows, begin = rows + 1, r
        return rows

    def narrowest(self, first: int, stop: int, count: int) -> float:
        """Return the least width at which so many rows are enough."""
        widths = sorted({self.width(a, b) for a in range(first, stop) for b in range(a + 1, stop + 1)})
        enough = bisect_left(widths, True, key=lambda width: self.fewest(first, stop, width) <= count)
        return widths[enough]

    def rows(self, first: int, stop: int, count: int, limit: float) -> list[tuple[int, int]]:
        """Return the first and the last rank of each of ``count`` rows.

        The fewest lines lead from row to row, and the rows are about equally wide.
        """
        best: list[dict[int, tuple[float, float, int]]] = [{first: (0.0, 0.0, first)}]
        for _ in range(count):
            found: dict[int, tuple[float, float, int]] = {}
            for begin, (lines, squares, _before) in best[-1].items():
                for end in range(begin + 1, stop + 1):
                    width = self.width(begin, end)
                    if width > limit and end > begin + 1:
                        break
                    cut = self.crossing[end] if end < stop else 0
                    found[end] = min(
                        found.get(end, (inf, inf, begin)), (lines + cut, squares + (width / limit) ** 2, begin)
                    )
            best.append(found)
        end, rows = stop, []
        for step in reversed(best[1:]):
            begin = step[end][2]
            rows.append((begin, end - 1))
            end = begin
        return rows[::-1]

    def beside(
        self, left: tuple[int, int], right: tuple[int, int], room: float
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return the rows of the two sides of a level, which share a width: as few as possible."""
        most = max(left[1] - left[0], right[1] - right[0])

        def least(side: tuple[int, int], count: int) -> float:
            return self.narrowest(*side, min(count, side[1] - side[0]))

        height = next((k for k in range(1, most + 1) if least(left, k) + least(right, k) <= room), most)
        need = least(right, height)
        lines_left = next((k for k in range(1, height + 1) if least(left, k) + need <= room), height)
        need = least(left, lines_left)
        lines_right = next((k for k in range(1, height + 1) if least(right, k) + need <= room), height)
        lines_left, lines_right = min(lines_left, left[1] - left[0]), min(lines_right, right[1] - right[0])
        limit = max(least(left, lines_left), room - least(right, lines_right))
        rows_left = self.rows(*left, lines_left, limit)
        used = max(self.width(first, last + 1) for first, last in rows_left)
        limit = max(least(right, lines_right), room - used)
        return rows_left, self.rows(*right, lines_right, limit)
