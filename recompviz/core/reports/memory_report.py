"""A memory report: every byte alive at the peak of a step, where it comes from and why it is still there.

The pure half of debugging: rows (one a block alive at the peak), findings (rows with one cause, in words), and sums.
Bytes that nothing explains are a row of their own, *unattributed*, so that the rows always add up to the peak. What
fills a report, a watched training step or a snapshot of PyTorch's, is elsewhere.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recompviz.core.base.rendering import render
from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

# a page shows so many rows and says how many there are
MOST_SHOWN = 30

# what is surprising is told first if it would save such a share of the peak, or grows by so many bytes with each step
LEAST_SHARE, LEAST_GROWTH = 0.03, 1024

UNATTRIBUTED = "unattributed"


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's own code."""

    file: str
    number: int
    text: str = ""
    function: str = ""

    @property
    def place(self) -> str:
        """``train.py:12``."""
        return f"{os.path.basename(self.file)}:{self.number}"

    @property
    def assigned(self) -> str:
        """The name that the line assigns, empty if it is no assignment to one name or attribute.

        Examples
        --------
        >>> SourceLine("a.py", 3, "scores = q @ k").assigned, SourceLine("a.py", 3, "return q").assigned
        ('scores', '')
        """
        try:
            statement = ast.parse(self.text.strip()).body[0]
        except (SyntaxError, IndexError, ValueError):
            return ""
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            return ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute | ast.Subscript) else ""
        return ""

    def __str__(self) -> str:
        return f"{self.place}  {self.text.strip()}".rstrip()


@dataclass(frozen=True)
class PeakRow:
    """One block of memory alive at the peak.

    Attributes
    ----------
    value : str
        A name for people: the parameter's, or module path and operator.
    size : int
        Bytes.
    category : Category
    why : str
        Who keeps it, and what for, in words.
    operator, module : str
        What made it; empty for what was there before.
    line : SourceLine or None
        The user's line that made it; for a value of the backward pass, the line of the forward operator.
    stack : tuple of SourceLine
        The user's lines around that one, innermost first.
    shape : tuple of int
    dtype : str
    born, last_use : str
        Moments of the step, in words.
    age : int
        How many steps ago it was made; 0 for the step of the peak.
    attributed : bool
        Whether it is known what made it.
    """

    value: str
    size: int
    category: Category
    why: str = ""
    operator: str = ""
    module: str = ""
    line: SourceLine | None = None
    stack: tuple[SourceLine, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = ""
    born: str = ""
    last_use: str = ""
    age: int = 0
    attributed: bool = True

    @property
    def shown_shape(self) -> str:
        """``float32 [8, 64]``."""
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]" if self.dtype else ""


@dataclass(frozen=True)
class Finding:
    """Blocks alive at the peak for one cause, with what to do about it.

    Attributes
    ----------
    cause : str
        One of those in :mod:`recompviz.pytorch.debugging.causes`, for example ``"view keeps base alive"``.
    value : str
        The largest value it is about.
    line : SourceLine or None
        The line to look at.
    size : int
        Bytes alive at the peak for this cause.
    avoidable : int
        How many of them would be gone without it.
    why, fix : str
        In words, with numbers.
    rows : tuple of int
        Positions in the report's rows.
    surprising : bool
        Whether it is not simply what training takes.
    growth : int
        Bytes more with each step; 0 where it does not grow.
    """

    cause: str
    value: str
    line: SourceLine | None
    size: int
    avoidable: int
    why: str
    fix: str = ""
    rows: tuple[int, ...] = ()
    surprising: bool = False
    growth: int = 0

    def __str__(self) -> str:
        return self.text

    def matters(self, peak: int) -> bool:
        """Whether it is surprising and takes a share of a peak of so many bytes, or grows."""
        return self.surprising and (self.growth >= LEAST_GROWTH or self.avoidable >= LEAST_SHARE * peak)

    @property
    def text(self) -> str:
        """The finding in a line or two."""
        where = f" at {self.line}" if self.line else ""
        return f"{format_bytes(self.size):>10}  {self.cause}: {self.value}{where}\n{'':>12}{self.why}" + (
            f"\n{'':>12}→ {self.fix}" if self.fix else ""
        )


