"""Families of lower sets to search: all of them, the paper's L^v, or prefixes of orders.

The exact DP searches all lower sets. The paper's approximate DP searches {L^v : v ∈ V} ∪ {∅, V} with
L^v = {w : v is reachable from w}; these sets follow one branch of a parallel module only, so the
other branches are always recomputed. Adding the prefixes of a few topological orders costs
O(orders × #V) more sets and closes most of that gap.

Source: Kusumoto et al. 2019, section 4.3 (the family L^v).
"""

from __future__ import annotations

from recompviz.core.errors import TooManyLowerSets
from recompviz.core.graph import Graph
from recompviz.core.masks import bits


def all_lower_sets(graph: Graph, limit: int) -> list[int]:
    """Every lower set as a mask; raises TooManyLowerSets beyond ``limit``."""
    masks: list[int] = []
    for mask in graph.lower_set_masks():
        if len(masks) == limit:
            raise TooManyLowerSets(limit)
        masks.append(mask)
    return masks


def paper_family(graph: Graph) -> list[int]:
    """{L^v : v ∈ V} ∪ {∅, V}, the pruned family of the paper's approximate DP."""
    return list(dict.fromkeys((0, *graph.ancestors, graph.everything)))


def prefix_family(graph: Graph) -> list[int]:
    """The paper's family and all prefixes of five topological orders.

    The orders: as given; depth first from the sources (branch after branch) in both branch orders;
    and depth first with the small or the large values first.
    """
    masks = dict.fromkeys(paper_family(graph))
    for order in _orders(graph):
        mask = 0
        for v in order:
            mask |= 1 << v
            masks[mask] = None
    return list(masks)


def _orders(graph: Graph) -> list[list[int]]:
    n = len(graph)
    memory = graph.memory.tolist()
    rank = {v: i for i, v in enumerate(graph.order)}
    orders = [list(graph.order)]
    for branch_order in (lambda v: rank[v], lambda v: -rank[v], lambda v: memory[v], lambda v: -memory[v]):
        waiting = [p.bit_count() for p in graph.predecessors]
        # depth first: a node made ready by the last one goes before those that waited longer
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
