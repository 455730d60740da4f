"""Orders, ancestors and lower sets of a directed acyclic graph whose neighbours are given as bit masks.

The boundary of a lower set is a method of the graph, in ``graph.py``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from recompviz.core.graphs.bitsets import bits


def topological_order(predecessors: Sequence[int], successors: Sequence[int]) -> list[int]:
    """Return the topological order that always takes the available node of lowest number next.

    A node is available when all its predecessors are in the order. The order is 0, 1, 2, … if every edge goes from a
    lower to a higher number. If the graph has a cycle, the nodes on the cycle and after it are missing from the result.

    ``predecessors[v]`` and ``successors[v]`` are the bit masks of the predecessors and successors of node v.

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
    """Return, for each node v, the bit mask of L^v = {w : v is reachable from w}: v itself and all its ancestors.

    ``order`` is a topological order. Element v of ``predecessors`` is the bit mask of the predecessors of node v.

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
    """Iterate over all lower sets, each once, as bit masks.

    A lower set is a set of nodes that no edge enters from outside. The empty set and the set of all nodes are included.
    ``order`` is a topological order. Element v of ``predecessors`` is the bit mask of the predecessors of node v.

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
