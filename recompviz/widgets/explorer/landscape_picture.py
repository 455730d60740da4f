"""The memory landscape as a part of a static picture: memory over the step, in the colours of the page.

The page draws one bar for each value. The picture draws up to three areas for each part of the model: its kept, its
transient and its recomputed values. The areas have the order and the colours of the bars in
``js/explorer/landscape_pixels.js``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.palette import DARK, LIGHT, mixed
from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import Category
from recompviz.core.steps.places import places_of
from recompviz.core.steps.timeline import Timeline
from recompviz.core.steps.transient_blocks import blocks_of
from recompviz.widgets.explorer.strata import MOST, Strata, strata_of
from recompviz.widgets.layout.step_nodes import node_numbers, step_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACCENT_TEXT = LIGHT["accent-text"]
ACCENT, TEXT, MUTED, SURFACE = LIGHT["accent"], LIGHT["text"], LIGHT["muted"], LIGHT["surface"]
# The most columns.
COLUMNS = 500
# As in the page: the upper edge, as a multiple of the peak of keep-all.
HEADROOM = 1.08
VALUES = (Category.KEPT, Category.TRANSIENT, Category.RECOMPUTED)
MIDDLE = 4  # the layer of the third of five strata
RAMP = tuple(LIGHT[f"land-ramp-{i}"] for i in range(5))
SHORT = {
    Category.KEPT: "kept",
    Category.TRANSIENT: "transient",
    Category.RECOMPUTED: "recomputed",
    Category.GRADIENT: "gradients",
    Category.PARAMETER_GRADIENT: "param. gradients",
}
KEEP_ALL = f'stroke="{MUTED}" stroke-width="1.2" stroke-dasharray="1.5 2.5"'
# Categories that stay below this share of the peak are one item of the legend.
SMALL = 0.01


@dataclass(frozen=True)
class PlotArea:
    """The rectangle of a diagram in the coordinates of the picture, which grow to the right and downwards.

    Attributes
    ----------
    left, right, top, bottom : float
        The coordinates of the four sides.
    """

    left: float
    right: float
    top: float
    bottom: float

    def x(self, share: float) -> float:
        """Return the x coordinate at a share of the width: 0 is the left side, 1 the right side."""
        return self.left + share * (self.right - self.left)

    def y(self, share: float) -> float:
        """Return the y coordinate at a share of the height: 0 is the lower side, 1 the upper side."""
        return self.bottom - share * (self.bottom - self.top)

    @property
    def axes(self) -> str:
        """The left and the lower side of the rectangle, as an SVG element ``path``."""
        path = f"M{self.left} {self.top}V{self.bottom}H{self.right}"
        return f'<path d="{path}" fill="none" stroke="{MUTED}"/>'


FRAME = PlotArea(470.0, 985.0, 34.0, 180.0)


def svg_text(
    x: float,
    y: float,
    words: str,
    fill: str,
    *,
    size: float = 12,
    weight: int = 400,
    anchor: str = "start",
    more: str = "",
) -> str:
    """Return an SVG element ``text`` with the text ``words`` at the point (x, y).

    ``size`` is in pixels. ``weight`` and ``anchor`` are SVG's ``font-weight`` and ``text-anchor``, and ``more`` has
    further attributes as text.
    """
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}"{more}>{escape(words)}</text>'
    )


def fill_of(layer: int, category: Category, strata: int, theme: Mapping[str, str] = LIGHT) -> str:
    """Return the colour of a block of memory, the same as in the page.

    Parameters
    ----------
    layer : int
        0 for memory from before the step, 1 for gradients of parameters, s + 2 for a value of stratum s, and a larger
        number for all other blocks.
    category : Category
    strata : int
        The number of strata.
    theme : mapping of str to str
        ``LIGHT`` or ``DARK`` of :mod:`recompviz.core.base.palette`.
    """
    if layer == 0:
        names = {Category.PARAMETER: "land-parameters", Category.OPTIMIZER: "land-optimizer"}
        return theme[names.get(category, "land-static")]
    if category is Category.WORKSPACE:
        return theme["land-workspace"]
    fill = theme["land-gradients" if layer == 1 else "land-flight"]
    if 2 <= layer < strata + 2:
        at = ((layer - 2) / (strata - 1) if strata > 1 else 0.3) * (len(RAMP) - 1)
        low = min(len(RAMP) - 2, int(at))
        fill = mixed(theme[f"land-ramp-{low}"], theme[f"land-ramp-{low + 1}"], at - low)
    return mixed(fill, theme["surface"], 0.5) if category is Category.TRANSIENT else fill


@cache
def dark_mixtures() -> dict[str, str]:
    """Return, for each colour that a stratum may have in the light theme, the colour in the dark theme.

    Examples
    --------
    >>> dark_mixtures()[fill_of(2, Category.KEPT, 3)] == fill_of(2, Category.KEPT, 3, DARK)
    True
    """
    kinds = (Category.KEPT, Category.TRANSIENT)
    places = [(2 + i, kind, count) for count in range(1, MOST + 1) for i in range(count) for kind in kinds]
    # the legend has all colours of the ramp, as has a landscape of five strata
    return {fill_of(*place): fill_of(*place, DARK) for place in places}


def landscape_parts(
    graph: Graph,
    timeline: Timeline,
    budget: float | None,
    keep_all: NDArray[np.float32] | None,
    hatch: str,
    measured: Timeline | None = None,
) -> list[str]:
    """Return SVG elements that draw the memory over the training step.

    Parameters
    ----------
    graph : Graph
    timeline : Timeline
        The simulated memory of one training step.
    budget : float or None
        Total bytes; drawn as a line. None for no line.
    keep_all : numpy.ndarray of float32 or None
        The largest number of total bytes in each of equal parts of the step, if every value is kept; drawn as a dotted
        line. None for no such line.
    hatch : str
        A prefix for the names of patterns, unique in the page.
    measured : Timeline, optional
        The measured memory of the same plan; drawn as a line.
    """
    title = svg_text(430, 16, "Memory over the step (total bytes)", TEXT, weight=650)
    if len(timeline.phases) == 0:
        return [title]
    highest = [timeline.peak, 1, *(() if measured is None else (measured.peak,))]
    top = HEADROOM * max(*highest, 0 if keep_all is None else float(keep_all.max()))
    strata = strata_of([info.module for info in graph.info], graph.memory.tolist())
    places = places_of(timeline)
    columns = _columns(timeline.profile, places)
    layers = _layers(graph, timeline, strata)
    most = {category: float(bytes_.max()) for category, bytes_ in _by_category(layers, columns).items()}
    parts = [title, _definitions(hatch)]
    low = np.zeros(len(columns))
    for (layer, category), bytes_ in layers.items():
        high = low + bytes_[columns]
        area = _area(low / top, high / top)
        if area:
            parts.append(f'<path d="{area}" fill="{fill_of(layer, category, len(strata.names))}"/>')
            if category == Category.RECOMPUTED:
                parts.append(f'<path d="{area}" fill="url(#{hatch}-land)"/>')
        low = high
    parts += _names(layers, strata, columns, top)
    if measured is not None:
        parts += _measured(measured.step_peaks + measured.static, places, top)
    parts += _lines(timeline, places, budget, keep_all, top)
    parts += [FRAME.axes, svg_text(FRAME.left - 5, FRAME.bottom + 4, "0", MUTED, size=10.5, anchor="end")]
    lines = [name for name, drawn in (("keep all", keep_all), ("measured", measured)) if drawn is not None]
    return [*parts, *_legend(most, timeline.peak, lines, hatch)]


def _layers(graph: Graph, timeline: Timeline, strata: Strata) -> dict[tuple[int, Category], NDArray[Any]]:
    """Return the bytes in each step by layer and category, from the bottom of the stack to its top."""
    steps, blocks = len(timeline.phases), blocks_of(timeline)
    nodes = step_nodes(graph, node_numbers(graph), timeline.step_labels)
    found: dict[tuple[int, Category], NDArray[Any]] = {
        (0, category): np.full(steps, timeline.static_bytes[category])
        for category in Category
        if timeline.static_bytes.get(category)
    }
    layers, stratum, last = [], 0, len(strata.names) + 2
    for category, first in zip(blocks.category.tolist(), blocks.first.tolist(), strict=True):
        if category in VALUES:  # calls without a node belong to the stratum of the last value
            node = nodes[first] if first < steps else -1
            stratum = strata.of[node] if node >= 0 else stratum
            layers.append(stratum + 2)
        else:
            layers.append(1 if category == Category.PARAMETER_GRADIENT else last)
    layer_of = np.array(layers, np.int64)
    for layer, number in sorted(set(zip(layers, blocks.category.tolist(), strict=True))):
        chosen = (layer_of == layer) & (blocks.category == number)
        change = np.zeros(steps + 1, np.int64)
        np.add.at(change, blocks.first[chosen], blocks.size[chosen])
        np.add.at(change, blocks.stop[chosen], -blocks.size[chosen])
        found[layer, Category(number)] = change.cumsum()[:steps]
    return found


def _by_category(layers: dict[tuple[int, Category], NDArray[Any]], columns: list[int]) -> dict[Category, NDArray[Any]]:
    found: dict[Category, NDArray[Any]] = {}
    for (_, category), bytes_ in layers.items():
        found[category] = found.get(category, 0) + bytes_[columns]
    return {category: found[category] for category in Category if category in found}


def _columns(totals: NDArray[np.int64], places: NDArray[np.int64]) -> list[int]:
    """Split the places of the steps into equal parts, and return the step with the most bytes of each part."""
    count = int(places[-1]) + 1
    columns = min(count, COLUMNS)
    ends = np.searchsorted(places, [c * count // columns for c in range(columns + 1)])
    return [int(a) + int(np.argmax(totals[a:b])) for a, b in pairwise(ends)]


def _area(low: NDArray[Any], high: NDArray[Any]) -> str:
    """Draw the area between two rows of heights, as shares of the height of the frame; nothing where both are equal."""
    count, pieces = len(low), []
    thick = np.flatnonzero(np.diff(np.concatenate([[0], (high > low).astype(np.int8), [0]])))
    for a, b in zip(thick[::2].tolist(), thick[1::2].tolist(), strict=True):
        edges = [FRAME.x(c / count) for c in range(a, b + 1)]
        pieces.append(f"M{_steps(edges, high[a:b], 'M')[1:]}L{_steps(edges[::-1], low[a:b][::-1], 'M')[1:]}Z")
    return "".join(pieces)


def _steps(edges: Sequence[float], heights: NDArray[Any], begin: str = "M") -> str:
    """Draw a stepped line. Equal neighbours are one step."""
    rows = [FRAME.y(share) for share in heights.tolist()]
    parts = [f"{begin}{edges[0]:.1f} {rows[0]:.1f}"]
    for c, (row, after) in enumerate(pairwise(rows), 1):
        if f"{row:.1f}" != f"{after:.1f}":
            parts.append(f"H{edges[c]:.1f}V{after:.1f}")
    return f"{''.join(parts)}H{edges[-1]:.1f}"


def _names(
    layers: dict[tuple[int, Category], NDArray[Any]], strata: Strata, columns: list[int], top: float
) -> list[str]:
    """Write the name of each stratum where its kept values are high and wide enough."""
    parts = []
    low = np.zeros(len(columns))
    height, width = FRAME.bottom - FRAME.top, (FRAME.right - FRAME.left) / len(columns)
    for (layer, category), bytes_ in layers.items():
        thick = bytes_[columns]
        middle = low + thick / 2
        low = low + thick
        if category not in (Category.KEPT, Category.PARAMETER):
            continue
        name = strata.names[layer - 2] if layer else "parameters"
        need = int((6.4 * len(name) + 4) / width) + 1
        if need > len(columns):
            continue
        # the window of columns whose thinnest one is thickest, and in which the stack is level
        windows = np.lib.stride_tricks.sliding_window_view
        thinnest = windows(thick, need).min(axis=1) * height / top
        slope = np.ptp(windows(middle, need), axis=1) * height / top
        fits = np.where(slope < 3, thinnest, 0)
        at = int(fits.argmax())
        if fits[at] >= 12:
            x, y = FRAME.left + (at + need / 2) * width, FRAME.y(float(middle[at + need // 2]) / top)
            colour = SURFACE if layer else LIGHT["on-hue"]
            parts.append(svg_text(x, y + 4, name, colour, size=11, weight=650, anchor="middle"))
    return parts


def _lines(
    timeline: Timeline,
    places: NDArray[np.int64],
    budget: float | None,
    keep_all: NDArray[np.float32] | None,
    top: float,
) -> list[str]:
    """Draw the outline of keep-all, the budget, and a mark at the peak."""
    parts = []
    if keep_all is not None:
        edges = [FRAME.x(i / len(keep_all)) for i in range(len(keep_all) + 1)]
        path = _steps(edges, keep_all.astype(float) / top)
        parts.append(f'<path class="keep-all" d="{path}" fill="none" {KEEP_ALL}/>')
    if budget is not None and budget <= top:
        y = FRAME.y(budget / top)
        parts.append(
            f'<path class="budget" d="M{FRAME.left} {y:.1f}H{FRAME.right}" stroke="{ACCENT}" stroke-width="1.5" '
            'stroke-dasharray="5 3"/>'
        )
        parts.append(
            svg_text(FRAME.left + 4, y - 4, f"budget {format_bytes(int(budget))}", ACCENT_TEXT, size=11, weight=620)
        )
    share = (int(places[timeline.peak_step]) + 0.5) / (int(places[-1]) + 1)
    x, y = FRAME.x(share), FRAME.y(timeline.peak / top)
    anchor, offset = ("end", -8) if share > 0.7 else ("start", 8)
    words = f"peak {format_bytes(timeline.peak)}"
    parts.append(f'<path d="M{x:.1f} {y:.1f}l-4 -7h8Z" fill="{TEXT}"/>')
    parts.append(svg_text(max(x + offset, FRAME.left + 130), y - 4, words, TEXT, size=11, weight=620, anchor=anchor))
    return parts


def _measured(totals: NDArray[np.int64], places: NDArray[np.int64], top: float) -> list[str]:
    """Draw the measured total bytes of each step as a line, with a light border on the areas behind it."""
    if len(totals) == len(places):
        totals = np.maximum.reduceat(totals, np.flatnonzero(np.diff(places, prepend=-1)))
    columns = min(len(totals), COLUMNS)
    highest = np.maximum.reduceat(totals, np.arange(columns) * len(totals) // columns)
    path = _steps([FRAME.x(c / columns) for c in range(columns + 1)], highest / top)
    return [
        f'<path class="{name}" d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
        'stroke-linejoin="round"/>'
        for name, colour, width in (("measured-casing", SURFACE, 4), ("measured", TEXT, 1.6))
    ]


def _definitions(hatch: str) -> str:
    """The hatching of recomputed values."""
    return (
        f'<defs><pattern id="{hatch}-land" width="5" height="5" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="1.6" height="5" fill="{LIGHT["land-hatch"]}"/></pattern></defs>'
    )


def _legend(most: dict[Category, float], peak: int, lines: Sequence[str], hatch: str) -> list[str]:
    parts: list[str] = []
    x, y = FRAME.left, FRAME.bottom + 22
    small = [category.label for category, bytes_ in most.items() if bytes_ < SMALL * peak]
    items: list[tuple[str, Category | str]] = [
        (SHORT.get(category, category.label), category) for category, bytes_ in most.items() if bytes_ >= SMALL * peak
    ]
    items += [(name, name) for name in lines]
    for words, category in items:
        width = 6.2 * len(words)
        if x + 16 + width > FRAME.right:
            x, y = FRAME.left, y + 17
        parts += [*_swatch(x, y - 9, category, hatch), svg_text(x + 14, y, words, MUTED, size=11)]
        x += 26 + width
    if small:
        parts.append(svg_text(x, y, f"+{len(small)} below 1 %", MUTED, size=11))
    return parts


def _swatch(x: float, y: float, category: Category | str, hatch: str) -> list[str]:
    if not isinstance(category, Category):
        style = f'stroke="{TEXT}" stroke-width="2"' if category == "measured" else KEEP_ALL
        return [f'<path d="M{x:.1f} {y + 5:.1f}h10" {style}/>']
    box = f'<rect x="{x:.1f}" y="{y:.1f}" width="10" height="10" rx="2" '
    if category not in VALUES:
        layer = 0 if category.static else 1 if category == Category.PARAMETER_GRADIENT else 2
        return [f'{box}fill="{fill_of(layer, category, 0)}"/>']
    # the colour of the middle one of the strata, as in the page
    parts = [f'{box}fill="{fill_of(MIDDLE, category, 5)}"/>']
    return [*parts, f'{box}fill="url(#{hatch}-land)"/>'] if category == Category.RECOMPUTED else parts
