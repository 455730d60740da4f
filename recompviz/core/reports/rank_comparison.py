"""Memory reports of several ranks side by side: their peaks, the ranks above the budget, and the values that differ.

The highest peak decides whether a distributed run fits. Blocks of different ranks are matched as in a comparison of two
runs. The memory of all ranks is drawn on the same scale.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base import palette
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.reports.html import escaped, table
from recompviz.core.reports.memory_report import MOST_SHOWN, MemoryReport
from recompviz.core.reports.row_pairs import Group, line_text, pairs
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# with more ranks, only the most and the least of each value are shown
MOST_COLUMNS = 6
# characters of a source line
MOST_LINE = 60
# letters of a timeline in a text, and points of one in a picture
LETTERS, POINTS = 32, 160
_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 320, 34


@dataclass(frozen=True)
class RankDifference:
    """A value that takes different amounts of memory at the peaks of several ranks.

    Attributes
    ----------
    value : str
        The name of the value.
    category : str
        The use of its memory, for example ``"kept values"``.
    line : str
        The text of the source line that allocated it, or file name and line number if the text is not known. Empty if
        the line is not known.
    sizes : tuple of int
        The bytes of the value at the peak of each rank; 0 if the value is not alive at that peak.
    """

    value: str
    category: str
    line: str
    sizes: tuple[int, ...]

    @property
    def spread(self) -> int:
        """The largest of the sizes minus the least, in bytes."""
        return max(self.sizes) - min(self.sizes)


@dataclass(frozen=True, eq=False, repr=False)
class RankComparison:
    """Reports of several ranks side by side; frozen. :func:`compare_ranks` makes it.

    Attributes
    ----------
    reports : tuple of MemoryReport
    names : tuple of str
        The name of each rank, for example ``"rank 0"``.
    budget : int or None
        The memory that each rank may use, in bytes; None if it was not given.
    rows : tuple of RankDifference
        The values whose bytes differ, largest difference first.
    """

    reports: tuple[MemoryReport, ...]
    names: tuple[str, ...]
    budget: int | None
    rows: tuple[RankDifference, ...]

    @property
    def peaks(self) -> tuple[int, ...]:
        """The peak of each rank in total bytes."""
        return tuple(report.peak for report in self.reports)

    @property
    def order(self) -> tuple[int, ...]:
        """The positions of the ranks in :attr:`reports`, the rank with the highest peak first."""
        return tuple(sorted(range(len(self.reports)), key=lambda i: -self.peaks[i]))

    @property
    def fullest(self) -> str:
        """The name of the rank with the highest peak."""
        return self.names[self.order[0]]

    @property
    def short(self) -> tuple[str, ...]:
        """The names of the ranks whose peak is above the budget, the highest peak first; empty without a budget."""
        return tuple(self.names[i] for i in self.order if self.budget is not None and self.peaks[i] > self.budget)

    @property
    def sentence(self) -> str:
        """What differs between the ranks, as one sentence."""
        most, least = max(self.peaks), min(self.peaks)
        if most == least:
            text = f"all {len(self.names)} ranks have a peak of {format_bytes(most)}"
        else:
            text = (
                f"{self.fullest} is the fullest of {len(self.names)} ranks: {format_bytes(most)}, "
                f"{format_bytes(most - least)} more than {self.names[self.order[-1]]}"
            )
        if self.budget is None:
            return text
        short = ", ".join(self.short[:MOST_COLUMNS]) + (" …" if len(self.short) > MOST_COLUMNS else "")
        return f"{text}; {f'short of {format_bytes(self.budget)}: {short}' if short else 'all fit'}"

    def _fit(self, i: int) -> str:
        if self.budget is None:
            return f"+{format_bytes(self.peaks[i] - min(self.peaks))}"
        left = self.budget - self.peaks[i]
        return f"{format_bytes(left)} free" if left >= 0 else f"short by {format_bytes(-left)}"

    def _columns(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the heads and the cells of the table of values."""
        many = len(self.names) > MOST_COLUMNS
        heads = ("difference", "value", *(("most", "least") if many else self.names), "line")
        cells = []
        for row in self.rows[:MOST_SHOWN]:
            ends = [f"{format_bytes(f(row.sizes))} ({self.names[row.sizes.index(f(row.sizes))]})" for f in (max, min)]
            sizes = ends if many else list(map(format_bytes, row.sizes))
            cells.append(
                (format_bytes(row.spread), f"{row.value} ({row.category})", *sizes, shortened(row.line, MOST_LINE))
            )
        return heads, cells

    @property
    def text(self) -> str:
        """The comparison as plain text."""
        lines = [self.sentence]
        width = max(map(len, self.names))
        for i in self.order[:MOST_SHOWN]:
            report = self.reports[i]
            drawn = sparkline(report.timeline, max(self.peaks))
            lines.append(
                f"  {self.names[i]:<{width}}  {format_bytes(self.peaks[i]):>9}  {self._fit(i):<18}  |{drawn}|  "
                f"at {report.reached_at}"
            )
        heads, cells = self._columns()
        if cells:
            widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
            for row in (heads, *cells):
                lines.append("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
            if len(self.rows) > MOST_SHOWN:
                lines.append(f"showing {MOST_SHOWN} of {len(self.rows):,}")
        else:
            lines.append("the same values are alive at all peaks")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        most = max(*self.peaks, self.budget or 0)
        ranks = (
            (
                escaped(self.names[i]),
                format_bytes(self.peaks[i]),
                escaped(self._fit(i)),
                small_timeline(self.reports[i].timeline, most, self.budget, f"memory of {self.names[i]} over its step"),
                escaped(self.reports[i].reached_at),
            )
            for i in self.order[:MOST_SHOWN]
        )
        heads = ("rank", "peak", "more than the least" if self.budget is None else "budget", "over the step", "peak at")
        heads_of_values, cells = self._columns()
        values = (tuple(map(escaped, row)) for row in cells)
        return (
            f"<p><b>{escaped(self.sentence)}</b></p>"
            + table("Ranks, the fullest first", heads, ranks, len(self.names))
            + table("Values that differ at the peaks", tuple(map(escaped, heads_of_values)), values, len(self.rows))
        )


def compare_ranks(
    reports: Sequence[MemoryReport], *, names: Sequence[str] | None = None, budget: int | str | None = None
) -> RankComparison:
    """Compare the memory reports of several ranks: their peaks, the ranks above a budget, and the values that differ.

    Parameters
    ----------
    reports : sequence of MemoryReport
        One report for each rank, from :func:`recompviz.debug` or :func:`recompviz.load_snapshot`. Reports can be
        gathered with ``torch.distributed.gather_object``.
    names : sequence of str, optional
        The names of the ranks, one for each report. If None, ``"rank 0"``, ``"rank 1"``, …
    budget : int or str, optional
        The memory that each rank may use: bytes, or a string such as ``"80 GiB"``. If None, peaks are not compared with
        a budget.

    Returns
    -------
    RankComparison
        ``.rows`` has the values that differ. ``.fullest`` is the name of the rank with the highest peak, and ``.short``
        has the names of the ranks whose peak is above the budget.

    Raises
    ------
    TypeError
        If ``reports`` is one report instead of several, if an element of it is not a :class:`MemoryReport`, or if
        ``budget`` is neither a number nor a string.
    ValueError
        If ``reports`` is empty, if there are more or fewer names than reports, or if ``budget`` is not a size.

    Examples
    --------
    >>> from recompviz.core.reports.findings import PeakRow
    >>> from recompviz.core.steps.joint import Category
    >>> def report(size):
    ...     line = Timeline.of_events([(0, 0, 5, size)], ["relu"], [0], storage_labels=("relu",), static_bytes={},
    ...                               kind="measured", device="cpu")
    ...     return MemoryReport("step", line, (PeakRow("relu", size, Category.KEPT),), ())
    >>> compared = compare_ranks([report(1024), report(4096)], budget="2 KiB")
    >>> compared.sentence
    'rank 1 is the fullest of 2 ranks: 4.00 KiB, 3.00 KiB more than rank 0; short of 2.00 KiB: rank 1'
    >>> compared.rows[0].sizes
    (1024, 4096)
    """
    given = tuple(reports)
    if not given:
        raise ValueError("reports is empty, expected a memory report of each rank, from rv.debug or rv.load_snapshot")
    for i, report in enumerate(given):
        if not isinstance(report, MemoryReport):
            raise TypeError(
                f"reports[{i}] is a {type(report).__name__}, expected a memory report from rv.debug or rv.load_snapshot"
            )
    called = tuple(names) if names is not None else tuple(f"rank {i}" for i in range(len(given)))
    if len(called) != len(given):
        raise ValueError(f"names has {len(called)} names for {len(given)} reports; give one name for each report")
    rows = sorted(_differences(given), key=lambda row: (-row.spread, row.value))
    return RankComparison(given, called, None if budget is None else parse_bytes(budget), tuple(rows))


def _differences(reports: Sequence[MemoryReport]) -> list[RankDifference]:
    """Match the groups of rows of all reports, one report after another."""
    known: list[Group] = []  # the first group of each value
    sizes: list[list[int]] = []
    for rank, report in enumerate(reports):
        place = {id(row): i for i, group in enumerate(known) for row in group.rows}
        for before, after in pairs([row for group in known for row in group.rows], report.rows):
            if before is None:
                assert after is not None
                known.append(after)
                sizes.append([0] * rank + [after.size])
            else:
                sizes[place[id(before.first)]].append(after.size if after is not None else 0)
    found = []
    for group, row in zip(known, sizes, strict=True):
        first = group.first
        if max(row) > min(row):
            found.append(RankDifference(first.value, first.category.label, line_text(first), tuple(row)))
    return found


def reduced_profile(timeline: Timeline, points: int) -> NDArray[np.int64]:
    """Divide the steps of a timeline into ``points`` equal parts. Return the largest number of bytes in each part."""
    profile = timeline.profile if len(timeline.phases) else np.array([timeline.peak], np.int64)
    edges = np.linspace(0, len(profile), points + 1)
    parts = [profile[int(a) : max(int(np.ceil(b)), int(a) + 1)].max() for a, b in itertools.pairwise(edges)]
    return np.array(parts, np.int64)


def sparkline(timeline: Timeline, most: int) -> str:
    """Return the memory over a step as 32 block characters. The full block █ stands for ``most`` bytes."""
    shares = reduced_profile(timeline, LETTERS) / max(most, 1)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(np.ceil(share * (len(_BLOCKS) - 1))))] for share in shares)


def small_timeline(timeline: Timeline, most: int, budget: int | None, words: str) -> str:
    """Return the memory over a step as a small HTML image. ``words`` describe the image for people who cannot see it.

    ``most`` is the number of bytes at the upper side of the image. ``budget``, in total bytes, is drawn as a dashed
    line; None for no line.
    """

    def y(size: float) -> float:
        return _HEIGHT - (_HEIGHT - 2) * size / max(most, 1)

    tops = reduced_profile(timeline, POINTS).tolist()
    step = _WIDTH / POINTS
    path = "".join(f"V{y(top):.1f}H{(i + 1) * step:g}" for i, top in enumerate(tops))
    line = ""
    if budget is not None:
        line = f'<path d="M0 {y(budget):.1f}H{_WIDTH}" stroke="{palette.VERMILION}" stroke-dasharray="4 3"/>'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<path d="M0 {_HEIGHT}{path}V{_HEIGHT}Z" fill="{palette.SKY}"/>{line}</svg>'
    )
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escaped(words)}" width="{_WIDTH}" height="{_HEIGHT}" src="data:image/svg+xml;base64,{data}">'
