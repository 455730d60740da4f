"""Hypothesis strategies: graphs, steps with all features of a real one, keep masks and lower-set sequences.

All strategies shrink towards few nodes, no edges, sizes of 1 and no special features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import recompviz as rv
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage

Draw = Any

SIZES = st.sampled_from([1, 2, 0, 5, 7, 1000])
TIMES = st.sampled_from([1, 10, 0])
# a graph refuses costs whose sum is tiny but not 0; hypothesis draws such numbers if it finds them in the code
REAL_TIMES = st.just(0.0) | st.floats(1e-6, 3)


@st.composite
def graphs(
    draw: Draw,
    max_nodes: int = 7,
    sizes: st.SearchStrategy[int] = SIZES,
    times: st.SearchStrategy[float] = TIMES,
) -> rv.Graph:
    """Directed acyclic graphs with 1 to ``max_nodes`` nodes, numbered in any order, connected or not."""
    n = draw(st.integers(1, max_nodes))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    chosen = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    order = draw(st.permutations(range(n)))
    edges = [(order[i], order[j]) for (i, j), there in zip(pairs, chosen, strict=True) if there]
    memory = draw(st.lists(sizes, min_size=n, max_size=n))
    return rv.Graph.from_edges(edges, memory, draw(st.lists(times, min_size=n, max_size=n)))


@st.composite
def sequences(draw: Draw, graph: rv.Graph) -> list[int]:
    """Lower-set sequences of a graph as masks L₁ ⊊ … ⊊ L_k = V: prefixes of a topological order."""
    waiting = [mask.bit_count() for mask in graph.predecessors]
    ready = sorted(v for v, count in enumerate(waiting) if count == 0)
    found, mask = [], 0
    while ready:
        v = ready.pop(draw(st.integers(0, len(ready) - 1)))
        mask |= 1 << v
        for w in range(len(graph)):
            if graph.successors[v] >> w & 1:
                waiting[w] -= 1
                if waiting[w] == 0:
                    ready.append(w)
        if not ready or draw(st.booleans()):
            found.append(mask)
    return found


@st.composite
def keep_masks(draw: Draw, n: int) -> np.ndarray:
    """Keep masks of n nodes; they shrink to keep-all."""
    return ~np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)


class _Step:
    """Collects the storages and calls of a step while they are drawn."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.storages = [Storage(draw(st.sampled_from([8, 64])), -1, Category.PARAMETER, f"p{i}") for i in range(2)]
        self.calls: list[Call] = []

    def sometimes(self) -> bool:
        """True in about one of four cases; shrinks to False."""
        return self.draw(st.integers(0, 3)) == 3

    def half(self) -> bool:
        """True or False; shrinks to False."""
        return self.draw(st.booleans())

    def outputs(self, sizes: list[int], category: Category, label: str) -> tuple[int, ...]:
        """One output of the next call, or two."""
        first = len(self.storages)
        for _ in range(2 if self.sometimes() else 1):
            self.storages.append(Storage(self.draw(st.sampled_from(sizes)), len(self.calls), category, label))
        return tuple(range(first, len(self.storages)))

    def forward(self, node: int, reads: list[int]) -> tuple[int, ...]:
        """Append a forward call; return its outputs."""
        makes = self.outputs([1, 8, 24, 100], Category.KEPT, f"v{node}")
        info = rv.NodeInfo(key=f"v{node}")
        unique = tuple(dict.fromkeys(reads))
        is_pinned, is_random = self.sometimes() and self.half(), self.sometimes()
        self.calls.append(Call(info, False, node, unique, makes, is_pinned, is_random))
        return makes

    def parameter(self) -> int:
        """One of the two parameters."""
        return self.draw(st.integers(0, 1))


