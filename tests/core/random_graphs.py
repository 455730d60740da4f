"""Small random DAGs with ties, zero sizes, several sources and sinks, and parts not connected."""

from __future__ import annotations

import random

import recompviz as rv


def random_graph(seed: int, most_nodes: int = 7) -> rv.Graph:
    """A random DAG whose node numbers are not in topological order."""
    chance = random.Random(seed)
    n = chance.randint(1, most_nodes)
    density = chance.choice([0.0, 0.2, 0.4, 0.7])
    order = list(range(n))
    chance.shuffle(order)
    edges = [(order[i], order[j]) for i in range(n) for j in range(i + 1, n) if chance.random() < density]
    sizes = chance.choice([[0, 1, 2, 5], [1], [3, 7, 11, 1000]])
    costs = chance.choice([[0, 1, 10], [1], [1, 10]])
    return rv.Graph.from_edges(
        edges, memory=[chance.choice(sizes) for _ in range(n)], time=[chance.choice(costs) for _ in range(n)]
    )
