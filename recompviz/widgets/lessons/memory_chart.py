"""The chart of the strategy stepper: live memory after each action, stacked by kind."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.notation import SizeFormat
from recompviz.widgets.lessons.scene import Canvas, Gauge, Value

CHART_HEIGHT = 120.0
LEGEND = (
    ("bar-keep", "cache of earlier segments"),
    ("bar-keep-rest", "other kept values"),
    ("bar-transient", "other values"),
    ("bar-recompute", "recomputed"),
    ("bar-gradient", "gradients"),
)
LINES = (("bound", "peak formula of the segment"), ("thin", "freed at last use"), ("highest", "highest so far"))
LETTER = 7.0  # mean width of a letter of the legend, in pixels

Change = dict[str, Mapping[str, Value]]


def earlier_cache(strategy: Strategy, state: State) -> int:
    """Return the live values of the cache that belong to earlier segments than the current one, as a bit mask.

    After the action ``"keep"``, the current segment counts as an earlier one. In the backward pass of segment i, the
    result is U_{i−1}, whose size is the first term of the peak formula.
    """
    masks = (0, *strategy.plan.masks)
    return state.cache & masks[state.segment if state.verb == "keep" else max(state.segment - 1, 0)]


class MemoryChart:
    """A bar chart of the live memory after each action. A click on a bar shows the action.

    A bar has five parts, from bottom to top: the cache of earlier segments, the other kept values, computed values that
    are not kept, recomputed values, and gradients. Three lines are drawn over the bars: the peak formula for the
    segment that runs backward, the live memory if everything is freed at its last use, and the height of the highest
    bar so far. The axis ends at 2M(V), the memory of keeping everything. The chart is drawn when the object is made.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    strategy : Strategy
    left, right, top : float
        Edges of the chart with its labels, in pixels.
    """

    def __init__(self, canvas: Canvas, strategy: Strategy, left: float, right: float, top: float) -> None:
        self.strategy, self.states = strategy, strategy.states
        graph = strategy.plan.graph
        self.sizes = SizeFormat.of(graph)
        self.left, self.right, self.top, self.bottom = left + 34.0, right - 4, top, top + CHART_HEIGHT
        self.pitch = (self.right - self.left) / len(self.states)
        self.most = max(2 * graph.memory_of(graph.everything), 1)
        canvas.text(left, top - 10, "Live memory after each action", "heading")
        canvas.text(self.right, top - 10, f"2M(V) = {self.sizes.full(self.most)}: keep everything", "muted-end")
        canvas.add("path", "rule", d=f"M{self.left} {top}H{self.right}")
        highest = 0
        for i, state in enumerate(self.states):
            base = 0
            earlier = earlier_cache(strategy, state)
            rest = state.values & ~state.cache
            for style, size in (
                ("bar-keep", graph.memory_of(earlier)),
                ("bar-keep-rest", graph.memory_of(state.cache & ~earlier)),
                ("bar-transient", graph.memory_of(rest & ~state.recomputed)),
                ("bar-recompute", graph.memory_of(rest & state.recomputed)),
                ("bar-gradient", graph.memory_of(state.gradients)),
            ):
                if size:
                    y = self.y(base + size)
                    canvas.box(self.x(i) + 0.6, y, self.pitch - 1.2, self.y(base) - y, style)
                base += size
            highest = max(highest, base)
        canvas.add("path", "thin", d=self._line([m.live_until_last_use for m in self.states]))
        bound = [
            strategy.terms[m.segment - 1].total if m.verb in ("recompute", "backward", "release") else None
            for m in self.states
        ]
        canvas.add("path", "bound", d=self._line(bound))
        canvas.box(self.right, top - 3, 0, CHART_HEIGHT + 3, "veil", "veil")
        canvas.box(0, 0, 0, 0, "hidden", "guess")
        canvas.add("path", "highest", key="highest", d="M0 0")
        canvas.add("path", "axis", d=f"M{self.left} {top}V{self.bottom}H{self.right}")
        canvas.text(self.left - 5, self.bottom + 4, "0", "muted-end")
        canvas.text(self.left - 5, self.bottom, "", "muted-end", "highest-text")
        canvas.add("path", "cursor", key="cursor", d=f"M{self.left} {top}V{self.bottom}")
        for i in range(len(self.states)):
            canvas.box(self.x(i), top, self.pitch, CHART_HEIGHT, "hit", go=i)
        self.legend_bottom = self._draw_legend(canvas, left, right)

    def _draw_legend(self, canvas: Canvas, left: float, right: float) -> float:
        """Draw the legend below the chart, in as many rows as its width needs. Return the bottom of the last row."""
        x, y = left, self.bottom + 20
        for style, text in (*LEGEND, *LINES):
            is_line = (style, text) in LINES
            width = (24 if is_line else 16) + LETTER * len(text)
            if x + width > right:
                x, y = left, y + 18
            if is_line:
                canvas.add("path", style, d=f"M{x:.1f} {y - 4:.1f}h18")
            else:
                canvas.box(x, y - 10, 11, 11, style, rx=2)
            canvas.text(x + (24 if is_line else 16), y, text, "muted")
            x += width + 14
        return y

    def x(self, i: int) -> float:
        """Return the left edge of the bar of action i, in pixels."""
        return self.left + i * self.pitch

    def y(self, size: float) -> float:
        """Return the y coordinate, in pixels, of the top of a bar of ``size`` bytes."""
        return self.bottom - size / self.most * CHART_HEIGHT

    def _line(self, sizes: list[int] | list[int | None]) -> str:
        path, pen = "", False
        for i, size in enumerate(sizes):
            if size is None:
                pen = False
                continue
            path += f"{'L' if pen else 'M'}{self.x(i):.1f} {self.y(size):.1f}H{self.x(i + 1):.1f}"
            pen = True
        return path or "M0 0"

    def gauge(self) -> Gauge:
        """Return the axes of the chart, in which the reader of a lesson draws a guess of the next bar."""
        grain = 1.0 if self.sizes.divisor == 1 and self.most <= 2 * CHART_HEIGHT else self.most / CHART_HEIGHT
        slots = tuple((round(self.x(i), 1), round(self.pitch, 1)) for i in range(len(self.states)))
        scale = CHART_HEIGHT / self.most
        return Gauge(slots, self.top, self.bottom, scale, self.most, grain, self.sizes.divisor, self.sizes.unit)

    def patch(self, i: int, state: State) -> Change:
        """Return the patch (changes of SVG elements) that shows the bars of actions 0 to i and hides the later bars.

        ``state`` is the state after action i.
        """
        x = self.x(i + 1)
        highest = max(m.live for m in self.states[: i + 1])
        y = round(self.y(highest), 1)
        patch: Change = {
            "veil": {"x": round(x + 0.6, 1), "width": round(max(self.right - x + 3, 0.0), 1)},
            "cursor": {"d": f"M{x - self.pitch / 2:.1f} {self.y(state.live):.1f}V{self.top:.1f}"},
        }
        if highest:
            patch["highest"] = {"d": f"M{self.left} {y}H{self.right}"}
            clear = min(y + 4, self.bottom - 9)  # above the label of 0
            patch["highest-text"] = {"text": self.sizes(highest), "y": clear}
        return patch
