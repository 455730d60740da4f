"""Baselines: plans made by common methods, without a search. The planner's plans are compared with them.

``METHODS`` has the methods by name: keep every value; checkpoint each repeated block as ``torch.utils.checkpoint``
does; recompute what the user's own checkpoints recompute; and Chen's √n algorithm. Chen's algorithm divides the graph
into segments. Each segment ends at a place where at most one of the values computed so far is read later.

Sources: Chen et al. 2016 (arXiv 1604.06174), Algorithm 3; Kusumoto et al. 2019, section 5.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from operator import or_
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.arguments import expect, shown
from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.segment_arrays import open_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

# on graphs with more places where a segment may end, Chen's budget rises by at least 1/FINEST of itself
MANY_CUTS, FINEST = 1000, 256
# the module of values that the loss function computes
LOSS = "loss"


# -------------------------------------------------------------------- Chen et al. 2016


def chen(graph: Graph) -> Plan:
    """Return Chen's √n plan: the plan of :func:`chen_plans` with the least :attr:`Plan.peak`.

    If several plans have this peak, the plan that recomputes least is returned.

    Examples
    --------
    >>> sorted(chen(Graph.from_edges([(i, i + 1) for i in range(8)], memory=[1] * 9)).keep)
    [1, 3, 5, 7]
    """
    return min(chen_plans(graph), key=lambda plan: (plan.peak, plan.overhead))


def chen_plans(graph: Graph) -> list[Plan]:
    """Return the plans that Algorithm 3 of Chen et al. 2016 makes for all segment budgets b, by rising b.

    The algorithm divides the nodes, in the order ``graph.order``, into segments. It keeps the values that later
    segments read. A segment may end only after a prefix that :func:`cut_prefixes` returns. It ends at the first such
    place where the values of the segment take more than b bytes. Chen et al. try some values of b. Here b starts at 0
    and rises to each value that changes the plan, so no plan is missed. If there are more than 1,000 such places, b
    rises by at least 1/256 of itself, and some plans are missed.

    Examples
    --------
    >>> [len(plan.segments) for plan in chen_plans(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]))]
    [3, 2, 1]
    """
    if len(graph) == 0:
        return [Plan.from_masks(graph, [], "chen")]
    cuts = cut_positions(graph)
    filled = np.cumsum(graph.memory[list(graph.order)])[cuts - 1].tolist()
    plans = []
    budget = 0
    while True:
        ends = _closed(filled, budget)
        segment = 1 + np.searchsorted(cuts[ends], graph.position, side="right").astype(np.int32)
        plans.append(Plan.from_segments(graph, segment, "chen"))
        if not ends:
            return plans
        smallest = min(b - a for a, b in pairwise([0, *(filled[i] for i in ends)]))
        budget = max(smallest, budget + budget // FINEST) if len(cuts) > MANY_CUTS else smallest


def cut_prefixes(graph: Graph) -> list[int]:
    """Return each prefix of ``graph.order`` of which later nodes read at most one value, as a bit mask.

    The empty prefix and the prefix of all nodes are left out.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")], dict.fromkeys("abcde", 1))
    >>> [sorted(g.set_of(mask)) for mask in cut_prefixes(g)]
    [['a'], ['a', 'b', 'c', 'd']]
    """
    prefixes = prefix_masks(graph)
    return [prefixes[size - 1] for size in cut_positions(graph).tolist()]


def prefix_masks(graph: Graph) -> list[int]:
    """Return all prefixes of ``graph.order`` as bit masks, in rising order, without the empty one.

    Examples
    --------
    >>> prefix_masks(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]))
    [1, 3, 7]
    """
    return list(accumulate((1 << v for v in graph.order), or_))


def cut_positions(graph: Graph) -> NDArray[np.int64]:
    """Return the numbers of nodes in the prefixes that :func:`cut_prefixes` returns, in rising order.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")], dict.fromkeys("abcde", 1))
    >>> cut_positions(g).tolist()
    [1, 4]
    """
    crossing = open_values(graph, np.ones(len(graph), np.bool_))
    return 1 + np.flatnonzero(crossing[:-1] <= 1)


def _closed(filled: list[int], budget: int) -> list[int]:
    """Return the positions at which segments end: each at the first cut with more than ``budget`` bytes."""
    ends: list[int] = []
    start = 0
    while (i := bisect_right(filled, start + budget, lo=ends[-1] + 1 if ends else 0)) < len(filled):
        ends.append(i)
        start = filled[i]
    return ends


# -------------------------------------------------------------------- a checkpoint around each block


def per_module(graph: Graph) -> Plan:
    """Return the plan that puts a checkpoint around each repeated block.

    A value in a block is kept if a node outside the block reads it, and otherwise recomputed. Values outside all
    blocks, such as the loss, are kept.

    The blocks are the members of repeated series such as ``layer1.0``, ``layer1.1``, … A series counts if one of its
    members computes more than one value. If there is no such series, the top-level children of the model are the
    blocks. Consecutive calls of one shared module count as one block.

    Raises
    ------
    GraphError
        If no node has a module (:attr:`NodeInfo.module`) other than ``"loss"``, as in a graph made by hand.

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


