"""The lower part of the strategy stepper: the terms of the peak formula for the current segment."""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.plans.formula import SegmentTerms
from recompviz.core.teaching.strategy import State, Strategy
from recompviz.widgets.lessons.notation import sub
from recompviz.widgets.lessons.scene import Canvas, Value

Change = dict[str, Mapping[str, Value]]
ROWS = (
    ("M(U{j})", "cache", "bar-keep"),
    ("2 M(V{i})", "segment: values and gradients", "bar-transient"),
    ("M(δ⁺(L{i})∖L{i})", "gradients that flow in", "bar-gradient"),
    ("M(δ⁻(δ⁺(L{i}))∖L{i})", "values that these gradients need", "bar-recompute"),
)
HEIGHT = 172.0


def draw_formula(canvas: Canvas, width: float, top: float) -> None:
    """Draw one row for each term of the peak formula, without numbers. :func:`formula_patch` fills the numbers in.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    width, top : float
        Width of the picture and top of the table, in pixels.
    """
    canvas.text(20, top, "The peak formula", "heading", "formula")
    for row, (_, words, style) in enumerate(ROWS):
        y = top + 25 + 23 * row
        canvas.text(20, y, "", "formula", f"f{row}")
        canvas.text(196, y, words, "muted")
        canvas.text(440, y, "", "text-end", f"n{row}")
        canvas.box(452, y - 12, 0, 14, style, f"b{row}", 2)
    y = top + 25 + 23 * len(ROWS)
    canvas.add("path", "rule", d=f"M20 {y - 15}H{width - 16:g}")
    canvas.text(20, y + 2, "", "text-strong", "bound-words")
    canvas.text(440, y + 2, "", "text-end", "bound-number")
    canvas.text(20, y + 25, "live now", "text-strong")
    canvas.text(440, y + 25, "", "text-end", "live")
    canvas.box(452, y + 13, 0, 14, "bar-live", "live-bar", 2)
    canvas.add("path", "hidden", key="live-bound", d="M0 0")
    canvas.text(20, y + 48, "overhead so far", "text-strong")
    canvas.text(440, y + 48, "", "text-end", "overhead")


def formula_patch(strategy: Strategy, state: State, width: float) -> Change:
    """Return the patch (changes of SVG elements) that writes the numbers of one state into the table of the formula.

    Parameters
    ----------
    strategy : Strategy
    state : State
        One of the states of ``strategy``.
    width : float
        Width of the picture, in pixels.
    """
    i = state.segment
    terms = strategy.terms[i - 1] if i else SegmentTerms(0, 0, 0, 0)
    scale = (width - 16 - 452) / max(strategy.peak, 1)
    patch: Change = {"formula": {"text": f"The peak formula for segment {i}" if i else "The peak formula"}}
    sizes = (terms.cache, terms.segment, terms.gradients, terms.needed)
    for row, ((symbol, _, _), size) in enumerate(zip(ROWS, sizes, strict=True)):
        patch[f"f{row}"] = {"text": symbol.format(i=sub(i) if i else "ᵢ", j=sub(i - 1) if i else "ᵢ₋₁")}
        patch[f"n{row}"] = {"text": str(size) if i else ""}
        patch[f"b{row}"] = {"width": round(size * scale, 1)}
    if i:
        patch["bound-words"] = {"text": f"bound while segment {i} runs backward"}
        patch["bound-number"] = {"text": str(terms.total)}
    patch["live"] = {"text": str(state.live)}
    patch["live-bar"] = {"width": round(state.live * scale, 1)}
    patch["overhead"] = {"text": f"{state.overhead:g} of {strategy.plan.overhead:g}"}
    return patch
