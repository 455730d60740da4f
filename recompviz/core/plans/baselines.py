"""Baselines: common ways to save memory without a planner, as plans of the same graph.

The baselines keep everything, checkpoint each repeated block as ``torch.utils.checkpoint`` does, follow the checkpoints
that the user wrote, or use Chen's √n algorithm, whose segments end only where one value crosses the border. The
planner's plans are compared with them.

Sources: Chen et al. 2016 (arXiv 1604.06174), Algorithm 3; Kusumoto et al. 2019, section 5.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.plans.plan import Plan

# the baselines that need no more than a graph
NAMES = ("keep-all", "per-module", "chen", "as-written")

# the module of values that the loss function computes
LOSS = "loss"


def baseline(graph: Graph, name: str) -> Plan:
    """A baseline plan of a graph; ``trace.baseline(name)`` of a trace has one more baseline.

    Parameters
    ----------
    graph : Graph
    name : str
        ``"keep-all"`` keeps every value. ``"per-module"`` keeps the values that cross the border of a repeated block,
        see :func:`per_module`. ``"chen"`` is Chen's √n algorithm, see :func:`chen`. ``"as-written"`` recomputes what
        the user's own checkpoints recompute, see :func:`as_written`.

    Returns
    -------
    Plan
        It can be simulated, applied, measured and certified like any other plan.

    Raises
    ------
    TypeError
        If ``graph`` is not a Graph.
    ValueError
        If no baseline has this name.
    GraphError
        For ``"per-module"`` if the nodes of the graph name no modules; for ``"as-written"`` if the model has no
        checkpoints.

    Examples
    --------
    >>> g = Graph.from_edges([(i, i + 1) for i in range(8)], memory=[1] * 9)
    >>> baseline(g, "chen")
    Plan(chen, segments=5, kept=4/9, overhead=5, peak=8 formula bytes)
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"expected a Graph, got {type(graph).__name__}; of a trace ask trace.baseline({name!r})")
    if name == "keep-all":
        return Plan.keep_all(graph)
    if name == "per-module":
        return per_module(graph)
    if name == "chen":
        return chen(graph)
    if name == "as-written":
        return as_written(graph)
    more = "; that one is read from a trace: trace.baseline(…)" if name.startswith("min-cut") else ""
    raise ValueError(f"no baseline of a graph is called {name!r}; choose {', '.join(map(repr, NAMES))}{more}")


# -------------------------------------------------------------------- Chen et al. 2016


def chen(graph: Graph) -> Plan:
    """Chen's √n plan: the plan of least formula peak among :func:`chen_plans`.

    Examples
    --------
    >>> sorted(chen(Graph.from_edges([(i, i + 1) for i in range(8)], memory=[1] * 9)).keep)
    [1, 3, 5, 7]
    """
    return min(chen_plans(graph), key=lambda plan: (plan.peak, plan.overhead))


def chen_plans(graph: Graph) -> list[Plan]:
    """All plans of Chen's Algorithm 3 for any segment budget b, by rising b.

    Segments may end only where at most one value crosses the border. Going forward, a segment ends at the first
    such place at which its values take more than b bytes. Chen et al. search a grid of b around
    √(checkpoints × largest segment). Here b rises from 0 to each next value that changes the plan,
    so no plan is missed.

    Examples
    --------
    >>> [len(plan.segments) for plan in chen_plans(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]))]
    [3, 2, 1]
    """
    if len(graph) == 0:
        return [Plan.from_masks(graph, [], "chen")]
    cuts = cut_prefixes(graph)
    filled = [graph.memory_of(mask) for mask in cuts]
    plans = []
    budget = 0
    while True:
        ends = _closed(filled, budget)
        plans.append(Plan.from_masks(graph, [*(cuts[i] for i in ends), graph.everything], "chen"))
        if not ends:
            return plans
        budget = min(b - a for a, b in pairwise([0, *(filled[i] for i in ends)]))


def cut_prefixes(graph: Graph) -> list[int]:
    """The prefixes of the order, as bit masks, of which at most one value is needed later, without ∅ and V.

    Their boundaries are the articulation points of the computation.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")], dict.fromkeys("abcde", 1))
    >>> [sorted(g.set_of(mask)) for mask in cut_prefixes(g)]
    [['a'], ['a', 'b', 'c', 'd']]
    """
    waiting = [mask.bit_count() for mask in graph.successors]  # consumers still outside the prefix
    found = []
    prefix = crossing = 0  # values of the prefix that are needed outside it
    for v in graph.order[:-1]:
        prefix |= 1 << v
        crossing += bool(waiting[v])
        for u in bits(graph.predecessors[v]):
            waiting[u] -= 1
            crossing -= not waiting[u]
        if crossing <= 1:
            found.append(prefix)
    return found


