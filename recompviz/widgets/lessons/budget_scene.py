"""The picture in the budget stepper: one budget, and everything that follows from it.

There is one frame for each budget. It draws the time-centric plan of the budget in four ways: as a point of the
trade-off curve, as a bar chart of the live memory, as the graph with the kept values, and as a path through the lattice
of lower sets. The curve and the bar chart share the axis of memory, so one line shows the budget in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.programme import Programme
from recompviz.core.teaching.sets import hasse, set_text
from recompviz.core.teaching.strategy import State
from recompviz.widgets.lessons.graph_part import LEGEND_HEIGHT, GraphPart
from recompviz.widgets.lessons.lattice_part import draw_lattice, sequence_patch
from recompviz.widgets.lessons.notation import SizeFormat, label_width, short_set
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene, Value
from recompviz.widgets.lessons.small_drawing import ROW, Point, hasse_centres
from recompviz.widgets.lessons.strips import LEGEND, bar_states, draw_legend, stacked

MOST_BUDGETS = 40
LEFT, CURVE_RIGHT, STRIP_LEFT = 58.0, 270.0, 322.0
LEAST_RIGHT = 740.0  # of the strip
TOP, CHART_HEIGHT = 54.0, 190.0
BOTTOM = TOP + CHART_HEIGHT
NODES = {"keep": "kept", "recompute": "recomputed"}

Change = dict[str, Mapping[str, Value]]


@dataclass(frozen=True)
class _Choice:
    """A plan of the time-centric curve: its overhead and peak, and the bars of its strip."""

    plan: Plan
    bars: Sequence[State]
    overhead: float
    peak: int


def budgets_of(peaks: Sequence[int]) -> list[int]:
    """Return the budgets of the frames in rising order, in bytes.

    The first budget is below all peaks, and the last one is above all peaks. The others run from the least to the
    largest peak.

    Parameters
    ----------
    peaks : sequence of int
        The peaks of the time-centric plans, in bytes. The result contains each of them.

    Examples
    --------
    >>> budgets_of([13, 11, 10])
    [9, 10, 11, 12, 13, 14]
    """
    low, high = min(peaks), max(peaks)
    step = max(1, -(-(high - low) // MOST_BUDGETS))
    return sorted({low - step, *range(low, high + 1, step), *peaks, high + step})


def budget_scene(table: Programme) -> Scene:
    """Return the scene of the budget stepper, with one frame for each budget of :func:`budgets_of`.

    Parameters
    ----------
    table : Programme
        The result of :func:`recompviz.core.teaching.programme.budget_free`.
    """
    return _BudgetScene(table).scene()


class _BudgetScene:
    def __init__(self, table: Programme) -> None:
        self.graph, self.sizes = table.graph, SizeFormat.of(table.graph)
        self.choices = []
        for cell in table.time_centric:
            plan = table.plan(cell.place)
            self.choices.append(_Choice(plan, bar_states(plan), plan.overhead, plan.peak))
        self.budgets = budgets_of([choice.peak for choice in self.choices])
        self.most = self.budgets[-1]
        self.canvas = Canvas()
        self.drawn = GraphPart(self.graph, LEAST_RIGHT - 40)
        self.strip_right = max(LEAST_RIGHT, 20 + self.drawn.width)
        self.bottom = self._draw_charts()
        self.canvas.text(20, self.bottom + 34, "Graph", "heading")
        self.bottom = self.drawn.draw(self.canvas, 20, self.strip_right, self.bottom + 62, NODES)
        self.diagram = hasse(self.graph)
        self.at, self.right = self._place_lattice()

    # ---------------------------------------------------------------- the parts

    def _place_lattice(self) -> tuple[list[Point], float]:
        """Draw the lattice as high as the other parts together. Return its centres, and its right edge in pixels."""
        centres, _ = hasse_centres(self.graph, self.diagram)
        rows = max(mask.bit_count() for mask in self.diagram.sets)
        row = min(ROW, (self.bottom - TOP - 40) / max(rows, 1))
        scale = min(1.0, row / 30)
        half = [scale * label_width(short_set(self.graph, mask)) / 2 for mask in self.diagram.sets]
        left = min(x - h for (x, _), h in zip(centres, half, strict=True))
        right = max(x + h for (x, _), h in zip(centres, half, strict=True))
        wide = max(right - left, 190.0)  # of the heading
        edge = self.strip_right + 50
        shift = edge + (wide - right - left) / 2
        at = [(x + shift, TOP + 20 + y * row / ROW) for x, y in centres]
        self.canvas.text(edge, 24, "All lower sets, by inclusion", "heading")
        draw_lattice(self.canvas, self.graph, self.diagram, at, scale)
        return at, edge + wide

    def y(self, size: float) -> float:
        """Return the y coordinate of a size in bytes, in both charts."""
        return BOTTOM - size / max(self.most, 1) * CHART_HEIGHT

    def x(self, overhead: float) -> float:
        """Return the x coordinate of an overhead in the curve."""
        most = max(choice.overhead for choice in self.choices) or 1.0
        return LEFT + 14 + overhead / most * (CURVE_RIGHT - LEFT - 28)

    def _draw_charts(self) -> float:
        """Draw the axes, the curve and the empty strip. Return the bottom of the legend, in pixels."""
        canvas = self.canvas
        canvas.text(20, 24, "Peak against overhead", "heading")
        canvas.text(STRIP_LEFT, 24, "Live memory over one training step", "heading")
        canvas.text(self.strip_right, 24, self.sizes.note, "muted-end")
        for style, _ in LEGEND:
            canvas.add("path", style, key=style, d="M0 0")
        canvas.add("path", "thin", key="last-use", d="M0 0")
        for left, right in ((LEFT, CURVE_RIGHT), (STRIP_LEFT, self.strip_right)):
            canvas.add("path", "axis", d=f"M{left} {TOP}V{BOTTOM}H{right}")
        canvas.text(LEFT - 6, BOTTOM + 4, "0", "muted-end")
        first = self.choices[0]
        line = f"M{self.x(first.overhead):.1f} {TOP:.1f}V{self.y(first.peak):.1f}"
        line += "".join(f"H{self.x(c.overhead):.1f}V{self.y(c.peak):.1f}" for c in self.choices[1:])
        canvas.add("path", "front", d=f"{line}H{CURVE_RIGHT}")
        free = -1.0
        for i, choice in enumerate(self.choices):
            text = f"{choice.overhead:g}"
            if self.x(choice.overhead) - 4 * len(text) > free:
                canvas.text(self.x(choice.overhead), BOTTOM + 17, text, "muted-middle")
                free = self.x(choice.overhead) + 4 * len(text) + 4
            words = f"budget {self.sizes.full(choice.peak)}: overhead {choice.overhead:g}"
            canvas.add(
                "circle", "point", key=f"p{i}", cx=self.x(choice.overhead), cy=self.y(choice.peak), r=7,
                go=self.budgets.index(choice.peak), label=words,
            )  # fmt: skip
        canvas.add("path", "budget", key="budget", d="M0 0")
        canvas.text(LEFT - 6, BOTTOM, "", "budget-end", "budget-text")
        draw_legend(canvas, LEFT + 120, BOTTOM + 40)
        return BOTTOM + 40

    def _strip_patch(self, choice: _Choice) -> Change:
        """Return the patch that draws the bars of a plan. All plans have bars of one width."""
        pitch = (self.strip_right - STRIP_LEFT) / max(len(other.bars) for other in self.choices)
        paths = {style: "" for style, _ in LEGEND}
        last_use = ""
        for i, state in enumerate(choice.bars):
            x, base = STRIP_LEFT + i * pitch, 0
            for style, size in stacked(choice.plan, state):
                if size:
                    low, high = self.y(base), self.y(base + size)
                    paths[style] += f"M{x + 0.6:.1f} {low:.1f}h{pitch - 1.2:.1f}V{high:.1f}h{1.2 - pitch:.1f}Z"
                base += size
            last_use += f"{'L' if i else 'M'}{x:.1f} {self.y(state.live_until_last_use):.1f}h{pitch:.1f}"
        return {style: {"d": path or "M0 0"} for style, path in (paths | {"last-use": last_use}).items()}

    # ---------------------------------------------------------------- the frames

    def scene(self) -> Scene:
        frames = tuple(map(self._frame, self.budgets))
        least, most = (self.budgets.index(self.choices[i].peak) for i in (-1, 0))
        chapters = ((0, "Infeasible"), (least, "Least budget"), (most, "Least overhead"))
        return Scene(
            self.right + 20,
            self.bottom + LEGEND_HEIGHT / 3,
            "One budget",
            tuple(self.canvas.elements),
            frames,
            chapters,
            still=self.budgets.index(self.choices[len(self.choices) // 2].peak),
            places=tuple(f"budget {self.sizes.full(budget)}" for budget in self.budgets),
        )

    def _frame(self, budget: int) -> Frame:
        y = self.y(budget)
        patch: Change = {
            "budget": {"d": f"M{LEFT} {y:.1f}H{CURVE_RIGHT}M{STRIP_LEFT} {y:.1f}H{self.strip_right}"},
            "budget-text": {"text": self.sizes(budget), "y": round(y + 5, 1)},
        }
        words = self.sizes.full
        fitting = [i for i, choice in enumerate(self.choices) if choice.peak <= budget]
        if not fitting:
            least = words(self.choices[-1].peak)
            return Frame(patch, f"No lower-set sequence fits budget {words(budget)}: the least peak is {least}.")
        i = fitting[0]
        choice = self.choices[i]
        patch[f"p{i}"] = {"style": "point-lit", "r": 9}
        patch |= self._strip_patch(choice) | self.drawn.plan_patch(choice.plan)
        patch |= sequence_patch(self.diagram, self.at, choice.plan.masks)
        recomputed = set_text(self.graph, self.graph.everything & ~self.graph.mask(choice.plan.keep))
        last_use = max(bar.live_until_last_use for bar in choice.bars)
        return Frame(
            patch,
            f"Budget {words(budget)}: the least overhead is {choice.overhead:g}, at peak {words(choice.peak)} "
            f"({words(last_use)} if freed at last use). Recomputed: {recomputed}.",
        )
