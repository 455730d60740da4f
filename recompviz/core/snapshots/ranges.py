"""Disjoint ranges of addresses, each with a label. Ranges can be added, removed, and found by an address.

The ranges of a recording may contradict each other, because events were dropped or the file is damaged. Therefore a new
range replaces the overlapping parts of other ranges.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ranges(Generic[T]):
    """Disjoint ranges ``[start, end)`` with labels.

    Examples
    --------
    >>> ranges = Ranges()
    >>> ranges.add(0, 10, "a")
    >>> ranges.cut(4, 6)
    [(4, 6, 'a')]
    >>> list(ranges), ranges.at(7), ranges.at(5)
    ([(0, 4, 'a'), (6, 10, 'a')], (6, 10, 'a'), None)
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._rest: dict[int, tuple[int, T]] = {}  # start → (end, label)

    def __iter__(self) -> Iterator[tuple[int, int, T]]:
        for start in self._starts:
            end, label = self._rest[start]
            yield start, end, label

    def at(self, address: int) -> tuple[int, int, T] | None:
        """Return the range that contains an address, as (start, end, label); None if there is none."""
        i = bisect_right(self._starts, address) - 1
        if i < 0:
            return None
        start = self._starts[i]
        end, label = self._rest[start]
        return (start, end, label) if address < end else None

    def add(self, start: int, end: int, label: T) -> None:
        """Add a range. The parts of other ranges that it overlaps are removed. An empty range is not added."""
        if start >= end:
            return
        self.cut(start, end)
        self._starts.insert(bisect_left(self._starts, start), start)
        self._rest[start] = end, label

    def cut(self, start: int, end: int) -> list[tuple[int, int, T]]:
        """Remove everything between two addresses, and return the removed parts as (start, end, label)."""
        if start >= end:
            return []
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._rest[self._starts[first]][0] <= start:
            first += 1
        last = bisect_left(self._starts, end)
        removed, left = [], []
        for begin in self._starts[first:last]:
            stop, label = self._rest.pop(begin)
            removed.append((max(begin, start), min(stop, end), label))
            left += [(a, b, label) for a, b in ((begin, start), (end, stop)) if a < b]
        self._starts[first:last] = [a for a, _, _ in left]
        self._rest.update((a, (b, label)) for a, b, label in left)
        return removed
