"""The strategy stepper's picture: graph with values and gradients, memory over the actions, the formula filled in.

One frame a moment of :mod:`recompviz.core.teaching.strategy`; every number on it is read from the moment, from the
terms of its segment, or from the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.formula import SegmentTerms
from recompviz.core.teaching.sets import set_text
from recompviz.core.teaching.strategy import Moment, Strategy
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene, Value
from recompviz.widgets.lessons.small_drawing import Drawing, draw_graph

LEAST_WIDTH = 600.0
VALUE, GRADIENT = (56.0, 30.0), (56.0, 24.0)
CHART_HEIGHT = 120.0
SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

Change = dict[str, Mapping[str, Value]]


def sub(number: int) -> str:
    """A number as a subscript.

    Examples
    --------
    >>> sub(12)
    '₁₂'
    """
    return str(number).translate(SUBSCRIPT)


def strategy_scene(strategy: Strategy, title: str) -> Scene:
    """The scene of one strategy."""
    plan = strategy.plan
    graph = plan.graph
    canvas = Canvas()
    canvas.text(20, 22, title, "title")
    drawing = draw_graph(graph, row=92, most_width=LEAST_WIDTH - 40)
    width = max(LEAST_WIDTH, drawing.width + 40)
    canvas.text(20, 42, f"overhead T(V∖U) = {plan.overhead:g}, peak of the formula {plan.peak}", "muted")
    bottom = _graph_part(canvas, strategy, drawing, width, 66.0)
    chart = _Chart(canvas, strategy, width, bottom + 40)
    table_top = chart.bottom + 48
    _table_part(canvas, width, table_top)
    frames = tuple(
        Frame(
            {
                **_graph_patch(graph, moment),
                **chart.patch(i, moment),
                **_table_patch(strategy, moment, width),
            },
            caption(strategy, i),
        )
        for i, moment in enumerate(strategy.moments)
    )
    peak = next(i for i, moment in enumerate(strategy.moments) if moment.live == strategy.peak)
    turn = next((i for i, m in enumerate(strategy.moments) if m.verb == "recompute"), 0)
    marks = ((0, "Start"), (turn, "Backward begins"), (peak, "Fullest moment"), (len(frames) - 1, "End"))
    return Scene(width, table_top + 172, title, tuple(canvas.elements), frames, marks, still=peak)


# -------------------------------------------------------------------- the graph


def _graph_part(canvas: Canvas, strategy: Strategy, drawing: Drawing, width: float, top: float) -> float:
    graph = strategy.plan.graph
    ox, oy = (width - drawing.width) / 2, top + 10
    for curve, arrow in zip(drawing.curves, drawing.arrows, strict=True):
        canvas.add("path", "edge", d=curve, transform=f"translate({ox:.1f} {oy:.1f})")
        canvas.add("path", "arrow", d=arrow, transform=f"translate({ox:.1f} {oy:.1f})")
    for v, (x, y) in enumerate(drawing.centres):
        x, y = ox + x, oy + y
        canvas.text(x, y - VALUE[1] / 2 - 5, f"V{sub(int(strategy.plan.segment[v]))}, M {graph.memory[v]}", "cost")
        canvas.box(x - VALUE[0] / 2, y - VALUE[1] / 2, *VALUE, "node", f"v{v}", 7)
        canvas.text(x, y + 5, str(graph.names[v])[:6], "name-gone", f"vt{v}")
        canvas.box(x - GRADIENT[0] / 2, y + VALUE[1] / 2 + 3, *GRADIENT, "node", f"g{v}", 7)
        canvas.text(x, y + VALUE[1] / 2 + 20, f"∇{str(graph.names[v])[:5]}", "name-gone", f"gt{v}")
    return oy + drawing.height + GRADIENT[1]


def _graph_patch(graph: Graph, moment: Moment) -> Change:
    patch: Change = {}
    computed = moment.values | moment.done
    for v in range(len(graph)):
        here = moment.node == v
        if moment.values >> v & 1:
            state = "keep" if moment.cache >> v & 1 else "again" if moment.again >> v & 1 else "pass"
            lit = "-lit" if here and moment.verb in ("compute", "recompute") else ""
            patch[f"v{v}"], patch[f"vt{v}"] = {"look": state + lit}, {"look": f"name-{state}"}
        elif computed >> v & 1 or moment.discarded >> v & 1:
            patch[f"v{v}"] = {"look": "gone"}
        if moment.gradients >> v & 1:
            lit = "-lit" if here and moment.verb == "backward" else ""
            patch[f"g{v}"], patch[f"gt{v}"] = {"look": f"grad{lit}"}, {"look": "name-grad"}
        elif moment.done >> v & 1:
            patch[f"g{v}"] = {"look": "gone"}
    return patch


# -------------------------------------------------------------------- memory over the actions


class _Chart:
    """Live memory after each action, stacked, with the formula's bound of each backward segment."""

    def __init__(self, canvas: Canvas, strategy: Strategy, width: float, top: float) -> None:
        self.moments = strategy.moments
        graph = strategy.plan.graph
        self.left, self.right, self.top, self.bottom = 46.0, width - 16, top, top + CHART_HEIGHT
        self.pitch = (self.right - self.left) / len(self.moments)
        self.tallest = max(strategy.peak, 1) * 1.12
        canvas.text(20, top - 12, "Live memory after each action", "heading")
        for i, moment in enumerate(self.moments):
            base = 0.0
            values = moment.values & ~moment.cache
            for look, size in (
                ("bar-keep", graph.memory_of(moment.cache)),
                ("bar-pass", graph.memory_of(values & ~moment.again)),
                ("bar-again", graph.memory_of(values & moment.again)),
                ("bar-grad", graph.memory_of(moment.gradients)),
            ):
                if size:
                    y = self.y(base + size)
                    canvas.box(self.x(i) + 0.6, y, self.pitch - 1.2, self.y(base) - y, look)
                base += size
        canvas.add("path", "thin", d=self._line([m.frugal for m in self.moments]))
        bound = [
            strategy.terms[m.segment - 1].total if m.verb in ("recompute", "backward", "release") else None
            for m in self.moments
        ]
        canvas.add("path", "bound", d=self._line(bound))
        canvas.add("path", "axis", d=f"M{self.left} {top}V{self.bottom}H{self.right}")
        for size in (0, strategy.peak):
            canvas.text(self.left - 6, self.y(size) + 4, str(size), "muted-end")
        canvas.box(self.right, top, 0, CHART_HEIGHT, "veil", "veil")
        canvas.add("path", "cursor", key="cursor", d=f"M{self.left} {top}V{self.bottom}")
        for i in range(len(self.moments)):
            canvas.box(self.x(i), top, self.pitch, CHART_HEIGHT, "hit", go=i)
        x, y = self.left, self.bottom + 20
        legend = (("bar-keep", "cache"), ("bar-pass", "values"), ("bar-again", "recomputed"), ("bar-grad", "gradients"))
        for look, text in legend:
            canvas.box(x, y - 10, 11, 11, look, rx=2)
            canvas.text(x + 16, y, text, "muted")
            x += 30 + 6.6 * len(text)
        for look, text in (("bound", "bound"), ("thin", "freed at last use")):
            canvas.add("path", look, d=f"M{x:.1f} {y - 4:.1f}h18")
            canvas.text(x + 23, y, text, "muted")
            x += 38 + 6.6 * len(text)

    def x(self, i: int) -> float:
        return self.left + i * self.pitch

    def y(self, size: float) -> float:
        return self.bottom - size / self.tallest * CHART_HEIGHT

    def _line(self, sizes: list[int] | list[int | None]) -> str:
        path, pen = "", False
        for i, size in enumerate(sizes):
            if size is None:
                pen = False
                continue
            path += f"{'L' if pen else 'M'}{self.x(i):.1f} {self.y(size):.1f}H{self.x(i + 1):.1f}"
            pen = True
        return path or "M0 0"

    def patch(self, i: int, moment: Moment) -> Change:
        x = self.x(i + 1)
        return {
            "veil": {"x": round(x, 1), "width": round(max(self.right - x, 0.0), 1)},
            "cursor": {"d": f"M{x - self.pitch / 2:.1f} {self.y(moment.live):.1f}V{self.top - 4:.1f}"},
        }