@dataclass(frozen=True)
class Difference:
    """A step at which measured memory changed otherwise than expected."""

    step: str
    expected: int
    measured: int
    line: SourceLine | None = None

    @property
    def change(self) -> int:
        """Bytes by which the measured change exceeds the expected one."""
        return self.measured - self.expected


@dataclass(frozen=True)
class Advice:
    """Something to do, and what the planner says it would change."""

    what: str
    saves: int
    milliseconds: float | None = None
    peak: int = 0

    @property
    def text(self) -> str:
        """``checkpointing `layer3` saves 312 MiB for 4.1 ms``."""
        time = "" if self.milliseconds is None else f" for {self.milliseconds:.3g} ms"
        return f"{self.what} saves {format_bytes(self.saves)}{time} (peak {format_bytes(self.peak)})"


@dataclass(frozen=True, eq=False, repr=False)
class MemoryReport:
    """What is alive at the peak of a step, by value, line and cause; frozen.

    Attributes
    ----------
    title : str
    timeline : Timeline
        Measured; every allocation and free.
    rows : tuple of PeakRow
        All that is alive at the peak, largest first; they add up to ``peak``.
    findings : tuple of Finding
        The diagnosis, what matters most first.
    differences : tuple of Difference
        Expected (simulated) against measured, largest first; empty where the step could not be traced.
    advice : tuple of Advice
    notes : tuple of str
    growth : tuple of int
        Bytes alive at the end of each step that was watched.
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
        """Where it was measured."""
        return self.timeline.device

    @property
    def unattributed(self) -> int:
        """Bytes at the peak of which it is not known what made them."""
        return sum(row.size for row in self.rows if not row.attributed)

    @property
    def coverage(self) -> float:
        """The share of the bytes at the peak that is attributed, 0 to 1."""
        return 1 - self.unattributed / self.peak if self.peak else 1.0

    @property
    def top(self) -> Finding | None:
        """The finding that matters most."""
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
        """Bytes at the peak by the user's line that made them, largest first."""
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
    def moment(self) -> str:
        """When the peak is reached, in words."""
        step = self.timeline.peak_step
        return self.timeline.step_labels[step] if 0 <= step < len(self.timeline.step_labels) else "the start"

    @property
    def explorer(self) -> Any:
        """The Explorer on this step.

        Raises
        ------
        ValueError
            If the step could not be traced; ``notes`` says why.
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


def ranked(findings: Sequence[Finding], peak: int) -> tuple[Finding, ...]:
    """What is surprising and takes a share of the peak first, by what it could save; then the rest, by size.

    A block belongs to one finding: where two claim it, to the one that explains more. What grows with every step comes
    before all else: it has no bound. What is surprising and would save less than a hundredth of the peak is not told.

    Examples
    --------
    >>> a = Finding("leak", "h", None, 10, 10, "", rows=(0,), surprising=True, growth=2048)
    >>> b = Finding("saved for backward", "x", None, 90, 0, "", rows=(1,))
    >>> c = Finding("view keeps base alive", "y", None, 50, 45, "", rows=(2,), surprising=True)
    >>> [f.cause for f in ranked([b, c, a], 200)]
    ['leak', 'view keeps base alive', 'saved for backward']
    """

    def order(finding: Finding) -> tuple[bool, bool, int, int]:
        if not finding.matters(peak):
            return True, True, 0, -finding.size
        return False, finding.growth < LEAST_GROWTH, -finding.avoidable, -finding.size

    worth = [f for f in findings if not f.surprising or f.matters(peak) or f.avoidable >= LEAST_SHARE * peak / 3]
    taken: set[int] = set()
    chosen = []
    for finding in sorted(worth, key=order):
        mine = set(finding.rows)
        if finding.matters(peak) and mine and len(mine & taken) > len(mine) / 2:
            continue
        taken |= mine if finding.matters(peak) else set()
        chosen.append(finding)
    return tuple(chosen)