def _closed(filled: list[int], budget: int) -> list[int]:
    """The cuts at which the segments end: each at the first cut with more than ``budget`` bytes."""
    ends: list[int] = []
    start = 0
    while (i := bisect_right(filled, start + budget, lo=ends[-1] + 1 if ends else 0)) < len(filled):
        ends.append(i)
        start = filled[i]
    return ends


# -------------------------------------------------------------------- a checkpoint around each block


def per_module(graph: Graph) -> Plan:
    """A checkpoint around each repeated block: values that leave a block are kept, the others in it are recomputed.

    The blocks are the members of repeated series (``layer1.0``, ``h.3``) that compute more than one value, or
    the top-level children if there is no such series. Values outside the blocks (stem, head and loss) are
    kept. Consecutive calls of one shared module count as one block.

    Raises
    ------
    GraphError
        If the nodes name no modules, as in a graph made by hand.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> per_module(residual_step(blocks=(1, 1))[0])
    Plan(per-module, segments=10, kept=10/32, overhead=94, peak=494,534,656 formula bytes)
    """
    blocks = block_of_nodes(graph)
    if not any(blocks):
        raise GraphError(
            "the nodes of this graph name no modules, so there is nothing to checkpoint one by one; "
            "trace a model, or give nodes a NodeInfo(module=…)"
        )
    call_of = [0] * len(graph)  # the call of a block that each node belongs to
    last, count = "", 0
    for v in graph.order:
        count += blocks[v] != last
        last = blocks[v]
        call_of[v] = count
    return _checkpointed(graph, blocks, call_of, "per-module")


def _checkpointed(graph: Graph, inside: Sequence[str], checkpoint_of: Sequence[object], kind: str) -> Plan:
    """Recompute the values inside checkpoints, without those that leave their checkpoint.

    ``inside`` is empty for a node that is in no checkpoint; ``checkpoint_of`` tells checkpoints apart.
    """
    keep_mask = np.array([not name for name in inside], np.bool_)
    for u, v in graph.edges.tolist():
        keep_mask[u] |= checkpoint_of[u] != checkpoint_of[v]
    return Plan.from_keep_mask(graph, keep_mask, kind)


def block_of_nodes(graph: Graph) -> list[str]:
    """The path of the block that each node is checkpointed in, empty for none."""
    members = [_member(info) for info in graph.info]
    sizes = Counter(member for member in members if member)
    series = {info.block for info, member in zip(graph.info, members, strict=True) if sizes[member] > 1}
    if series:
        return [member if info.block in series else "" for info, member in zip(graph.info, members, strict=True)]
    children = [info.module.split(".")[0] for info in graph.info]
    return ["" if child == LOSS else child for child in children]


def _member(info: NodeInfo) -> str:
    """``"layer1.0"`` for a node of module ``"layer1.0.conv1"`` in block ``"layer1.*"``."""
    return ".".join(info.module.split(".")[: len(info.block.split("."))]) if info.block else ""


# -------------------------------------------------------------------- the user's own checkpoints


def as_written(graph: Graph) -> Plan:
    """The plan of the user's own checkpoints: what they recompute, without the values that leave them.

    A trace contains the operators inside a checkpoint like any others, and the planner decides which of them are
    recomputed. Keep-all therefore takes more memory than such a model takes in eager PyTorch; this plan takes as much.

    Raises
    ------
    GraphError
        If no value is computed inside a checkpoint.

    Examples
    --------
    >>> from dataclasses import replace
    >>> info = tuple(NodeInfo(checkpoint="1" if v in "bc" else "") for v in "abcd")
    >>> g = Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], dict.fromkeys("abcd", 1))
    >>> sorted(as_written(replace(g, info=info)).keep)
    ['a', 'c', 'd']
    """
    checkpoints = [info.checkpoint for info in graph.info]
    if not any(checkpoints):
        raise GraphError("the model has no checkpoints (torch.utils.checkpoint); choose another baseline")
    return _checkpointed(graph, checkpoints, checkpoints, "as-written")
