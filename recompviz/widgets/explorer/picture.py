"""The Explorer as one static SVG picture, for pages that cannot show widgets.

The picture shows one plan: the trade-off curve with the plan's point, the memory landscape, and below them the graph
with the state of each value, in the colours of the page. Segments and formula bytes are shown only in the paper's
view. A graph whose labels would be too small to read is folded by module, as the page opens it. The picture has dark
text on a white background, so that it is legible on any page.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape
from itertools import count, pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes, format_cost
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.timeline import Timeline
from recompviz.core.steps.value_states import ValueState
from recompviz.widgets.explorer.labels import fitted, node_labels, squeezed
from recompviz.widgets.explorer.landscape_picture import PlotArea, landscape_parts, svg_text
from recompviz.widgets.explorer.shown_values import ShownValues
from recompviz.widgets.explorer.time_base import TimeBase, milliseconds_of
from recompviz.widgets.layout.folded import Folded, fold
from recompviz.widgets.layout.layout import NODE, VIEW, Layout
from recompviz.widgets.layout.modules import collapse_above, module_tree
from recompviz.widgets.layout.wrapped import MOST_HEIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from recompviz.core.reports.run_report import RunReport

WIDTH = 1000.0
KEEP, RECOMPUTE, ACCENT = LIGHT["keep"], LIGHT["recompute"], LIGHT["accent"]
TEXT, MUTED, SURFACE = LIGHT["text"], LIGHT["muted"], LIGHT["surface"]
# the colour of a label for each state of its value
TEXTS = {
    ValueState.KEPT: LIGHT["on-keep"],
    ValueState.RECOMPUTED: LIGHT["on-recompute"],
    ValueState.UNNEEDED: TEXT,
}
# Above this many nodes, labels would make the picture several megabytes.
DETAILED = 1_000
# Makes the names of patterns unique, since several pictures may share a page.
_numbers = count(1)


LEAST_RANGE = 0.01
# the font size of a label in the graph, and the height of the charts above the graph, in pixels
LABEL, CHARTS = 10.5, 250.0
# the font sizes of the two lines in a box of a folded graph, and the least size of letters that can be read
NAME, FACT, LEAST_LETTERS = 12.0, 11.0, 9.0
# letters that are not bold are narrower by this factor
REGULAR_SHARE = 0.85
# the widths of lines in the graph
LINE, THIN = 1.3, 0.8
# of the label of a value in its box in a folded graph, which is wider than that of a small graph
VALUE_LETTERS = 9
REGULAR = 400  # SVG's font-weight
CURVE = PlotArea(50.0, 390.0, 34.0, 190.0)


def picture(
    graph: Graph,
    layout: Layout,
    plan: Plan,
    values: ShownValues,
    timeline: Timeline,
    table: PlanTable,
    title: str,
    device: str,
    cost_unit: str = "time units",
    base: TimeBase | None = None,
    *,
    budget: float | None = None,
    most: int | None = None,
    keep_all: NDArray[np.float32] | None = None,
    report: RunReport | None = None,
    theory: bool = False,
    caption: str = "",
) -> str:
    """Draw one plan as a self-contained SVG document.

    Parameters
    ----------
    graph : Graph
    layout : Layout
        The positions of the nodes and edges.
    plan : Plan
        The plan that is shown.
    values : ShownValues
        What the plan does with each value.
    timeline : Timeline
        The simulated memory of one training step under this plan.
    table : PlanTable
        The plans that are shown as points of the trade-off curve.
    title, device : str
        The heading of the picture is "``title`` on ``device``".
    cost_unit : str
        The unit of ``graph.time``.
    base : TimeBase, optional
        What extra time is a share of. If None, the forward pass.
    budget : float, optional
        Total bytes, drawn as a line. If None, there is no line.
    most : int, optional
        The total peak of the plan that keeps every value, where the axis of the trade-off curve ends, as in the page.
        If None, the axis ends at the largest total peak of ``table``.
    keep_all : numpy.ndarray of float32, optional
        The outline of the plan that keeps every value, from :attr:`PlanTable.outlines`. If None, it is not drawn.
    report : RunReport, optional
        The newest run of the plan. Its measured memory is drawn over the simulated memory, and one or two lines of text
        have its figures. If None, the picture has only predictions.
    theory : bool
        Whether the segments and the peak by the paper's formula are shown.
    caption : str
        A line of text at the end of the picture.

    Returns
    -------
    str
        The SVG text.
    """
    hatch = f"recompviz-hatch-{next(_numbers)}"
    folded = _folded(graph, layout)
    if folded is not None:
        layout = folded.layout
    # the boxes of a folded graph are always legible, however high the picture becomes
    scale = _scale(layout) if folded is None else _scale(layout, inf)
    graph_height = layout.height * scale + 40
    measured = [] if report is None else measured_lines(report, timeline)
    above = 58 + 18 * len(measured)
    height = above + CHARTS + graph_height + (18 if caption else 0)
    base = base or TimeBase(float(graph.time.sum()), "the forward")
    share = f" ({part})" if (part := base.share(plan.overhead)) else ""
    formula = f"{format_bytes(plan.peak)} formula bytes, grey bands are segments · " if theory else ""
    facts = (
        f"peak {format_bytes(timeline.peak)} total bytes · {formula}"
        f"{_extra(plan.overhead, cost_unit)}{share} · "
        f"{values.counts}"
    )
    told = "; ".join([facts, *measured])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" style="max-width:{WIDTH:.0f}px;background:{SURFACE}">',
        f"<title>{escape(title)} on {escape(device)}: {escape(told)}</title>",
        f'<defs><pattern id="{hatch}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{LIGHT["recompute-ground"]}"/>'
        f'<rect width="2.2" height="6" fill="{LIGHT["recompute-hatch"]}"/></pattern></defs>',
        f'<rect width="{WIDTH:.0f}" height="{height:.0f}" fill="{SURFACE}"/>',
        svg_text(14, 24, f"{title} on {device}", TEXT, size=16, weight=650),
        svg_text(14, 44, facts, MUTED, more=squeezed(facts, REGULAR_SHARE * 12, WIDTH - 28)),
        *(svg_text(14, 62 + 18 * i, words, TEXT) for i, words in enumerate(measured)),
        f'<g transform="translate(0 {above})">',
        *_curve_parts(table, plan, timeline, base, budget, most or 0),
        *landscape_parts(graph, timeline, budget, keep_all, hatch, None if report is None else report.measured),
        "</g>",
        f'<g transform="translate({(WIDTH - layout.width * scale) / 2:.1f} {above + CHARTS:.1f}) scale({scale:.4f})">',
        *(
            _graph_parts(graph, layout, plan, values, hatch, theory)
            if folded is None
            else _folded_parts(graph, folded, values, hatch)
        ),
        "</g>",
        svg_text(14, height - 10, caption, MUTED) if caption else "",
        "</svg>",
    ]
    return "".join(parts)


def measured_lines(report: RunReport, predicted: Timeline) -> list[str]:
    """Return the results of a run as one or two lines of text.

    The first line has the measured peak, the error of the predicted peak, and whether the gradients were certified. The
    second line has the times, if they were measured.
    """
    badge = "gradients checked" if report.certified else "gradients NOT certified"
    off = f"{abs(report.deviation(predicted)):.2%} off"
    peak = f"measured on {report.device}: peak {format_bytes(report.measured.peak)}, {off} · {badge}"
    return [peak] if report.times is None else [peak, f"measured {report.times}"]


def _scale(layout: Layout, highest: float = MOST_HEIGHTS * VIEW[1]) -> float:
    """Return the scale at which a layout fits into the picture: a graph that the page wraps legibly is legible here."""
    return min(1.2, (WIDTH - 24) / max(layout.width, 1.0), highest / max(layout.height, 1.0))


def _folded(graph: Graph, layout: Layout) -> Folded | None:
    """Return the graph folded by module if the page opens it so, or if its labels would be too small to read."""
    modules = module_tree(graph)
    small = LABEL * _scale(layout) < LEAST_LETTERS
    if len(modules) > 1 and (small or len(graph) > collapse_above(graph, modules)):
        return fold(graph, modules)
    return None


def _folded_parts(graph: Graph, folded: Folded, values: ShownValues, hatch: str) -> list[str]:
    """Draw the boxes of a folded graph: name, bytes held until the backward pass, and a bar with the share kept."""
    labels = node_labels(graph)
    routes = np.split(folded.layout.points, folded.layout.offsets[1:-1])
    by_width = [
        [line for line, thin in zip(routes, folded.thin, strict=True) if thin == kind] for kind in (False, True)
    ]
    parts = [_lines(by_width[0], LINE), _lines(by_width[1], THIN)]
    boxes = zip(folded.names, folded.nodes, folded.sizes, folded.layout.nodes.tolist(), strict=True)
    for name, nodes, (width, height), (x, y) in boxes:
        members = list(nodes)
        if not name:
            state = ValueState(values.states[nodes[0]])
            parts.append(_one_box((width, height), x, y, state, hatch))
            parts.append(_box_text(x, y + 4, fitted(labels[nodes[0]], VALUE_LETTERS), TEXTS[state], width))
            continue
        kept, held = int(values.kept[members].sum()), int(values.held[members].sum())
        runs_again = bool((values.states[members] == ValueState.RECOMPUTED).any())
        left, room = x - width / 2, width - 12
        bar = f'<rect x="{left + 6:.1f}" y="{y + height / 2 - 7:.1f}" width="{{:.1f}}" height="4.5" rx="2" {{}}/>'
        if not held and not kept:
            stroke, dash = MUTED, ""
            bars = [bar.format(room, f'fill="none" stroke="{LIGHT["line"]}" stroke-width="0.6"')]
        else:
            none = runs_again and not kept
            stroke, dash = (RECOMPUTE, ' stroke-dasharray="3.5 2"') if none else (LIGHT["keep-line"], "")
            bars = [
                bar.format(room, f'fill="url(#{hatch})" stroke="{RECOMPUTE}" stroke-width="0.6"'),
                bar.format(room * (min(1.0, kept / held) if held else 1.0), f'fill="{KEEP}"'),
            ]
        fact = _kept_text(kept, held)
        parts += [
            f'<rect x="{left:.1f}" y="{y - height / 2:.1f}" width="{width:g}" height="{height:.1f}" rx="5" '
            f'fill="{SURFACE}" stroke="{stroke}" stroke-width="1.4"{dash}/>',
            *bars,
            _box_text(x, y - 5.5, name, TEXT, width),
            _box_text(x, y + 7.5, fact, TEXT, width, FACT, REGULAR),
        ]
    return parts


def _kept_text(kept: int, held: int) -> str:
    """Return the bytes that a module keeps, in words as on the page: the share of what it holds if all is kept."""
    if kept > held:
        return f"{format_bytes(kept)} kept"
    if not held:
        return "holds no memory"
    share = kept / held
    percent = f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"
    return f"{percent} of {format_bytes(held)} kept"


def _box_text(x: float, y: float, words: str, fill: str, width: float, size: float = NAME, weight: int = 560) -> str:
    """Return a line of text in a box of a folded graph, squeezed if it may be wider than the box."""
    # the width is estimated for a bold font
    more = squeezed(words, size if weight > REGULAR else REGULAR_SHARE * size, width - 6)
    return svg_text(x, y, words, fill, size=size, weight=weight, anchor="middle", more=more)


def _graph_parts(graph: Graph, layout: Layout, plan: Plan, values: ShownValues, hatch: str, theory: bool) -> list[str]:
    nodes, labels = range(len(graph)), node_labels(graph)
    return [
        *(_band(layout, plan, v) for v in nodes if theory),
        _edges(layout),
        *(part for v in nodes for part in _box(graph, layout, ValueState(values.states[v]), v, labels[v], hatch)),
    ]


def _band(layout: Layout, plan: Plan, v: int) -> str:
    """Draw the background of a node. Its shade tells whether the number of the node's segment is odd or even."""
    x, y = layout.nodes[v]
    height = NODE[1]
    return (
        f'<rect x="{x - 23.2:.1f}" y="{y - height / 2 - 4.5:.1f}" width="46.4" height="{height + 9:g}" '
        f'fill="{LIGHT[f"band-{plan.segment[v] % 2}"]}"/>'
    )


