"""The chart of the strategy stepper: live memory after each action, stacked by kind."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.scene import Canvas, Value

CHART_HEIGHT = 120.0
LEGEND = (
    ("bar-keep", "cache"),
    ("bar-transient", "values"),
    ("bar-recompute", "recomputed"),
    ("bar-gradient", "gradients"),
)
LINES = (("bound", "bound"), ("thin", "freed at last use"))

Change = dict[str, Mapping[str, Value]]


class MemoryChart:
    """A bar chart of the live memory after each action. A click on a bar shows the action.

    A bar stacks the cache, other values, recomputed values and gradients. Two lines are drawn over the bars. One is the
    value of the peak formula for the segment that runs backward. The other is the live memory if everything is freed at
    its last use. The chart is drawn when the object is made.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    strategy : Strategy
    width, top : float
        Width of the picture and top of the chart, in pixels.
    """

    def __init__(self, canvas: Canvas, strategy: Strategy, width: float, top: float) -> None:
        self.states = strategy.states
        graph = strategy.plan.graph
        self.left, self.right, self.top, self.bottom = 46.0, width - 16, top, top + CHART_HEIGHT
        self.pitch = (self.right - self.left) / len(self.states)
        self.tallest = max(strategy.peak, 1) * 1.12
        canvas.text(20, top - 12, "Live memory after each action", "heading")
        for i, state in enumerate(self.states):
            base = 0.0
            values = state.values & ~state.cache
            for style, size in (
                ("bar-keep", graph.memory_of(state.cache)),
                ("bar-transient", graph.memory_of(values & ~state.recomputed)),
                ("bar-recompute", graph.memory_of(values & state.recomputed)),
                ("bar-gradient", graph.memory_of(state.gradients)),
            ):
                if size:
                    y = self.y(base + size)
                    canvas.box(self.x(i) + 0.6, y, self.pitch - 1.2, self.y(base) - y, style)
                base += size
        canvas.add("path", "thin", d=self._line([m.live_until_last_use for m in self.states]))
        bound = [
            strategy.terms[m.segment - 1].total if m.verb in ("recompute", "backward", "release") else None
            for m in self.states
        ]
        canvas.add("path", "bound", d=self._line(bound))
        canvas.add("path", "axis", d=f"M{self.left} {top}V{self.bottom}H{self.right}")
        for size in (0, strategy.peak):
            canvas.text(self.left - 6, self.y(size) + 4, str(size), "muted-end")
        canvas.box(self.right, top, 0, CHART_HEIGHT, "veil", "veil")
        canvas.add("path", "cursor", key="cursor", d=f"M{self.left} {top}V{self.bottom}")
        for i in range(len(self.states)):
            canvas.box(self.x(i), top, self.pitch, CHART_HEIGHT, "hit", go=i)
        x, y = self.left, self.bottom + 20
        for style, text in LEGEND:
            canvas.box(x, y - 10, 11, 11, style, rx=2)
            canvas.text(x + 16, y, text, "muted")
            x += 30 + 6.6 * len(text)
        for style, text in LINES:
            canvas.add("path", style, d=f"M{x:.1f} {y - 4:.1f}h18")
            canvas.text(x + 23, y, text, "muted")
            x += 38 + 6.6 * len(text)

    def x(self, i: int) -> float:
        """Return the left edge of the bar of action i, in pixels."""
        return self.left + i * self.pitch

    def y(self, size: float) -> float:
        """Return the y coordinate of a size, in pixels. The size is in bytes."""
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

    def patch(self, i: int, state: State) -> Change:
        """Return the patch (changes of SVG elements) that shows the bars of actions 0 to i and veils the later bars.

        ``state`` is the state after action i.
        """
        x = self.x(i + 1)
        return {
            "veil": {"x": round(x, 1), "width": round(max(self.right - x, 0.0), 1)},
            "cursor": {"d": f"M{x - self.pitch / 2:.1f} {self.y(state.live):.1f}V{self.top - 4:.1f}"},
        }
