"""Families of lower sets to search: all of them, the paper's L^v, or prefixes of orders.

The exact dynamic programme searches all lower sets. The paper's approximate one searches {L^v : v ∈ V} ∪ {∅, V}
with L^v = {w : v is reachable from w}. These sets contain only one branch of a parallel module, so the
other branches are always recomputed. Adding the prefixes of some topological orders, and unions
of L^v of nodes on parallel branches, costs a few more sets per node and closes nearly all of the gap.

Source: Kusumoto et al. 2019, section 4.3 (the family L^v).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph


def all_lower_sets(graph: Graph, limit: int) -> list[int]:
    """Every lower set as a bit mask; raises TooManyLowerSets if there are more than ``limit``."""
    masks: list[int] = []
    for mask in graph.lower_set_masks():
        if len(masks) == limit:
            raise TooManyLowerSets(limit)
        masks.append(mask)
    return masks


def paper_family(graph: Graph) -> list[int]:
    """{L^v : v ∈ V} ∪ {∅, V}, the pruned family of the paper's approximate DP."""
    return list(dict.fromkeys((0, *graph.ancestors, graph.everything)))


# largest distance in the order between the nodes of a union of two, and of three; largest number of unions
PAIR_REACH = 400
TRIPLE_REACH = 16
MOST_UNIONS = 5_000


def prefix_family(graph: Graph) -> list[int]:
    """The paper's family widened: all prefixes of five topological orders, and unions L^u ∪ L^v.

    The orders are the given one, and depth first from the sources (branch after branch) with four orders of the
    branches: as given, reversed, small values first, large values first. The unions are of two nodes, or of three that
    are close in the order, of which none is an ancestor of another.
    """
    masks = dict.fromkeys(paper_family(graph))
    for order in _orders(graph):
        mask = 0
        for v in order:
            mask |= 1 << v
            masks[mask] = None
    masks.update(dict.fromkeys(itertools.islice(_unions(graph), MOST_UNIONS)))
    return list(masks)


def _unions(graph: Graph) -> Iterator[int]:
    closures, order = graph.ancestors, graph.order
    for distance in range(1, min(PAIR_REACH, len(order))):
        for i in range(len(order) - distance):
            u, v = order[i], order[i + distance]
            if not closures[v] >> u & 1:
                yield closures[u] | closures[v]
    for i, u in enumerate(order):
        beside = [v for v in order[i + 1 : i + TRIPLE_REACH] if not closures[v] >> u & 1]
        for v, w in itertools.combinations(beside, 2):
            if not closures[w] >> v & 1:
                yield closures[u] | closures[v] | closures[w]


def _orders(graph: Graph) -> list[list[int]]:
    n = len(graph)
    memory = graph.memory.tolist()
    rank = {v: i for i, v in enumerate(graph.order)}
    orders = [list(graph.order)]
    for branch_order in (lambda v: rank[v], lambda v: -rank[v], lambda v: memory[v], lambda v: -memory[v]):
        waiting = [p.bit_count() for p in graph.predecessors]
        # depth first: nodes that the last node made available come before those available earlier
        stack = sorted((v for v in range(n) if waiting[v] == 0), key=branch_order, reverse=True)
        order = []
        while stack:
            v = stack.pop()
            order.append(v)
            ready = []
            for w in bits(graph.successors[v]):
                waiting[w] -= 1
                if waiting[w] == 0:
                    ready.append(w)
            stack.extend(sorted(ready, key=branch_order, reverse=True))
        orders.append(order)
    return orders
