"""The training step of a graph in the paper's memory model, as a joint graph.

In this model each value has a gradient of the same size. The gradient is computed from the gradients of the value's
successors and from all values that these successors read. For a graph that was not traced from a model, plans are
scheduled and simulated on this joint graph.
"""

from __future__ import annotations

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage


def paper_step(graph: Graph) -> JointGraph:
    """Return the training step of a graph in the memory model of Kusumoto et al. 2019, as a joint graph.

    There are #V forward calls, then #V backward calls. Call i < #V computes the value of the i-th node of
    ``graph.order``. Call 2·#V − 1 − i computes the gradient of this value, from the gradients of the node's successors
    and all values that these successors read. Call j allocates storage j and no other. No storage stays allocated after
    the training step.

    Examples
    --------
    The paper's example a → b of size 1: the value of a and both gradients are alive at the same time.

    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> joint = paper_step(Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1}))
    >>> [call.reads for call in joint.calls]
    [(), (0,), (), (0, 2)]
    >>> simulate_schedule(make_schedule(joint, [True, True])).transient_peak
    3
    """
    order, n = graph.order, len(graph)
    value = {v: i for i, v in enumerate(order)}
    gradient = {v: 2 * n - 1 - i for v, i in value.items()}
    storages = [Storage(int(graph.memory[v]), i, Category.KEPT, f"{graph.names[v]}") for v, i in value.items()]
    calls = [
        Call(_info(graph, v), False, v, tuple(sorted(value[u] for u in bits(graph.predecessors[v]))), (i,))
        for v, i in value.items()
    ]
    for v in reversed(order):
        beside = 0
        for w in bits(graph.successors[v]):
            beside |= graph.predecessors[w]
        reads = [value[u] for u in bits(beside)] + [gradient[w] for w in bits(graph.successors[v])]
        number = gradient[v]
        storages.append(Storage(int(graph.memory[v]), number, Category.GRADIENT, f"gradient of {graph.names[v]}"))
        calls.append(Call(_info(graph, v, "gradient of "), True, -1, tuple(sorted(reads)), (number,)))
    return JointGraph(tuple(calls), tuple(storages), frozenset())


def _info(graph: Graph, v: int, what: str = "") -> NodeInfo:
    return NodeInfo(key=f"{what}{graph.names[v]}", op=graph.info[v].op, module=graph.info[v].module)
