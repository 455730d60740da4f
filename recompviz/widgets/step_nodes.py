"""Which node a step of the schedule belongs to, so that a click on the timeline finds it in the graph.

Forward and recompute steps carry their node's own key. A backward step carries the key of its own operator in the
module of the forward call it belongs to; backward runs in reverse order, so the k-th backward operator of a kind in
a module belongs to the k-th last forward one. Where the counts differ nothing is claimed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from recompviz.core.graph import Graph

# backward operators that are not called after their forward one
_NAMES = {"threshold": "relu", "native_batch_norm": "batch_norm", "native_layer_norm": "layer_norm"}


def node_numbers(graph: Graph) -> dict[str, int]:
    """From the key of a node (its name, where it has none) to its number."""
    return {info.key or str(name): v for v, (name, info) in enumerate(zip(graph.names, graph.info, strict=True))}


def step_nodes(graph: Graph, numbers: Mapping[str, int], labels: Sequence[str]) -> list[int]:
    """The node of each step, −1 where a step belongs to none.

    Examples
    --------
    >>> from recompviz.core.graph import NodeInfo
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
