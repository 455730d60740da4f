"""What a watcher writes down: operators as they ran, blocks of memory, and what autograd saved of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from recompviz.core.reports.memory_report import SourceLine
from recompviz.core.steps.schedule import Phase


@dataclass
class Operand:
    """How one operator sees a block: a tensor that may be a view of part of it."""

    block: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int  # of the elements, each counted once
    offset: int = 0  # where in the block it starts, elements


@dataclass
class Operator:
    """One operator call, as it was dispatched."""

    number: int
    step: int
    name: str  # "aten.relu"
    function: str  # what the user called, "relu"
    module: str
    phase: Phase
    stack: tuple[SourceLine, ...]
    sequence: int  # of the autograd node it made, or of the node it runs for
    node: str = ""  # the node it runs for, "ReluBackward0"
    optimizer: str = ""
    checkpoint: SourceLine | None = None
    casts: bool = False  # asked for by the user: .float(), .to(…)
    pointwise: bool = False
    autocast: bool = False
    reads: tuple[Operand, ...] = ()
    makes: tuple[Operand, ...] = ()
    views: tuple[Operand, ...] = ()
    sizes: tuple[int, ...] = ()  # integer arguments

    @property
    def line(self) -> SourceLine | None:
        """The user's innermost line."""
        return self.stack[0] if self.stack else None

    @property
    def short(self) -> str:
        """The name without its namespace and overload."""
        return self.name.removeprefix("aten.")


@dataclass
class Saved:
    """A tensor that an autograd node keeps for its backward."""

    sequence: int
    operand: Operand


@dataclass
class Block:
    """One storage."""

    number: int
    size: int
    step: int
    maker: int  # the operator that made it, −1 for what was there before
    position: int
    operand: Operand
    first_seen: int
    saved: list[Saved] = field(default_factory=list)
    died: int | None = None
    name: str = ""
    address: int = 0
    gradient_of: int = -1  # the block of its parameter
    role: str = ""  # "parameter", "buffer", "gradient", "optimiser state", "input", "target"


@dataclass
class NodeRun:
    """When an autograd node ran, and whether its graph was kept for another time."""

    first: int
    last: int
    keeps_graph: bool
