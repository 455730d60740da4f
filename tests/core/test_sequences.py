"""Computation sequences: the model, the search and the bound, against a shortest path over all memory states."""

from __future__ import annotations

import heapq
import math
from itertools import combinations

import pytest

from recompviz import Graph, GraphError, InfeasibleBudget
from recompviz.core.sequences.ordered_graph import OrderedGraph
from recompviz.core.sequences.sequence_search import shortest_sequence
from recompviz.core.sequences.stage_program import StageProgram
from tests.core.random_graphs import random_graph


def least_overhead(ordered: OrderedGraph, budget: int) -> float:
    """Search all sequences by Dijkstra's algorithm; a state is the next first computation and the values in memory."""
    n = len(ordered)
    start: tuple[int, frozenset[int]] = (0, frozenset())
    distance = {start: 0.0}
    queue: list[tuple[float, int, tuple[int, frozenset[int]]]] = [(0.0, 0, start)]
    pushed = 0
    while queue:
        cost, _, state = heapq.heappop(queue)
        if cost > distance[state]:
            continue
        stage, held = state
        if stage == n:
            return cost
        for v in range(stage + 1):
            needed = set(ordered.reads[v])
            if v in held or not needed <= held:
                continue
            # values that nobody reads at this position may be dropped before it
            for count in range(len(held - needed) + 1):
                for dropped in combinations(sorted(held - needed), count):
                    before = held - set(dropped)
                    if int(ordered.memory[[v, *before]].sum()) > budget:
                        continue
                    after = (stage + (v == stage), before | {v})
                    new = cost + (0.0 if v == stage else float(ordered.time[v]))
                    if new < distance.get(after, math.inf):
                        distance[after] = new
                        pushed += 1
                        heapq.heappush(queue, (new, pushed, after))
    return math.inf


def small_ordered_graph(seed: int) -> tuple[Graph, OrderedGraph]:
    graph = random_graph(seed)
    return graph, OrderedGraph.from_graph(graph)


@pytest.mark.parametrize("seed", range(12))
def test_bound_and_search_surround_the_optimum(seed: int) -> None:
    graph, ordered = small_ordered_graph(seed)
    peak = int(ordered.profile(range(len(graph))).max())
    for budget in sorted({ordered.working_set(), (ordered.working_set() + peak) // 2, peak - 1}):
        optimum = least_overhead(ordered, budget)
        stages = StageProgram(ordered, budget, most_points=len(graph))
        slack = 1e-9 * float(ordered.time.sum())
        assert stages.bound().cost <= optimum + slack
        assert stages.bound(whole=True).cost <= optimum + slack
        if math.isinf(optimum):
            with pytest.raises(InfeasibleBudget):
                shortest_sequence(graph, budget, seconds=0.05)
        else:
            found = shortest_sequence(graph, budget, seconds=0.05)
            assert found.overhead == pytest.approx(optimum)
            assert found.bound <= found.overhead
            assert found.peak <= budget
            number = {name: v for v, name in enumerate(ordered.names)}
            assert int(ordered.profile([number[name] for name in found.values]).max()) == found.peak


def test_a_budget_of_the_whole_peak_needs_no_extra_computation() -> None:
    graph, ordered = small_ordered_graph(3)
    found = shortest_sequence(graph, int(ordered.profile(range(len(graph))).max()), seconds=0.05)
    assert found.values == ordered.names
    assert found.overhead == found.gap == 0


def test_a_large_value_is_computed_again_rather_than_held() -> None:
    # a large value is read at distant positions, beside values that fill the memory
    names = ["a", "x1", "y1", "x2", "y2", "end"]
    edges = [("a", "x1"), ("x1", "y1"), ("y1", "x2"), ("a", "x2"), ("x2", "y2"), ("y2", "end"), ("a", "end")]
    memory = {"a": 5, "x1": 4, "y1": 4, "x2": 1, "y2": 6, "end": 1}
    graph = Graph.from_edges(edges, memory, dict.fromkeys(names, 1.0))
    found = shortest_sequence(graph, 12, names, seconds=0.2)
    assert found.overhead == least_overhead(OrderedGraph.from_graph(graph, names), 12)
    assert found.values.count("a") == 2


def test_sequences_are_checked() -> None:
    graph = Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1})
    with pytest.raises(GraphError, match="topological"):
        OrderedGraph.from_graph(graph, ["b", "a"])
    with pytest.raises(GraphError, match="'c', which is no node"):
        OrderedGraph.from_graph(graph, ["a", "c"])
    with pytest.raises(GraphError, match="2 nodes once"):
        OrderedGraph.from_graph(graph, ["a"])
    with pytest.raises(GraphError, match="reads 'a'"):
        OrderedGraph.from_graph(graph).profile([1])
    with pytest.raises(ValueError, match="seconds"):
        shortest_sequence(graph, 2, seconds=0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f"seed is {seed}, expected a whole number"):
            shortest_sequence(graph, 2, seed=seed)
    with pytest.raises(TypeError, match=r"seed is 1\.5, expected a whole number"):
        shortest_sequence(graph, 2, seed=1.5)  # type: ignore[arg-type]


def test_a_budget_below_the_largest_computation_is_infeasible() -> None:
    graph = Graph.from_edges([("a", "b"), ("b", "c")], memory={"a": 4, "b": 5, "c": 1})
    with pytest.raises(InfeasibleBudget) as caught:
        shortest_sequence(graph, 8, seconds=0.05)
    assert caught.value.least == 9