def _edges(layout: Layout) -> str:
    """Draw all edges as one path."""
    lines = []
    for e in range(len(layout.offsets) - 1):
        points = layout.points[layout.offsets[e] : layout.offsets[e + 1]]
        lines.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    return _stroke("".join(lines), LINE)


def _lines(routes: Sequence[NDArray[np.float32]], width: float) -> str:
    """Draw lines as one path. What lies on each other is drawn once, since browsers draw it darker otherwise."""
    pieces: list[str] = []
    level: dict[tuple[int, float], list[tuple[float, float]]] = defaultdict(list)  # direction and place → from, to
    for route in routes:
        for (x, y), (u, v) in pairwise(np.round(route.astype(float), 1).tolist()):
            if y == v:
                level[0, y].append((min(x, u), max(x, u)))
            elif x == u:
                level[1, x].append((min(y, v), max(y, v)))
            else:
                pieces.append(f"M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}")
    for (direction, at), spans in level.items():
        joined: list[tuple[float, float]] = []
        for low, high in sorted(spans):
            if joined and low <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
            else:
                joined.append((low, high))
        pieces += [
            f"M{low:.1f} {at:.1f}H{high:.1f}" if direction == 0 else f"M{at:.1f} {low:.1f}V{high:.1f}"
            for low, high in joined
        ]
    return _stroke("".join(pieces), width)


