"""Two memory reports side by side: what grew at the peak, and what shrank, from one run to another.

Blocks are matched by what they are, not by where they lie: category, value and line. So a change of batch size, a
fix, or another commit shows as the values it changed, largest first.
"""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.attribution import MOST_SHOWN, MemoryReport, PeakRow
from recompviz.core.report_html import _table, _text
from recompviz.core.units import format_bytes


@dataclass(frozen=True)
class Growth:
    """One value's bytes at the peak of the first run and of the second."""

    value: str
    category: str
    line: str
    before: int
    after: int

    @property
    def change(self) -> int:
        """Bytes more in the second run."""
        return self.after - self.before


@dataclass(frozen=True, eq=False, repr=False)
class RunComparison:
    """What grew from report ``a`` to report ``b``; frozen, made by :func:`compare_runs`."""

    a: MemoryReport
    b: MemoryReport
    rows: tuple[Growth, ...]

    @property
    def peak_change(self) -> int:
        """Bytes by which the peak rose; negative if it fell."""
        return self.b.peak - self.a.peak

    @property
    def grew(self) -> tuple[Growth, ...]:
        """What takes more at the second peak, largest change first."""
        return tuple(row for row in self.rows if row.change > 0)

    @property
    def shrank(self) -> tuple[Growth, ...]:
        """What takes less at the second peak, largest change first."""
        return tuple(row for row in self.rows if row.change < 0)

    def __repr__(self) -> str:
        lines = [f"peak {format_bytes(self.a.peak)} → {format_bytes(self.b.peak)} ({_signed(self.peak_change)})"]
        for row in self.rows[:MOST_SHOWN]:
            lines.append(f"{_signed(row.change):>12}  {row.value} ({row.category})  {row.line}".rstrip())
        if len(self.rows) > MOST_SHOWN:
            lines.append(f"showing {MOST_SHOWN} of {len(self.rows):,}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = (
            (
                _signed(r.change),
                _text(r.value),
                _text(r.category),
                format_bytes(r.before),
                format_bytes(r.after),
                _text(r.line),
            )
            for r in self.rows[:MOST_SHOWN]
        )
        title = f"peak {format_bytes(self.a.peak)} → {format_bytes(self.b.peak)} ({_signed(self.peak_change)})"
        return _table(title, ("change", "value", "category", "before", "after", "line"), rows, len(self.rows))


def compare_runs(a: MemoryReport, b: MemoryReport) -> RunComparison:
    """What grew at the peak from one report to another, for example before and after a change.

    Parameters
    ----------
    a, b : MemoryReport
        Of :func:`recompviz.debug` or :func:`recompviz.load_snapshot`.

    Returns
    -------
    RunComparison
        ``.grew``, ``.shrank``, ``.peak_change`` (bytes).

    Examples
    --------
    >>> import numpy as np
    >>> from recompviz.core.joint import Category
    >>> from recompviz.core.timeline import Timeline
    >>> def report(size):
    ...     line = Timeline.of_events([(0, 0, 5, size)], ["relu"], [0], storage_labels=("relu",), static_bytes={},
    ...                               kind="measured", device="cpu")
    ...     return MemoryReport("step", line, (PeakRow("relu", size, Category.KEPT),), ())
    >>> compare_runs(report(1024), report(4096))
    peak 1.00 KiB → 4.00 KiB (+3.00 KiB)
       +3.00 KiB  relu (kept values)
    """
    before, after = _sums(a), _sums(b)
    rows = [
        Growth(*key, before.get(key, 0), after.get(key, 0))
        for key in {**before, **after}
        if before.get(key, 0) != after.get(key, 0)
    ]
    return RunComparison(a, b, tuple(sorted(rows, key=lambda row: (-abs(row.change), row.value))))


def _sums(report: MemoryReport) -> dict[tuple[str, str, str], int]:
    sums: dict[tuple[str, str, str], int] = {}
    for row in report.rows:
        key = row.value, row.category.label, _code(row)
        sums[key] = sums.get(key, 0) + row.size
    return sums


def _code(row: PeakRow) -> str:
    """The line's text: its number moves with every edit above it."""
    return row.line.text.strip() or row.line.place if row.line else ""


def _signed(count: int) -> str:
    return ("+" if count >= 0 else "") + format_bytes(count)
