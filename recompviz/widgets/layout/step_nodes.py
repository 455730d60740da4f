"""Which node a step of the schedule belongs to, so that a click on the timeline finds it in the graph.

Forward and recompute steps carry their node's own key. A backward step carries the key of its own operator in the
module of the forward call it belongs to; backward runs in reverse order, so the k-th backward operator of a kind in
a module belongs to the k-th last forward one. Where the counts differ nothing is claimed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.graphs.graph import Graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

# what is no step's label so far
UNASKED = -2

# backward operators that are not called after their forward one
_NAMES = {"threshold": "relu", "native_batch_norm": "batch_norm", "native_layer_norm": "layer_norm"}


def node_numbers(graph: Graph) -> dict[str, int]:
    """From the key of a node (its name, where it has none) to its number."""
    return {info.key or str(name): v for v, (name, info) in enumerate(zip(graph.names, graph.info, strict=True))}


def step_nodes(graph: Graph, numbers: Mapping[str, int], labels: Sequence[str]) -> list[int]:
    """The node of each step, −1 where a step belongs to none.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import NodeInfo
    >>> info = tuple(NodeInfo(key=key, op="aten.relu", module="m") for key in ("m/relu", "m/relu#1"))
    >>> g = Graph(("a", "b"), [1, 1], [1, 1], [(0, 1)], info)
    >>> step_nodes(g, node_numbers(g), ["m/relu", "m/relu#1", "m/threshold_backward", "m/threshold_backward#1", "?"])
    [0, 1, 1, 0, -1]
    """
    found = {label: numbers[label] for label in set(labels) if label in numbers}
    waiting: dict[tuple[str, str], list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        module, _, operator = label.rpartition("/")
        operator = operator.split("#")[0]
        if label not in found and operator.endswith("_backward"):
            base = operator.removesuffix("_backward").strip("_")
            waiting[module, _NAMES.get(base, base)].append(label)
    for (module, operator), backward in waiting.items():
        forward = [v for v, info in enumerate(graph.info) if info.module == module and operator in info.op]
        if len(forward) == len(backward):
            found.update(zip(backward, reversed(forward), strict=True))
    return [found.get(label, -1) for label in labels]


class LabelNumbers:
    """Numbers for the labels of steps and storages, and the node of each step: any plan has the same, so they are kept.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._numbers: dict[str, int] = {}
        self._keys = node_numbers(graph)
        self._nodes = np.zeros(0, np.int32)  # by the number of a step's label

    @property
    def labels(self) -> list[str]:
        """The labels met so far, by number; the list only grows."""
        return list(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of some labels; those not met before get the next ones."""
        if not self._numbers.keys() >= set(labels):
            for label in labels:
                self._numbers.setdefault(label, len(self._numbers))
        return np.fromiter(map(self._numbers.__getitem__, labels), np.int64, len(labels))

    def nodes(self, labels: Sequence[str], numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """The node of each step that has these labels, −1 for none; ``numbers`` are the labels' own."""
        if numbers.max(initial=-1) >= len(self._nodes) or (self._nodes[numbers] == UNASKED).any():
            nodes = np.full(len(self._numbers), UNASKED, np.int32)
            nodes[: len(self._nodes)] = self._nodes
            nodes[numbers] = step_nodes(self.graph, self._keys, labels)
            self._nodes = nodes
        return self._nodes[numbers]
