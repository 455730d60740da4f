"""The DP stepper's picture: the table that fills, the recursion with its numbers, the graph, and the curve at the end.

One frame a cell, then the finished table, then one frame an answer, which walks its plan back. Every number on it is
read from :mod:`recompviz.core.teaching.programme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from recompviz.core.graphs.bitsets import bits
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.programme import Cell, Choice, Programme
from recompviz.core.teaching.sets import set_text
from recompviz.widgets.lessons.curve_part import CurvePart
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene, Value
from recompviz.widgets.lessons.small_drawing import NODE, draw_graph, label_width, short_set
from recompviz.widgets.lessons.strategy_scene import sub

LEAST_LEFT = 480.0  # the width of the graph's and the recursion's part
ROW = 30.0
LINES = 7  # of choices shown at once

Change = dict[str, Mapping[str, Value]]


def programme_scene(table: Programme, title: str) -> Scene:
    """The scene of one table."""
    return _Scene(table, title).scene()


class _Scene:
    def __init__(self, table: Programme, title: str) -> None:
        self.table, self.graph, self.title = table, table.graph, title
        self.free = table.budget is None
        self.row_of = {mask: i for i, mask in enumerate(table.sets)}
        self.column_of = {t: i for i, t in enumerate(table.times)}
        self.labels = {mask: short_set(self.graph, mask) for mask in table.sets}
        self.steps: list[Cell] = sorted(
            (*table.cells, *table.refused), key=lambda cell: (self.row_of[cell.place[0]], cell.place[1])
        )
        self.step_of = {cell.place: i for i, cell in enumerate(self.steps)}
        self.answers = table.answers
        self.walk_of = {cell.place: len(self.steps) + 1 + i for i, cell in enumerate(self.answers)}
        self.canvas = Canvas()
        self.drawing = draw_graph(self.graph, row=76, most_width=LEAST_LEFT - 30)
        self.left = max(LEAST_LEFT, self.drawing.width + 50)

    # ---------------------------------------------------------------- what never moves

    def scene(self) -> Scene:
        graph_bottom = self._graph_part(54.0)
        recursion_bottom = self._recursion_part(graph_bottom + 34)
        table_bottom, right = self._table_part(self.left + 30, 54.0)
        curve_top = table_bottom + 44
        self.curve = None
        if self.free:
            self.curve = CurvePart(
                self.canvas, self.table, self.walk_of, self.left + 30, curve_top, max(right, self.left + 430)
            )
            table_bottom = curve_top + 190
        frames = [self._cell_frame(i) for i in range(len(self.steps))]
        frames.append(self._end_frame())
        frames += [self._walk_frame(cell) for cell in self.answers]
        marks = [(0, "First cell"), (len(self.steps), "The finished table")]
        marks += [
            (self.walk_of[cell.place], f"Walk back: overhead {cell.place[1]:g}")
            for cell in (
                self.table.time_centric if self.free else dict.fromkeys((*self.answers[:1], *self.answers[-1:]))
            )
        ]
        return Scene(
            max(right, self.left + 430) + 16,
            max(recursion_bottom, table_bottom) + 10,
            self.title,
            tuple(self.canvas.elements),
            tuple(frames),
            tuple(marks),
            still=self.walk_of[self.answers[0].place] if self.answers else len(self.steps),
        )

    def _graph_part(self, top: float) -> float:
        canvas, graph = self.canvas, self.graph
        canvas.text(20, 24, "Graph", "heading")
        drawing = self.drawing
        ox, oy = 20 + max(0.0, (self.left - 40 - drawing.width) / 2), top
        for curve, arrow in zip(drawing.curves, drawing.arrows, strict=True):
            canvas.add("path", "edge", d=curve, transform=f"translate({ox:.1f} {oy:.1f})")
            canvas.add("path", "arrow", d=arrow, transform=f"translate({ox:.1f} {oy:.1f})")
        for v, (x, y) in enumerate(drawing.centres):
            x, y = ox + x, oy + y
            canvas.text(x, y - NODE[1] / 2 - 5, "", "cost", f"s{v}")
            canvas.box(x - NODE[0] / 2, y - NODE[1] / 2, *NODE, "node", f"n{v}", 8)
            canvas.text(x, y + 5, str(graph.names[v])[:6], "name", f"t{v}")
            canvas.text(x, y + 31, f"M {graph.memory[v]}, T {graph.time[v]:g}", "cost")
        bottom, left = oy + drawing.height + 42, 20.0
        for look, words in (("in-set", "in L"), ("keep", "segment, kept"), ("again", "segment, recomputed")):
            canvas.box(left, bottom - 11, 14, 12, look, rx=3)
            canvas.text(left + 20, bottom, words, "muted")
            left += 40 + 7 * len(words)
        return bottom

    def _recursion_part(self, top: float) -> float:
        canvas = self.canvas
        canvas.text(20, top, "Recursion" if self.free else f"Recursion for budget B = {self.table.budget}", "heading")
        if self.free:
            lines = ("R(V, 0) = 0", "R(L, t) = min  max( p,  Δm + R(L′, t − T′) )   over L′ ⊋ L")
        else:
            lines = ("opt[∅, 0] = 0", "opt[L′, t] = min  opt[L, t − T′] + Δm   over L ⊊ L′, if opt + p ≤ B")
        for i, line in enumerate(lines):
            canvas.text(20, top + 26 + 23 * i, line, "formula")
        words = "p = 2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′)"
        canvas.text(20, top + 74, words, "muted")
        canvas.text(20, top + 93, "Δm = M(∂(L′)∖L),   T′ = T((L′∖L)∖∂(L′))", "muted")
        canvas.text(20, top + 126, "", "formula-accent", "result")
        for row in range(LINES):
            canvas.text(20, top + 152 + 23 * row, "", "formula", f"line{row}")
        return top + 152 + 23 * LINES

    def _table_part(self, left: float, top: float) -> tuple[float, float]:
        canvas, table = self.canvas, self.table
        name = "R(L, t)" if self.free else "opt[L, t]"
        canvas.text(left, 24, f"Table {name}", "heading")
        canvas.text(left + 130, 24, "rows: lower sets, columns: overhead t", "muted")
        self.label_width = max(label_width(text) for text in self.labels.values())
        self.cell_width = max(34.0, min(56.0, 640.0 / len(table.times)))
        x0 = left + self.label_width + 8
        for t, c in self.column_of.items():
            canvas.text(x0 + (c + 0.5) * self.cell_width, top - 8, f"{t:g}", "muted-middle")
        reached = {cell.place for cell in self.steps}
        for mask, r in self.row_of.items():
            y = top + r * ROW
            canvas.text(left + self.label_width, y + 20, self.labels[mask], "text-end", f"r{r}")
            for t, c in self.column_of.items():
                x = x0 + c * self.cell_width
                place = (mask, t)
                if place not in reached:
                    canvas.box(x, y, self.cell_width, ROW, "cell-none")
                    continue
                i = self.step_of[place]
                canvas.box(
                    x, y, self.cell_width, ROW, "cell", f"c{i}", go=i, label=f"step that fills {self._place(place)}"
                )
                canvas.text(x + self.cell_width / 2, y + 20, "", "cell-text", f"ct{i}")
        self.cell_at = {
            place: (x0 + self.column_of[place[1]] * self.cell_width, top + self.row_of[place[0]] * ROW)
            for place in reached
        }
        canvas.box(0, 0, self.cell_width, ROW, "hidden", "ring", rx=3)
        return top + len(table.sets) * ROW, x0 + len(table.times) * self.cell_width

    # ---------------------------------------------------------------- what a step changes

    def _place(self, place: tuple[int, float]) -> str:
        text = set_text(self.graph, place[0])
        return f"R({text}, {place[1]:g})" if self.free else f"opt[{text}, {place[1]:g}]"

    def _short(self, place: tuple[int, float]) -> str:
        text = self.labels[place[0]]
        return f"R({text}, {place[1]:g})" if self.free else f"opt[{text}, {place[1]:g}]"

    def _filled(self, until: int) -> Change:
        patch: Change = {}
        for i, cell in enumerate(self.steps[: until + 1]):
            patch[f"c{i}"] = {"look": "cell-done" if cell.value >= 0 else "cell-none"}
            patch[f"ct{i}"] = {"text": str(cell.value) if cell.value >= 0 else "✗"}
        return patch

    def _cell_frame(self, i: int) -> Frame:
        cell = self.steps[i]
        patch = self._filled(i)
        for choice in cell.choices:
            patch[f"c{self.step_of[choice.other]}"] = {"look": "cell-needed"}
        best = cell.choices[cell.best] if cell.best >= 0 else None
        if best is not None:
            patch[f"c{self.step_of[best.other]}"] = {"look": "cell-best"}
            patch.update(self._segment(cell.place[0], best.other[0]))
        x, y = self.cell_at[cell.place]
        patch["ring"] = {"look": "ring", "x": round(x, 1), "y": round(y, 1)}
        patch[f"r{self.row_of[cell.place[0]]}"] = {"look": "text-end-strong"}
        patch.update(self._lines(cell))
        if self.curve is not None:
            patch.update(self.curve.patch([c for c in self.steps[: i + 1] if c.place[0] == 0], lines=False))
        return Frame(patch, self._caption(cell, best))

    def _segment(self, one: int, other: int) -> Change:
        """The segment between two lower sets, in the graph."""
        small, large = (one, other) if self.free else (other, one)
        boundary = self.graph.boundary_mask(large)
        patch: Change = {}
        for v in bits(large):
            if small >> v & 1:
                patch[f"n{v}"] = {"look": "in-set"}
            else:
                state = "keep" if boundary >> v & 1 else "again"
                patch[f"n{v}"], patch[f"t{v}"] = {"look": state}, {"look": f"name-{state}"}
        return patch

    def _lines(self, cell: Cell) -> Change:
        value = str(cell.value) if cell.value >= 0 else "nothing fits"
        patch: Change = {"result": {"text": f"{self._short(cell.place)} = {value}"}}
        shown = list(range(len(cell.choices)))
        if len(shown) > LINES:
            first = [cell.best] if cell.best >= 0 else []
            shown = (first + [i for i in shown if i not in first])[: LINES - 1]
            patch[f"line{LINES - 1}"] = {"text": f"… and {len(cell.choices) - len(shown)} more", "look": "muted"}
        for line, i in enumerate(shown):
            text = self._line(cell.choices[i]) + ("  ← least" if i == cell.best else "")
            patch[f"line{line}"] = {"text": text, "look": "formula-accent" if i == cell.best else "formula"}
        return patch

    def _line(self, choice: Choice) -> str:
        here = self._short(choice.other)
        if self.free:
            return (
                f"max( {choice.p}, {choice.delta_m} + {here} ) = max( {choice.p}, {choice.delta_m} + {choice.needed} ) "
                f"= {choice.value}"
            )
        if not choice.fits:
            return f"{here}: {choice.needed} + p = {choice.needed} + {choice.p} > {self.table.budget}, too much"
        return (
            f"{here} + Δm = {choice.needed} + {choice.delta_m} = {choice.value}   "
            f"({choice.needed} + {choice.p} ≤ {self.table.budget})"
        )

    def _caption(self, cell: Cell, best: Choice | None) -> str:
        if not cell.choices:
            return (
                f"{self._place(cell.place)} = 0: everything is done, nothing remains."
                if self.free
                else f"{self._place(cell.place)} = 0: nothing is computed, nothing is cached."
            )
        if best is None:
            return f"{self._place(cell.place)}: every way to get here goes over the budget; the cell stays empty."
        many = "is one choice" if len(cell.choices) == 1 else f"are {len(cell.choices)} choices"
        small, large = (cell.place[0], best.other[0]) if self.free else (best.other[0], cell.place[0])
        segment = set_text(self.graph, large & ~small)
        again = set_text(self.graph, large & ~small & ~self.graph.boundary_mask(large))
        end = "next" if self.free else "last"
        return (
            f"{self._place(cell.place)} = {cell.value}. There {many}; the best {end} segment is {segment}, of which "
            f"{again} is recomputed at cost {best.extra_t:g}."
        )

    def _end_frame(self) -> Frame:
        patch = self._filled(len(self.steps))
        if self.curve is not None:
            patch.update(self.curve.patch(self.answers, lines=True))
        for cell in self.table.time_centric:
            i = self.step_of[cell.place]
            patch[f"c{i}"], patch[f"ct{i}"] = (
                {"look": "cell-front"},
                {"look": "cell-text-keep", "text": str(cell.value)},
            )
        if not self.answers:
            return Frame(patch, f"No sequence fits budget {self.table.budget}: the row of V stays empty.")
        if self.free:
            points = ", ".join(f"({cell.place[1]:g}, {cell.value})" for cell in self.table.time_centric)
            words = f"The row of ∅ is the whole trade-off: (overhead, peak) = {points}. Click a point to walk it back."
        else:
            least, most = self.answers[0].place[1], self.answers[-1].place[1]
            words = (
                f"In the row of V the least overhead is {least:g}: the time-centric plan for budget "
                f"{self.table.budget}. The largest is {most:g}: the memory-centric one."
            )
        return Frame(patch, words)

    def _walk_frame(self, answer: Cell) -> Frame:
        patch = dict(self._end_frame().patch)
        walk = self.table.walk(answer.place)
        for place in walk:
            i, value = self.step_of[place], self.table.cell(place)
            text = str(value.value) if value is not None else ""
            patch[f"c{i}"], patch[f"ct{i}"] = {"look": "cell-path"}, {"look": "cell-text-path", "text": text}
        plan = self.table.plan(answer.place)
        patch.update(self._plan_patch(plan))
        if self.curve is not None:
            patch.update(self.curve.lit(answer))
        steps = walk if self.free else walk[::-1]
        sequence = " ⊊ ".join(set_text(self.graph, mask) for mask, _ in steps)
        patch["result"] = {"text": f"overhead {plan.overhead:g}, peak {plan.peak}"}
        for line, (place, follow) in enumerate(pairwise(steps[: LINES + 1])):
            part = set_text(self.graph, follow[0] & ~place[0])
            patch[f"line{line}"] = {"text": f"V{sub(line + 1)} = {part}"}
        return Frame(patch, f"Walked back: {sequence}. Overhead {plan.overhead:g}, peak {plan.peak}.")

    def _plan_patch(self, plan: Plan) -> Change:
        patch: Change = {}
        for v, (kept, segment) in enumerate(zip(plan.keep_mask.tolist(), plan.segment.tolist(), strict=True)):
            state = "keep" if kept else "again"
            patch[f"n{v}"], patch[f"t{v}"] = {"look": state}, {"look": f"name-{state}"}
            patch[f"s{v}"] = {"text": f"V{sub(segment)}"}
        return patch
