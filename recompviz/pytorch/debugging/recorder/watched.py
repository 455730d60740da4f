"""What was seen while steps ran: operators, blocks of memory, and what autograd saved. All values are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase


@dataclass(frozen=True)
class Operand:
    """A tensor that an operator reads or returns, which may be a view of a part of a block.

    Attributes
    ----------
    block : int
    shape : tuple of int
    dtype : str
    bytes : int
        Bytes of the distinct elements: an expanded dimension counts once.
    offset : int
        Where it starts in the block, in elements.
    """

    block: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    offset: int = 0


@dataclass(frozen=True)
class Operator:
    """One operator call.

    Attributes
    ----------
    number, step : int
        Its position among all operators, and the step in which it ran.
    name : str
        ``"aten.relu"``.
    function : str
        The function that the user called: ``"relu"``.
    module : str
        Path of the module that ran it.
    phase : Phase
    stack : tuple of SourceLine
        The user's lines, innermost first; for a backward operator, those of its forward operator.
    sequence : int
        Sequence number of the autograd node that it created, or for which it runs.
    node : str
        Name of the autograd node for which it runs: ``"ReluBackward0"``.
    optimizer : str
        Class of the optimizer whose step ran it.
    checkpoint : SourceLine or None
        The call of ``torch.utils.checkpoint`` around it.
    casts : bool
        Whether the user asked for another dtype: ``.float()``, ``.to(…)``.
    pointwise, autocast : bool
    reads, makes, views : tuple of Operand
        Its inputs; its results in new blocks; its results that are views or were overwritten in place.
    """

    number: int
    step: int
    name: str
    function: str
    module: str
    phase: Phase
    stack: tuple[SourceLine, ...]
    sequence: int
    node: str = ""
    optimizer: str = ""
    checkpoint: SourceLine | None = None
    casts: bool = False
    pointwise: bool = False
    autocast: bool = False
    reads: tuple[Operand, ...] = ()
    makes: tuple[Operand, ...] = ()
    views: tuple[Operand, ...] = ()

    @property
    def line(self) -> SourceLine | None:
        """The user's innermost line."""
        return self.stack[0] if self.stack else None

    @property
    def short(self) -> str:
        """The name without its namespace: ``"relu"``."""
        return self.name.removeprefix("aten.")


@dataclass(frozen=True)
class Saved:
    """A tensor that an autograd node saved for its backward pass."""

    sequence: int
    operand: Operand


@dataclass(frozen=True)
class Block:
    """One storage.

    Attributes
    ----------
    number, size : int
        Its position among all blocks, and its bytes.
    step : int
        The step in which it was first seen; −1 before the first step.
    maker, position : int
        The operator that made it (−1 if it existed before), and its position among the results.
    operand : Operand
        The first tensor seen on it.
    first_seen : int
        Number of operators that had run then.
    address : int
    saved : tuple of Saved
    died : int or None
        Number of operators that had run when it was freed; None if it was still alive.
    role : str
        ``"parameter"``, ``"buffer"``, ``"gradient"``, ``"optimizer state"``, ``"input"``, ``"target"`` or empty.
    name : str
        For a block with a role.
    gradient_of : int
        The block of the parameter whose gradient it is; −1 otherwise.
    """

    number: int
    size: int
    step: int
    maker: int
    position: int
    operand: Operand
    first_seen: int
    address: int = 0
    saved: tuple[Saved, ...] = ()
    died: int | None = None
    role: str = ""
    name: str = ""
    gradient_of: int = -1


@dataclass(frozen=True)
class NodeRun:
    """When an autograd node ran its backward (first and last operator), and whether it kept its saved tensors."""

    first: int
    last: int
    keeps_graph: bool


@dataclass(frozen=True, eq=False)
class WatchedSteps:
    """Everything that was seen until the watch ended; frozen.

    Attributes
    ----------
    operators : tuple of Operator
    blocks : tuple of Block
    step_starts : tuple of int
        The first operator of each step.
    outputs : tuple of (operator, address, block)
        Every tensor that an operator returned.
    runs : mapping of int to NodeRun
        By sequence number.
    operator_of_node : mapping of int to int
        From the sequence number of an autograd node to the forward operator that created it.
    backward_lines : mapping of int to SourceLine
        From a backward operator to the line that called ``backward``.
    stepped : frozenset of int
        The blocks of the parameters that an optimizer updates.
    """

    operators: tuple[Operator, ...]
    blocks: tuple[Block, ...]
    step_starts: tuple[int, ...]
    outputs: tuple[tuple[int, int, int], ...]
    runs: Mapping[int, NodeRun]
    operator_of_node: Mapping[int, int]
    backward_lines: Mapping[int, SourceLine]
    stepped: frozenset[int]

    def start_of(self, step: int) -> int:
        """The first operator of a step; the number of operators for the step after the last."""
        return self.step_starts[step] if step < len(self.step_starts) else len(self.operators)
