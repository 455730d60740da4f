"""Random graphs for exercises with a seed."""

from __future__ import annotations

import random

from recompviz.core.graphs.graph import Graph


def random_graph(chance: random.Random) -> Graph:
    """Return a random graph of 7 or 8 nodes with 10 to 40 lower sets. Its nodes are single letters.

    Each node but the first is computed from one or two of the three nodes before it. Sizes M are from 1 to 6, costs T
    from 1 to 5.
    """
    while True:
        names = "abcdefgh"[: chance.choice((7, 8))]
        edges = []
        for i in range(1, len(names)):
            before = range(max(0, i - 3), i)
            read = chance.sample(before, min(len(before), chance.choice((1, 1, 2))))
            edges += [(names[u], names[i]) for u in sorted(read)]
        graph = Graph.from_edges(edges, *_random_sizes(names, chance))
        if 10 <= graph.count_lower_sets() <= 40:
            return graph


def with_other_sizes(graph: Graph, chance: random.Random) -> Graph:
    """Return a graph of the same shape with random sizes M from 1 to 6 and costs T from 1 to 5.

    The names of its nodes must be single letters.
    """
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    return Graph.from_edges(edges, *_random_sizes("".join(map(str, graph.names)), chance))


def _random_sizes(names: str, chance: random.Random) -> tuple[dict[str, int], dict[str, int]]:
    return {name: chance.randint(1, 6) for name in names}, {name: chance.randint(1, 5) for name in names}
