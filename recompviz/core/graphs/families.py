"""Families of lower sets to search: all lower sets, the paper's small family, and a family between these two.

A lower set is a set of nodes that no edge enters from outside. The exact dynamic programme searches all lower sets. The
paper's approximate dynamic programme searches the family {L^v : v ∈ V} ∪ {∅, V}, where V is the set of all nodes, and
L^v is v with all its ancestors. If v is on one of several parallel branches, L^v contains no node of the other
branches. A plan of this family therefore rarely keeps values of two parallel branches. :func:`prefix_family` adds
prefixes of topological orders, and unions of some sets L^v. The optimal plans of this larger family usually have an
overhead (cost of recomputation) close to the least overhead under the same budget.

Source: Kusumoto et al. 2019, section 4.3 (the family L^v).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph


def all_lower_sets(graph: Graph, limit: int) -> list[int]:
    """Return all lower sets (:meth:`Graph.is_lower_set`) as bit masks.

    The empty set and the set of all nodes are included. Raises TooManyLowerSets if there are more than ``limit``.
    """
    masks: list[int] = []
    for mask in graph.lower_set_masks():
        if len(masks) == limit:
            raise TooManyLowerSets(limit)
        masks.append(mask)
    return masks


def paper_family(graph: Graph) -> list[int]:
    """Return the family of lower sets {L^v : v ∈ V} ∪ {∅, V} as bit masks.

    The approximate dynamic programme of Kusumoto et al. 2019 searches this family. V is the set of all nodes, and L^v
    is v with all its ancestors. Each set is in the list once.
    """
    return list(dict.fromkeys((0, *graph.ancestors, graph.everything)))


# limits on the distance in the order between the nodes of a union of two, and of three; most unions
PAIR_REACH = 400
TRIPLE_REACH = 16
MOST_UNIONS = 5_000


def prefix_family(graph: Graph) -> list[int]:
    """Return the sets of :func:`paper_family`, prefixes of five topological orders, and some unions of sets L^v.

    The sets are bit masks, each once. L^v is v with all its ancestors. All prefixes of each order are taken. One order
    is ``graph.order``. The other four are depth-first orders, which finish a branch before they start the next one. The
    four orders differ in the branch that is taken first: the one that begins earliest or latest in ``graph.order``, or
    the one whose first node has the smallest or largest size. A union joins the sets L^v of two or three nodes that are
    near each other in ``graph.order``, none of which is an ancestor of another. There are at most 5,000 unions.
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
