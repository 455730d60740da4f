"""The frozen observations of watched training steps: operators, storages, and tensors that autograd saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase


@dataclass(frozen=True)
class Operand:
    """A tensor that an operator reads or returns. It may be a view of a part of its block.

    Attributes
    ----------
    block : int
        The number of the block (storage) of the tensor.
    shape : tuple of int
    dtype : str
        The name without ``torch.``, for example ``"float32"``.
    bytes : int
        Bytes of the elements. A dimension with stride 0 counts as one element.
    offset : int
        The position in the block at which the tensor starts, in elements.
    needs_grad : bool
        Whether the tensor required a gradient when the operator read it.
    """

    block: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    offset: int = 0
    needs_grad: bool = False


@dataclass(frozen=True)
class Operator:
    """One call of an operator.

    Attributes
    ----------
    number : int
        Position among all operators of all training steps, from 0.
    step : int
        The training step in which the operator ran, from 0.
    name : str
        Name of the operator without its overload, for example ``"aten.relu"``.
    function : str
        The PyTorch function that the user called, for example ``"relu"``; empty if it is not known.
    module : str
        Path of the innermost module that ran the operator. A backward operator has the module of its forward operator.
    phase : Phase
        Forward, backward, recomputation by a checkpoint, or optimizer.
    stack : tuple of SourceLine
        The user's lines, innermost first. A backward operator has the lines of its forward operator.
    sequence : int
        Sequence number of the autograd node for which a backward or recomputed operator runs. For other operators,
        the number of the newest node when the operator started.
    node : str
        Name of the autograd node for which the operator runs, such as ``"ReluBackward0"``; empty outside such nodes.
    optimizer : str
        Class name of the optimizer whose ``step`` called the operator; empty otherwise.
    checkpoint : SourceLine or None
        The user's line that called ``torch.utils.checkpoint`` around the operator; None if there is none.
    casts : bool
        Whether ``function`` can change the dtype, such as ``.float()`` and ``.to(…)``.
    pointwise : bool
        Whether PyTorch tags the operator as elementwise.
    autocast : bool
        Whether autocast was enabled for the device of an input.
    layer : str
        Class name of the innermost module that called the operator, such as ``"Tanh"``, if the class is one of
        PyTorch's; otherwise empty.
    layer_in_place : bool
        Whether the module of ``layer`` has an attribute ``inplace``.
    grad_enabled : bool
        Whether autograd recorded operators when this one started.
    reads : tuple of Operand
        The tensors among the inputs.
    makes : tuple of Operand
        The results in new blocks.
    views : tuple of Operand
        The results in blocks that were seen before: views, and tensors that were overwritten in place.
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
    layer: str = ""
    layer_in_place: bool = False
    grad_enabled: bool = True
    reads: tuple[Operand, ...] = ()
    makes: tuple[Operand, ...] = ()
    views: tuple[Operand, ...] = ()

    @property
    def line(self) -> SourceLine | None:
        """The innermost line in ``stack``; None if the stack is empty."""
        return self.stack[0] if self.stack else None

    @property
    def short(self) -> str:
        """The name without ``aten.``: ``"relu"``."""
        return self.name.removeprefix("aten.")


@dataclass(frozen=True)
class Saved:
    """A tensor that an autograd node saved for its backward.

    Attributes
    ----------
    sequence : int
        Sequence number of the autograd node.
    operand : Operand
        The saved tensor.
    """

    sequence: int
    operand: Operand


@dataclass(frozen=True)
class Block:
    """One storage of a tensor.

    Attributes
    ----------
    number : int
        Position among all blocks, in the order in which they were seen first.
    size : int
        Bytes of the storage.
    step : int
        The training step in which the block was first seen; −1 before the first training step.
    maker : int
        The number of the operator that returned the block; −1 if no watched operator made it.
    position : int
        The position of the block among the results of that operator.
    operand : Operand
        The first tensor on the block that was seen.
    first_seen : int
        Number of operators that had started when the block was first seen.
    address : int
        Address of the storage.
    saved : tuple of Saved
        The tensors on this block that autograd nodes saved.
    died : int or None
        Number of operators that had started when the block was freed; None if it was not freed.
    role : str
        ``"parameter"``, ``"buffer"``, ``"gradient"``, ``"optimizer state"``, ``"input"`` or ``"target"``; otherwise
        empty.
    name : str
        Name of a block with a role, such as ``"layer1.weight"``; otherwise empty.
    gradient_of : int
        For the gradient of a parameter, the number of the parameter's block; otherwise −1.
    owner : str
        The user's expression for the module of a parameter or buffer, such as ``"vgg"``; empty if it is not known.
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
    owner: str = ""


@dataclass(frozen=True)
class NodeRun:
    """The backward of one autograd node.

    Attributes
    ----------
    first, last : int
        The numbers of the first and the last operator that ran for the node.
    keeps_graph : bool
        Whether the node keeps its saved tensors after its backward (``retain_graph`` or ``create_graph``).
    """

    first: int
    last: int
    keeps_graph: bool


@dataclass(frozen=True, eq=False)
class WatchedSteps:
    """The operators, blocks (storages) and autograd nodes that a watcher observed in training steps; frozen.

    Operators, blocks and training steps are given by number.

    Attributes
    ----------
    operators : tuple of Operator
        In the order in which they ran.
    blocks : tuple of Block
        In the order in which they were seen first.
    step_starts : tuple of int
        The first operator of each training step.
    outputs : tuple of (operator, address, block)
        One entry for each tensor that an operator returned.
    runs : mapping of int to NodeRun
        Sequence number of an autograd node → its backward. Nodes whose backward did not run are missing.
    operator_of_node : mapping of int to int
        Sequence number of an autograd node → the forward operator that created the node.
    backward_lines : mapping of int to SourceLine
        Backward operator → the user's line that called ``backward``.
    stepped : frozenset of int
        The blocks of parameters that an optimizer updates.
    leaves : frozenset of int
        The blocks of leaf tensors that required a gradient when an operator read them.
    """

    operators: tuple[Operator, ...]
    blocks: tuple[Block, ...]
    step_starts: tuple[int, ...]
    outputs: tuple[tuple[int, int, int], ...]
    runs: Mapping[int, NodeRun]
    operator_of_node: Mapping[int, int]
    backward_lines: Mapping[int, SourceLine]
    stepped: frozenset[int]
    leaves: frozenset[int] = frozenset()

    def start_of(self, step: int) -> int:
        """Return the number of the first operator of a training step.

        For a step after the last, return the total number of operators.
        """
        return self.step_starts[step] if step < len(self.step_starts) else len(self.operators)
