"""Replay an allocator's events: when each block is allocated and freed, and how many bytes are in use after each event.

A source, such as PyTorch's profiler or a memory snapshot, translates its records into :class:`AllocationEvent`. A free
of an address that was not allocated is ignored, because the block existed before the recording. An allocation at an
address in use first frees the old block there, because the free of this block was not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AllocationEvent(NamedTuple):
    """One allocation or free of a block of memory.

    Attributes
    ----------
    at : int
        Where the event happened. The source of the events decides what the number counts: for example steps of a
        schedule, operators, or entries of a memory snapshot's trace.
    address : int
        The address at which the block begins.
    size : int
        Bytes, positive for an allocation and negative for a free. For a free only the sign is used.
    scope : str
        The operator or profiler range in which the event happened; empty if it is not known.
    """

    at: int
    address: int
    size: int
    scope: str = ""

    def counted_at(self, at: int) -> AllocationEvent:
        """Return the same event with another ``at``."""
        return AllocationEvent(at, self.address, self.size, self.scope)


@dataclass(frozen=True, eq=False)
class Allocations:
    """All events that were replayed, and the blocks that they allocate and free; frozen.

    Events are numbered in the order they happened, and blocks in the order they were allocated.

    Attributes
    ----------
    at : numpy.ndarray of int64, shape (#events,)
        Where each event happened; see :class:`AllocationEvent`.
    block : numpy.ndarray of int64, shape (#events,)
        The number of the block that the event allocates or frees.
    delta : numpy.ndarray of int64, shape (#events,)
        Bytes, positive for an allocation and negative for a free.
    address, size : numpy.ndarray of int64, shape (#blocks,)
        The address of each block, and its bytes.
    birth, death : numpy.ndarray of int64, shape (#blocks,)
        The numbers of the events that allocate and free each block; ``death`` is −1 if the block is not freed.
    scopes : tuple of str
        For each block, the scope in which it was allocated.
    peak : int
        The largest number of bytes in use at one time.
    unseen_frees : int
        The number of blocks whose address was allocated again although no free was recorded.
    """

    at: NDArray[np.int64]
    block: NDArray[np.int64]
    delta: NDArray[np.int64]
    address: NDArray[np.int64]
    size: NDArray[np.int64]
    birth: NDArray[np.int64]
    death: NDArray[np.int64]
    scopes: tuple[str, ...]
    peak: int
    unseen_frees: int

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """Bytes in use right after each event, shape (#events,)."""
        return np.cumsum(self.delta)

    @property
    def peak_event(self) -> int:
        """The number of the first event after which :attr:`live` has its largest value; −1 if there are no events."""
        return int(self.live.argmax()) if len(self.delta) else -1

    def alive_after(self, event: int) -> NDArray[np.int64]:
        """Return the numbers of the blocks in use right after an event, in rising order."""
        return np.flatnonzero((self.birth <= event) & ((self.death < 0) | (self.death > event)))


class AllocationReader:
    """Replay allocations and frees one by one. Between two of them, :meth:`in_use` tells whether an address is in use.

    Examples
    --------
    >>> reader = AllocationReader()
    >>> reader.allocate(0, 16, 100), reader.free(1, 16), reader.free(2, 99)
    (0, 100, 0)
    >>> reader.finish().live.tolist()
    [100, 0]
    """

    def __init__(self) -> None:
        self._events: list[tuple[int, int, int]] = []  # (at, block, delta)
        self._blocks: list[tuple[int, int, int]] = []  # (address, size, birth)
        self._deaths: dict[int, int] = {}
        self._scopes: list[str] = []
        self._open: dict[int, int] = {}  # address → block
        self._live = self._peak = 0
        self._unseen_frees = 0

    def in_use(self, address: int) -> bool:
        """Return whether a block begins at an address and is in use, that is, allocated and not yet freed."""
        return address in self._open

    def allocate(self, at: int, address: int, size: int, scope: str = "") -> int:
        """Allocate a block and return its number, counted from 0. A block in use at this address is freed first.

        The arguments are the attributes of :class:`AllocationEvent`.
        """
        if address in self._open:
            self._unseen_frees += 1
            self.free(at, address)
        block = len(self._blocks)
        self._blocks.append((address, size, len(self._events)))
        self._scopes.append(scope)
        self._open[address] = block
        self._events.append((at, block, size))
        self._live += size
        self._peak = max(self._peak, self._live)
        return block

    def free(self, at: int, address: int) -> int:
        """Free the block at an address and return its bytes; 0 if no block in use begins there."""
        block = self._open.pop(address, None)
        if block is None:
            return 0
        size = self._blocks[block][1]
        self._deaths[block] = len(self._events)
        self._events.append((at, block, -size))
        self._live -= size
        return size

    def finish(self) -> Allocations:
        """Return all events and blocks replayed so far."""
        events = np.array(self._events, np.int64).reshape(-1, 3).T
        blocks = np.array(self._blocks, np.int64).reshape(-1, 3).T
        death = np.full(len(self._blocks), -1, np.int64)
        death[list(self._deaths)] = list(self._deaths.values())
        at, block, delta = (column.copy() for column in events)
        address, size, birth = (column.copy() for column in blocks)
        return Allocations(
            at, block, delta, address, size, birth, death, tuple(self._scopes), self._peak, self._unseen_frees
        )


def read_allocations(events: Iterable[AllocationEvent]) -> Allocations:
    """Replay a sequence of allocations and frees, and return all events and blocks.

    Parameters
    ----------
    events : iterable of AllocationEvent
        In the order they happened. Events of size 0 are ignored.

    Returns
    -------
    Allocations

    Examples
    --------
    >>> history = read_allocations(
    ...     [AllocationEvent(0, 16, 100, "relu"), AllocationEvent(1, 32, 50), AllocationEvent(2, 16, -100)]
    ... )
    >>> history.live.tolist(), history.peak, history.peak_event
    ([100, 150, 50], 150, 1)
    >>> history.death.tolist(), history.scopes, history.alive_after(2).tolist()
    ([2, -1], ('relu', ''), [1])
    """
    reader = AllocationReader()
    for at, address, size, scope in events:
        if size > 0:
            reader.allocate(at, address, size, scope)
        elif size < 0:
            reader.free(at, address)
    return reader.finish()
