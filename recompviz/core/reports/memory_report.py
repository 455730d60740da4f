"""A memory report: every block alive at the memory peak, with its origin and the reason why it is alive.

The sizes of the rows add up to the peak. Blocks of unknown origin are *unattributed*. :func:`recompviz.debug` makes
reports of training steps, and :func:`recompviz.load_snapshot` makes them of snapshots of the CUDA allocator.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recompviz.core.base.rendering import render
from recompviz.core.reports.findings import Advice, Difference, Finding, PeakRow
from recompviz.core.reports.process_memory import ProcessMemory
from recompviz.core.reports.row_groups import RowGroup, grouped
from recompviz.core.reports.step_phases import StepPhase
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

# Largest number of rows that a table shows.
MOST_SHOWN = 30


@dataclass(frozen=True, eq=False, repr=False)
class MemoryReport:
    """The blocks of memory alive at the peak of a training step or of a memory snapshot; frozen.

    Attributes
    ----------
    title : str
        Name of the model, function or snapshot file.
    timeline : Timeline
        Measured allocations and frees.
    rows : tuple of PeakRow
        Every block alive at the peak, largest first. Their sizes add up to ``peak``.
    findings : tuple of Finding
        Groups of blocks with the same cause, most important first.
    differences : tuple of Difference
        Operators at which measured and simulated memory differ, largest difference first. Empty if the training step
        was not traced, or is too long to compare.
    advice : tuple of Advice
        Uses of recomputation that lower the peak, largest saving first. Empty if the training step was not traced.
    notes : tuple of str
        Limits of the report, for example why the training step could not be traced.
    growth : tuple of int
        Bytes alive at the end of each recorded training step, without static memory such as parameters. Empty for a
        snapshot.
    open_explorer : callable or None
        Takes no arguments and returns an Explorer of the training step; None if the step was not traced, or if the
        report was read from a pickle.
    trace : Trace or None
        The traced training step; None if it was not traced, or if the report was read from a pickle.
    outside : tuple of PeakRow
        Tensors of the process that the training step does not touch, and memory without a tensor of Python, largest
        first. They are not part of ``peak``.
    phases : tuple of StepPhase
        The phases of the training step that contains the peak, in order. Empty for a snapshot.
    process : ProcessMemory or None
        The memory in use before the first training step, and how much of it tensors take. None if it is unknown.
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
    outside: tuple[PeakRow, ...] = ()
    phases: tuple[StepPhase, ...] = ()
    process: ProcessMemory | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the traced step and the Explorer out of pickles: they hold the model."""
        return {**vars(self), "open_explorer": None, "trace": None}

    def __deepcopy__(self, _memo: dict[int, Any]) -> MemoryReport:
        """Return the report itself, which is frozen."""
        return self

    @property
    def sentence(self) -> str:
        """One sentence that says what to change, where, and what it saves.

        If nothing is worth a change, the sentence says what takes the most memory.
        """
        return str(render("first_sentence", self))

    @cached_property
    def groups(self) -> tuple[RowGroup, ...]:
        """The rows, grouped by source line and by the object that holds the blocks; most bytes first."""
        top = self.top
        return grouped(self.rows, top.rows if top is not None and top.matters(self.peak) else ())

    @property
    def peak(self) -> int:
        """Peak memory in bytes, parameters and optimizer state included."""
        return sum(row.size for row in self.rows)

    @property
    def device(self) -> str:
        """The device whose memory was measured, for example ``"cuda:0"``."""
        return self.timeline.device

    @property
    def unattributed(self) -> int:
        """Bytes of all blocks of unknown origin in :attr:`rows` and :attr:`outside`."""
        return sum(row.size for row in (*self.rows, *self.outside) if not row.attributed)

    @property
    def outside_bytes(self) -> int:
        """Bytes of all rows in :attr:`outside`: memory of the process that the training step does not touch."""
        return sum(row.size for row in self.outside)

    @property
    def coverage(self) -> float:
        """The share of the bytes of :attr:`rows` and :attr:`outside` whose origin is known, from 0 to 1.

        Without rows, it is 1.
        """
        total = self.peak + self.outside_bytes
        return 1 - self.unattributed / total if total else 1.0

    @property
    def top(self) -> Finding | None:
        """The most important finding; None if there is none."""
        return self.findings[0] if self.findings else None

    @cached_property
    def by_category(self) -> dict[Category, int]:
        """Bytes at the peak for each category, largest first."""
        sums: dict[Category, int] = {}
        for row in self.rows:
            sums[row.category] = sums.get(row.category, 0) + row.size
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @cached_property
    def by_line(self) -> dict[str, int]:
        """Bytes at the peak for each source line that allocated them, largest first.

        Blocks without a known line are counted under their category, for example ``"(parameters)"``.
        """
        return self._sums(lambda row: str(row.line) if row.line else f"({row.category.label})")

    @cached_property
    def by_module(self) -> dict[str, int]:
        """Bytes at the peak for each module that allocated or owns them, largest first.

        Blocks without a module are counted under their category, for example ``"(inputs)"``.
        """
        return self._sums(lambda row: row.module or f"({row.category.label})")

    def _sums(self, key: Callable[[PeakRow], str]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[key(row)] = sums.get(key(row), 0) + row.size
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def reached_at(self) -> str:
        """The operator at which memory reaches the peak, or ``"the start"`` if the peak is before the first operator.

        For a memory snapshot, it is the source line that allocates at the peak, or a text such as
        ``"no stack recorded"`` if this line is not known.
        """
        step = self.timeline.peak_step
        return self.timeline.step_labels[step] if 0 <= step < len(self.timeline.step_labels) else "the start"

    @property
    def moment(self) -> str:
        """Deprecated; use :attr:`reached_at`."""
        warnings.warn("MemoryReport.moment is deprecated, use reached_at", DeprecationWarning, stacklevel=2)
        return self.reached_at

    @property
    def explorer(self) -> Any:
        """A new Explorer of the training step.

        Raises
        ------
        ValueError
            If :attr:`open_explorer` is None. The message has the notes of the report. If there are none, it says how to
            make a report of a traced step.
        """
        if self.open_explorer is None:
            why = "; ".join(self.notes) or "make it with rv.debug(model, …), without advise=False"
            raise ValueError(f"this report has no traced step to explore; {why}")
        return self.open_explorer()

    @property
    def text(self) -> str:
        """The report as plain text, with at most 6 findings, 12 groups of blocks and 5 differences."""
        return str(render("report_text", self))

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return str(render("report_html", self))

    def figure(self) -> Any:
        """Draw the memory of each category over the operators, with a mark at the peak.

        Returns
        -------
        plotly.graph_objects.Figure
        """
        return render("peak_figure", self)