# -------------------------------------------------------------------- the formula


ROWS = (
    ("M(U{j})", "the cache", "bar-keep"),
    ("2 M(V{i})", "the segment: values and gradients", "bar-pass"),
    ("M(δ⁺(L{i})∖L{i})", "gradients flowing in", "bar-grad"),
    ("M(δ⁻(δ⁺(L{i}))∖L{i})", "values needed next to them", "bar-again"),
)


def _table_part(canvas: Canvas, width: float, top: float) -> None:
    canvas.text(20, top, "The peak formula", "heading", "formula")
    for row, (_, words, look) in enumerate(ROWS):
        y = top + 25 + 23 * row
        canvas.text(20, y, "", "formula", f"f{row}")
        canvas.text(196, y, words, "muted")
        canvas.text(440, y, "", "text-end", f"n{row}")
        canvas.box(452, y - 12, 0, 14, look, f"b{row}", 2)
    y = top + 25 + 23 * len(ROWS)
    canvas.add("path", "rule", d=f"M20 {y - 15}H{width - 16:g}")
    canvas.text(20, y + 2, "", "text-strong", "bound-words")
    canvas.text(440, y + 2, "", "text-end", "bound-number")
    canvas.text(20, y + 25, "live now", "text-strong")
    canvas.text(440, y + 25, "", "text-end", "live")
    canvas.box(452, y + 13, 0, 14, "bar-live", "live-bar", 2)
    canvas.add("path", "hidden", key="live-bound", d="M0 0")
    canvas.text(20, y + 48, "overhead so far", "text-strong")
    canvas.text(440, y + 48, "", "text-end", "overhead")


