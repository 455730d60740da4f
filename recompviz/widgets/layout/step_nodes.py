"""The node that each step of a schedule belongs to, so that a click on the timeline selects the node in the graph.

The label of a forward or recompute step is the key of its node. The label of a backward step names the backward
operator, in the module of the forward call. The backward pass runs in reverse order. Therefore the k-th backward
operator of a kind in a module belongs to the k-th last forward operator of this kind. If a module has different numbers
of forward and backward operators of a kind, their backward steps belong to no node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.operator_names import public_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the node of this label is not computed yet
UNASKED = -2

# backward operators whose name differs from that of their forward operator
_NAMES = {"threshold": "relu"}


def node_numbers(graph: Graph) -> dict[str, int]:
    """Return a dictionary from the key of each node (``NodeInfo.key``) to the number of the node.

    If a node has no key, its name is used.
    """
    return {info.key or str(name): v for v, (name, info) in enumerate(zip(graph.names, graph.info, strict=True))}


def step_nodes(graph: Graph, numbers: Mapping[str, int], labels: Sequence[str]) -> list[int]:
    """Return the node of each step of a schedule; −1 for a step that belongs to no node.

    Parameters
    ----------
    graph : Graph
    numbers : mapping of str to int
        The result of :func:`node_numbers`.
    labels : sequence of str
        The label of each step.

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
            base = public_name(operator.removesuffix("_backward"))
            waiting[module, _NAMES.get(base, base)].append(label)
    nodes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for v, info in enumerate(graph.info if waiting else ()):
        nodes[info.module, public_name(info.op)].append(v)
    for kind, backward in waiting.items():
        forward = nodes[kind]
        if len(forward) == len(backward):
            found.update(zip(backward, reversed(forward), strict=True))
    return [found.get(label, -1) for label in labels]


class LabelNumbers:
    """Numbers for the labels of steps and storages in timelines of one graph. Equal labels always get the same number.

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
        """The labels in the order of their numbers. The list only grows."""
        return list(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each label. Labels that are new get the next numbers."""
        if not self._numbers.keys() >= set(labels):
            for label in labels:
                self._numbers.setdefault(label, len(self._numbers))
        return np.fromiter(map(self._numbers.__getitem__, labels), np.int64, len(labels))

    def nodes(self, labels: Sequence[str], numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the node of each step of a schedule; −1 for a step that belongs to no node.

        Parameters
        ----------
        labels : sequence of str
            The label of each step.
        numbers : numpy.ndarray of int
            The numbers of the labels, from :meth:`of`.
        """
        if numbers.max(initial=-1) >= len(self._nodes) or (self._nodes[numbers] == UNASKED).any():
            nodes = np.full(len(self._numbers), UNASKED, np.int32)
            nodes[: len(self._nodes)] = self._nodes
            nodes[numbers] = step_nodes(self.graph, self._keys, labels)
            self._nodes = nodes
        return self._nodes[numbers]
