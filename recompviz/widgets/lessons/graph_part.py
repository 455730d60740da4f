"""A graph as a part of a picture: which values a segment or a plan keeps, and which it recomputes."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.widgets.lessons.notation import SizeFormat, cost_lines, fit_name, sub
from recompviz.widgets.lessons.scene import Canvas, Value
from recompviz.widgets.lessons.small_drawing import GAP, draw_graph

ROW = 76.0
LEGEND_HEIGHT = 42.0

Change = dict[str, Mapping[str, Value]]


class GraphPart:
    """A drawing of a graph with sizes and costs, and a legend below it.

    Methods that change the picture return patches: changes of SVG elements.

    Parameters
    ----------
    graph : Graph
    most_width : float
        The intended greatest width of the drawing, in pixels.
    """

    def __init__(self, graph: Graph, most_width: float) -> None:
        self.graph, self.sizes = graph, SizeFormat.of(graph)
        self.drawing = draw_graph(graph, row=ROW, most_width=most_width, above=36)

    @property
    def width(self) -> float:
        """Width of the drawing, in pixels."""
        return self.drawing.width

    def draw(self, canvas: Canvas, left: float, right: float, top: float, legend: Mapping[str, str]) -> float:
        """Draw the graph in the middle between ``left`` and ``right``, and the legend. Return the bottom of the legend.

        Parameters
        ----------
        canvas : Canvas
            The canvas to draw on.
        left, right, top : float
            Edges of the part, in pixels.
        legend : mapping of str to str
            Style of a node → what it means.
        """
        graph, drawing = self.graph, self.drawing
        ox, oy = left + max(0.0, (right - left - drawing.width) / 2), top
        wide, high = drawing.node
        for curve, arrow in zip(drawing.curves, drawing.arrows, strict=True):
            canvas.add("path", "edge", d=curve, transform=f"translate({ox:.1f} {oy:.1f})")
            canvas.add("path", "arrow", d=arrow, transform=f"translate({ox:.1f} {oy:.1f})")
        for v, (x, y) in enumerate(drawing.centres):
            x, y = ox + x, oy + y
            canvas.text(x, y - high / 2 - 5, "", "cost", f"segment{v}")
            canvas.box(x - wide / 2, y - high / 2, wide, high, "node", f"n{v}", 8, tip=str(graph.names[v]))
            text, small = fit_name(graph.names[v], wide)
            canvas.text(x, y + 5, text, "name", f"t{v}", **small)
            for i, line in enumerate(cost_lines(graph, v, self.sizes, wide + GAP)):
                canvas.text(x, y + high / 2 + 14 + 12 * i, line, "cost")
        bottom, x = oy + drawing.height + LEGEND_HEIGHT, left
        for style, words in legend.items():
            canvas.box(x, bottom - 11, 14, 12, style, rx=3)
            canvas.text(x + 20, bottom, words, "muted")
            x += 40 + 7 * len(words)
        return bottom

    def segment_patch(self, small: int, large: int) -> Change:
        """Return the patch that shows which values the segment between two lower sets keeps, and which it recomputes.

        ``small`` and ``large`` are the two lower sets as bit masks.
        """
        boundary = self.graph.boundary_mask(large)
        patch: Change = {}
        for v in bits(large):
            if small >> v & 1:
                patch[f"n{v}"] = {"style": "in-set"}
            else:
                state = "keep" if boundary >> v & 1 else "recompute"
                patch[f"n{v}"], patch[f"t{v}"] = {"style": state}, {"style": f"name-{state}"}
        return patch

    def plan_patch(self, plan: Plan) -> Change:
        """Return the patch that shows for each node its segment in a plan, and whether the plan keeps its value."""
        patch: Change = {}
        for v, (kept, segment) in enumerate(zip(plan.keep_mask.tolist(), plan.segment.tolist(), strict=True)):
            state = "keep" if kept else "recompute"
            patch[f"n{v}"], patch[f"t{v}"] = {"style": state}, {"style": f"name-{state}"}
            patch[f"segment{v}"] = {"text": f"V{sub(segment)}"}
        return patch
