"""The picture of the strategy stepper: the graph with values and gradients, the chart of memory, and the peak formula.

There is one frame for each state of the strategy. All numbers come from :mod:`recompviz.core.teaching.strategy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.formula_part import HEIGHT, draw_formula, formula_patch
from recompviz.widgets.lessons.memory_chart import CHART_HEIGHT, MemoryChart
from recompviz.widgets.lessons.notation import SizeFormat, fit_name, sub
from recompviz.widgets.lessons.scene import Canvas, Frame, Prediction, Scene, Value, fitting_scale
from recompviz.widgets.lessons.small_drawing import Drawing, draw_graph
from recompviz.widgets.lessons.strategy_captions import freed, names_of, strategy_caption

PART_WIDTH = 620.0  # of the chart and the formula
VALUE_HEIGHT, GRADIENT_HEIGHT = 30.0, 24.0
CHART_PART = 34 + CHART_HEIGHT + 60  # heading, chart and legend

Change = dict[str, Mapping[str, Value]]


def strategy_scene(strategy: Strategy, title: str, *, stacked: bool = False) -> Scene:
    """Return the scene of a strategy, with one frame for each state. A static picture shows the state at the peak.

    Parameters
    ----------
    strategy : Strategy
    title : str
        Title of the scene.
    stacked : bool
        Whether the graph must be above the chart. If False, the graph may also be beside the chart. The arrangement
        that fits a notebook at the larger scale is used.
    """
    plan = strategy.plan
    graph = plan.graph
    canvas = Canvas()
    canvas.text(20, 22, title, "title")
    note = SizeFormat.of(graph).note
    above, below = VALUE_HEIGHT / 2 + 19, VALUE_HEIGHT / 2 + GRADIENT_HEIGHT + 7
    drawing = draw_graph(graph, row=80, most_width=PART_WIDTH - 40, above=above, below=below)
    graph_width, graph_height = drawing.width, 16 + drawing.height + GRADIENT_HEIGHT
    beside = fitting_scale(graph_width + 60 + PART_WIDTH + 40, 40 + CHART_PART + HEIGHT)
    below = fitting_scale(max(graph_width, PART_WIDTH) + 40, 52 + graph_height + CHART_PART + HEIGHT)
    stacked = stacked or below >= beside
    if stacked:
        width = max(graph_width, PART_WIDTH) + 40
        graph_left, graph_top, left = (width - graph_width) / 2, 40.0, 20.0
        chart_top = graph_top + graph_height + 42
    else:
        graph_left, left = 20.0, graph_width + 80
        width = left + PART_WIDTH + 20
        graph_top = 40 + max(0.0, (CHART_PART + HEIGHT - graph_height) / 2)
        chart_top = 34.0
    if note:
        canvas.text(width - 20, 22, note, "muted-end")
        chart_top = max(chart_top, 54.0)
    _draw_values(canvas, strategy, drawing, graph_left, graph_top)
    chart = MemoryChart(canvas, strategy, left, width - 20, chart_top)
    formula_top = chart.legend_bottom + 32
    draw_formula(canvas, left, width - 20, formula_top)
    frames = tuple(
        Frame(
            {**_values_patch(graph, state), **chart.patch(i, state), **formula_patch(strategy, state)},
            strategy_caption(strategy, i),
        )
        for i, state in enumerate(strategy.states)
    )
    peak = next(i for i, state in enumerate(strategy.states) if state.live == strategy.peak)
    turn = next((i for i, state in enumerate(strategy.states) if state.verb == "recompute"), 0)
    chapters = ((0, "Start"), (turn, "Backward begins"), (peak, "Peak"), (len(frames) - 1, "End"))
    height = max(formula_top + HEIGHT + 8, graph_top + graph_height + 8)
    elements = tuple(canvas.elements)
    asked = predictions(strategy)
    return Scene(width, height, title, elements, frames, chapters, peak, asked, chart.gauge())


def predictions(strategy: Strategy) -> tuple[Prediction | None, ...]:
    """Return for each state of a strategy the question about the next action. The last entry is None."""
    graph, states = strategy.plan.graph, strategy.states
    sizes = SizeFormat.of(graph)
    found: list[Prediction | None] = []
    for i, (state, after) in enumerate(pairwise(states)):
        if after.node >= 0:
            name, verb = graph.names[after.node], {"backward": "the gradient of "}.get(after.verb, "")
            does = "recompute" if after.verb == "recompute" else "compute"
            found.append(
                Prediction(
                    "bar",
                    f"Next: {does} {verb}{name}. How much memory is live then?",
                    after.live,
                    f"{sizes.full(after.live)} live",
                )
            )
            continue
        what = "ends forward" if after.verb == "keep" else "has run backward"
        values, gradients = freed(strategy, i + 1)
        keys = (*(f"v{v}" for v in bits(values)), *(f"g{v}" for v in bits(gradients)))
        choices = (*(f"v{v}" for v in bits(state.values)), *(f"g{v}" for v in bits(state.gradients)))
        words = f"Next: segment {after.segment} {what}. Click each value and gradient that is freed now."
        solution = f"freed: {names_of(graph, values, gradients) or 'nothing'}"
        found.append(Prediction("freed", words, keys, solution, choices))
    return (*found, None)


def _draw_values(canvas: Canvas, strategy: Strategy, drawing: Drawing, ox: float, top: float) -> None:
    graph = strategy.plan.graph
    sizes = SizeFormat.of(graph)
    oy = top + 16
    for curve, arrow in zip(drawing.curves, drawing.arrows, strict=True):
        canvas.add("path", "edge", d=curve, transform=f"translate({ox:.1f} {oy:.1f})")
        canvas.add("path", "arrow", d=arrow, transform=f"translate({ox:.1f} {oy:.1f})")
    wide = drawing.node[0]
    for v, (x, y) in enumerate(drawing.centres):
        x, y = ox + x, oy + y
        name = str(graph.names[v])
        above = f"V{sub(int(strategy.plan.segment[v]))}, M {sizes(int(graph.memory[v]))}"
        canvas.text(x, y - VALUE_HEIGHT / 2 - 5, above, "cost")
        canvas.box(x - wide / 2, y - VALUE_HEIGHT / 2, wide, VALUE_HEIGHT, "node", f"v{v}", 7, tip=name)
        text, small = fit_name(name, wide)
        canvas.text(x, y + 5, text, "name-gone", f"vt{v}", **small)
        canvas.box(
            x - wide / 2, y + VALUE_HEIGHT / 2 + 3, wide, GRADIENT_HEIGHT, "node", f"g{v}", 7, tip=f"gradient of {name}"
        )
        text, small = fit_name(f"∇{name}", wide)
        canvas.text(x, y + VALUE_HEIGHT / 2 + 20, text, "name-gone", f"gt{v}", **small)


def _values_patch(graph: Graph, state: State) -> Change:
    patch: Change = {}
    computed = state.values | state.done
    for v in range(len(graph)):
        here = state.node == v
        if state.values >> v & 1:
            kind = "keep" if state.cache >> v & 1 else "recompute" if state.recomputed >> v & 1 else "transient"
            lit = "-lit" if here and state.verb in ("compute", "recompute") else ""
            patch[f"v{v}"], patch[f"vt{v}"] = {"style": kind + lit}, {"style": f"name-{kind}"}
        elif computed >> v & 1 or state.discarded >> v & 1:
            patch[f"v{v}"] = {"style": "gone"}
        if state.gradients >> v & 1:
            lit = "-lit" if here and state.verb == "backward" else ""
            patch[f"g{v}"], patch[f"gt{v}"] = {"style": f"gradient{lit}"}, {"style": "name-gradient"}
        elif state.done >> v & 1:
            patch[f"g{v}"] = {"style": "gone"}
    return patch
