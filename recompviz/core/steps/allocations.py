"""Replay allocation events: every allocated block with its birth, death and size, and the live bytes over time.

This is the only reader of an allocator's events. A source (PyTorch's profiler, a memory snapshot) translates what it
recorded into :class:`AllocationEvent`. A free of an address that was not allocated before is ignored: the block existed
before the recording. An allocation at an address that is in use ends the old block: its free was not recorded.
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
    """One allocation or free.

    Attributes
    ----------
    at : int
        Where it happened, as the source counts: a step, an operator, a position in a trace.
    address : int
    size : int
        Bytes; positive for an allocation, negative for a free. The size of a free is not used.
    scope : str
        Name of the operator or range in which it happened; empty if it is not known.
    """

    at: int
    address: int
    size: int
    scope: str = ""

    def counted_at(self, at: int) -> AllocationEvent:
        """The same event at another position."""
        return AllocationEvent(at, self.address, self.size, self.scope)


@dataclass(frozen=True, eq=False)
class Allocations:
    """The result of a replay; frozen.

    Attributes
    ----------
    at : numpy.ndarray of int64, shape (#events,)
        Where each event happened, as the source counts.
    block : numpy.ndarray of int64, shape (#events,)
        The block that the event allocates or frees.
    delta : numpy.ndarray of int64, shape (#events,)
        Bytes, positive for an allocation, negative for a free.
    address, size : numpy.ndarray of int64, shape (#blocks,)
        Blocks are numbered in the order of their allocation.
    birth, death : numpy.ndarray of int64, shape (#blocks,)
        Positions of the events that allocate and free each block; ``death`` is −1 if it is not freed.
    scopes : tuple of str
        For each block, the scope in which it was allocated.
    peak : int
        The most bytes alive at one time, exact for any size.
    unseen_frees : int
        Number of blocks whose free was not recorded.
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
        """Bytes alive right after each event, shape (#events,)."""
        return np.cumsum(self.delta)

    @property
    def peak_event(self) -> int:
        """Number of the first event at which live memory reaches its maximum; −1 if there are no events."""
        return int(self.live.argmax()) if len(self.delta) else -1

    def alive_after(self, event: int) -> NDArray[np.int64]:
        """The blocks alive right after an event, in the order of their allocation."""
        return np.flatnonzero((self.birth <= event) & ((self.death < 0) | (self.death > event)))


class AllocationReader:
    """Replays events one by one, for a source whose later events depend on the blocks of the earlier ones.

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
        """Whether a live block begins at an address."""
        return address in self._open

    def allocate(self, at: int, address: int, size: int, scope: str = "") -> int:
        """Begin a block; return its number."""
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
        """End the block at an address; return its bytes, 0 if there is no such block."""
        block = self._open.pop(address, None)
        if block is None:
            return 0
        size = self._blocks[block][1]
        self._deaths[block] = len(self._events)
        self._events.append((at, block, -size))
        self._live -= size
        return size

    def finish(self) -> Allocations:
        """What was replayed so far."""
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
    """Replay a sequence of events.

    Parameters
    ----------
    events : iterable of AllocationEvent
        In the order they happened; events of size 0 are ignored.

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
