"""The parts of a memory report: a row for each block, findings about rows, differences and advice."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category

# a finding matters if it could save this share of the peak, or grows by this many bytes with each step
LEAST_SHARE, LEAST_GROWTH = 0.03, 1024


@dataclass(frozen=True)
class PeakRow:
    """One block of memory alive at the peak.

    Attributes
    ----------
    value : str
        Its name: the parameter's, or the variable's, or module path and operator.
    size : int
        Bytes.
    category : Category
    why : str
        Why it is alive.
    operator, module : str
        What made it; empty if it existed before the step.
    line : SourceLine or None
        The user's line that made it; for a value of the backward pass, the line of its forward operator.
    stack : tuple of SourceLine
        The user's lines from which that line was called, innermost first.
    shape : tuple of int
    dtype : str
    born, last_use : str
        The operators that made it and that read it last.
    age : int
        Number of steps since it was made; 0 for the step of the peak.
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
    """Blocks alive at the peak for one cause, and how to fix it.

    Attributes
    ----------
    cause : str
        One of those in :mod:`recompviz.pytorch.debugging.causes`, for example ``"view keeps base alive"``.
    value : str
        The name of the largest block.
    line : SourceLine or None
        The line to change.
    size : int
        Bytes alive at the peak for this cause.
    avoidable : int
        Bytes that would not be needed without this cause.
    why, fix : str
        The explanation, and what to do.
    rows : tuple of int
        Positions in the report's rows.
    surprising : bool
        Whether training does not need this memory.
    growth : int
        Bytes by which it grows with each step; 0 if it does not grow.
    retainer : str
        The object that holds the blocks, with the place of its variable: ``"`log` (global)"``; empty if none was found.
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
    retainer: str = ""

    def __str__(self) -> str:
        return self.text

    def matters(self, peak: int) -> bool:
        """Whether it is surprising and either grows or could save a noticeable share of a peak of ``peak`` bytes."""
        return self.surprising and (self.growth >= LEAST_GROWTH or self.avoidable >= LEAST_SHARE * peak)

    @property
    def text(self) -> str:
        """The finding in two or three lines."""
        where = f" at {self.line}" if self.line else ""
        return f"{format_bytes(self.size):>10}  {self.cause}: {self.value}{where}\n{'':>12}{self.why}" + (
            f"\n{'':>12}→ {self.fix}" if self.fix else ""
        )


@dataclass(frozen=True)
class Difference:
    """A step in which the measured change of memory differs from the expected one; sizes in bytes."""

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
    """Something to do, with the saving that the planner predicts.

    Attributes
    ----------
    what : str
    saves : int
        Bytes by which the simulated peak falls.
    milliseconds : float or None
        Time of the recomputation; None if the trace is not calibrated.
    peak : int
        The simulated peak then, bytes.
    """

    what: str
    saves: int
    milliseconds: float | None = None
    peak: int = 0

    @property
    def text(self) -> str:
        """``checkpointing `layer3` saves 312 MiB for 4.1 ms``."""
        time = "" if self.milliseconds is None else f" for {self.milliseconds:.3g} ms"
        return f"{self.what} saves {format_bytes(self.saves)}{time} (peak {format_bytes(self.peak)})"