def _stroke(path: str, width: float) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{LIGHT["edge"]}" stroke-width="{width:g}" stroke-linejoin="round" '
        'stroke-linecap="round"/>'
    )


def _box(graph: Graph, layout: Layout, state: ValueState, v: int, label: str, hatch: str) -> list[str]:
    """Draw the box of a node, with its label if the graph is small enough."""
    x, y = layout.nodes[v]
    box = _one_box(NODE, x, y, state, hatch)
    if len(graph) > DETAILED:
        return [box]
    label = fitted(label)
    more = squeezed(label, LABEL)
    return [box, svg_text(x, y + 3.6, label, TEXTS[state], size=LABEL, weight=560, anchor="middle", more=more)]


def _one_box(size: tuple[float, float], x: float, y: float, state: ValueState, hatch: str) -> str:
    """Draw the box of one value around a centre, without a label."""
    width, height = size
    fill, stroke, dash = {
        ValueState.KEPT: (KEEP, LIGHT["keep-line"], ""),
        ValueState.RECOMPUTED: (f"url(#{hatch})", RECOMPUTE, ' stroke-dasharray="3.5 2"'),
        ValueState.UNNEEDED: (LIGHT["module-ground"], MUTED, ""),
    }[state]
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:g}" height="{height:g}" rx="5" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.4"{dash}/>'
    )


