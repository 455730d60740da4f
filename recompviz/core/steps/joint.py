"""The joint graph: one training step's forward and backward as operator calls and storages.

The graph G is a simplification of this graph. A *call* is one operator call; views, getitems and
detaches are not calls, they belong to the storage that they read. A *storage* is a block of memory that one call
allocates. Each forward call that backward depends on belongs to a node of G. The torch layer traces the joint graph;
the scheduler, the simulator and the widgets read it.
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
    """The use of a block of memory. The first five are static: they exist before the training step and after it."""

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
        """The name in figures and texts."""
        return _LABELS[self]

    @property
    def static(self) -> bool:
        """Whether the memory is allocated before the step starts and after it ends."""
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
    """A block of memory.

    Attributes
    ----------
    size : int
        Bytes as requested from the allocator (not rounded).
    maker : int
        The call that allocates it, −1 if it is allocated before the step.
    category : Category
        For an output of a call: GRADIENT, PARAMETER_GRADIENT, OUTPUT, or KEPT for any forward value
        (the plan decides whether it is kept).
    label : str
        Name of the parameter, or key of the call.
    """

    size: int
    maker: int
    category: Category
    label: str


@dataclass(frozen=True)
class Call:
    """One operator call.

    Attributes
    ----------
    info : NodeInfo
        Operator, module, source line; a backward call has those of its forward call.
    backward : bool
        Whether it belongs to the backward pass.
    node : int
        The node of G it belongs to, −1 if none (backward calls, and values without gradient).
        Several calls may belong to one node.
    reads, makes : tuple of int
        The storages it reads, and those it allocates, each once.
    pinned : bool
        Must not run a second time: it reads memory that the step overwrites later.
    random : bool
        Draws random numbers, so that a second run must replay the generator's state.
    views : tuple of int
        Nodes of G that are views of an output of this call. Keeping such a node keeps the output.
    follows : tuple of int
        For a constant, which is not a node: the nodes that read it. It is recomputed unless all of them are kept.
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
    """Calls in the order they were traced, forward first, and the storages they read and allocate.

    Attributes
    ----------
    calls : tuple of Call
    storages : tuple of Storage
    results : frozenset of int
        Storages that outlive the step: the loss and the gradients it returns.
    clones : tuple of (int, int)
        (storage, bytes): parameter gradients that autograd copies on arrival because their layout
        is not the parameter's, and the size of the copy.
    tangent_bytes : int
        Bytes of the gradient of the loss that autograd starts from. It lives until the backward pass ends.
    rng_bytes : int
        Device bytes of the random generator's state that each recomputed random call keeps.
    alignment : int
        The allocator rounds every block up to a multiple of this many bytes (CUDA: 512, CPU: 1).
    workspace : tuple of int
        Scratch memory inside each call, bytes, as calibrated; empty if it is not known.
    seconds : tuple of float
        Wall-clock time of each call, as calibrated; empty if it is not known.
    optimizer_scratch : int
        Bytes that the optimizer's step allocates besides its state and all gradients; 0 if there is no such step.
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
        """The number of calls of the forward pass; they come first."""
        return sum(not call.backward for call in self.calls)

    @cached_property
    def static(self) -> dict[Category, int]:
        """Bytes allocated before the step by category, rounded as the allocator does."""
        totals: dict[Category, int] = {}
        for storage in self.storages:
            if storage.maker < 0 and storage.category.static:
                totals[storage.category] = totals.get(storage.category, 0) + self.rounded(storage.size)
        return totals

    @cached_property
    def sizes(self) -> list[int]:
        """The bytes of each storage as allocated."""
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
        """The key of each call."""
        return tuple(call.info.key for call in self.calls)

    @cached_property
    def categories(self) -> NDArray[np.int64]:
        """The category of each storage as a number."""
        return np.array([int(storage.category) for storage in self.storages], np.int64)

    @cached_property
    def touched(self) -> tuple[tuple[int, ...], ...]:
        """The storages that each call allocates or reads, without those allocated before the step."""
        return tuple(tuple(s for s in call.makes + call.reads if self.storages[s].maker >= 0) for call in self.calls)

    @cached_property
    def forward_reads(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The forward values each call reads, as (storage, the call that makes it)."""
        forward, makers = self.forward_count, [storage.maker for storage in self.storages]
        return tuple(tuple((s, makers[s]) for s in call.reads if 0 <= makers[s] < forward) for call in self.calls)

    @cached_property
    def made(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The storages that each call allocates, as :func:`packed_rows`."""
        return packed_rows([call.makes for call in self.calls])

    @cached_property
    def random(self) -> NDArray[np.bool_]:
        """Which calls draw random numbers."""
        return np.array([call.random for call in self.calls], np.bool_)

    @cached_property
    def scratch(self) -> NDArray[np.int64]:
        """Scratch memory inside each call as allocated, bytes; 0 where it is not known."""
        return np.array([self.rounded(extra) for extra in self.workspace or [0] * len(self.calls)], np.int64)

    def kept_calls(self, keep_mask: Sequence[bool]) -> list[bool]:
        """For each call whether its outputs stay until the backward pass, if that needs them.

        A view owns no memory: the flag of its node applies to the call whose storage it reads, like the flag of the
        call's own node.

        Parameters
        ----------
        keep_mask : sequence of bool, length #V
            Whether the node's value is kept.
        """
        return [
            call.pinned
            or any(map(keep_mask.__getitem__, call.views))
            or (keep_mask[call.node] if call.node >= 0 else all(map(keep_mask.__getitem__, call.follows)))
            for call in self.calls
        ]

    def rounded(self, size: int) -> int:
        """The bytes that the allocator uses for a size."""
        return -(-size // self.alignment) * self.alignment


def packed_rows(rows: Sequence[Iterable[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of numbers as (start, numbers): row i is ``numbers[start[i]:start[i + 1]]``."""
    lengths = np.array([len(tuple(row)) for row in rows], np.int64)
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=start[1:])
    return start, np.array([x for row in rows for x in row], np.int64)
