"""Random training steps as joint graphs, with everything a real one may have."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

import recompviz as rv
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage


def random_joint(seed: int, most_nodes: int = 9) -> tuple[rv.Graph, JointGraph]:
    """A graph and a joint graph of its step: pinned, random and side calls, several outputs, workspace, copies."""
    chance = random.Random(seed)
    n = chance.randint(2, most_nodes)
    storages = [Storage(chance.choice([8, 64]), -1, Category.PARAMETER, f"p{i}") for i in range(2)]
    calls: list[Call] = []
    node_call: list[int] = []
    edges: list[tuple[int, int]] = []
    aside: list[int] = []
    for v in range(n):
        if chance.random() < 0.25:  # a call that no gradient derives from: a constant, if a node reads it
            calls.append(_call(storages, calls, chance, -1, (chance.randrange(2),)))
            aside.append(calls[-1].makes[0])
        before = [u for u in range(v) if chance.random() < 0.4] or ([v - 1] if v else [])
        reads = [chance.choice(calls[node_call[u]].makes) for u in before]
        edges += [(u, v) for u in before]
        node_call.append(len(calls))
        reads += [chance.choice(aside)] if aside and chance.random() < 0.4 else []
        calls.append(_call(storages, calls, chance, v, tuple(dict.fromkeys([*reads, chance.randrange(2)]))))
    loss = calls[-1].makes[0]
    gradient: int | None = None
    results = {loss}
    clones = []
    for v in reversed(range(n)):
        values = [s for u in range(n) for s in calls[node_call[u]].makes if u == v or (u, v) in edges]
        values += aside
        reads = [s for s in values if chance.random() < 0.6] + ([gradient] if gradient is not None else [])
        number = len(calls)
        makes = []
        for _ in range(chance.choice([1, 1, 2])):
            storages.append(Storage(chance.choice([1, 16, 100]), number, Category.GRADIENT, f"g{v}"))
            makes.append(len(storages) - 1)
        if chance.random() < 0.5:
            results.add(makes[-1])
            if chance.random() < 0.5:
                clones += [(makes[-1], storages[makes[-1]].size)] * chance.choice([1, 1, 2])
        gradient = makes[0]
        calls.append(Call(rv.NodeInfo(key=f"backward {v}"), True, -1, tuple(dict.fromkeys(reads)), tuple(makes)))
    sizes = [sum(storages[s].size for s in calls[c].makes) for c in node_call]
    readers: dict[int, list[int]] = {}
    for call in calls:
        for s in call.reads:
            if storages[s].maker >= 0 and call.node >= 0:
                readers.setdefault(storages[s].maker, []).append(call.node)
    for c, nodes in readers.items():
        if calls[c].node < 0 and not calls[c].backward:
            calls[c] = replace(calls[c], follows=tuple(dict.fromkeys(nodes)))
    for v in range(n):  # some nodes are views of what another one's call makes
        if chance.random() < 0.15:
            c = node_call[v]
            calls[c] = replace(calls[c], views=(len(sizes),))
            edges.append((v, len(sizes)))
            sizes.append(storages[calls[c].makes[0]].size)
    times = [chance.choice([1, 1, 10, 0]) for _ in sizes]
    graph = rv.Graph.from_edges(sorted(set(edges)), memory=sizes, time=times)
    return graph, JointGraph(
        tuple(calls),
        tuple(storages),
        frozenset(results),
        tuple(clones),
        tangent_bytes=chance.choice([0, 4]),
        rng_bytes=chance.choice([0, 48]),
        alignment=chance.choice([1, 1, 32]),
        workspace=tuple(chance.choice([0, 0, 70]) for _ in calls) if chance.random() < 0.5 else (),
    )


def _call(storages: list[Storage], calls: list[Call], chance: random.Random, node: int, reads: tuple[int, ...]) -> Call:
    makes = []
    for _ in range(chance.choice([1, 1, 2])):
        storages.append(Storage(chance.choice([1, 8, 24, 100]), len(calls), Category.KEPT, f"v{node}"))
        makes.append(len(storages) - 1)
    return Call(
        rv.NodeInfo(key=f"v{node}"), False, node, reads, tuple(makes), chance.random() < 0.1, chance.random() < 0.2
    )


def random_mask(seed: int, n: int) -> np.ndarray:
    """Keep each node or not, at a random density."""
    chance = np.random.default_rng(seed)
    mask: np.ndarray = chance.random(n) < chance.random()
    return mask
