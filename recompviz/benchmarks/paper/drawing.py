"""Static SVG figures that follow the light or dark theme of the viewer. The same data give the same bytes.

A panel maps data to pixels and draws axes, bars, lines and points. A figure consists of panels and one legend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

STYLE = """<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.title { font-size: 14px; font-weight: 600 } .faint { fill: #57606a; font-size: 11px }
.grid { stroke: #d8dee4 } .axis { stroke: #57606a } .paper { fill: #ffffff } .ring { stroke: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .faint { fill: #9da7b3 } .grid { stroke: #30363d } .axis { stroke: #9da7b3 }
.paper { fill: #0d1117 } .ring { stroke: #0d1117 } }
</style>"""

SHAPES = ("circle", "square", "diamond", "triangle")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return evenly spaced round numbers between ``low`` and ``high``, about ``most`` of them.

    Examples
    --------
    >>> ticks(0, 81), ticks(0.3, 1.4)
    ([0.0, 20.0, 40.0, 60.0, 80.0], [0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    """
    rough = (high - low) / most or 1
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass
class Panel:
    """A rectangle of a figure with linear axes.

    Attributes
    ----------
    left, top, width, height : float
        The data area, in pixels.
    x, y : (float, float)
        The range of each axis, in units of the data.
    parts : list of str
        The SVG elements drawn so far.
    """

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel position of a data point."""
        (x0, x1), (y0, y1) = self.x, self.y
        return (
            self.left + self.width * (x - x0) / (x1 - x0),
            self.top + self.height * (1 - (y - y0) / (y1 - y0)),
        )

    def text(self, x: float, y: float, text: str, anchor: str = "middle", kind: str = "", turn: bool = False) -> None:
        """Draw text at a pixel position; ``kind`` is a CSS class, and ``turn`` turns the text by 90°."""
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{turned}>{escape(text)}</text>'
        )

    def axes(self, title: str, x_name: str, y_name: str, x_ticks: bool = True) -> None:
        """Draw the title, the names of the axes, the grid lines of y and the ticks of x, with their numbers."""
        bottom, right = self.top + self.height, self.left + self.width
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            self.parts.append(f'<path d="M{self.left:.1f} {y:.1f}H{right:.1f}" class="grid"/>')
            self.text(self.left - 6, y + 4, f"{value:g}", "end", "faint")
        for value in ticks(*self.x) if x_ticks else ():
            x, _ = self.at(value, self.y[0])
            self.parts.append(f'<path d="M{x:.1f} {bottom:.1f}v4" class="axis"/>')
            self.text(x, bottom + 17, f"{value:g}", "middle", "faint")
        self.parts.append(f'<path d="M{self.left:.1f} {bottom:.1f}H{right:.1f}" class="axis"/>')
        self.text(self.left, self.top - 12, title, "start", "title")
        self.text(self.left + self.width / 2, bottom + 34, x_name, "middle", "faint")
        self.text(self.left - 44, self.top + self.height / 2, y_name, "middle", "faint", turn=True)

    def bar(self, left: float, right: float, value: float, colour: str, label: str = "") -> None:
        """Draw a bar from zero to ``value``, between two places on the x axis, with ``label`` above it."""
        x0, y = self.at(left, value)
        x1, zero = self.at(right, max(0.0, self.y[0]))
        top, height = min(y, zero), abs(zero - y)
        self.parts.append(
            f'<rect x="{x0:.1f}" y="{top:.1f}" width="{x1 - x0:.1f}" height="{height:.1f}" rx="1.5" fill="{colour}"/>'
        )
        self.text((x0 + x1) / 2, top - 4, label, "middle", "faint")

    def line(self, points: Sequence[Sequence[float]], colour: str, dashed: bool = False) -> None:
        """Draw a line through data points."""
        path = "L".join("{:.1f} {:.1f}".format(*self.at(x, y)) for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')

    def mark(self, x: float, y: float, colour: str, shape: str, name: str) -> None:
        """Draw a marker of one of ``SHAPES`` at a data point, with its name as a tooltip."""
        self.parts.append(marker(*self.at(x, y), colour, shape, name))


def marker(x: float, y: float, colour: str, shape: str, name: str = "") -> str:
    """Return a marker of one of ``SHAPES`` at a pixel position, as an SVG element."""
    title = f"<title>{escape(name)}</title>" if name else ""
    r = 5.0
    paths = {
        "circle": f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        "square": f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        "diamond": f"M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r} {1.3 * r}l{-1.3 * r} {1.3 * r}l{-1.3 * r} {-1.3 * r}z",
        "triangle": f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r} {2.2 * r}h{-2.4 * r}z",
    }
    return f'<path d="{paths[shape]}" fill="{colour}" class="ring">{title}</path>'


def figure(
    width: float,
    height: float,
    panels: Sequence[Panel],
    legend: Sequence[tuple[str, str, str]],
    describe: str,
    per_row: int = 4,
) -> str:
    """Return an SVG document with panels and one legend below them.

    Parameters
    ----------
    width, height : float
        Size of the figure in pixels, legend included.
    panels : sequence of Panel
        The panels, with everything drawn in them.
    legend : sequence of (str, str, str)
        Name, colour and shape of each entry. A shape is one of ``SHAPES``, ``"line"`` or ``"dashes"``.
    describe : str
        The figure in words, for screen readers.
    per_row : int
        Number of entries in one row of the legend.
    """
    rows = -(-len(legend) // per_row)
    parts = []
    for k, (name, colour, shape) in enumerate(legend):
        x = 30 + (k % per_row) * (width - 40) / per_row
        y = height - 12 - 18 * (rows - 1 - k // per_row)
        if shape in SHAPES:
            parts.append(marker(x, y - 4, colour, shape))
        else:
            dash = ' stroke-dasharray="5 4"' if shape == "dashes" else ""
            parts.append(f'<path d="M{x - 9:.1f} {y - 4:.1f}h18" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{x + 14:.1f}" y="{y:.1f}">{escape(name)}</text>')
    body = "\n".join(part for panel in panels for part in panel.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(describe)}">\n{STYLE}\n'
        f'<rect width="100%" height="100%" class="paper"/>\n{body}\n' + "\n".join(parts) + "\n</svg>\n"
    )