def _curve_parts(
    table: PlanTable, plan: Plan, timeline: Timeline, base: TimeBase, budget: float | None, most: int
) -> list[str]:
    frame, least, most = CURVE, table.least_total, max(most, int(table.total_peaks.max()))
    # a smaller range of totals is nothing to trade, as in js/explorer/budget_axis.js
    span = max(most if most - least < LEAST_RANGE * most else most - least, 1)
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
        svg_text(14, 16, f"Trade-off: extra time, % of {base.name}, against peak", TEXT, weight=650),
        f'<rect x="{frame.left}" y="{frame.top}" width="{x(least) - frame.left:.1f}" '
        f'height="{frame.bottom - frame.top}" fill="{MUTED}" fill-opacity="0.13"/>',
        svg_text((frame.left + x(least)) / 2, frame.top + 14, "infeasible", MUTED, size=10.5, anchor="middle"),
        frame.axes,
        f'<path d="{dots}" stroke="{RECOMPUTE}" stroke-width="5" stroke-linecap="round"/>',
        _budget_mark(frame, x(budget)) if budget is not None and low <= budget <= high else "",
        f'<circle cx="{x(timeline.peak):.1f}" cy="{y(plan.overhead):.1f}" r="6" fill="{ACCENT}" stroke="{SURFACE}" '
        'stroke-width="2"/>',
    ]
    for total in (least, most):
        parts.append(svg_text(x(total), frame.bottom + 15, format_bytes(total), MUTED, size=10.5, anchor="middle"))
    for overhead in (0.0, tallest / 1.1):
        label = f"{overhead / base.time:.0%}" if base.time else "0%"
        parts.append(svg_text(frame.left - 5, y(overhead) + 4, label, MUTED, size=10.5, anchor="end"))
    return parts


def _budget_mark(frame: PlotArea, x: float) -> str:
    return (
        f'<path class="budget" d="M{x:.1f} {frame.top}V{frame.bottom}" stroke="{ACCENT}" stroke-width="1.5" '
        'stroke-dasharray="5 3"/>'
    )


def _extra(overhead: float, unit: str) -> str:
    """Return the overhead of a plan in words: a predicted time, or units of another cost."""
    short, _, origin = unit.partition(" (")
    if milliseconds_of(unit) is None:
        return f"overhead {format_cost(overhead)} {unit}"
    known = {
        "estimated)": ", by a roofline",
        "measured)": ", operators measured",
        "scaled)": ", scaled from the times at another size",
    }
    return f"predicted extra time {format_cost(overhead)} {short}{known.get(origin, '')}"
