"""Compare two memory reports: which values take more at the peak, and which take less.

Blocks are matched by value, not by address, so that a change of batch size or code shows as the values that it changed.
The growth with each step is compared too, because fixing a leak changes it most.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import LEAST_GROWTH
from recompviz.core.reports.html import escaped, table
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
    """The changes from report ``a`` to report ``b``; frozen. Made by :func:`compare_runs`."""

    a: MemoryReport
    b: MemoryReport
    rows: tuple[Growth, ...]

    @property
    def peak_change(self) -> int:
        """Bytes by which the peak rose; negative if it fell."""
        return self.b.peak - self.a.peak

    @property
    def grew(self) -> tuple[Growth, ...]:
        """The values that take more at the second peak, largest change first."""
        return tuple(row for row in self.rows if row.change > 0)

    @property
    def shrank(self) -> tuple[Growth, ...]:
        """The values that take less at the second peak, largest change first."""
        return tuple(row for row in self.rows if row.change < 0)

    @property
    def growth(self) -> tuple[int, int]:
        """Bytes by which live memory grows with each step, in ``a`` and in ``b``."""
        return _per_step(self.a), _per_step(self.b)

    @property
    def notes(self) -> tuple[str, ...]:
        """The growth with each step, if there is any, and why the two runs may not be comparable."""
        notes = []
        before, after = self.growth
        if max(before, after) >= LEAST_GROWTH:
            notes.append(f"growth with each step: {format_bytes(before)} → {format_bytes(after)}")
        if self.a.growth and self.b.growth and len(self.a.growth) != len(self.b.growth):
            notes.append(
                "the reports watched different numbers of steps: memory that grows is larger in the one with more steps"
            )
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
                escaped(r.value),
                escaped(r.category),
                format_bytes(r.before),
                format_bytes(r.after),
                escaped(r.line),
            )
            for r in self.rows[:MOST_SHOWN]
        )
        notes = "".join(f"<p>{escaped(note)}</p>" for note in self.notes)
        return notes + table(
            self._title, ("change", "value", "category", "before", "after", "line"), rows, len(self.rows)
        )


def compare_runs(a: MemoryReport, b: MemoryReport) -> RunComparison:
    """Compare the peaks of two reports, for example before and after a change.

    Parameters
    ----------
    a, b : MemoryReport
        From :func:`recompviz.debug` or :func:`recompviz.load_snapshot`.

    Returns
    -------
    RunComparison
        ``.grew``, ``.shrank``, ``.peak_change`` and ``.growth`` (bytes).

    Raises
    ------
    TypeError
        If one of them is not a memory report.

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
                f"{name} is {type(report).__name__}, expected a memory report from rv.debug or rv.load_snapshot"
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
    """The smallest change from the end of a step to the end of the next.

    The first step may allocate what stays. After the last step gradients exist that the next step would clear.
    """
    return min((b - a for a, b in pairwise(report.growth)), key=abs, default=0)


def _signed(count: int) -> str:
    return ("+" if count >= 0 else "") + format_bytes(count)
