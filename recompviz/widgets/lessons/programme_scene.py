"""The picture in the stepper of the dynamic programme: graph, recursion with numbers, table, and trade-off curve.

A *frame* is one step of the picture. The first frames fill one cell each. The next frame shows the finished table. The
last frames show the plans of the cells of the last row, each as a path through the table. All numbers come from
:mod:`recompviz.core.teaching.programme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from recompviz.core.teaching.programme import Cell, Programme, Transition
from recompviz.core.teaching.sets import set_text
from recompviz.widgets.lessons.curve_part import LEAST_WIDTH, WHOLE_HEIGHT, CurvePart
from recompviz.widgets.lessons.graph_part import GraphPart
from recompviz.widgets.lessons.notation import SizeFormat, sub
from recompviz.widgets.lessons.programme_table import TablePart
from recompviz.widgets.lessons.recursion_part import LINES, WIDTH, RecursionPart
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene, Value, fitting_scale

TOP = 54.0  # of the table and of the graph
LEGEND = {"in-set": "in L", "keep": "segment, kept", "recompute": "segment, recomputed"}
MOST_CHAPTERS = 5  # for plans; a click on the curve reaches the others
SPACE = 44.0  # between two parts

Change = dict[str, Mapping[str, Value]]


def programme_scene(table: Programme, title: str) -> Scene:
    """Return a scene (a picture with frames) in which a table is filled cell by cell.

    Parameters
    ----------
    table : Programme
        The table. The trade-off curve is drawn only if ``table.budget`` is None.
    title : str
        Title of the scene.
    """
    return _ProgrammeScene(table).scene(title)


class _ProgrammeScene:
    def __init__(self, programme: Programme) -> None:
        self.programme, self.graph = programme, programme.graph
        self.budget_free = programme.budget is None
        self.canvas = Canvas()
        self.sizes = SizeFormat.of(self.graph)
        self.drawn = GraphPart(self.graph, WIDTH)
        self.left = max(WIDTH, self.drawn.width) + 40
        graph_bottom = self._draw_graph()
        self.table = TablePart(self.canvas, programme, self.left, TOP)
        self.recursion = RecursionPart(
            self.canvas, programme.budget, self.table.short_name, self.sizes, graph_bottom + 34
        )
        self.right, self.bottom = self.table.right, max(self.table.bottom, self.recursion.bottom)
        self.end = len(self.table.cells)  # the frame of the finished table
        self.walk_of = {cell.place: self.end + 1 + i for i, cell in enumerate(programme.answers)}
        self.curve = None
        if self.budget_free:
            left, top = self._place_curve()
            self.right = max(self.right, left + LEAST_WIDTH)
            self.curve = CurvePart(self.canvas, programme, self.walk_of, left, top, self.right)
            self.bottom = max(self.bottom, top + WHOLE_HEIGHT)

    def _place_curve(self) -> tuple[float, float]:
        """Return the left and the top edge of the curve: below the table or beside it, where the scale is larger."""
        under = (self.left, self.table.bottom + SPACE)
        aside = (self.table.right + SPACE, 32.0)

        def scale(place: tuple[float, float]) -> float:
            left, top = place
            return fitting_scale(max(self.right, left + LEAST_WIDTH), max(self.bottom, top + WHOLE_HEIGHT))

        return max(under, aside, key=scale)

    def scene(self, title: str) -> Scene:
        answers = self.programme.answers
        frames = [self._cell_frame(i) for i in range(self.end)]
        frames.append(self._end_frame())
        frames += [self._walk_frame(cell) for cell in answers]
        marked = self.programme.time_centric if self.budget_free else dict.fromkeys((*answers[:1], *answers[-1:]))
        chapters = [(0, "First cell"), (self.end, "Finished table")]
        chapters += [(self.walk_of[cell.place], f"Plan t = {cell.place[1]:g}") for cell in [*marked][:MOST_CHAPTERS]]
        return Scene(
            self.right + 16,
            self.bottom + 10,
            title,
            tuple(self.canvas.elements),
            tuple(frames),
            tuple(chapters),
            still=self.walk_of[answers[0].place] if answers else self.end,
        )

    def _draw_graph(self) -> float:
        """Draw the graph and its legend. Return the bottom of the legend, in pixels."""
        self.canvas.text(20, 24, "Graph", "heading")
        self.canvas.text(self.left - 40, 24, self.sizes.note, "muted-end")
        return self.drawn.draw(self.canvas, 20, self.left - 20, TOP, LEGEND)

    # ---------------------------------------------------------------- the frames

    def _cell_frame(self, i: int) -> Frame:
        cell = self.table.cells[i]
        patch = self.table.current(i) | self.recursion.lines(cell)
        best = cell.candidates[cell.best] if cell.best >= 0 else None
        if best is not None:
            patch |= self.drawn.segment_patch(*self._ends(cell, best))
        if self.curve is not None:
            patch |= self.curve.patch([c for c in self.table.cells[: i + 1] if c.place[0] == 0], lines=False)
        return Frame(patch, self._cell_caption(cell, best))

    def _ends(self, cell: Cell, candidate: Transition) -> tuple[int, int]:
        """Return the lower sets L ⊊ L′ whose difference is the segment of a candidate."""
        here, other = cell.place[0], candidate.other[0]
        return (here, other) if self.budget_free else (other, here)

    def _cell_caption(self, cell: Cell, best: Transition | None) -> str:
        name = self.table.name(cell.place)
        if not cell.candidates:
            why = "everything is computed, no segment remains" if self.budget_free else "nothing is computed or cached"
            return f"{name} = 0: {why}."
        if best is None:
            return f"{name}: every candidate exceeds the budget, so the cell stays empty."
        count = len(cell.candidates)
        many = "There is one candidate" if count == 1 else f"There are {count} candidates"
        small, large = self._ends(cell, best)
        segment = large & ~small
        recomputed = segment & ~self.graph.boundary_mask(large)
        return (
            f"{name} = {self.sizes.full(cell.value)}. {many}; the best {'next' if self.budget_free else 'last'} "
            f"segment is {set_text(self.graph, segment)}, of which {set_text(self.graph, recomputed)} is "
            f"recomputed at cost {best.extra_t:g}."
        )

    def _end_frame(self) -> Frame:
        patch, answers = self.table.finished(), self.programme.answers
        if self.curve is not None:
            patch |= self.curve.patch(answers, lines=True)
        budget = None if self.budget_free else self.sizes.full(self.programme.budget or 0)
        if not answers:
            return Frame(patch, f"No sequence fits budget {budget}: the row of V stays empty.")
        if self.budget_free:
            points = ", ".join(
                f"({cell.place[1]:g}, {self.sizes.full(cell.value)})" for cell in self.programme.time_centric
            )
            words = f"The row of ∅ is the trade-off curve: (overhead, peak) = {points}."
            return Frame(patch, f"{words} Click a point to walk its plan back.")
        least, most = answers[0].place[1], answers[-1].place[1]
        return Frame(
            patch,
            f"In the row of V the least overhead is {least:g}: the time-centric plan for budget {budget}. The largest "
            f"is {most:g}: the memory-centric plan.",
        )

    def _walk_frame(self, answer: Cell) -> Frame:
        walk, plan = self.programme.walk(answer.place), self.programme.plan(answer.place)
        patch = {**self._end_frame().patch, **self.table.path(walk), **self.drawn.plan_patch(plan)}
        if self.curve is not None:
            patch |= self.curve.lit(answer)
        masks = [mask for mask, _ in (walk if self.budget_free else walk[::-1])]
        patch["result"] = {"text": f"overhead {plan.overhead:g}, peak {self.sizes.full(plan.peak)}"}
        for line, (small, large) in enumerate(pairwise(masks[: LINES + 1])):
            patch[f"line{line}"] = {"text": f"V{sub(line + 1)} = {set_text(self.graph, large & ~small)}"}
        sequence = " ⊊ ".join(set_text(self.graph, mask) for mask in masks)
        return Frame(patch, f"Walked back: {sequence}. Overhead {plan.overhead:g}, peak {self.sizes.full(plan.peak)}.")
