"""The Explorer as one static SVG, for pages where widgets cannot show.

It shows the same three things for one choice: the graph with keep and recompute, the trade-off curve
with the plan, and the timeline by category. Light colours on a white ground, so that it is legible anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import count

import numpy as np

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.reports.figures import COLOURS
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.explorer.labels import short_label
from recompviz.widgets.layout.layout import NODE, Layout

WIDTH = 1000.0
KEEP, RECOMPUTE, ACCENT = LIGHT["keep"], LIGHT["recompute"], LIGHT["accent"]
TEXT, MUTED, SURFACE = LIGHT["text"], LIGHT["muted"], LIGHT["surface"]
# above this many nodes labels and single edges would make the picture megabytes
DETAILED = 1_000
_COLUMNS = 500
_numbers = count(1)


def picture(
    graph: Graph, layout: Layout, plan: Plan, timeline: Timeline, table: PlanTable, title: str, device: str
) -> str:
    """One choice as a self-contained SVG document."""
    hatch = f"recompviz-hatch-{next(_numbers)}"  # several pictures may share a page
    scale = min(1.2, (WIDTH - 24) / max(layout.width, 1.0), 900 / max(layout.height, 1.0))
    graph_height = layout.height * scale + 40
    height = 58 + graph_height + 230
    forward = float(graph.time.sum())
    share = f" = {plan.overhead / forward:.0%} of the forward" if forward else ""
    facts = (
        f"peak {format_bytes(timeline.peak)} total bytes · {format_bytes(plan.peak)} formula bytes · "
        f"overhead {plan.overhead:g} time units{share} · "
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
    width, height = NODE
    parts = []
    for v in range(len(graph)):
        x, y = layout.nodes[v]
        shade = LIGHT[f"band-{plan.segment[v] % 2}"]
        parts.append(
            f'<rect x="{x - 23.2:.1f}" y="{y - height / 2 - 4.5:.1f}" width="46.4" height="{height + 9:g}" '
            f'fill="{shade}"/>'
        )
    lines = []
    for e in range(len(graph.edges)):
        points = layout.points[layout.offsets[e] : layout.offsets[e + 1]]
        lines.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    parts.append(
        f'<path d="{"".join(lines)}" fill="none" stroke="{LIGHT["edge"]}" stroke-width="1.3" stroke-linejoin="round"/>'
    )
    for v in range(len(graph)):
        x, y = layout.nodes[v]
        kept = bool(plan.keep_mask[v])
        fill = KEEP if kept else f"url(#{hatch})"
        stroke = LIGHT["keep-line"] if kept else RECOMPUTE
        ink = LIGHT["on-keep" if kept else "on-recompute"]
        dash = "" if kept else ' stroke-dasharray="3.5 2"'
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:g}" height="{height:g}" rx="5" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="1.4"{dash}/>'
        )
        if len(graph) <= DETAILED:
            label = short_label(graph.info[v].op) if graph.info[v].op else str(graph.names[v])[:6]
            parts.append(_text(x, y + 3.6, label, ink, size=10.5, weight=560, anchor="middle"))
    return parts


def _curve_parts(table: PlanTable, plan: Plan, timeline: Timeline, forward: float) -> list[str]:
    left, right, top, bottom = 50.0, 390.0, 34.0, 190.0
    least, most = table.least_total, int(table.total_peaks.max())
    span = max(most - least, 1)
    low, high = least - 0.25 * span, most + 0.06 * span
    tallest = max(max(row.overhead for row in table.plans), 1e-9) * 1.1

    def x(total: float) -> float:
        return left + (total - low) / (high - low) * (right - left)

    def y(overhead: float) -> float:
        return bottom - overhead / tallest * (bottom - top)

    dots = "".join(
        f"M{x(total):.1f} {y(row.overhead):.1f}h0" for total, row in zip(table.total_peaks, table.plans, strict=True)
    )
    parts = [
        _text(14, 16, "Trade-off: extra time against peak (total bytes)", TEXT, weight=650),
        f'<rect x="{left}" y="{top}" width="{x(least) - left:.1f}" height="{bottom - top}" fill="{MUTED}" '
        'fill-opacity="0.13"/>',
        _text((left + x(least)) / 2, top + 14, "infeasible", MUTED, size=10.5, anchor="middle"),
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{MUTED}"/>',
        f'<path d="{dots}" stroke="{RECOMPUTE}" stroke-width="5" stroke-linecap="round"/>',
        f'<circle cx="{x(timeline.peak):.1f}" cy="{y(plan.overhead):.1f}" r="6" fill="{ACCENT}" stroke="{SURFACE}" '
        'stroke-width="2"/>',
    ]
    for total in (least, most):
        parts.append(_text(x(total), bottom + 15, format_bytes(total), MUTED, size=10.5, anchor="middle"))
    for overhead in (0.0, tallest / 1.1):
        label = f"{overhead / forward:.0%}" if forward else "0%"
        parts.append(_text(left - 5, y(overhead) + 4, label, MUTED, size=10.5, anchor="end"))
    return parts


def _timeline_parts(timeline: Timeline) -> list[str]:
    left, right, top, bottom = 470.0, 985.0, 34.0, 160.0
    bands = timeline.bands
    steps = len(bands)
    parts = [_text(430, 16, "Memory over the step (total bytes)", TEXT, weight=650)]
    if steps == 0:
        return parts
    columns = _columns(bands.sum(1), min(steps, _COLUMNS))
    tallest = timeline.peak * 1.08
    edges = left + np.arange(len(columns) + 1) * (right - left) / len(columns)
    low = np.zeros(len(columns))
    legend: list[tuple[str, str]] = []
    for category in Category:
        values = bands[columns, category] + timeline.static_bytes.get(category, 0)
        if not values.any():
            continue
        high = low + values
        up = [
            f"{a:.1f} {bottom - h / tallest * (bottom - top):.1f}L{b:.1f} {bottom - h / tallest * (bottom - top):.1f}"
            for a, b, h in zip(edges, edges[1:], high, strict=False)
        ]
        down = [
            f"{b:.1f} {bottom - h / tallest * (bottom - top):.1f}L{a:.1f} {bottom - h / tallest * (bottom - top):.1f}"
            for a, b, h in zip(edges, edges[1:], low, strict=False)
        ][::-1]
        parts.append(f'<path d="M{"L".join([*up, *down])}Z" fill="{COLOURS[category]}"/>')
        legend.append((COLOURS[category], category.label))
        low = high
    peak_x = left + (timeline.peak_step + 0.5) / steps * (right - left)
    peak_y = bottom - timeline.peak / tallest * (bottom - top)
    anchor = "end" if peak_x > (left + right) / 2 else "start"
    parts.append(f'<path d="M{peak_x:.1f} {peak_y:.1f}l-4 -7h8Z" fill="{TEXT}"/>')
    offset = -8 if anchor == "end" else 8
    parts.append(
        _text(
            peak_x + offset, peak_y - 2, f"peak {format_bytes(timeline.peak)}", TEXT, size=11, weight=620, anchor=anchor
        )
    )
    parts.append(f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{MUTED}"/>')
    parts.append(_text(left - 5, bottom + 4, "0", MUTED, size=10.5, anchor="end"))
    x, y = left, bottom + 22
    for colour, label in legend:
        if x + 16 + 6.2 * len(label) > right:
            x, y = left, y + 17
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 14, y, label, MUTED, size=11))
        x += 26 + 6.2 * len(label)
    return parts


def _columns(totals: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]], columns: int) -> list[int]:
    """For each column the step with the most bytes in it."""
    n = len(totals)
    return [
        a + int(np.argmax(totals[a : max(a + 1, (c + 1) * n // columns)]))
        for c in range(columns)
        for a in (c * n // columns,)
    ]