def _checkpointed(
    graph: Graph,
    inside: Sequence[str],
    checkpoint_of: Sequence[object],
    kind: str,
    discarding: Sequence[str] = (),
) -> Plan:
    """Return the plan that recomputes all values inside checkpoints, except those read outside their checkpoint.

    ``inside`` has an empty string for a node that is in no checkpoint. Nodes with equal entries in ``checkpoint_of``
    are in the same checkpoint. Checkpoints in ``discarding`` recompute the values read outside, too.
    """
    keep_mask = np.array([not name for name in inside], np.bool_)
    for u, v in graph.edges.tolist():
        keep_mask[u] |= checkpoint_of[u] != checkpoint_of[v] and inside[u] not in discarding
    return Plan.from_keep_mask(graph, keep_mask, kind)


def checkpoint_plan(graph: Graph, paths: Sequence[str], kind: str, discarding: Sequence[str] = ()) -> Plan:
    """Return the plan that puts a checkpoint around each given module.

    A value in a module is kept if a node outside the module reads it, and otherwise recomputed.

    Parameters
    ----------
    graph : Graph
    paths : sequence of str
        Dotted paths of modules, none inside another.
    kind : str
        The :attr:`Plan.kind` of the result; not ``"canonical"``.
    discarding : sequence of str
        Members of ``paths`` whose values are all recomputed, even a value that a node outside the module reads.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from recompviz.core.graphs.node_info import NodeInfo
    >>> info = tuple(NodeInfo(module=m) for m in ("h.0.up", "h.0.down", "h.1.up", "h.1.down"))
    >>> g = Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], dict.fromkeys("abcd", 1))
    >>> sorted(checkpoint_plan(replace(g, info=info), ["h.0"], "mine").keep)
    ['b', 'c', 'd']
    >>> sorted(checkpoint_plan(replace(g, info=info), ["h.0"], "mine", ["h.0"]).keep)
    ['c', 'd']
    """
    inside = [next((path for path in paths if f"{info.module}.".startswith(f"{path}.")), "") for info in graph.info]
    return _checkpointed(graph, inside, inside, kind, discarding)


def block_of_nodes(graph: Graph) -> list[str]:
    """Return for each node the path of the block in which :func:`per_module` checkpoints it.

    The path is for example ``"layer1.0"``. It is empty for a node in no block.
    """
    members = [info.member for info in graph.info]
    sizes = Counter(member for member in members if member)
    series = {info.block for info, member in zip(graph.info, members, strict=True) if sizes[member] > 1}
    if series:
        return [member if info.block in series else "" for info, member in zip(graph.info, members, strict=True)]
    children = [info.module.split(".")[0] for info in graph.info]
    return ["" if child == LOSS else child for child in children]


# -------------------------------------------------------------------- the user's own checkpoints


