"""The joint graph: the forward and backward pass of one training step as operator calls and storages.

The graph G of intermediate values is a simplification of the joint graph. A *call* is one operator call. Views,
getitems and detaches are not calls, because they allocate nothing; they belong to the storage that they read. A
*storage* is a block of memory that one call allocates, or that exists before the training step. A forward call that
contributes to the loss or to the backward pass belongs to a node of G, unless its result is a constant. The torch layer
traces the joint graph; the scheduler, the simulator and the widgets read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.graphs.node_info import NodeInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Category(IntEnum):
    """What a block of memory is used for.

    The first five categories are *static*: their blocks are allocated before the training step and stay allocated after
    it.

    Attributes
    ----------
    PARAMETER, BUFFER, INPUT, TARGET, OPTIMIZER
        Static memory: parameters, buffers, inputs, targets and the optimizer's state. In timelines the optimizer's
        scratch memory also has the category ``OPTIMIZER``, although it is freed again.
    KEPT
        A forward value that is kept for the backward pass.
    TRANSIENT
        A forward value that is freed within the forward pass.
    RECOMPUTED
        A forward value that is computed again in the backward pass.
    GRADIENT
        A gradient of an intermediate value, or another temporary of the backward pass.
    PARAMETER_GRADIENT
        A gradient of a parameter, or of an input for which autograd accumulates a gradient.
    OUTPUT
        The loss; or an output, if only a module or a region (a graph that Dynamo captured) is traced.
    WORKSPACE
        Scratch memory inside one operator.
    OTHER
        Measured memory that belongs to none of these categories.
    """

    PARAMETER = 0
    BUFFER = 1
    INPUT = 2
    TARGET = 3
    OPTIMIZER = 4
    KEPT = 5  # a forward value kept for the backward pass
    TRANSIENT = 6  # a forward value discarded within the forward pass
    RECOMPUTED = 7
    GRADIENT = 8  # a gradient in flight, or another temporary of the backward pass
    PARAMETER_GRADIENT = 9
    OUTPUT = 10  # the loss
    WORKSPACE = 11  # scratch memory inside one operator
    OTHER = 12  # measured, and not attributed to another category

    @property
    def label(self) -> str:
        """The name of the category in figures and texts, for example ``"kept values"``."""
        return _LABELS[self]

    @property
    def static(self) -> bool:
        """Whether blocks of this category are allocated before the training step and stay allocated after it."""
        return self <= Category.OPTIMIZER


_LABELS = {
    Category.PARAMETER: "parameters",
    Category.BUFFER: "buffers",
    Category.INPUT: "inputs",
    Category.TARGET: "targets",
    Category.OPTIMIZER: "optimizer state",
    Category.KEPT: "kept values",
    Category.TRANSIENT: "transient values",
    Category.RECOMPUTED: "recomputed values",
    Category.GRADIENT: "gradients in flight",
    Category.PARAMETER_GRADIENT: "parameter gradients",
    Category.OUTPUT: "loss",
    Category.WORKSPACE: "workspace",
    Category.OTHER: "unattributed",
}


@dataclass(frozen=True)
class Storage:
    """A block of memory that one call allocates, or that exists before the training step.

    Attributes
    ----------
    size : int
        Bytes requested from the allocator, not rounded.
    maker : int
        The number of the call that allocates the storage; −1 if the storage exists before the training step.
    category : Category
        What the storage is used for. Storages allocated before the training step have a static category, such as
        ``PARAMETER``. In a step traced from a model, the loss is ``OUTPUT``, and so are the outputs if only a module or
        a region (a graph that Dynamo captured) is traced. Other forward values are ``KEPT``, even if a plan does not
        keep them. Backward values are ``GRADIENT`` or ``PARAMETER_GRADIENT``. A step with parameters sharded over ranks
        also has ``TRANSIENT`` and ``RECOMPUTED`` storages.
    label : str
        The name of the storage in figures and texts. In a step traced from a model: the name of a parameter or buffer;
        ``"loss"`` or ``"output"``; ``"gradient of …"`` for a gradient of a parameter, input or output; the label of the
        category for inputs, targets and optimizer state. For any other storage, the key of the call that allocates the
        storage. The step of a rank has more labels, for example ``"all-gather buffer of …"``.
    """

    size: int
    maker: int
    category: Category
    label: str


@dataclass(frozen=True)
class Call:
    """One operator call of the forward or backward pass.

    In the descriptions, G is the graph of intermediate values (:class:`recompviz.Graph`).

    Attributes
    ----------
    info : NodeInfo
        The operator, module and source line of the call. A backward call has the module and line of its forward call.
    backward : bool
        Whether the call belongs to the backward pass.
    node : int
        The number of the node of G to which the call belongs. −1 for a backward call, for a call that computes a
        constant, and for a call on which neither loss nor gradients depend. Several calls may belong to one node.
    reads, makes : tuple of int
        The numbers of the storages that the call reads, and of the storages that the call allocates, without repeats.
    pinned : bool
        Whether the call must not run a second time, for example because it reads memory that is overwritten later in
        the training step. The outputs of a pinned call are kept under every plan.
    random : bool
        Whether the call draws random numbers. A second run must start from the state that the generator had before the
        first run.
    views : tuple of int
        The nodes of G that are views of an output of this call. If such a node is kept, the output is kept.
    follows : tuple of int
        The nodes of G that read the constant which this call computes; empty for any other call. The constant is kept
        if all these nodes are kept.
    """

    info: NodeInfo
    backward: bool
    node: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    pinned: bool = False
    random: bool = False
    views: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class JointGraph:
    """The operator calls of one training step, forward first, and the storages that they read and allocate; frozen.

    Calls and storages are referred to by their positions in ``calls`` and ``storages``.

    Attributes
    ----------
    calls : tuple of Call
        In the order they were traced.
    storages : tuple of Storage
    results : frozenset of int
        Storages that stay allocated after the training step: the outputs of the forward pass, for example the loss, and
        the gradients that the backward pass returns.
    clones : tuple of (int, int)
        Pairs (storage, bytes) of parameter gradients that autograd copies when they arrive at their parameters; the
        bytes are the size of the copy. Autograd copies a gradient whose layout differs from the layout of its
        parameter. If several parameters share a gradient, autograd copies it for all of them but one.
    tangent_bytes : int
        Bytes of the gradient of the loss, from which the backward pass starts. This gradient is alive until the
        gradients have arrived at their parameters.
    rng_bytes : int
        Bytes on the device of one saved state of the random generator. A random call that is recomputed saves one state
        before its first run and another one during its second run.
    alignment : int
        The allocator rounds the size of every block up to a multiple of this many bytes (CUDA: 512, CPU: 1).
    workspace : tuple of int
        Bytes of scratch memory inside each call, as measured by :func:`recompviz.calibrate`; empty if not measured.
    seconds : tuple of float
        Wall-clock time of each call in seconds, as measured by :func:`recompviz.calibrate`; empty if not measured.
    optimizer_scratch : int
        Bytes that the optimizer's step allocates besides the optimizer's state and the gradients; 0 if the training
        step has no optimizer.
    """

    calls: tuple[Call, ...]
    storages: tuple[Storage, ...]
    results: frozenset[int]
    clones: tuple[tuple[int, int], ...] = ()
    tangent_bytes: int = 0
    rng_bytes: int = 0
    alignment: int = 1
    workspace: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    optimizer_scratch: int = 0

    @cached_property
    def forward_count(self) -> int:
        """The number of calls of the forward pass, which come first in ``calls``."""
        return sum(not call.backward for call in self.calls)

    @cached_property
    def static(self) -> dict[Category, int]:
        """The bytes allocated before the training step, by category, rounded up as the allocator does."""
        totals: dict[Category, int] = {}
        for storage in self.storages:
            if storage.maker < 0 and storage.category.static:
                totals[storage.category] = totals.get(storage.category, 0) + self.rounded(storage.size)
        return totals

    @cached_property
    def sizes(self) -> list[int]:
        """The bytes of each storage, rounded up as the allocator does."""
        return [self.rounded(storage.size) for storage in self.storages]

    @cached_property
    def allocated(self) -> NDArray[np.int64]:
        """:attr:`sizes` as an array."""
        return np.array(self.sizes, np.int64)

    @cached_property
    def storage_labels(self) -> tuple[str, ...]:
        """The label of each storage."""
        return tuple(storage.label for storage in self.storages)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key of each call, ``call.info.key``."""
        return tuple(call.info.key for call in self.calls)

    @cached_property
    def categories(self) -> NDArray[np.int64]:
        """The :class:`Category` of each storage, as an array of ints."""
        return np.array([int(storage.category) for storage in self.storages], np.int64)

    @cached_property
    def touched(self) -> tuple[tuple[int, ...], ...]:
        """For each call, the storages that it allocates or reads, without storages that existed before the step."""
        return tuple(tuple(s for s in call.makes + call.reads if self.storages[s].maker >= 0) for call in self.calls)

    @cached_property
    def forward_reads(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each call, the outputs of forward calls that it reads, as pairs (storage, call that allocates it)."""
        forward, makers = self.forward_count, [storage.maker for storage in self.storages]
        return tuple(tuple((s, makers[s]) for s in call.reads if 0 <= makers[s] < forward) for call in self.calls)

    @cached_property
    def made(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each call, the storages that it allocates, packed by :func:`packed_rows`."""
        return packed_rows([call.makes for call in self.calls])

    @cached_property
    def random(self) -> NDArray[np.bool_]:
        """For each call, whether it draws random numbers, as an array."""
        return np.array([call.random for call in self.calls], np.bool_)

    @cached_property
    def scratch(self) -> NDArray[np.int64]:
        """The workspace of each call in bytes, rounded up as the allocator does; 0 where it is not known."""
        return np.array([self.rounded(extra) for extra in self.workspace or [0] * len(self.calls)], np.int64)

    def kept_calls(self, keep_mask: Sequence[bool]) -> list[bool]:
        """Return for each forward call whether its outputs are kept for the backward pass.

        The outputs of a call are kept if its node is kept, if a view of an output is kept (a view owns no memory), or
        if the call is pinned (:attr:`Call.pinned`). A constant is kept if all nodes that read it are kept. A kept
        output that no backward or recomputed call reads is still freed in the forward pass.

        Parameters
        ----------
        keep_mask : sequence of bool, length #V
            For each node of the graph of intermediate values, whether its value is kept.

        Returns
        -------
        list of bool
            One entry for each call. The entries of backward calls have no meaning.
        """
        return [
            call.pinned
            or any(map(keep_mask.__getitem__, call.views))
            or (keep_mask[call.node] if call.node >= 0 else all(map(keep_mask.__getitem__, call.follows)))
            for call in self.calls
        ]

    def rounded(self, size: int) -> int:
        """Return the bytes that the allocator uses for a request of ``size`` bytes."""
        return -(-size // self.alignment) * self.alignment


def packed_rows(rows: Sequence[Iterable[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of integers as two arrays (start, numbers). Row i is ``numbers[start[i]:start[i + 1]]``."""
    lengths = np.array([len(tuple(row)) for row in rows], np.int64)
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=start[1:])
    return start, np.array([x for row in rows for x in row], np.int64)
