"""The joint graph: one training step's forward and backward as operator calls and storages.

This is the real thing that the graph G abstracts. A *call* is one operator call; views, getitems and
detaches are no calls, they are folded into the storage they look at. A *storage* is a block of memory
with one maker. Each forward call that backward depends on belongs to a node of G. Pure data: it is
traced by the torch layer and read by the scheduler, the simulator and the pictures.
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
    """What a block of memory is for. The first five are static: there before the step and after it."""

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
    OTHER = 12  # measured, and not attributed to any of these

    @property
    def label(self) -> str:
        """The name as the pictures write it."""
        return _LABELS[self]

    @property
    def static(self) -> bool:
        """Whether the memory is there before the step starts and after it ends."""
        return self <= Category.OPTIMIZER


_LABELS = {
    Category.PARAMETER: "parameters",
    Category.BUFFER: "buffers",
    Category.INPUT: "inputs",
    Category.TARGET: "targets",
    Category.OPTIMIZER: "optimiser state",
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
        Bytes, as asked of the allocator (not rounded).
    maker : int
        The call that allocates it, −1 for what is there before the step.
    category : Category
        For what a call makes: GRADIENT, PARAMETER_GRADIENT, OUTPUT, or KEPT for any forward value
        (whether it is kept is the plan's to say).
    label : str
        A name for people: the parameter's, or the key of the call.
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
        Operator, module, source line; for a backward call those of the forward call it belongs to.
    backward : bool
        Whether it belongs to the backward pass.
    node : int
        The node of G it belongs to, −1 if none (backward calls, and values no gradient derives from).
        Several calls may be one node.
    reads, makes : tuple of int
        Storages, each once.
    pinned : bool
        May not be run a second time: it reads what the step later overwrites.
    random : bool
        Draws random numbers, so that a second run must replay the generator's state.
    views : tuple of int
        Nodes of G that are no calls, but views of what this one makes; to keep such a node is to keep that.
    follows : tuple of int
        For a constant, which is no node: the nodes that read it. It is made again unless all of them are kept.
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
    """Calls in the order they were traced, forward first, and the storages they read and make.

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
        The gradient of the loss that autograd starts from; lives through the backward pass.
    rng_bytes : int
        The generator's state, device bytes, that each recomputed random call keeps.
    alignment : int
        The allocator rounds every block up to a multiple of this many bytes (CUDA: 512, CPU: 1).
    workspace : tuple of int
        Scratch memory inside each call, bytes, as calibrated; empty if it is not known.
    seconds : tuple of float
        Wall-clock time of each call, as calibrated; empty if it is not known.
    optimizer_scratch : int
        Bytes alive at once within the optimiser's step, beside its state and all gradients; where it is 0 there is no
        such step.
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
        """How many calls belong to the forward pass; they come first."""
        return sum(not call.backward for call in self.calls)

    @cached_property
    def static(self) -> dict[Category, int]:
        """Bytes there before the step, by category, rounded as the allocator does."""
        totals: dict[Category, int] = {}
        for storage in self.storages:
            if storage.maker < 0 and storage.category.static:
                totals[storage.category] = totals.get(storage.category, 0) + self.rounded(storage.size)
        return totals

    @cached_property
    def sizes(self) -> list[int]:
        """Each storage's bytes as the allocator hands them out."""
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
        """The category of each storage, as numbers."""
        return np.array([int(storage.category) for storage in self.storages], np.int64)

    @cached_property
    def touched(self) -> tuple[tuple[int, ...], ...]:
        """What each call makes and reads, without what is there before the step."""
        return tuple(tuple(s for s in call.makes + call.reads if self.storages[s].maker >= 0) for call in self.calls)

    @cached_property
    def forward_reads(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The forward values each call reads, as (storage, the call that makes it)."""
        forward, makers = self.forward_count, [storage.maker for storage in self.storages]
        return tuple(tuple((s, makers[s]) for s in call.reads if 0 <= makers[s] < forward) for call in self.calls)

    @cached_property
    def made(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What the calls make, as :func:`packed_rows`."""
        return packed_rows([call.makes for call in self.calls])

    @cached_property
    def random(self) -> NDArray[np.bool_]:
        """Which calls draw random numbers."""
        return np.array([call.random for call in self.calls], np.bool_)

    @cached_property
    def scratch(self) -> NDArray[np.int64]:
        """Scratch memory inside each call as the allocator hands it out, bytes; 0 where it is not known."""
        return np.array([self.rounded(extra) for extra in self.workspace or [0] * len(self.calls)], np.int64)

    def kept_calls(self, kept: Sequence[bool]) -> list[bool]:
        """For each call whether what it makes stays until the backward pass, wherever that needs it.

        A view owns no memory: its node's flag acts on the call whose storage it looks at, as that call's own node does.

        Parameters
        ----------
        kept : sequence of bool, length #V
            Whether the node's value is kept.
        """
        return [
            call.pinned
            or any(map(kept.__getitem__, call.views))
            or (kept[call.node] if call.node >= 0 else all(map(kept.__getitem__, call.follows)))
            for call in self.calls
        ]

    def rounded(self, size: int) -> int:
        """A size as the allocator hands it out, bytes."""
        return -(-size // self.alignment) * self.alignment


def packed_rows(rows: Sequence[Iterable[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of numbers as (start, numbers): row i is ``numbers[start[i]:start[i + 1]]``."""
    lengths = np.array([len(tuple(row)) for row in rows], np.int64)
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=start[1:])
    return start, np.array([x for row in rows for x in row], np.int64)
