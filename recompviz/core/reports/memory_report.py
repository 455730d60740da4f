"""A memory report: every byte alive at the peak of a step, where it comes from and why it is alive.

A report has a row for each block, so that the rows add up to the peak; bytes of unknown origin are *unattributed*.
Reports are made from watched training steps or from memory snapshots, elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recompviz.core.base.rendering import render
from recompviz.core.reports.findings import Advice, Difference, Finding, PeakRow
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

# largest number of rows that a page shows
MOST_SHOWN = 30


@dataclass(frozen=True, eq=False, repr=False)
class MemoryReport:
    """What is alive at the peak of a step, by value, source line and cause; frozen.

    Attributes
    ----------
    title : str
    timeline : Timeline
        Measured, with every allocation and free.
    rows : tuple of PeakRow
        Every block alive at the peak, largest first; their sizes add up to ``peak``.
    findings : tuple of Finding
        The diagnosis, the most important first.
    differences : tuple of Difference
        Where measured memory differs from expected (simulated) memory, largest first; empty if the step cannot be
        traced.
    advice : tuple of Advice
    notes : tuple of str
    growth : tuple of int
        Transient bytes alive at the end of each watched step.
    open_explorer : callable or None
        Returns the Explorer on the step.
    trace : Trace or None
        The traced step.
    """

    title: str
    timeline: Timeline
    rows: tuple[PeakRow, ...]
    findings: tuple[Finding, ...]
    differences: tuple[Difference, ...] = ()
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()
    growth: tuple[int, ...] = ()
    open_explorer: Callable[[], Any] | None = field(default=None)
    trace: Any = None

    @property
    def peak(self) -> int:
        """Bytes alive at the peak, total bytes."""
        return sum(row.size for row in self.rows)

    @property
    def device(self) -> str:
        """The device on which it was measured."""
        return self.timeline.device

    @property
    def unattributed(self) -> int:
        """Bytes at the peak whose origin is not known."""
        return sum(row.size for row in self.rows if not row.attributed)

    @property
    def coverage(self) -> float:
        """The share of the bytes at the peak that is attributed, 0 to 1."""
        return 1 - self.unattributed / self.peak if self.peak else 1.0

    @property
    def top(self) -> Finding | None:
        """The most important finding."""
        return self.findings[0] if self.findings else None

    @cached_property
    def by_category(self) -> dict[Category, int]:
        """Bytes at the peak by category, largest first."""
        sums: dict[Category, int] = {}
        for row in self.rows:
            sums[row.category] = sums.get(row.category, 0) + row.size
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @cached_property
    def by_line(self) -> dict[str, int]:
        """Bytes at the peak by the source line that made them, largest first."""
        return self._sums(lambda row: str(row.line) if row.line else f"({row.category.label})")

    @cached_property
    def by_module(self) -> dict[str, int]:
        """Bytes at the peak by module, largest first."""
        return self._sums(lambda row: row.module or f"({row.category.label})")

    def _sums(self, key: Callable[[PeakRow], str]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[key(row)] = sums.get(key(row), 0) + row.size
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def reached_at(self) -> str:
        """The operator at which the peak is reached."""
        step = self.timeline.peak_step
        return self.timeline.step_labels[step] if 0 <= step < len(self.timeline.step_labels) else "the start"

    @property
    def moment(self) -> str:
        """Deprecated; use :attr:`reached_at`."""
        warnings.warn("MemoryReport.moment is deprecated, use reached_at", DeprecationWarning, stacklevel=2)
        return self.reached_at

    @property
    def explorer(self) -> Any:
        """The Explorer on this step.

        Raises
        ------
        ValueError
            If the step cannot be traced; ``notes`` says why.
        """
        if self.open_explorer is None:
            raise ValueError("this report has no traced step to explore; " + "; ".join(self.notes))
        return self.open_explorer()

    @property
    def text(self) -> str:
        """The report in plain text."""
        return str(render("report_text", self))

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return str(render("report_html", self))

    def figure(self) -> Any:
        """Memory over the steps as a Plotly figure, with the peak marked."""
        return render("peak_figure", self)
