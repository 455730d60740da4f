"""The table in the stepper of the dynamic programme: one row for each lower set, one column for each overhead."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.teaching.programme import Cell, Place, Programme
from recompviz.core.teaching.sets import set_text
from recompviz.widgets.lessons.notation import SizeFormat, label_width, short_set
from recompviz.widgets.lessons.scene import Canvas, Value

HEIGHT = 376.0  # up to which rows are 30 px high
LEAST_ROW = 17.0

Change = dict[str, Mapping[str, Value]]


def _measures(table: Programme) -> tuple[float, float, float]:
    """Return the width of the row labels and the width and height of a cell, in pixels."""
    labels = max(label_width(short_set(table.graph, mask)) for mask in table.sets)
    return labels, max(34.0, min(56.0, 640.0 / len(table.times))), max(LEAST_ROW, min(30.0, HEIGHT / len(table.sets)))


def table_size(table: Programme) -> tuple[float, float]:
    """Return the width and the height of the table of a dynamic programme, in pixels."""
    labels, width, height = _measures(table)
    return labels + 8 + len(table.times) * width, len(table.sets) * height


class TablePart:
    """The table of a dynamic programme, with its cells numbered in the order in which they are filled.

    The empty table is drawn when the object is made. Methods that change the picture return patches: changes of SVG
    elements by key. The *place* of a cell is its lower set and its overhead.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    table : Programme
    left, top : float
        Left and top edge of the table, in pixels.

    Attributes
    ----------
    cells : list of Cell
        The cells with candidates or a value, row by row. Cells whose candidates all exceed the budget are included.
    number : dict of (int, float) to int
        Place → position of the cell in ``cells``. The frame (step of the picture) that fills the cell has the same
        number.
    right, bottom : float
        Right and bottom edge of the table, in pixels.
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
        self.sizes = SizeFormat.of(table.graph)
        widest, cell_width, row = _measures(table)
        x0 = left + widest + 8
        self.right, self.bottom = x0 + len(table.times) * cell_width, top + len(table.sets) * row
        self.corner = {
            (mask, t): (x0 + c * cell_width, top + r * row)
            for mask, r in self.row_of.items()
            for t, c in column_of.items()
        }
        canvas.text(left, 24, f"Table {self._function('L', 't')}", "heading")
        kind = "overhead so far" if table.budget is not None else "remaining overhead"
        canvas.text(left + 104, 24, f"rows: lower sets L, columns: {kind} t", "muted")
        for t, c in column_of.items():
            canvas.text(x0 + (c + 0.5) * cell_width, top - 8, f"{t:g}", "muted-middle")
        for mask, r in self.row_of.items():
            canvas.text(left + widest, top + (r + 0.66) * row, self.labels[mask], "text-end", f"r{r}")
        for place, (x, y) in self.corner.items():
            i = self.number.get(place)
            if i is None:
                canvas.box(x, y, cell_width, row, "cell-none")
                continue
            label = f"step that fills {self.name(place)}"
            canvas.box(x, y, cell_width, row, "cell", f"c{i}", go=i, label=label)
            canvas.text(x + cell_width / 2, y + 0.66 * row, "", "cell-text", f"ct{i}")
        canvas.box(0, 0, cell_width, row, "hidden", "ring", rx=3)

    def name(self, place: Place) -> str:
        """Return the name of the cell at a place: ``R({a, b}, 3)``, or ``opt[{a, b}, 3]`` in a table of one budget."""
        return self._function(set_text(self.table.graph, place[0]), f"{place[1]:g}")

    def short_name(self, place: Place) -> str:
        """Return the short name of the cell at a place: ``R(ab, 3)``, or ``opt[ab, 3]`` in a table of one budget."""
        return self._function(self.labels[place[0]], f"{place[1]:g}")

    def _function(self, lower_set: str, t: str) -> str:
        return f"opt[{lower_set}, {t}]" if self.table.budget is not None else f"R({lower_set}, {t})"

    def filled(self, until: int) -> Change:
        """Return the patch that shows the values of cells 0 to ``until``, and ✗ in a cell without a value."""
        patch: Change = {}
        for i, cell in enumerate(self.cells[: until + 1]):
            patch[f"c{i}"] = {"style": "cell-done" if cell.value >= 0 else "cell-none"}
            patch[f"ct{i}"] = {"text": self.sizes(cell.value) if cell.value >= 0 else "✗"}
        return patch

    def current(self, i: int) -> Change:
        """Return the patch that shows the values of cells 0 to i and explains cell i.

        Cell i, the cells that its value was computed from, and the best of these cells are marked.
        """
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
        """Return the patch that shows all cells and marks the cells of the time-centric plans."""
        return self.filled(len(self.cells)) | self._marked(
            [cell.place for cell in self.table.time_centric], "cell-front", "cell-text-keep"
        )

    def path(self, walk: tuple[Place, ...]) -> Change:
        """Return the patch that marks the path of one plan; ``walk`` is the result of :meth:`Programme.walk`."""
        return self._marked(walk, "cell-path", "cell-text-path")

    def _marked(self, places: tuple[Place, ...] | list[Place], style: str, text_style: str) -> Change:
        patch: Change = {}
        for place in places:
            i = self.number[place]
            patch[f"c{i}"] = {"style": style}
            patch[f"ct{i}"] = {"style": text_style, "text": self.sizes(self.cells[i].value)}
        return patch
