"""The Explorer as one static SVG picture, for pages that cannot show widgets.

The picture shows one plan: the graph with kept and recomputed values, the trade-off curve with the plan's point, and
the simulated memory over the training step by category. The picture has dark text on a white background, so that it is
legible on any page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes, format_cost
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.reports.figures import COLOURS
from recompviz.core.steps.joint import Category
from recompviz.core.steps.places import places_of
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.explorer.labels import short_label
from recompviz.widgets.layout.layout import NODE, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 1000.0
KEEP, RECOMPUTE, ACCENT = LIGHT["keep"], LIGHT["recompute"], LIGHT["accent"]
TEXT, MUTED, SURFACE = LIGHT["text"], LIGHT["muted"], LIGHT["surface"]
# Above this many nodes, labels would make the picture several megabytes.
DETAILED = 1_000
# The most columns of the timeline.
COLUMNS = 500
# Makes the names of patterns unique, since several pictures may share a page.
_numbers = count(1)


@dataclass(frozen=True)
class Frame:
    """The rectangle of a diagram in the coordinates of the picture, which grow to the right and downwards.

    Attributes
    ----------
    left, right, top, bottom : float
        The coordinates of the four sides.
    """

    left: float
    right: float
    top: float
    bottom: float

    def x(self, share: float) -> float:
        """Return the x coordinate at a share of the width: 0 is the left side, 1 the right side."""
        return self.left + share * (self.right - self.left)

    def y(self, share: float) -> float:
        """Return the y coordinate at a share of the height: 0 is the lower side, 1 the upper side."""
        return self.bottom - share * (self.bottom - self.top)

    @property
    def axes(self) -> str:
        """The left and the lower side of the rectangle, as an SVG path."""
        path = f"M{self.left} {self.top}V{self.bottom}H{self.right}"
        return f'<path d="{path}" fill="none" stroke="{MUTED}"/>'


CURVE = Frame(50.0, 390.0, 34.0, 190.0)
TIMELINE = Frame(470.0, 985.0, 34.0, 160.0)


def picture(
    graph: Graph,
    layout: Layout,
    plan: Plan,
    timeline: Timeline,
    table: PlanTable,
    title: str,
    device: str,
    cost_unit: str = "time units",
) -> str:
    """Draw one plan as a self-contained SVG document.

    Parameters
    ----------
    graph : Graph
    layout : Layout
        The positions of the nodes and edges.
    plan : Plan
        The plan whose kept and recomputed values are shown.
    timeline : Timeline
        The simulated memory of one training step under this plan.
    table : PlanTable
        The plans that are shown as points of the trade-off curve.
    title, device : str
        The heading of the picture is "``title`` on ``device``".
    cost_unit : str
        The unit of ``graph.time``.

    Returns
    -------
    str
        The SVG text.
    """
    hatch = f"recompviz-hatch-{next(_numbers)}"
    scale = min(1.2, (WIDTH - 24) / max(layout.width, 1.0), 900 / max(layout.height, 1.0))
    graph_height = layout.height * scale + 40
    height = 58 + graph_height + 230
    forward = float(graph.time.sum())
    share = f" = {plan.overhead / forward:.0%} of the forward" if forward else ""
    facts = (
        f"peak {format_bytes(timeline.peak)} total bytes · {format_bytes(plan.peak)} formula bytes · "
        f"overhead {format_cost(plan.overhead)} {cost_unit}{share} · "
        f"{int((~plan.keep_mask).sum())} of {len(graph)} values recomputed"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" style="max-width:{WIDTH:.0f}px;background:{SURFACE}">',
        f"<title>{escape(title)} on {escape(device)}: {escape(facts)}</title>",
        f'<defs><pattern id="{hatch}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{LIGHT["recompute-ground"]}"/>'
        f'<rect width="2.2" height="6" fill="{LIGHT["recompute-hatch"]}"/></pattern></defs>',
        f'<rect width="{WIDTH:.0f}" height="{height:.0f}" fill="{SURFACE}"/>',
        _text(14, 24, f"{title} on {device}", TEXT, size=16, weight=650),
        _text(14, 44, facts, MUTED),
        f'<g transform="translate({(WIDTH - layout.width * scale) / 2:.1f} 66) scale({scale:.4f})">',
        *_graph_parts(graph, layout, plan, hatch),
        "</g>",
        f'<g transform="translate(0 {58 + graph_height:.1f})">',
        *_curve_parts(table, plan, timeline, forward),
        *_timeline_parts(timeline),
        "</g>",
        "</svg>",
    ]
    return "".join(parts)


def _text(
    x: float, y: float, text: str, fill: str, *, size: float = 12, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _graph_parts(graph: Graph, layout: Layout, plan: Plan, hatch: str) -> list[str]:
    nodes = range(len(graph))
    return [
        *(_band(layout, plan, v) for v in nodes),
        _edges(graph, layout),
        *(part for v in nodes for part in _box(graph, layout, plan, v, hatch)),
    ]


def _band(layout: Layout, plan: Plan, v: int) -> str:
    """Draw the background of a node. Its shade tells whether the number of the node's segment is odd or even."""
    x, y = layout.nodes[v]
    height = NODE[1]
    return (
        f'<rect x="{x - 23.2:.1f}" y="{y - height / 2 - 4.5:.1f}" width="46.4" height="{height + 9:g}" '
        f'fill="{LIGHT[f"band-{plan.segment[v] % 2}"]}"/>'
    )


