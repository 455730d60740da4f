"""The table of the DP stepper: a row for each lower set, a column for each overhead, filled cell by cell."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.teaching.programme import Cell, Place, Programme
from recompviz.core.teaching.sets import set_text
from recompviz.widgets.lessons.notation import label_width, short_set
from recompviz.widgets.lessons.scene import Canvas, Value

ROW = 30.0

Change = dict[str, Mapping[str, Value]]


class TablePart:
    """Draw the table and number its cells in the order in which they are filled.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    table : Programme
    left, top : float
        Corner of the table, pixels.

    Attributes
    ----------
    cells : list of Cell
        All reached cells, row by row, including those whose candidates do not fit.
    number : dict from place to int
        The position of each cell in ``cells``; it is also the frame that fills the cell.
    right, bottom : float
        Edges of the table, pixels.
    """

    def __init__(self, canvas: Canvas, table: Programme, left: float, top: float) -> None:
        self.table = table
        self.labels = {mask: short_set(table.graph, mask) for mask in table.sets}
        self.row_of = {mask: r for r, mask in enumerate(table.sets)}
        column_of = {t: c for c, t in enumerate(table.times)}
        self.cells: list[Cell] = sorted(
            (*table.cells, *table.infeasible), key=lambda cell: (self.row_of[cell.place[0]], cell.place[1])
        )
        self.number = {cell.place: i for i, cell in enumerate(self.cells)}
        widest = max(label_width(text) for text in self.labels.values())
        cell_width = max(34.0, min(56.0, 640.0 / len(table.times)))
        x0 = left + widest + 8
        self.right, self.bottom = x0 + len(table.times) * cell_width, top + len(table.sets) * ROW
        self.corner = {
            (mask, t): (x0 + c * cell_width, top + r * ROW)
            for mask, r in self.row_of.items()
            for t, c in column_of.items()
        }
        canvas.text(left, 24, f"Table {self._function('L', 't')}", "heading")
        kind = "overhead" if table.budget is not None else "remaining overhead"
        canvas.text(left + 130, 24, f"rows: lower sets L, columns: {kind} t", "muted")
        for t, c in column_of.items():
            canvas.text(x0 + (c + 0.5) * cell_width, top - 8, f"{t:g}", "muted-middle")
        for mask, r in self.row_of.items():
            canvas.text(left + widest, top + r * ROW + 20, self.labels[mask], "text-end", f"r{r}")
        for place, (x, y) in self.corner.items():
            i = self.number.get(place)
            if i is None:
                canvas.box(x, y, cell_width, ROW, "cell-none")
                continue
            label = f"step that fills {self.name(place)}"
            canvas.box(x, y, cell_width, ROW, "cell", f"c{i}", go=i, label=label)
            canvas.text(x + cell_width / 2, y + 20, "", "cell-text", f"ct{i}")
        canvas.box(0, 0, cell_width, ROW, "hidden", "ring", rx=3)

    def name(self, place: Place) -> str:
        """``R({a, b}, 3)`` or ``opt[{a, b}, 3]``."""
        return self._function(set_text(self.table.graph, place[0]), f"{place[1]:g}")

    def short_name(self, place: Place) -> str:
        """``R(ab, 3)`` or ``opt[ab, 3]``."""
        return self._function(self.labels[place[0]], f"{place[1]:g}")

    def _function(self, lower_set: str, t: str) -> str:
        return f"opt[{lower_set}, {t}]" if self.table.budget is not None else f"R({lower_set}, {t})"

    def filled(self, until: int) -> Change:
        """Show the values of the cells up to a position."""
        patch: Change = {}
        for i, cell in enumerate(self.cells[: until + 1]):
            patch[f"c{i}"] = {"style": "cell-done" if cell.value >= 0 else "cell-none"}
            patch[f"ct{i}"] = {"text": str(cell.value) if cell.value >= 0 else "✗"}
        return patch

    def current(self, i: int) -> Change:
        """Show the cells up to i; mark cell i, the cells that it reads, and the best of these."""
        cell = self.cells[i]
        patch = self.filled(i)
        for candidate in cell.candidates:
            patch[f"c{self.number[candidate.other]}"] = {"style": "cell-needed"}
        if cell.best >= 0:
            patch[f"c{self.number[cell.candidates[cell.best].other]}"] = {"style": "cell-best"}
        x, y = self.corner[cell.place]
        patch["ring"] = {"style": "ring", "x": round(x, 1), "y": round(y, 1)}
        patch[f"r{self.row_of[cell.place[0]]}"] = {"style": "text-end-strong"}
        return patch

    def finished(self) -> Change:
        """Show all cells, and mark the time-centric ones."""
        return self.filled(len(self.cells)) | self._marked(
            [cell.place for cell in self.table.time_centric], "cell-front", "cell-text-keep"
        )

    def path(self, walk: tuple[Place, ...]) -> Change:
        """Mark the cells of a plan."""
        return self._marked(walk, "cell-path", "cell-text-path")

    def _marked(self, places: tuple[Place, ...] | list[Place], style: str, text_style: str) -> Change:
        patch: Change = {}
        for place in places:
            i = self.number[place]
            patch[f"c{i}"] = {"style": style}
            patch[f"ct{i}"] = {"style": text_style, "text": str(self.cells[i].value)}
        return patch
