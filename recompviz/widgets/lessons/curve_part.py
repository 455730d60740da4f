"""The trade-off curve below the table in the stepper of the dynamic programme.

The last row of the table belongs to the lower set ∅. Each cell of this row is a plan, drawn as a point. One line leads
through the time-centric plans, another line through the memory-centric plans. Both are step functions. A click on a
point shows the path of its plan through the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recompviz.core.teaching.programme import Cell, Programme
from recompviz.widgets.lessons.notation import SizeFormat
from recompviz.widgets.lessons.scene import Canvas, Value

HEIGHT = 150.0
WHOLE_HEIGHT = 190.0  # with heading and labels
LEAST_WIDTH = 380.0
Change = dict[str, Mapping[str, Value]]


class CurvePart:
    """A chart of the trade-off curve: the values R(∅, t) of a table over the overhead t.

    The chart is drawn when the object is made. Points and lines are hidden until a patch (changes of SVG elements)
    shows them.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    table : Programme
        The result of :func:`recompviz.core.teaching.programme.budget_free`.
    walk_of : mapping of (int, float) to int
        Place (lower set, overhead) of a cell → number of the frame that is shown after a click on the cell's point.
    left, top, right : float
        Edges of the chart, in pixels.
    """

    def __init__(
        self,
        canvas: Canvas,
        table: Programme,
        walk_of: Mapping[tuple[int, float], int],
        left: float,
        top: float,
        right: float,
    ) -> None:
        answers = table.answers
        sizes = SizeFormat.of(table.graph)
        self.left, self.top, self.right, self.bottom = left + 40, top + 10, right - 10, top + 10 + HEIGHT
        self.most = max(cell.place[1] for cell in answers) or 1.0
        self.low, self.high = min(cell.value for cell in answers), max(cell.value for cell in answers)
        canvas.text(left, top - 8, "The row of ∅: peak against overhead", "heading")
        canvas.add("path", "axis", d=f"M{self.left} {self.top}V{self.bottom}H{self.right}")
        for value in sorted({self.low, self.high}):
            canvas.text(self.left - 6, self.y(value) + 4, sizes(value), "muted-end")
        free = -1.0  # right edge of the last label
        for cell in answers:
            text = f"{cell.place[1]:g}"
            if self.x(cell) - 4 * len(text) > free:
                canvas.text(self.x(cell), self.bottom + 17, text, "muted-middle")
                free = self.x(cell) + 4 * len(text) + 4
        for key, cells in (("time-front", table.time_centric), ("memory-front", table.memory_centric)):
            canvas.add("path", "hidden", key=key, d=self._line(cells))
        first, last = table.time_centric[0], table.memory_centric[0]
        canvas.text(self.x(first) + 12, self.top + 6, "", "muted", "time-word")
        canvas.text(self.x(last) - 8, self.top + 6, "", "muted-end", "memory-word")
        self.optima = {cell.place for cell in table.time_centric}
        self.key_of = {cell.place: f"p{i}" for i, cell in enumerate(answers)}
        for i, cell in enumerate(answers):
            canvas.add(
                "circle", "hidden", key=f"p{i}", cx=self.x(cell), cy=self.y(cell.value), r=7, go=walk_of[cell.place],
                label=f"walk back the plan of overhead {cell.place[1]:g} and peak {sizes.full(cell.value)}",
            )  # fmt: skip

    def x(self, cell: Cell) -> float:
        """Return the x coordinate of the point of a cell, in pixels."""
        return self.left + 14 + cell.place[1] / self.most * (self.right - self.left - 28)

    def y(self, peak: int) -> float:
        """Return the y coordinate of a peak, in pixels. The peak is in bytes, by the paper's peak formula."""
        return self.bottom - 18 - (peak - self.low) / max(self.high - self.low, 1) * (HEIGHT - 36)

    def _line(self, cells: Sequence[Cell]) -> str:
        """Return the path of a step function through cells of falling peak, from the top of the chart."""
        path = f"M{self.x(cells[0]):.1f} {self.top:.1f}V{self.y(cells[0].value):.1f}"
        return path + "".join(f"H{self.x(cell):.1f}V{self.y(cell.value):.1f}" for cell in cells[1:])

    def patch(self, answers: Sequence[Cell], lines: bool) -> Change:
        """Return the patch (changes of SVG elements) that shows the points of some cells of the last row.

        If ``lines`` is True, the patch also shows the lines of the time-centric and the memory-centric plans.
        """
        patch: Change = {
            self.key_of[cell.place]: {"style": "point" if lines and cell.place in self.optima else "point-off"}
            for cell in answers
        }
        if lines:
            patch["time-front"], patch["memory-front"] = {"style": "front"}, {"style": "front-dashed"}
            patch["time-word"], patch["memory-word"] = {"text": "time-centric"}, {"text": "memory-centric"}
        return patch

    def lit(self, answer: Cell) -> Change:
        """Return the patch (changes of SVG elements) that highlights the point of a cell of the last row."""
        return {self.key_of[answer.place]: {"style": "point-lit", "r": 9}}
