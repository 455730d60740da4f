"""``compare_traces`` compares the graphs of two training steps, and draws both in one picture.

The picture has the nodes of both graphs. What both have is grey, and long unchanged stretches are one box with the
number of their values. New, gone, moved and changed values have a colour, a border and a sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes, parse_total
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.reports.graph_comparison import GraphComparison, compare_planners
from recompviz.widgets.base.static_output import image
from recompviz.widgets.explorer.labels import fitted, node_labels, squeezed
from recompviz.widgets.layout.layout import NODE, Layout, lay_out

if TYPE_CHECKING:
    from recompviz.pytorch.tracing.traced_step import Trace

# a longer unchanged stretch is drawn as one box
STRETCH = 3
WIDTH, HEAD, PAD = 1000.0, 40.0, 14.0
# state → colour in the palette, sign, and words of the legend
STATES = {
    "new": ("good", "+", "new"),
    "gone": ("bad", "−", "gone"),
    "moved": ("second", "↔", "moved to another module"),
    "changed": ("recompute", "Δ", "other shape or bytes"),
}


@dataclass(frozen=True)
class _Item:
    """A box of the picture: a node, or a stretch of unchanged nodes."""

    state: str
    label: str
    title: str


def compare_traces(
    before: Trace | Planner, after: Trace | Planner, *, total: int | float | str | None = None
) -> GraphComparison:
    """Compare the graphs of two training steps: before and after a change of the code.

    Values are matched by module, operator, shape and inputs, so that a new layer does not make all later values new.

    Parameters
    ----------
    before, after : Trace or Planner
    total : int, float or str, optional
        The largest number of bytes that the training step may take, or a text such as ``"10 GiB"``. If given, the
        recomputation of the best plans found for this total is compared as well.

    Returns
    -------
    GraphComparison
        It shows itself in a notebook: one sentence, one picture of both graphs, one table. ``.rows`` has every value
        that differs, ``.bytes_change`` and ``.time_change`` the cost of the change.

    Raises
    ------
    TypeError
        If ``before`` or ``after`` is neither a trace nor a planner, or ``total`` is neither a number nor a string.
    ValueError
        If ``total`` is not a size.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> def traced(*layers):
    ...     return rv.trace(torch.nn.Sequential(*layers), torch.ones(4, 8), targets=(torch.ones(4, 8),),
    ...                     loss=torch.nn.functional.mse_loss)
    >>> a, b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    >>> found = rv.compare_traces(traced(a, b), traced(a, torch.nn.ReLU(), b))
    >>> [(row.state, row.key, row.bytes_change) for row in found.of_state("new")]
    [('new', '1/relu', 128)]
    """
    planners = [_planner_of(name, step) for name, step in (("before", before), ("after", after))]
    limit = None if total is None else parse_total(total)
    unit = str(getattr(after, "cost_unit", "time units"))
    found = compare_planners(planners[0], planners[1], limit, unit)
    return replace(found, picture=image(comparison_svg(found), repr(found), beside_widget=False))


def _planner_of(name: str, step: Any) -> Planner:
    planner = step if isinstance(step, Planner) else getattr(step, "planner", None)
    if not isinstance(planner, Planner):
        raise TypeError(f"{name} is {type(step).__name__}, expected a trace from rv.trace, or a Planner")
    return planner


def comparison_svg(found: GraphComparison) -> str:
    """Return one picture of both graphs as SVG."""
    items, graph, kinds = _merged(found)
    layout = lay_out(graph, "wrapped" if len(graph) > 18 else None, seconds=0)
    scale = min((WIDTH - 2 * PAD) / layout.width, 1.25)
    height = HEAD + layout.height * scale + 2 * PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:.0f}" width="{WIDTH:g}" '
        f'font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH:g}" height="{height:.0f}" fill="{LIGHT["surface"]}"/>',
        *_legend(found),
        f'<g transform="translate({PAD + max(0.0, (WIDTH - 2 * PAD - layout.width * scale) / 2):.1f} {HEAD}) '
        f'scale({scale:.3f})">',
        *_lines(layout, kinds),
        *(part for i, item in enumerate(items) for part in _box(item, *layout.nodes[i])),
        "</g></svg>",
    ]
    return "".join(parts)


def _merged(found: GraphComparison) -> tuple[list[_Item], Graph, list[str]]:
    """Return the boxes of the picture, the graph of these boxes, and the state of each edge of this graph."""
    states = {row.after: row.state for row in found.rows if row.after >= 0}
    nodes: list[tuple[str, int, str]] = []  # graph, node, state; in running order
    gone = {row.before: row for row in found.of_state("gone")}
    last: dict[int, list[int]] = {}  # node of the second graph → the gone nodes after it
    at = -1
    for u in sorted([*found.matching.pairs, *gone]):
        if u in gone:
            last.setdefault(at, []).append(u)
        else:
            at = found.matching.pairs[u]
    nodes += [("before", u, "gone") for u in last.get(-1, [])]
    for v in range(len(found.after)):
        nodes.append(("after", v, states.get(v, "")))
        nodes += [("before", u, "gone") for u in last.get(v, [])]

    labels = {"before": node_labels(found.before), "after": node_labels(found.after)}
    items: list[_Item] = []
    box: dict[tuple[str, int], int] = {}
    start = 0
    while start < len(nodes):
        stop = start
        while stop < len(nodes) and not nodes[stop][2]:
            stop += 1
        if stop - start > STRETCH:
            keys = [found.after.info[v].key for _, v, _ in nodes[start:stop]]
            title = f"{len(keys)} unchanged values, from {keys[0]} to {keys[-1]}"
            items.append(_Item("", f"⋯{len(keys)}", title))
        else:
            stop = max(stop, start + 1)
            items += [_item(found, *nodes[i], labels) for i in range(start, stop)]
        for i in range(start, stop):
            box[nodes[i][:2]] = len(items) - (1 if stop - start > STRETCH else stop - i)
        start = stop

    edges: dict[tuple[int, int], str] = {}
    same = {(found.matching.pairs.get(u), found.matching.pairs.get(v)) for u, v in found.before.edges.tolist()}
    for u, v in found.after.edges.tolist():
        ends = box["after", u], box["after", v]
        if ends[0] < ends[1]:
            edges[ends] = edges.get(ends, "new") if (u, v) not in same else ""
    for u, v in found.before.edges.tolist():
        if u in gone or v in gone:
            places = [box["before", w] if w in gone else box["after", found.matching.pairs[w]] for w in (u, v)]
            if places[0] < places[1]:
                edges.setdefault((places[0], places[1]), "gone")
    names = list(range(len(items)))
    graph = Graph.from_edges(list(edges), memory=dict.fromkeys(names, 1), time=dict.fromkeys(names, 1))
    kinds = [edges[u, v] for u, v in graph.edges.tolist()]
    return items, graph, kinds


def _item(found: GraphComparison, graph: str, v: int, state: str, labels: Mapping[str, Sequence[str]]) -> _Item:
    info = (found.after if graph == "after" else found.before).info[v]
    row = next((row for row in found.rows if (row.after if graph == "after" else row.before) == v and row.state), None)
    cost = f", {'+' if row.bytes_change >= 0 else '−'}{format_bytes(abs(row.bytes_change))}" if state and row else ""
    return _Item(state, fitted(labels[graph][v]), f"{state or 'unchanged'}: {info.key}{cost}")


def _legend(found: GraphComparison) -> list[str]:
    parts = []
    x = PAD
    for state, (colour, sign, words) in STATES.items():
        count = len(found.of_state(state))
        parts.append(
            f'<text x="{x:.0f}" y="22" font-size="13" font-weight="650" fill="{LIGHT[colour]}">{sign}</text>'
            f'<text x="{x + 15:.0f}" y="22" font-size="12.5" fill="{LIGHT["muted"]}">{words} ({count})</text>'
        )
        x += 48 + 7.2 * len(words)
    parts.append(f'<text x="{x:.0f}" y="22" font-size="12.5" fill="{LIGHT["muted"]}">⋯ N: unchanged values</text>')
    return parts


def _lines(layout: Layout, kinds: Sequence[str]) -> list[str]:
    found = []
    for e, kind in enumerate(kinds):
        points = layout.points[layout.offsets[e] : layout.offsets[e + 1]]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        colour = LIGHT[STATES[kind][0]] if kind else LIGHT["edge"]
        dash = ' stroke-dasharray="4 3"' if kind == "gone" else ""
        found.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{1.8 if kind else 1.3}"{dash}/>')
    return found


def _box(item: _Item, x: float, y: float) -> list[str]:
    width, height = NODE
    colour, sign, _ = STATES.get(item.state, ("muted", "", ""))
    text = LIGHT[colour] if item.state != "changed" else LIGHT["on-recompute"]
    fill = {"new": LIGHT["hue-1"], "changed": LIGHT["recompute-ground"], "moved": LIGHT["hue-2"]}.get(
        item.state, LIGHT["surface"] if item.state == "gone" else LIGHT["quiet"]
    )
    dash = ' stroke-dasharray="4 2.5"' if item.state == "gone" else ""
    strike = ' text-decoration="line-through"' if item.state == "gone" else ""
    parts = [
        f"<g><title>{escape(item.title)}</title>",
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:g}" height="{height:g}" rx="5" '
        f'fill="{fill}" stroke="{LIGHT[colour]}" stroke-width="{2 if item.state else 1}"{dash}/>',
        f'<text x="{x:.1f}" y="{y + 4:.1f}" font-size="11" font-weight="560" '
        f'text-anchor="middle"{squeezed(item.label, 11)} '
        f'fill="{LIGHT["text"] if item.state in ("new", "moved") else text}"{strike}>{escape(item.label)}</text>',
    ]
    if sign:
        parts.append(
            f'<text x="{x + width / 2 - 2:.1f}" y="{y - height / 2 + 3:.1f}" font-size="13" font-weight="700" '
            f'text-anchor="middle" fill="{LIGHT[colour]}" stroke="{LIGHT["surface"]}" stroke-width="3" '
            f'paint-order="stroke">{sign}</text>'
        )
    return [*parts, "</g>"]
