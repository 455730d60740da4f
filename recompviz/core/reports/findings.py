"""The parts of a memory report: rows (one for each block of memory), findings about rows, differences and advice."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.units import format_bytes, format_time
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category

# A finding matters if it could save this share of the peak, or if it grows by this many bytes in each training step.
LEAST_SHARE, LEAST_GROWTH = 0.03, 1024


@dataclass(frozen=True)
class PeakRow:
    """One block of memory alive at the peak.

    Attributes
    ----------
    value : str
        Name of the parameter or variable, or module path and operator.
    size : int
        Bytes, as the allocator rounds them.
    category : Category
        The use of the block.
    why : str
        Why the block is alive.
    operator : str
        The operator that allocated the block; empty if it is not known, as in the report of a memory snapshot.
    module : str
        The module that ran the operator, or that owns the parameter or buffer; empty if there is none.
    line : SourceLine or None
        The line of the user's code that allocated the block; None if it is not known. A value of the backward pass has
        the line of its forward operator.
    stack : tuple of SourceLine
        The lines of the user's code on the stack when the block was allocated, innermost first.
    shape : tuple of int
        Shape of the tensor; empty for a scalar, or if the shape is not known.
    dtype : str
        For example ``"float32"``; empty if it is not known.
    born : str
        The operator that allocated the block; empty if it is not known. In the report of a memory snapshot, the
        allocating event, for example ``"event 1,204"``, or ``"allocated before the recording"``.
    last_use : str
        The operator that last read the block; empty if none is known.
    age : int
        The number of training steps from the allocation of the block to the peak; 0 if both are in the same step.
    attributed : bool
        Whether the origin of the block is known.
    retainer : str
        The object that keeps the block alive, such as ``"`log` (global)"``. Empty if only the step itself needs it.
    event : int
        The event of the report's timeline that allocates the block; −1 if there is none.
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
    retainer: str = ""
    event: int = -1

    @property
    def shown_shape(self) -> str:
        """Data type and shape, for example ``float32 [8, 64]``; empty if they are not known."""
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]" if self.dtype else ""


@dataclass(frozen=True)
class Finding:
    """Memory at the peak that has one cause, and how to fix it.

    The memory is a group of blocks that are alive at the peak, or free memory that the allocator reserves.

    Attributes
    ----------
    cause : str
        Name of the cause, for example ``"view keeps base alive"``.
    value : str
        Name of the largest block, or of the group.
    line : SourceLine or None
        The line of the user's code to look at, usually the line that allocated the largest block; None if there is
        none.
    size : int
        Bytes of the memory.
    avoidable : int
        Bytes that the fix would save.
    why : str
        Why the memory is in use at the peak.
    fix : str
        How to remove the cause; empty if there is nothing to suggest.
    rows : tuple of int
        Positions of the blocks in :attr:`MemoryReport.rows`; empty for free memory.
    surprising : bool
        True if training does not need this memory, False for ordinary memory such as values saved for backward.
    growth : int
        Bytes by which the memory with this cause grows in each training step; 0 if it does not grow.
    retainer : str
        The object that holds the blocks, and the scope of its variable, for example ``"`log` (global)"``. Empty if
        none was found.
    verified : bool
        Whether ``avoidable`` was computed by a replay of the recorded training step without this memory. If not, the
        fix is worded as a guess.
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
    verified: bool = False

    def __str__(self) -> str:
        return self.text

    def matters(self, peak: int) -> bool:
        """Return whether the finding is worth a fix.

        It is, if it is surprising, and if its memory grows by at least 1 KiB in each training step or its fix saves at
        least 3 % of the peak.

        Parameters
        ----------
        peak : int
            Peak memory of the report, in bytes.

        Returns
        -------
        bool
        """
        return self.surprising and (self.growth >= LEAST_GROWTH or self.avoidable >= LEAST_SHARE * peak)

    @property
    def text(self) -> str:
        """Size, cause, value, line, explanation and fix, in two or three lines."""
        where = f" at {self.line}" if self.line else ""
        return f"{format_bytes(self.size):>10}  {self.cause}: {self.value}{where}\n{'':>12}{self.why}" + (
            f"\n{'':>12}→ {self.advice}" if self.fix else ""
        )

    @property
    def advice(self) -> str:
        """The fix as text; empty if there is none.

        If a replay has computed by how many bytes the peak falls, the text says so. Otherwise it is worded as a guess.
        """
        if not self.fix:
            return ""
        if self.verified:
            falls = f": the peak falls by {format_bytes(self.avoidable)}" if self.avoidable else ""
            return f"{self.fix}{falls}"
        return f"perhaps: {self.fix}"


@dataclass(frozen=True)
class Difference:
    """An operator at which the measured change of live memory differs from the simulated one.

    Attributes
    ----------
    step : str
        Name of the operator.
    expected, measured : int
        The simulated and the measured change of live memory, in bytes. A change is counted from this operator to the
        next operator that both the simulated and the measured training step have.
    line : SourceLine or None
        The line of the user's code that called the operator.
    """

    step: str
    expected: int
    measured: int
    line: SourceLine | None = None

    @property
    def change(self) -> int:
        """The measured minus the simulated change of live memory, in bytes."""
        return self.measured - self.expected


@dataclass(frozen=True)
class Advice:
    """A use of recomputation, with the memory that it saves and the time that it takes.

    Attributes
    ----------
    what : str
        What is recomputed, for example ``"checkpointing `layer3`"``.
    saves : int
        Bytes by which the simulated peak falls.
    milliseconds : float or None
        Time of the recomputation in each training step; None if the trace is not calibrated.
    peak : int
        The simulated peak with this recomputation, in bytes.
    """

    what: str
    saves: int
    milliseconds: float | None = None
    peak: int = 0

    @property
    def text(self) -> str:
        """One line, for example ``checkpointing `layer3` saves 312 MiB for 4.1 ms (peak 1.20 GiB)``."""
        time = "" if self.milliseconds is None else f" for {format_time(self.milliseconds)}"
        return f"{self.what} saves {format_bytes(self.saves)}{time} (peak {format_bytes(self.peak)})"
