"""Small training steps made by hand, for examples, lessons and tests that need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.graph import Graph, NodeInfo
from recompviz.core.joint import Call, Category, JointGraph, Storage


def chain_step(sizes: Sequence[int]) -> tuple[Graph, JointGraph]:
    """A chain of values as a graph and as the joint graph of its training step.

    The backward call of node i reads the gradient that flows in and the value of node i−1; the last
    value is the loss, whose own value no backward call reads.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of each value, and of its gradient.

    Examples
    --------
    >>> graph, joint = chain_step([4, 2, 1])
    >>> len(graph), len(joint.calls)
    (3, 6)
    """
    n = len(sizes)
    graph = Graph.from_edges([(i, i + 1) for i in range(n - 1)], memory=list(sizes))
    storages = [Storage(size, i, Category.KEPT, f"v{i}") for i, size in enumerate(sizes)]
    storages[-1] = Storage(sizes[-1], n - 1, Category.OUTPUT, f"v{n - 1}")
    calls = [Call(NodeInfo(key=f"v{i}"), False, i, (i - 1,) if i else (), (i,)) for i in range(n)]
    for step, i in enumerate(range(n - 1, -1, -1)):
        storages.append(Storage(sizes[i], n + step, Category.GRADIENT, f"gradient of v{i}"))
        reads = ((n + step - 1,) if step else ()) + ((i - 1,) if i else ())
        calls.append(Call(NodeInfo(key=f"backward of v{i}"), True, -1, reads, (n + step,)))
    return graph, JointGraph(tuple(calls), tuple(storages), frozenset({n - 1, 2 * n - 1}))
