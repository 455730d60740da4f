"""The view of several ranks as one static SVG picture, for notebooks that are opened without a kernel.

At the top is the schedule: a bar for each pass. Under it, on the same time axis, is the memory of each rank, the
rank with the highest peak first.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes, format_time
from recompviz.core.ranks.rank_board import RankBoard, RankLane, fit_text
from recompviz.core.ranks.rank_layers import LAYERS

WIDTH = 1000.0
LEFT, RIGHT = 210.0, 988.0
TOP, BAR, LANE, GAP = 62.0, 18.0, 72.0, 10.0
# with more lanes, the emptiest ones are left out
MOST_LANES = 12
_PASS = {"forward": "hue-0", "backward": "hue-1", "optimizer": "hue-3"}


def rank_svg(board: RankBoard, budget: float) -> str:
    """Return the schedule and the memory of ranks under a budget (total bytes) as an SVG picture.

    The memory of at most 12 elements of ``board.lanes`` is drawn, those with the highest peaks.
    """
    rows = board.rows(budget)
    times = board.times(rows)
    length = max((stop for lane in times for _, stop in lane), default=0.0) or 1.0
    order = board.order(rows)[:MOST_LANES]
    peaks = board.peaks(rows)
    most = max(min(budget, board.most), *peaks) * 1.15
    bars = range(len(board.lanes)) if board.schedule else range(1)
    first = TOP + BAR * len(bars) + GAP
    height = first + len(order) * (LANE + GAP) + 34
    fitting = sum(peak <= budget for peak in peaks)
    extra = length / (board.length((0,) * len(rows)) or 1.0) - 1
    facts = (
        f"{format_bytes(budget)} for each rank",
        f"largest peak {format_bytes(max(peaks))}",
        f"{fitting} of {len(peaks)} fit",
        f"+{100 * extra:.0f} % step time",
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" '
        'font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH:g}" height="{height:g}" fill="{LIGHT["surface"]}"/>',
        _text(14, 24, f"{board.title} on several ranks", 15, 650),
        _text(14, 43, " · ".join(filter(None, [board.schedule, *facts])), 12, 400, "muted"),
    ]
    for place, i in enumerate(bars):
        name = board.lanes[i].name if board.schedule or len(board.lanes) == 1 else "all ranks"
        parts += _bars(board, board.lanes[i], times[i], rows[i], name, TOP + place * BAR, length)
    for place, i in enumerate(order):
        lane, top = board.lanes[i], first + place * (LANE + GAP)
        parts += _lane(lane, rows[i], times[i], length, top, budget, most)
        extra_ms = float(lane.overheads[rows[i]].sum())
        recomputes = f"recomputes {format_time(extra_ms)}" if extra_ms else "recomputes nothing"
        parts += [
            _text(14, top + 14, lane.name, 12.5, 650),
            _text(14, top + 30, f"peak {format_bytes(peaks[i])}", 12),
            _text(14, top + 46, fit_text(peaks[i], budget), 12, 400, "good" if peaks[i] <= budget else "bad"),
            _text(14, top + 62, recomputes, 12, 400, "muted"),
        ]
    return "".join([*parts, *_legend(board, height - 14), "</svg>"])


def _text(x: float, y: float, text: str, size: float, weight: int = 400, colour: str = "text", anchor: str = "") -> str:
    placed = f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{LIGHT[colour]}"{placed}>'
        f"{escape(text)}</text>"
    )


def _x(time: float, length: float) -> float:
    return LEFT + (RIGHT - LEFT) * time / length


def _bars(
    board: RankBoard,
    lane: RankLane,
    times: Sequence[tuple[float, float]],
    row: int,
    name: str,
    top: float,
    length: float,
) -> list[str]:
    parts = [_text(14, top + 12, name, 11.5, 400, "muted")]
    durations = lane.durations(row)
    for one, (start, stop) in zip(lane.passes, times, strict=True):
        x, wide = _x(start, length), max(0.5, _x(stop, length) - _x(start, length) - 0.8)
        parts.append(_rect(x, top, wide, BAR - 3, _PASS[one.kind], LIGHT["edge"]))
        whole = durations[one.kind, one.stage]
        part = 1 - 2 * durations["forward", one.stage] / whole if one.kind == "backward" and whole else 0.0
        if part > 0:
            parts.append(_rect(x, top, wide * part, BAR - 3, "recompute"))
        letter = "abcdefgh"[lane.stages.index(one.stage)] if 1 < len(lane.stages) < 9 else ""
        label = f"{one.micro_batch + 1}{letter}" if board.schedule and one.kind != "optimizer" else one.kind
        if wide > 6 + 6.5 * len(label):
            parts.append(_text(x + wide / 2, top + 11.5, label, 11, 400, "on-hue", "middle"))
    return parts


def _rect(x: float, y: float, width: float, height: float, colour: str, stroke: str = "none") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{LIGHT[colour]}" '
        f'stroke="{stroke}" stroke-width="0.6"/>'
    )


def _lane(
    lane: RankLane,
    row: int,
    times: Sequence[tuple[float, float]],
    length: float,
    top: float,
    budget: float,
    most: float,
) -> list[str]:
    edges, columns = lane_columns(lane, row, times, length)
    heights = np.cumsum(columns, axis=1)

    def y(size: float) -> float:
        return top + LANE - LANE * size / most

    def area(tops: Sequence[float]) -> str:
        steps = "".join(f"V{y(h):.1f}H{_x(x, length):.1f}" for h, x in zip(tops, edges[1:], strict=True))
        return f"M{_x(edges[0], length):.1f} {y(0):.1f}{steps}V{y(0):.1f}Z"

    parts = [
        f'<path d="{area(heights[:, i].tolist())}" fill="{LIGHT[LAYERS[i].colour]}"/>'
        for i in reversed(range(len(LAYERS)))
        if columns[:, i].any()
    ]
    line = y(budget)
    if heights.max(initial=0) > budget:
        over = "".join(
            f"M{_x(a, length):.1f} {line:.1f}V{y(h):.1f}H{_x(b, length):.1f}V{line:.1f}Z"
            for h, a, b in zip(heights[:, -1].tolist(), edges, edges[1:], strict=False)
            if h > budget
        )
        parts.append(f'<path d="{over}" fill="{LIGHT["bad"]}"/>')
    if line > top - GAP:
        parts.append(
            f'<path d="M{LEFT} {line:.1f}H{RIGHT}" stroke="{LIGHT["accent"]}" stroke-width="1.4" '
            'stroke-dasharray="5 3" fill="none"/>'
        )
    return [*parts, f'<path d="M{LEFT} {y(0):.1f}H{RIGHT}" stroke="{LIGHT["muted"]}" fill="none"/>']


def lane_columns(
    lane: RankLane, row: int, times: Sequence[tuple[float, float]], length: float
) -> tuple[list[float], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Divide the time axis of a lane into columns; return their edges, and the bytes of each layer in each column.

    A lane is an element of ``board.lanes``: ranks with equal memory use. A layer is a kind of memory, such as
    parameters; ``LAYERS`` of :mod:`recompviz.core.ranks.rank_layers` lists the layers.

    Between two passes the rank waits. Its memory is then what it was at the end of the earlier pass.

    Parameters
    ----------
    lane : RankLane
    row : int
        The row of the lane's plans.
    times : sequence of (float, float)
        The start and the end of each pass, in the unit of ``length``.
    length : float
        The end of the time axis.
    """
    count = lane.layers.shape[2] - 1
    edges, rows = [0.0], []
    held = np.asarray(lane.before, np.float64)
    for i, (start, stop) in enumerate(times):
        if start > edges[-1]:
            edges.append(start)
            rows.append(held)
        edges += [start + (stop - start) * (k + 1) / count for k in range(count)]
        rows += [np.asarray(lane.layers[row, i, k], np.float64) for k in range(count)]
        held = np.asarray(lane.layers[row, i, count], np.float64)
    if length > edges[-1]:
        edges.append(length)
        rows.append(held)
    return edges, np.array(rows)


def _legend(board: RankBoard, y: float) -> list[str]:
    parts, x = [], 14.0
    for i in reversed(board.shown_layers):
        parts += [_rect(x, y - 9, 10, 10, LAYERS[i].colour), _text(x + 15, y, LAYERS[i].text, 11.5)]
        x += 15 + 6.4 * len(LAYERS[i].text) + 14
    return parts
