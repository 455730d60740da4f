"""The picture of the strategy stepper: the graph with values and gradients, the chart of memory, and the peak formula.

There is one frame for each state of the strategy. All numbers come from :mod:`recompviz.core.teaching.strategy`.
"""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.formula_part import HEIGHT, draw_formula, formula_patch
from recompviz.widgets.lessons.memory_chart import MemoryChart
from recompviz.widgets.lessons.notation import sub
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene, Value
from recompviz.widgets.lessons.small_drawing import Drawing, draw_graph
from recompviz.widgets.lessons.strategy_captions import strategy_caption

LEAST_WIDTH = 600.0
VALUE, GRADIENT = (56.0, 30.0), (56.0, 24.0)

Change = dict[str, Mapping[str, Value]]


def strategy_scene(strategy: Strategy, title: str) -> Scene:
    """Return the scene of a strategy, with one frame for each state. A static picture shows the state at the peak."""
    plan = strategy.plan
    graph = plan.graph
    canvas = Canvas()
    canvas.text(20, 22, title, "title")
    drawing = draw_graph(graph, row=92, most_width=LEAST_WIDTH - 40)
    width = max(LEAST_WIDTH, drawing.width + 40)
    canvas.text(20, 42, f"overhead T(V∖U) = {plan.overhead:g}, peak by the formula {plan.peak}", "muted")
    bottom = _draw_values(canvas, strategy, drawing, width, 66.0)
    chart = MemoryChart(canvas, strategy, width, bottom + 40)
    table_top = chart.bottom + 48
    draw_formula(canvas, width, table_top)
    frames = tuple(
        Frame(
            {
                **_values_patch(graph, state),
                **chart.patch(i, state),
                **formula_patch(strategy, state, width),
            },
            strategy_caption(strategy, i),
        )
        for i, state in enumerate(strategy.states)
    )
    peak = next(i for i, state in enumerate(strategy.states) if state.live == strategy.peak)
    turn = next((i for i, state in enumerate(strategy.states) if state.verb == "recompute"), 0)
    chapters = ((0, "Start"), (turn, "Backward begins"), (peak, "Peak"), (len(frames) - 1, "End"))
    return Scene(width, table_top + HEIGHT, title, tuple(canvas.elements), frames, chapters, still=peak)


def _draw_values(canvas: Canvas, strategy: Strategy, drawing: Drawing, width: float, top: float) -> float:
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
