"""The lower part of the strategy stepper: the terms of the peak formula for the current segment."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.plans.formula import SegmentTerms
from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.notation import SizeFormat, sub
from recompviz.widgets.lessons.scene import Canvas, Value

Change = dict[str, Mapping[str, Value]]
#: For each term its symbol, its meaning in two lines, and its place in units of the width.
TERMS = (
    ("M(U{j})", "cache of", "earlier segments", 0.0),
    ("2 M(V{i})", "segment: values", "and gradients", 0.19),
    ("M(δ⁺(L{i})∖L{i})", "gradients that", "flow in", 0.37),
    ("M(δ⁻(δ⁺(L{i}))∖L{i})", "values that these", "gradients need", 0.59),
)
TOTAL = 0.86
HEIGHT = 104.0


def draw_formula(canvas: Canvas, left: float, right: float, top: float) -> None:
    """Draw the terms of the peak formula side by side, without numbers. :func:`formula_patch` fills the numbers in.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    left, right, top : float
        Edges of the part, in pixels. ``top`` is the base line of its heading.
    """
    width = right - left
    canvas.text(left, top, "The peak formula", "heading", "formula")
    for row, (_, first, second, place) in enumerate(TERMS):
        x = left + place * width
        canvas.text(x, top + 24, "", "formula", f"f{row}")
        canvas.text(x, top + 46, "", "number", f"n{row}")
        canvas.text(x, top + 63, first, "muted")
        canvas.text(x, top + 78, second, "muted")
    x = left + TOTAL * width
    canvas.text(x, top + 46, "", "number", "bound-number")
    canvas.text(x, top + 63, "bound", "muted", "bound-words")
    canvas.add("path", "rule", d=f"M{left:g} {top + 86:g}H{right:g}")
    canvas.text(left, top + 102, "", "text-strong", "live")
    canvas.text(left + 0.37 * width, top + 102, "", "text-strong", "overhead")


def formula_patch(strategy: Strategy, state: State) -> Change:
    """Return the patch (changes of SVG elements) that writes the numbers of one state into the formula.

    In the forward pass, the terms have no numbers, because the numbers would tell the answers to later questions.

    Parameters
    ----------
    strategy : Strategy
    state : State
        One of the states of ``strategy``.
    """
    i = state.segment
    backward = state.verb in ("recompute", "backward", "release")
    terms = strategy.terms[i - 1] if i else SegmentTerms(0, 0, 0, 0)
    size_text = SizeFormat.of(strategy.plan.graph)
    patch: Change = {}
    sizes = (terms.cache, terms.segment, terms.gradients, terms.needed)
    for row, ((symbol, _, _, _), size) in enumerate(zip(TERMS, sizes, strict=True)):
        patch[f"f{row}"] = {"text": symbol.format(i=sub(i) if i else "ᵢ", j=sub(i - 1) if i else "ᵢ₋₁")}
        patch[f"n{row}"] = {"text": f"{'+ ' if row else ''}{size_text(size)}" if backward else ""}
    if backward:
        patch["formula"] = {"text": f"The peak formula for segment {i}: memory while it runs backward"}
        patch["bound-number"] = {"text": f"= {size_text(terms.total)}"}
    patch["live"] = {"text": f"live now: {size_text.full(state.live)}"}
    patch["overhead"] = {"text": f"overhead so far: {state.overhead:g} of {strategy.plan.overhead:g}"}
    return patch
