"""Compare two memory reports: find the values that take more or less memory at the peak.

Blocks are matched by name, source line and operator, so runs with different batch sizes or edited code can be compared.
The growth of memory from one training step to the next is compared too. It shows whether a leak is fixed.
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
    """The bytes that one value takes at the peaks of two reports.

    Attributes
    ----------
    value : str
        Name of the value.
    category : str
        Use of its memory, for example ``"kept values"``.
    line : str
        Text of the source line that allocated it. If the text is not known, file name and line number; empty if the
        line is not known either.
    before, after : int
        Bytes at the peak of the first and of the second report; 0 if the value is not alive at that peak.
    """

    value: str
    category: str
    line: str
    before: int
    after: int

    @property
    def change(self) -> int:
        """``after - before``, in bytes; negative if the value takes less in the second report."""
        return self.after - self.before


@dataclass(frozen=True, eq=False, repr=False)
class RunComparison:
    """The changes from one memory report to another; frozen. :func:`compare_runs` makes it.

    Attributes
    ----------
    a, b : MemoryReport
        The first and the second report.
    rows : tuple of Growth
        The values whose bytes at the peak changed, largest change first.
    """

    a: MemoryReport
    b: MemoryReport
    rows: tuple[Growth, ...]

    @property
    def peak_change(self) -> int:
        """The peak of ``b`` minus the peak of ``a``, in bytes; negative if the peak fell."""
        return self.b.peak - self.a.peak

    @property
    def grew(self) -> tuple[Growth, ...]:
        """The rows of values that take more memory in the second report, largest change first."""
        return tuple(row for row in self.rows if row.change > 0)

    @property
    def shrank(self) -> tuple[Growth, ...]:
        """The rows of values that take less memory in the second report, largest change first."""
        return tuple(row for row in self.rows if row.change < 0)

    @property
    def growth(self) -> tuple[int, int]:
        """The bytes by which live memory grows from one training step to the next in ``a``, and the same for ``b``.

        Live memory is compared at the ends of consecutive training steps. Of the changes between them, the smallest in
        absolute value is taken. The number is 0 if the report has fewer than two recorded training steps.
        """
        return _per_step(self.a), _per_step(self.b)

    @property
    def notes(self) -> tuple[str, ...]:
        """Up to two sentences about memory that grows from one training step to the next.

        The first sentence gives :attr:`growth`, if it is at least 1 KiB in one of the reports. The second sentence
        warns if both reports have recorded training steps, but different numbers of them.
        """
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
        Reports from :func:`recompviz.debug` or :func:`recompviz.load_snapshot`. ``a`` is the report before the change.

    Returns
    -------
    RunComparison
        ``.rows`` has the values whose bytes changed, and ``.peak_change`` the change of the peak in bytes.

    Raises
    ------
    TypeError
        If ``a`` or ``b`` is not a :class:`MemoryReport`.

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
    """The change of live memory from the end of one training step to the end of the next, in bytes.

    Of all changes, the smallest in absolute value is returned. The others can have harmless causes: the first training
    step allocates optimizer state, for example.
    """
    return min((b - a for a, b in pairwise(report.growth)), key=abs, default=0)


def _signed(count: int) -> str:
    return ("+" if count >= 0 else "") + format_bytes(count)