def as_written(graph: Graph) -> Plan:
    """Return the plan that recomputes the values inside the user's own checkpoints (``torch.utils.checkpoint``).

    A value inside a checkpoint is kept if it is read outside the checkpoint. This plan takes about as much memory as
    eager PyTorch. The plan that keeps every value takes more, because it also keeps the values inside checkpoints.

    Raises
    ------
    GraphError
        If no value is computed inside a checkpoint.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from recompviz.core.graphs.node_info import NodeInfo
    >>> info = tuple(NodeInfo(checkpoint="1" if v in "bc" else "") for v in "abcd")
    >>> g = Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], dict.fromkeys("abcd", 1))
    >>> sorted(as_written(replace(g, info=info)).keep)
    ['a', 'c', 'd']
    """
    checkpoints = [info.checkpoint for info in graph.info]
    if not any(checkpoints):
        raise GraphError("the model has no checkpoints (torch.utils.checkpoint); choose another baseline")
    return _checkpointed(graph, checkpoints, checkpoints, "as-written")


# -------------------------------------------------------------------- all of them by name

# The baselines by name. Each function makes a plan of a graph, or raises GraphError if the graph has no such plan.
METHODS: dict[str, Callable[[Graph], Plan]] = {
    "keep-all": Plan.keep_all,
    "per-module": per_module,
    "chen": chen,
    "as-written": as_written,
}
# The baselines from which searches start. They start from the plan that keeps all and from all of Chen's plans, too.
SEED_METHODS = tuple(name for name in METHODS if name not in ("keep-all", "chen"))


def baseline(graph: Graph, name: str) -> Plan:
    """Return a baseline plan of a graph: a plan made by a common method, without a search.

    The baseline ``"min-cut"`` needs a trace (:func:`recompviz.trace`): ``trace.baseline("min-cut 0.5")``.

    Parameters
    ----------
    graph : Graph
    name : str
        ``"keep-all"`` keeps every value. ``"per-module"`` puts a checkpoint around each repeated block; see
        :func:`per_module`. ``"chen"`` is Chen's √n algorithm; see :func:`chen`. ``"as-written"`` recomputes the
        values inside the user's own checkpoints; see :func:`as_written`.

    Returns
    -------
    Plan

    Raises
    ------
    TypeError
        If ``graph`` is not a Graph, or ``name`` is not a str.
    ValueError
        If no baseline has this name.
    GraphError
        If ``name`` is ``"per-module"`` and no node has a module other than ``"loss"``, or if ``name`` is
        ``"as-written"`` and no value is computed inside a checkpoint.

    Examples
    --------
    >>> g = Graph.from_edges([(i, i + 1) for i in range(8)], memory=[1] * 9)
    >>> baseline(g, "chen")
    Plan(chen, segments=5, kept=4/9, overhead=5, peak=8 formula bytes)
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"graph is {shown(graph)}, expected a Graph; of a trace, write trace.baseline({name!r})")
    expect(name, str, "the name of a baseline", "a str", f"choose {', '.join(map(repr, METHODS))}")
    if name not in METHODS:
        more = "; that one is read from a trace: trace.baseline(…)" if name.startswith("min-cut") else ""
        raise ValueError(f"no baseline of a graph is called {name!r}; choose {', '.join(map(repr, METHODS))}{more}")
    return METHODS[name](graph)


def existing_baselines(names: Iterable[str], make: Callable[[str], Plan]) -> list[Plan]:
    """Return the baselines that a graph has, in the order of ``names``.

    For example, a graph without module names has no baseline ``"per-module"``.

    Parameters
    ----------
    names : iterable of str
    make : callable (name) → Plan
        Makes a baseline by its name. It raises GraphError if the graph has no such plan.

    Examples
    --------
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
    >>> [plan.kind for plan in existing_baselines(["chen", "per-module"], lambda name: baseline(g, name))]
    ['chen']
    """
    found = []
    for name in names:
        with contextlib.suppress(GraphError):  # the graph has no such plan
            found.append(make(name))
    return found