@st.composite
def steps(draw: Draw, max_nodes: int = 7) -> tuple[rv.Graph, JointGraph]:
    """A graph and the joint graph of its step, with the features that a traced step can have.

    Calls that are pinned, random or constants; several outputs; views; workspace; gradients that are copied on
    arrival; an alignment; a generator's state.
    """
    step = _Step(draw)
    n = draw(st.integers(2, max_nodes))
    made: list[tuple[int, ...]] = []  # outputs of each node
    node_call: list[int] = []
    edges: list[tuple[int, int]] = []
    constants: list[int] = []
    for v in range(n):
        if step.sometimes():
            constants.append(step.forward(-1, [step.parameter()])[0])
        before = [u for u in range(v) if step.half()] or ([v - 1] if v else [])
        reads = [draw(st.sampled_from(made[u])) for u in before]
        if constants and step.half():
            reads.append(draw(st.sampled_from(constants)))
        edges += [(u, v) for u in before]
        node_call.append(len(step.calls))
        made.append(step.forward(v, [*reads, step.parameter()]))
    results, clones = {made[-1][0]}, []
    gradient: list[int] = []
    for v in reversed(range(n)):
        values = [s for u in range(n) if u == v or (u, v) in edges for s in made[u]] + constants
        reads = [s for s in values if step.half()] + gradient
        makes = step.outputs([1, 16, 100], Category.GRADIENT, f"g{v}")
        if step.half():
            results.add(makes[-1])
            if step.half():
                clones += [(makes[-1], step.storages[makes[-1]].size)] * (2 if step.sometimes() else 1)
        gradient = [makes[0]]
        step.calls.append(Call(rv.NodeInfo(key=f"backward {v}"), True, -1, tuple(dict.fromkeys(reads)), makes))
    _let_constants_follow(step)
    sizes = [sum(step.storages[s].size for s in outputs) for outputs in made]
    for v in range(n):
        if step.sometimes():  # another node is a view of this call's output
            c = node_call[v]
            step.calls[c] = replace(step.calls[c], views=(len(sizes),))
            edges.append((v, len(sizes)))
            sizes.append(step.storages[made[v][0]].size)
    times = draw(st.lists(TIMES, min_size=len(sizes), max_size=len(sizes)))
    graph = rv.Graph.from_edges(sorted(set(edges)), sizes, times)
    extra = st.lists(st.sampled_from([0, 70]), min_size=len(step.calls), max_size=len(step.calls)).map(tuple)
    return graph, JointGraph(
        tuple(step.calls),
        tuple(step.storages),
        frozenset(results),
        tuple(clones),
        tangent_bytes=draw(st.sampled_from([0, 4])),
        rng_bytes=draw(st.sampled_from([0, 48])),
        alignment=draw(st.sampled_from([1, 32])),
        workspace=draw(st.just(()) | extra),
        optimizer_scratch=draw(st.sampled_from([0, 7])),
    )


def _let_constants_follow(step: _Step) -> None:
    """A constant is made again unless all nodes that read it are kept."""
    readers: dict[int, list[int]] = {}
    for call in step.calls:
        for s in call.reads:
            if step.storages[s].maker >= 0 and call.node >= 0:
                readers.setdefault(step.storages[s].maker, []).append(call.node)
    for c, nodes in readers.items():
        if step.calls[c].node < 0 and not step.calls[c].backward:
            step.calls[c] = replace(step.calls[c], follows=tuple(dict.fromkeys(nodes)))


@st.composite
def steps_with_masks(draw: Draw, max_nodes: int = 7) -> tuple[rv.Graph, JointGraph, np.ndarray]:
    """A graph, the joint graph of its step, and a keep mask."""
    graph, joint = draw(steps(max_nodes))
    return graph, joint, draw(keep_masks(len(graph)))


@st.composite
def graphs_with_sequences(draw: Draw, max_nodes: int = 7) -> tuple[rv.Graph, list[int]]:
    """A graph and one of its lower-set sequences, as masks."""
    graph = draw(graphs(max_nodes))
    return graph, draw(sequences(graph))