def _table_patch(strategy: Strategy, moment: Moment, width: float) -> Change:
    i = moment.segment
    terms = strategy.terms[i - 1] if i else SegmentTerms(0, 0, 0, 0)
    scale = (width - 16 - 452) / max(strategy.peak, 1)
    patch: Change = {"formula": {"text": f"The peak formula for segment {i}" if i else "The peak formula"}}
    sizes = (terms.cache, terms.segment, terms.gradients, terms.needed)
    for row, ((symbol, _, _), size) in enumerate(zip(ROWS, sizes, strict=True)):
        patch[f"f{row}"] = {"text": symbol.format(i=sub(i) if i else "ᵢ", j=sub(i - 1) if i else "ᵢ₋₁")}
        patch[f"n{row}"] = {"text": str(size) if i else ""}
        patch[f"b{row}"] = {"width": round(size * scale, 1)}
    if i:
        patch["bound-words"] = {"text": f"bound while segment {i} runs backward"}
        patch["bound-number"] = {"text": str(terms.total)}
    patch["live"] = {"text": str(moment.live)}
    patch["live-bar"] = {"width": round(moment.live * scale, 1)}
    patch["overhead"] = {"text": f"{moment.overhead:g} of {strategy.plan.overhead:g}"}
    return patch


# -------------------------------------------------------------------- in words


def caption(strategy: Strategy, i: int) -> str:
    """What happens in moment i, in words.

    Examples
    --------
    >>> from recompviz.core.plans.plan import Plan
    >>> from recompviz.core.teaching.strategy import canonical_strategy
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> caption(canonical_strategy(Plan.from_lower_sets(g, [{"a"}, {"a", "b"}])), 2)
    'Segment 1 is computed: keep its boundary ∂(L₁) = {a}, and nothing needs discarding.'
    """
    plan, moment = strategy.plan, strategy.moments[i]
    graph, segment, k = plan.graph, moment.segment, len(strategy.terms)
    name = graph.names[moment.node] if moment.node >= 0 else ""
    let_go = set_text(graph, moment.discarded)
    full = " Live memory is now at the peak." if moment.live == strategy.peak else ""
    if moment.verb == "start":
        return "Nothing is computed yet: " + " ⊊ ".join(set_text(graph, mask) for mask in (0, *plan.masks)) + "."
    if moment.verb == "compute":
        return f"Forward, segment {segment} of {k}: compute {name}.{full}"
    if moment.verb == "keep":
        kept = set_text(graph, graph.boundary_mask(plan.masks[segment - 1]))
        then = f"discard {let_go}" if moment.discarded else "and nothing needs discarding"
        return f"Segment {segment} is computed: keep its boundary ∂(L{sub(segment)}) = {kept}, {then}.{full}"
    if moment.verb == "recompute":
        cost = f"{graph.time[moment.node]:g}"
        return f"Backward, segment {segment} of {k}: recompute {name}, which costs {cost} once more.{full}"
    if moment.verb == "backward":
        return f"Backward, segment {segment} of {k}: the gradient of {name} is computed.{full}"
    if segment == 1:
        return f"All gradients are computed. Overhead {plan.overhead:g}, peak {strategy.peak}."
    gradients = set_text(graph, moment.gradients)
    beside = moment.values & ~moment.cache
    more = f" and beside them the values {set_text(graph, beside)}" if beside else ""
    return (
        f"Segment {segment} has run backward: stay with the cache U{sub(segment - 1)}, the gradients of "
        f"{gradients}{more}; discard the rest of {set_text(graph, _members(plan.masks, segment))}."
    )


def _members(masks: tuple[int, ...], segment: int) -> int:
    return masks[segment - 1] & ~(masks[segment - 2] if segment > 1 else 0)
