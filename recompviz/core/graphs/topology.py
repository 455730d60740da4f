"""Orders, ancestors and lower sets of a directed acyclic graph whose neighbours are given as bit masks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from recompviz.core.graphs.bitsets import bits


def topological_order(predecessors: Sequence[int], successors: Sequence[int]) -> list[int]:
    """A topological order: 0, 1, … if that is one, otherwise the smallest available node next.

    On a cycle the order is shorter than the number of nodes; it lacks the nodes on and after the cycle.

    Examples
    --------
    >>> topological_order([0b10, 0], [0, 0b01])
    [1, 0]
    """
    waiting = [mask.bit_count() for mask in predecessors]
    ready = [v for v, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        v = heapq.heappop(ready)
        order.append(v)
        for w in bits(successors[v]):
            waiting[w] -= 1
            if waiting[w] == 0:
                heapq.heappush(ready, w)
    return order


def ancestor_masks(order: Sequence[int], predecessors: Sequence[int]) -> tuple[int, ...]:
    """For each node v the mask of L^v = {w : v is reachable from w}, v itself included.

    Examples
    --------
    >>> [bin(mask) for mask in ancestor_masks([0, 1, 2], [0, 0b1, 0b10])]
    ['0b1', '0b11', '0b111']
    """
    masks = [0] * len(order)
    for v in order:
        mask = 1 << v
        for u in bits(predecessors[v]):
            mask |= masks[u]
        masks[v] = mask
    return tuple(masks)


def lower_set_masks(order: Sequence[int], predecessors: Sequence[int]) -> Iterator[int]:
    """All lower sets, each once, without storing those already returned.

    This is a depth-first search: a lower set is extended only by nodes that come after the last node added in the
    topological order, so each set is reached along exactly one path.

    Examples
    --------
    >>> [bin(mask) for mask in lower_set_masks([0, 1], [0, 0b1])]
    ['0b0', '0b1', '0b11']
    """
    n = len(order)
    stack = [(0, 0)]
    while stack:
        mask, start = stack.pop()
        yield mask
        for i in range(n - 1, start - 1, -1):
            v = order[i]
            if predecessors[v] & ~mask == 0:
                stack.append((mask | 1 << v, i + 1))
