"""The memory landscape of a report: memory over the steps, with a bar for each large value. Some bars are highlighted.

The picture has no words; they stand beside it as HTML. The SVG is put into an HTML image, because JupyterLab removes
SVG elements from notebooks that are not trusted, but not images. The colours are legible on light and on dark pages.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base import palette
from recompviz.core.reports.landscape_axis import column_ends, step_widths
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# size of the picture in its own units, and the most columns
WIDTH, HEIGHT, COLUMNS = 960, 150, 240
# largest number of values with a bar of their own; the others are drawn together, by category
MOST_BARS, MOST_LIT = 120, 200
LIT, OTHER = palette.VERMILION, palette.GREY


@dataclass(frozen=True, eq=False)
class Bars:
    """The stacked bars of a landscape, from the bottom to the top; frozen.

    Attributes
    ----------
    first, stop : numpy.ndarray of int64, shape (#bars,)
        A bar is drawn in the columns ``first`` to ``stop − 1``.
    heights : tuple of numpy.ndarray of int64
        The bytes of each bar in its columns.
    categories : tuple of Category
        The use of the memory of each bar.
    lit : tuple of bool
        Whether each bar is highlighted.
    columns : int
        The number of columns.
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    heights: tuple[NDArray[np.int64], ...]
    categories: tuple[Category, ...]
    lit: tuple[bool, ...]
    columns: int


def bars_of(
    timeline: Timeline, lit: Collection[int] = (), columns: int = COLUMNS, focus: tuple[int, int] | None = None
) -> Bars:
    """Return the bars of a timeline, from the bottom to the top.

    The lowest bars are the memory from before the steps, one bar for each category. Above them, the highlighted values
    and the 120 values with the largest area (bytes times columns) have a bar each, in the order of their allocation.
    The remaining values share one bar for each category. A value that is alive in no column has no bar.

    Parameters
    ----------
    timeline : Timeline
    lit : collection of int
        The events that allocate the highlighted values. Only the first 200 count.
    columns : int
        The largest number of columns. A column stands for some steps, and shows the step in which the most bytes are
        alive.
    focus : (int, int), optional
        The part of the timeline that is drawn wide; see :func:`recompviz.core.reports.landscape_axis.step_widths`.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> timeline = simulate_schedule(make_schedule(chain_step([4, 4, 4])[1], [True] * 3))
    >>> bars = bars_of(timeline, lit={0})
    >>> bars.first.tolist(), bars.stop.tolist(), bars.lit.index(True)
    ([0, 1, 2, 3, 4, 5], [5, 4, 7, 5, 6, 7], 0)
    """
    profile = timeline.profile
    ends = column_ends(step_widths(timeline, focus), columns)
    count = len(ends)
    shown = [a + int(np.argmax(profile[a:b])) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    events = timeline.step_peak_events[shown] - 1
    birth, death = _spans(timeline)
    first = np.searchsorted(events, birth, side="left")
    stop = np.searchsorted(events, death, side="left")
    size = timeline.delta[birth]
    chosen = np.isin(birth, [*lit][:MOST_LIT])
    weight = np.where(first < stop, size * (stop - first), 0)
    drawn = np.flatnonzero(weight > 0)
    own = set(drawn[np.argsort(-weight[drawn], kind="stable")][:MOST_BARS].tolist())
    own |= set(np.flatnonzero(chosen & (weight > 0)).tolist())
    bars: list[tuple[int, int, NDArray[np.int64], Category, bool]] = [
        (0, count, np.full(count, bytes_, np.int64), category, False)
        for category, bytes_ in timeline.static_bytes.items()
        if bytes_ and count
    ]
    for i in sorted(own):
        a, b = int(first[i]), int(stop[i])
        height = np.full(b - a, size[i], np.int64)
        bars.append((a, b, height, Category(int(timeline.category[birth[i]])), bool(chosen[i])))
    rest = np.zeros((len(Category), count + 1), np.int64)
    for i in drawn.tolist():
        if i not in own:
            category = int(timeline.category[birth[i]])
            rest[category, first[i]] += size[i]
            rest[category, stop[i]] -= size[i]
    rest = rest.cumsum(axis=1)[:, :count]
    bars += [(0, count, rest[category], category, False) for category in Category if rest[category].any()]
    return Bars(
        np.array([bar[0] for bar in bars], np.int64),
        np.array([bar[1] for bar in bars], np.int64),
        tuple(bar[2] for bar in bars),
        tuple(bar[3] for bar in bars),
        tuple(bar[4] for bar in bars),
        count,
    )


def _spans(timeline: Timeline) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the events that allocate and free each block. A free ends the youngest block of its storage and size."""
    open_: dict[tuple[int, int, int], list[int]] = {}
    birth: list[int] = []
    death: list[int] = []
    never = len(timeline.delta)
    columns = (timeline.storage.tolist(), timeline.category.tolist(), timeline.delta.tolist())
    for event, (storage, category, delta) in enumerate(zip(*columns, strict=True)):
        key = storage, category, abs(delta)
        if delta > 0:
            open_.setdefault(key, []).append(len(birth))
            birth.append(event)
            death.append(never)
        elif open_.get(key):
            death[open_[key].pop()] = event
    return np.array(birth, np.int64), np.array(death, np.int64)


def landscape_svg(timeline: Timeline, lit: Collection[int] = (), focus: tuple[int, int] | None = None) -> str:
    """Draw the landscape of a timeline as an SVG document.

    Parameters
    ----------
    timeline : Timeline
        With at least one step.
    lit : collection of int
        The events that allocate the highlighted values. If there are any, the other values are grey.
    focus : (int, int), optional
        The part of the timeline that is drawn wide; see :func:`recompviz.core.reports.landscape_axis.step_widths`.
    """
    bars = bars_of(timeline, lit, focus=focus)
    tallest = max(timeline.peak, 1) * 1.04
    wide = WIDTH / max(bars.columns, 1)
    under = np.zeros(bars.columns, np.int64)
    some = any(bars.lit)
    parts = []
    for k, (a, b) in enumerate(zip(bars.first.tolist(), bars.stop.tolist(), strict=True)):
        low = under[a:b].copy()
        high = low + bars.heights[k]
        under[a:b] = high
        path = "".join(_outline(a, low, high, wide, HEIGHT / tallest))
        colour = OTHER if some else palette.CATEGORIES[bars.categories[k].name]
        shade = ' fill-opacity="0.45"' if some and not bars.lit[k] else ""
        parts.append(f'<path d="{path}" fill="{LIT if bars.lit[k] else colour}"{shade}/>')
    at = np.argmax(under) if bars.columns else 0
    mark = (
        f'<path d="M{(at + 0.5) * wide:.1f} 0V{HEIGHT}" stroke="{palette.GREY}" stroke-width="1.5" '
        'stroke-dasharray="5 4" vector-effect="non-scaling-stroke"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'width="{WIDTH}" height="{HEIGHT}" stroke="{palette.GREY}" stroke-width="0.5" stroke-opacity="0.7">'
        f'<g vector-effect="non-scaling-stroke">{"".join(parts)}</g>{mark}</svg>'
    )


def _outline(first: int, low: NDArray[np.int64], high: NDArray[np.int64], wide: float, scale: float) -> Iterator[str]:
    """Yield the outline of a bar: its upper side from left to right, its lower side back."""
    changes = np.flatnonzero((np.diff(low) != 0) | (np.diff(high) != 0)) + 1
    starts, stops = [0, *changes.tolist()], [*changes.tolist(), len(low)]
    for i, (a, b) in enumerate(zip(starts, stops, strict=True)):
        y = HEIGHT - scale * float(high[a])
        yield f"{'L' if i else 'M'}{(first + a) * wide:.0f} {y:.1f}H{(first + b) * wide:.0f}"
    for a, b in zip(starts[::-1], stops[::-1], strict=True):
        y = HEIGHT - scale * float(low[a])
        yield f"L{(first + b) * wide:.0f} {y:.1f}H{(first + a) * wide:.0f}"
    yield "Z"


def landscape_image(timeline: Timeline, lit: Collection[int], words: str, focus: tuple[int, int] | None = None) -> str:
    """Return the landscape as an HTML image; see :func:`landscape_svg`.

    ``words`` describe the picture for people who cannot see it.
    """
    data = base64.b64encode(landscape_svg(timeline, lit, focus).encode()).decode()
    return (
        f'<img alt="{escape(words)}" style="width:100%;height:{HEIGHT}px;display:block" '
        f'src="data:image/svg+xml;base64,{data}">'
    )
