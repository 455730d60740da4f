"""A graph in a fixed order, and its *computation sequences*: orders in which values are computed, with repetitions.

This is the model of Checkmate (Jain et al. 2020, arXiv 1910.02653) and Moccasin (Bartan et al. 2023, arXiv 2304.14463).
One graph has the values of the forward and of the backward pass. A value may be computed again at any later position.
The first computations of all values follow a given order. Each computation makes a new copy of its value, which later
computations read until the value is computed again. A copy is in memory from its computation to its last read. The
memory at a position is the bytes of all copies in memory there.

The given order is called the *base order*. An :class:`OrderedGraph` is the graph with its values numbered by their
positions in the base order. A sequence is written as a list of *extra computations* (stage, value), in the order in
which they run. The extra computations of a stage come after the first computation of the value with number ``stage −
1``, and before the first computation of the value with number ``stage``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.arguments import named
from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph, Name

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class OrderedGraph:
    """A graph whose values are numbered by their positions in the base order; frozen.

    Attributes
    ----------
    names : tuple of hashable
        The name of each value.
    memory : numpy.ndarray of int64, shape (#V,)
        The size of each value in bytes.
    time : numpy.ndarray of float64, shape (#V,)
        The cost of computing each value.
    reads : tuple of tuple of int
        For each value, the numbers of the values that its computation reads.
    readers : tuple of tuple of int
        For each value, the numbers of the values whose computations read it.
    """

    names: tuple[Name, ...]
    memory: NDArray[np.int64]
    time: NDArray[np.float64]
    reads: tuple[tuple[int, ...], ...]
    readers: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_graph(cls, graph: Graph, order: Sequence[Name] | None = None) -> OrderedGraph:
        """Number the values of a graph by their positions in an order.

        Parameters
        ----------
        graph : Graph
        order : sequence of names, optional
            A topological order of all nodes. Default: ``graph.order``.

        Raises
        ------
        GraphError
            If ``order`` does not have each node once, or has a value before one that it is computed from.

        Examples
        --------
        >>> graph = Graph.from_edges([("a", "b"), ("a", "c")], memory=dict(a=4, b=2, c=1))
        >>> OrderedGraph.from_graph(graph, ["a", "c", "b"]).names
        ('a', 'c', 'b')
        """
        if order is None:
            numbers = list(graph.order)
        else:
            number = {name: v for v, name in enumerate(graph.names)}
            unknown = [name for name in order if name not in number]
            if unknown or len(order) != len(graph) or len(set(order)) != len(graph):
                wrong = f"has {named(unknown[0])}, which is no node" if unknown else f"has {len(order)} entries"
                raise GraphError(f"the order {wrong}; give each of the {len(graph)} nodes once")
            numbers = [number[name] for name in order]
        position = np.empty(len(graph), np.int64)
        position[numbers] = np.arange(len(graph))
        reads: list[list[int]] = [[] for _ in range(len(graph))]
        readers: list[list[int]] = [[] for _ in range(len(graph))]
        for u, v in graph.edges.tolist():
            first, then = int(position[u]), int(position[v])
            if first > then:
                later, earlier = named(graph.names[u]), named(graph.names[v])
                raise GraphError(f"the order has {earlier} before {later}, which it reads; give a topological order")
            reads[then].append(first)
            readers[first].append(then)
        return cls(
            tuple(graph.names[v] for v in numbers),
            graph.memory[numbers],
            graph.time[numbers],
            tuple(tuple(sorted(row)) for row in reads),
            tuple(tuple(sorted(row)) for row in readers),
        )

    def sequence(self, extra: Iterable[tuple[int, int]]) -> list[int]:
        """Return the sequence with these extra computations: the number of the value computed at each position.

        ``extra`` has pairs (stage, value). In stage i, the values of the pairs (i, value) are computed again, in the
        given order. Then value i is computed for the first time.
        """
        stages: list[list[int]] = [[] for _ in range(len(self))]
        for stage, value in extra:
            stages[stage].append(value)
        return [v for stage, again in enumerate(stages) for v in (*again, stage)]

    def profile(self, sequence: Sequence[int]) -> NDArray[np.int64]:
        """Return the bytes in memory at each position of a sequence.

        Raises
        ------
        GraphError
            If a value is computed before one that it reads.

        Examples
        --------
        >>> graph = Graph.from_edges([("a", "b"), ("b", "c"), ("a", "c")], memory=dict(a=4, b=2, c=1))
        >>> OrderedGraph.from_graph(graph).profile([0, 1, 2]).tolist()  # a, b, c
        [4, 6, 7]
        """
        computed: list[int | None] = [None] * len(self)
        last_use = list(range(len(sequence)))
        for position, v in enumerate(sequence):
            for u in self.reads[v]:
                at = computed[u]
                if at is None:
                    raise GraphError(
                        f"position {position} computes {named(self.names[v])}, which reads {named(self.names[u])}, "
                        "before that was computed"
                    )
                last_use[at] = position
            computed[v] = position
        change = np.zeros(len(sequence) + 1, np.int64)
        for position, v in enumerate(sequence):
            change[position] += self.memory[v]
            change[last_use[position] + 1] -= self.memory[v]
        return change.cumsum()[: len(sequence)]

    def working_set(self) -> int:
        """Return the largest number of bytes that one computation needs: its value and all values that it reads."""
        return max((int(self.memory[[v, *self.reads[v]]].sum()) for v in range(len(self))), default=0)