def _edges(graph: Graph, layout: Layout) -> str:
    """Draw all edges as one path."""
    lines = []
    for e in range(len(graph.edges)):
        points = layout.points[layout.offsets[e] : layout.offsets[e + 1]]
        lines.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    return (
        f'<path d="{"".join(lines)}" fill="none" stroke="{LIGHT["edge"]}" stroke-width="1.3" stroke-linejoin="round"/>'
    )


def _box(graph: Graph, layout: Layout, plan: Plan, v: int, hatch: str) -> list[str]:
    """Draw the box of a node, with its label if the graph is small enough."""
    width, height = NODE
    x, y = layout.nodes[v]
    kept = bool(plan.keep_mask[v])
    fill = KEEP if kept else f"url(#{hatch})"
    stroke = LIGHT["keep-line"] if kept else RECOMPUTE
    dash = "" if kept else ' stroke-dasharray="3.5 2"'
    box = (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:g}" height="{height:g}" rx="5" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.4"{dash}/>'
    )
    if len(graph) > DETAILED:
        return [box]
    label = short_label(graph.info[v].op) if graph.info[v].op else str(graph.names[v])[:6]
    colour = LIGHT["on-keep" if kept else "on-recompute"]
    return [box, _text(x, y + 3.6, label, colour, size=10.5, weight=560, anchor="middle")]


def _curve_parts(table: PlanTable, plan: Plan, timeline: Timeline, forward: float) -> list[str]:
    frame, least, most = CURVE, table.least_total, int(table.total_peaks.max())
    span = max(most - least, 1)
    low, high = least - 0.25 * span, most + 0.06 * span
    tallest = max(max(row.overhead for row in table.plans), 1e-9) * 1.1

    def x(total: float) -> float:
        return frame.x((total - low) / (high - low))

    def y(overhead: float) -> float:
        return frame.y(overhead / tallest)

    dots = "".join(
        f"M{x(total):.1f} {y(row.overhead):.1f}h0" for total, row in zip(table.total_peaks, table.plans, strict=True)
    )
    parts = [
        _text(14, 16, "Trade-off: extra time against peak (total bytes)", TEXT, weight=650),
        f'<rect x="{frame.left}" y="{frame.top}" width="{x(least) - frame.left:.1f}" '
        f'height="{frame.bottom - frame.top}" fill="{MUTED}" fill-opacity="0.13"/>',
        _text((frame.left + x(least)) / 2, frame.top + 14, "infeasible", MUTED, size=10.5, anchor="middle"),
        frame.axes,
        f'<path d="{dots}" stroke="{RECOMPUTE}" stroke-width="5" stroke-linecap="round"/>',
        f'<circle cx="{x(timeline.peak):.1f}" cy="{y(plan.overhead):.1f}" r="6" fill="{ACCENT}" stroke="{SURFACE}" '
        'stroke-width="2"/>',
    ]
    for total in (least, most):
        parts.append(_text(x(total), frame.bottom + 15, format_bytes(total), MUTED, size=10.5, anchor="middle"))
    for overhead in (0.0, tallest / 1.1):
        label = f"{overhead / forward:.0%}" if forward else "0%"
        parts.append(_text(frame.left - 5, y(overhead) + 4, label, MUTED, size=10.5, anchor="end"))
    return parts


