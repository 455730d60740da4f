"""The left part of the stepper of the dynamic programme: its equations, and the candidates of the current cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recompviz.core.teaching.programme import Cell, Place, Transition
from recompviz.widgets.lessons.notation import SizeFormat
from recompviz.widgets.lessons.scene import Canvas, Value

LINES = 6  # lines below the equations
WIDTH = 470.0
HEIGHT = 128.0 + 21 * LINES

Change = dict[str, Mapping[str, Value]]


class RecursionPart:
    """The equations of a dynamic programme, and below them the candidates for the value of one cell.

    The equations are drawn when the object is made. :meth:`lines` writes the candidates.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    budget : int or None
        The budget in bytes. None for the table that serves all budgets.
    name_of : callable (place) → str
        Returns the name of the cell at a place (lower set, overhead), for example ``R(ab, 3)``.
    sizes : SizeFormat
        Writes a size as a number.
    top : float
        Top of the equations, in pixels.
    """

    def __init__(
        self, canvas: Canvas, budget: int | None, name_of: Callable[[Place], str], sizes: SizeFormat, top: float
    ) -> None:
        self.budget, self.name_of, self.sizes = budget, name_of, sizes
        heading = "Recursion" if budget is None else f"Recursion for budget B = {sizes.full(budget)}"
        canvas.text(20, top, heading, "heading")
        equations = (
            ("R(V, 0) = 0", "R(L, t) = min  max( p,  Δm + R(L′, t − T′) )   over L′ ⊋ L")
            if budget is None
            else ("opt[∅, 0] = 0", "opt[L′, t] = min  opt[L, t − T′] + Δm   over L ⊊ L′, if opt + p ≤ B")
        )
        for i, equation in enumerate(equations):
            canvas.text(20, top + 23 + 20 * i, equation, "formula")
        canvas.text(20, top + 62, "p = 2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′)", "muted")
        canvas.text(20, top + 79, "Δm = M(∂(L′)∖L),   T′ = T((L′∖L)∖∂(L′))", "muted")
        canvas.text(20, top + 106, "", "formula-strong", "result")
        for row in range(LINES):
            canvas.text(20, top + 128 + 21 * row, "", "formula", f"line{row}")
        self.bottom = top + HEIGHT

    def lines(self, cell: Cell) -> Change:
        """Return the patch (changes of SVG elements) that writes the candidates of a cell, each in one of six lines.

        If there are more than six candidates, the best candidate comes first, and the last line says how many are left
        out.
        """
        value = self.sizes(cell.value) if cell.value >= 0 else "no candidate fits"
        patch: Change = {"result": {"text": f"{self.name_of(cell.place)} = {value}"}}
        shown = list(range(len(cell.candidates)))
        if len(shown) > LINES:
            first = [cell.best] if cell.best >= 0 else []
            shown = (first + [i for i in shown if i not in first])[: LINES - 1]
            rest = len(cell.candidates) - len(shown)
            patch[f"line{LINES - 1}"] = {"text": f"… and {rest} more", "style": "muted"}
        for line, i in enumerate(shown):
            text = self._line(cell.candidates[i]) + ("  ← least" if i == cell.best else "")
            patch[f"line{line}"] = {"text": text, "style": "formula-strong" if i == cell.best else "formula"}
        return patch

    def _line(self, candidate: Transition) -> str:
        name = self.name_of(candidate.other)
        p, delta_m, needed, value = map(self.sizes, (candidate.p, candidate.delta_m, candidate.needed, candidate.value))
        if self.budget is None:
            return f"max( {p}, {delta_m} + {name} ) = max( {p}, {delta_m} + {needed} ) = {value}"
        budget = self.sizes(self.budget)
        if not candidate.fits:
            return f"{name}: {needed} + p = {needed} + {p} > {budget}, does not fit"
        return f"{name} + Δm = {needed} + {delta_m} = {value}   ({needed} + {p} ≤ {budget})"
