"""The view of a recorded step as one static SVG picture, for notebooks that are opened without a kernel.

On the left is the curve of recomputation over the peak, with the point that is shown. On the right is the memory over
the step: a column for each pass of a region, a narrow one for the eager code after it.
"""

from __future__ import annotations

from html import escape

import numpy as np

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.training_step import StepMoment, StepReport

WIDTH, HEIGHT = 1000.0, 330.0
CURVE = (62.0, 330.0)  # left and right side of the diagrams
MEMORY = (430.0, 985.0)
TOP, BOTTOM = 70.0, 270.0
NARROW = 0.4  # width of a column of eager code, in columns of passes
LAYERS = (
    ("land-parameters", "in use before the step"),
    ("keep", "kept by regions"),
    ("recompute", "held by eager code"),
    ("land-flight", "taken by the pass"),
)
# with more regions, their numbers have no room
NUMBERED = 24


def step_svg(report: StepReport, point: int) -> str:
    """Return the picture of a recorded step under the plans of a point; ``point`` is an index in ``report.front``."""
    peak = report.peak(point)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" width="{WIDTH:g}" '
        'font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="{LIGHT["surface"]}"/>',
        _text(14, 24, f"Recorded step of {report.title}", 15, 650),
        _text(14, 43, f"{report.summary} · peak {format_bytes(peak)} on {report.device}", 12, 400, "muted"),
        *_curve(report, point),
        *_memory(report, point),
        "</svg>",
    ]
    return "".join(parts)


def _text(x: float, y: float, text: str, size: float, weight: int = 400, colour: str = "text", anchor: str = "") -> str:
    placed = f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{LIGHT[colour]}"{placed}>'
        f"{escape(text)}</text>"
    )


def _curve(report: StepReport, point: int) -> list[str]:
    peaks = report.resident + np.asarray(report.front.peak, float)
    share = np.asarray(report.front.overhead, float) / (report.step_time or 1.0)
    low, high = float(peaks.min()), float(peaks.max())
    most = max(float(share.max()), 1e-9)

    def x(size: float) -> float:
        return CURVE[0] + (CURVE[1] - CURVE[0]) * (0.5 if high == low else (size - low) / (high - low))

    def y(extra: float) -> float:
        return BOTTOM - (BOTTOM - TOP - 12) * extra / most

    order = np.argsort(peaks)
    line = "".join(f"{'M' if i == 0 else 'L'}{x(peaks[k]):.1f} {y(share[k]):.1f}" for i, k in enumerate(order))
    return [
        f'<path d="M{CURVE[0]} {TOP}V{BOTTOM}H{CURVE[1]}" fill="none" stroke="{LIGHT["muted"]}"/>',
        f'<path d="{line}" fill="none" stroke="{LIGHT["recompute"]}" stroke-width="2.2" stroke-linejoin="round"/>',
        f'<circle cx="{x(peaks[point]):.1f}" cy="{y(share[point]):.1f}" r="6" fill="{LIGHT["accent"]}"/>',
        _text(CURVE[0] - 8, y(most) + 4, f"+{most:.0%}".replace("%", " %"), 11.5, 400, "muted", "end"),
        _text(CURVE[0] - 8, BOTTOM + 4, "0 %", 11.5, 400, "muted", "end"),
        _text(CURVE[0], BOTTOM + 18, format_bytes(low), 11.5, 400, "muted", "start"),
        _text(CURVE[1], BOTTOM + 18, format_bytes(high), 11.5, 400, "muted", "end"),
        _text(CURVE[0], TOP - 8, "extra time, share of the step, over the peak", 11.5, 400, "muted"),
    ]


def _memory(report: StepReport, point: int) -> list[str]:
    moments = report.moments(point)
    without = report.moments(0)
    widths = [NARROW if moment.eager else 1.0 for moment in moments]
    unit = (MEMORY[1] - MEMORY[0]) / sum(widths)
    edges = MEMORY[0] + unit * np.concatenate([[0.0], np.cumsum(widths)])
    highest = report.resident + max(moment.bytes for moment in [*moments, *without])

    def y(size: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * size / (highest * 1.06)

    parts = []
    for half in (0.0, 0.5, 1.0):
        size = highest * half
        parts.append(f'<path d="M{MEMORY[0]} {y(size):.1f}H{MEMORY[1]}" stroke="{LIGHT["line"]}" stroke-width=".8"/>')
        parts.append(_text(MEMORY[0] - 8, y(size) + 4, format_bytes(size), 11.5, 400, "muted", "end"))
    for i, moment in enumerate(moments):
        at = 0.0
        for (colour, _), size in zip(LAYERS, _layers(report, moment), strict=True):
            if size:
                parts.append(
                    f'<rect x="{edges[i]:.1f}" y="{y(at + size):.1f}" width="{edges[i + 1] - edges[i]:.1f}" '
                    f'height="{y(at) - y(at + size):.1f}" fill="{LIGHT[colour]}"/>'
                )
            at += size
    outline = "".join(
        f"{'M' if i == 0 else 'L'}{edges[i]:.1f} {y(report.resident + moment.bytes):.1f}H{edges[i + 1]:.1f}"
        for i, moment in enumerate(without)
    )
    budget = y(report.peak(point))
    parts.append(f'<path d="{outline}" fill="none" stroke="{LIGHT["muted"]}" stroke-dasharray="2 2.5"/>')
    parts.append(f'<path d="M{MEMORY[0]} {budget:.1f}H{MEMORY[1]}" stroke="{LIGHT["accent"]}" stroke-width="1.6"/>')
    parts.append(_text(MEMORY[0] + 4, budget - 5, f"peak {format_bytes(report.peak(point))}", 11.5, 650, "accent"))
    if len(report.regions) <= NUMBERED:
        for i, moment in enumerate(moments):
            if not moment.eager:
                middle = float(edges[i] + edges[i + 1]) / 2
                parts.append(_text(middle, BOTTOM + 15, str(moment.region + 1), 11.5, 400, "muted", "middle"))
    turn = next((float(edges[i]) for i, moment in enumerate(moments) if moment.of == "backward"), MEMORY[1])
    parts.append(_text((MEMORY[0] + turn) / 2, BOTTOM + 31, "forward", 11.5, 560, "text", "middle"))
    parts.append(_text((turn + MEMORY[1]) / 2, BOTTOM + 31, "backward", 11.5, 560, "text", "middle"))
    x = MEMORY[0]
    for colour, words in LAYERS:
        parts.append(f'<rect x="{x:.1f}" y="{TOP - 17}" width="10" height="10" rx="2" fill="{LIGHT[colour]}"/>')
        parts.append(_text(x + 14, TOP - 8, words, 11.5, 400, "muted"))
        x += 22 + 6.2 * len(words)
    return parts


def _layers(report: StepReport, moment: StepMoment) -> tuple[int, int, int, int]:
    return report.resident, moment.saved, moment.outside, moment.own