def _timeline_parts(timeline: Timeline) -> list[str]:
    title = _text(430, 16, "Memory over the step (total bytes)", TEXT, weight=650)
    if len(timeline.bands) == 0:
        return [title]
    shown = [category for category in Category if _has(timeline, category)]
    return [
        title,
        *_category_areas(timeline, shown),
        *_peak_mark(timeline),
        TIMELINE.axes,
        _text(TIMELINE.left - 5, TIMELINE.bottom + 4, "0", MUTED, size=10.5, anchor="end"),
        *_legend(shown),
    ]


def _has(timeline: Timeline, category: Category) -> bool:
    return bool(timeline.static_bytes.get(category, 0)) or bool(timeline.bands[:, category].any())


def _category_areas(timeline: Timeline, shown: Sequence[Category]) -> list[str]:
    """Draw the stacked areas of the categories, in columns of equal width."""
    bands = timeline.bands
    columns = _columns(bands.sum(1), places_of(timeline))
    edges = TIMELINE.left + np.arange(len(columns) + 1) * (TIMELINE.right - TIMELINE.left) / len(columns)
    tallest = timeline.peak * 1.08
    low = np.zeros(len(columns))
    parts = []
    for category in shown:
        high = low + bands[columns, category] + timeline.static_bytes.get(category, 0)
        up, down = ([TIMELINE.y(total / tallest) for total in side] for side in (high, low))
        columns_up = [f"{a:.1f} {y:.1f}L{b:.1f} {y:.1f}" for a, b, y in zip(edges, edges[1:], up, strict=False)]
        columns_down = [f"{b:.1f} {y:.1f}L{a:.1f} {y:.1f}" for a, b, y in zip(edges, edges[1:], down, strict=False)]
        parts.append(f'<path d="M{"L".join([*columns_up, *columns_down[::-1]])}Z" fill="{COLOURS[category]}"/>')
        low = high
    return parts


def _peak_mark(timeline: Timeline) -> list[str]:
    """Draw a mark and a label at the peak."""
    places = places_of(timeline)
    share = (int(places[timeline.peak_step]) + 0.5) / (int(places[-1]) + 1)
    x, y = TIMELINE.x(share), TIMELINE.y(1 / 1.08)
    anchor, offset = ("end", -8) if share > 0.5 else ("start", 8)
    return [
        f'<path d="M{x:.1f} {y:.1f}l-4 -7h8Z" fill="{TEXT}"/>',
        _text(x + offset, y - 2, f"peak {format_bytes(timeline.peak)}", TEXT, size=11, weight=620, anchor=anchor),
    ]


def _legend(shown: Sequence[Category]) -> list[str]:
    parts = []
    x, y = TIMELINE.left, TIMELINE.bottom + 22
    for category in shown:
        width = 6.2 * len(category.label)
        if x + 16 + width > TIMELINE.right:
            x, y = TIMELINE.left, y + 17
        colour = COLOURS[category]
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 14, y, category.label, MUTED, size=11))
        x += 26 + width
    return parts


def _columns(totals: NDArray[np.int64], places: NDArray[np.int64]) -> list[int]:
    """Split the places of the steps into equal parts, and return the step with the most bytes of each part."""
    count = int(places[-1]) + 1
    columns = min(count, COLUMNS)
    ends = np.searchsorted(places, [c * count // columns for c in range(columns + 1)])
    return [int(a) + int(np.argmax(totals[a:b])) for a, b in pairwise(ends)]
