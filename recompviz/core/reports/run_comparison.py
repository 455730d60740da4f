"""Two memory reports side by side: what grew at the peak, and what shrank, from one run to another.

Blocks are matched by what they are, not by where they lie, so that a change of batch size, a fix, or another commit
shows as the values it changed, largest first. What a leak's fix changes is the growth from step to step, told beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import LEAST_GROWTH
from recompviz.core.reports.html import _table, _text
from recompviz.core.reports.memory_report import MOST_SHOWN, MemoryReport
from recompviz.core.reports.row_pairs import Group, line_text, pairs


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

    @property
    def growth(self) -> tuple[int, int]:
        """Bytes by which what is alive at the end of a step grows with each step, in ``a`` and in ``b``."""
        return _per_step(self.a), _per_step(self.b)

    @property
    def notes(self) -> tuple[str, ...]:
        """The growth from step to step, where there is any, and what makes the two hard to compare."""
        notes = []
        before, after = self.growth
        if max(before, after) >= LEAST_GROWTH:
            notes.append(f"growth with each step: {format_bytes(before)} → {format_bytes(after)}")
        if self.a.growth and self.b.growth and len(self.a.growth) != len(self.b.growth):
            notes.append("the two watched different numbers of steps: what grows is larger where more were watched")
        return tuple(notes)

    @property
    def _title(self) -> str:
        return f"peak {format_bytes(self.a.peak)} → {format_bytes(self.b.peak)} ({_signed(self.peak_change)})"

    def __repr__(self) -> str:
        lines = [
            f"peak {format_bytes(self.a.peak)} → {format_bytes(self.b.peak)} ({_signed(self.peak_change)})",
            *self.notes,
        ]
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
        notes = "".join(f"<p>{_text(note)}</p>" for note in self.notes)
        return notes + _table(
            self._title, ("change", "value", "category", "before", "after", "line"), rows, len(self.rows)
        )


def compare_runs(a: MemoryReport, b: MemoryReport) -> RunComparison:
    """What grew at the peak from one report to another, for example before and after a change.

    Parameters
    ----------
    a, b : MemoryReport
        Of :func:`recompviz.debug` or :func:`recompviz.load_snapshot`.

    Returns
    -------
    RunComparison
        ``.grew``, ``.shrank``, ``.peak_change`` and ``.growth`` (bytes).

    Raises
    ------
    TypeError
        If one of them is no memory report.

    Examples
    --------
    >>> from recompviz.core.reports.findings import PeakRow
    >>> from recompviz.core.steps.joint import Category
    >>> from recompviz.core.steps.timeline import Timeline
    >>> def report(size):
    ...     line = Timeline.of_events([(0, 0, 5, size)], ["relu"], [0], storage_labels=("relu",), static_bytes={},
    ...                               kind="measured", device="cpu")
    ...     return MemoryReport("step", line, (PeakRow("relu", size, Category.KEPT),), ())
    >>> compare_runs(report(1024), report(4096))
    peak 1.00 KiB → 4.00 KiB (+3.00 KiB)
       +3.00 KiB  relu (kept values)
    """
    for name, report in (("a", a), ("b", b)):
        if not isinstance(report, MemoryReport):
            raise TypeError(
                f"{name} is {type(report).__name__}, expected a memory report of rv.debug or rv.load_snapshot"
            )
    rows = [_growth(before, after) for before, after in pairs(a.rows, b.rows)]
    changed = [row for row in rows if row.change]
    return RunComparison(a, b, tuple(sorted(changed, key=lambda row: (-abs(row.change), row.value))))


def _growth(before: Group | None, after: Group | None) -> Growth:
    shown = after or before
    assert shown is not None
    row = shown.first
    return Growth(
        row.value, row.category.label, line_text(row), before.size if before else 0, after.size if after else 0
    )


def _per_step(report: MemoryReport) -> int:
    """The least change from the end of a step to the end of the next.

    A first step may set up what stays, and after the last one the gradients are there that the next would clear.
    """
    return min((b - a for a, b in pairwise(report.growth)), key=abs, default=0)


def _signed(count: int) -> str:
    return ("+" if count >= 0 else "") + format_bytes(count)
