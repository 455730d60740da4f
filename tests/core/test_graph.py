"""Graphs, lower sets and their boundaries, held against the definitions taken literally."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

import recompviz as rv
from tests.core.random_graphs import random_graph
from tests.core.strategies import graphs


def lower_sets_by_definition(graph: rv.Graph) -> set[frozenset[object]]:
    """Every subset that no edge enters from outside, by trying all subsets."""
    names = graph.names
    edges = [(names[u], names[v]) for u, v in graph.edges.tolist()]
    subsets = itertools.chain.from_iterable(itertools.combinations(names, r) for r in range(len(names) + 1))
    return {frozenset(s) for s in subsets if not any(v in s and u not in s for u, v in edges)}


@given(graphs(max_nodes=8))
def test_lower_sets_are_those_of_the_definition_each_once(graph: rv.Graph) -> None:
    found = list(graph.lower_sets())
    assert len(found) == len(set(found)) == graph.count_lower_sets()
    assert set(found) == lower_sets_by_definition(graph)


@given(graphs())
def test_boundary_and_closure_follow_the_definitions(graph: rv.Graph) -> None:
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    for lower in graph.lower_sets():
        assert graph.is_lower_set(lower)
        assert graph.boundary(lower) == {u for u, v in edges if u in lower and v not in lower}
    for name in graph.names:
        containing = [lower for lower in graph.lower_sets() if name in lower]
        assert graph.closure({name}) == min(containing, key=len)


def test_graphviz_has_the_exact_bytes() -> None:
    graph = rv.Graph.from_edges([], memory={"a": 123_456_789})
    assert "M=123456789, T=1" in graph.to_graphviz().source


def test_a_cycle_is_refused_and_named() -> None:
    with pytest.raises(rv.GraphError, match="cycle"):
        rv.Graph.from_edges([("a", "b"), ("b", "a")], memory={"a": 1, "b": 1})


def test_an_edge_to_an_unknown_node_is_refused_and_named() -> None:
    with pytest.raises(rv.GraphError, match="'z'"):
        rv.Graph.from_edges([("a", "z")], memory={"a": 1})


@pytest.mark.parametrize("memory", [[1.5, 1], [-1, 1], [float("nan"), 1], ["1", "2"]])
def test_memory_that_is_not_whole_bytes_is_refused(memory: list[object]) -> None:
    with pytest.raises(rv.GraphError, match="memory"):
        rv.Graph.from_edges([(0, 1)], memory=memory)  # type: ignore[arg-type]


HUGE = float("1e300")


@pytest.mark.parametrize(
    "costs",
    [
        {"memory": [2**60, 1, 1]}, {"memory": [2**63, 1, 1]}, {"memory": [2**64, 1, 1]}, {"memory": [10**400, 1, 1]},
        {"memory": [2**59] * 3}, {"memory": [1e19, 1, 1]}, {"memory": [HUGE, 1, 1]}, {"memory": [-(10**30), 1, 1]},
        {"memory": [float("nan"), 1, 1]}, {"memory": [[1], [1, 2], 1]}, {"memory": [1 + 0j, 1, 1]},
        {"time": [HUGE, 1, 1]}, {"time": [1.7e308] * 3}, {"time": [10**400, 1, 1]}, {"time": [5e-324] * 3},
        {"time": [float("inf"), 1, 1]}, {"time": [-1, 1, 1]}, {"time": ["1", 1, 1]},
    ],
    ids=lambda costs: str(costs)[:40],
)  # fmt: skip
def test_costs_that_do_not_add_up_exactly_are_refused(costs: dict[str, Any]) -> None:
    for_all = {"memory": [1, 1, 1], "time": [1, 1, 1]}
    (what,) = costs
    with pytest.raises(rv.GraphError, match=what):
        rv.Graph.from_edges([(0, 1), (1, 2)], **(for_all | costs))


def test_the_largest_sizes_give_exact_peaks() -> None:
    graph = rv.Graph.from_edges([(0, 1), (1, 2), (2, 3)], memory=[2**58] * 4, time=[1e-199, 0, 1e199, 3])
    assert rv.Plan.keep_all(graph).peak == 2**61
    assert rv.solve(graph, "all").least_budget == 5 * 2**58
    assert rv.Planner(graph).simulate().peak == 5 * 2**58


@pytest.mark.parametrize(
    "edges",
    [[(0, 2**32 + 1)], [(0, 10**30)], [(0.7, 1.2)], [(-1, 0)], [(0, 5)], [(False, True)], [0, 1, 1], [("0", "1")]],
    ids=str,
)
def test_edges_that_are_no_pairs_of_node_numbers_are_refused(edges: Any) -> None:
    with pytest.raises(rv.GraphError, match="edge"):
        rv.Graph((0, 1), np.array([1, 1]), np.array([1.0, 1.0]), np.array(edges))


@pytest.mark.parametrize(
    "more",
    [{"memory": None}, {"memory": 5}, {"memory": {1, 2}}, {"memory": (1 for _ in "ab")}, {"time": 3}, {"names": {"a"}},
     {"edges": None}],
    ids=["memory None", "memory int", "memory set", "memory generator", "time", "names", "edges"],
)  # fmt: skip
def test_arguments_without_an_order_are_refused(more: dict[str, Any]) -> None:
    for_all = {"edges": [], "memory": [1, 1]}
    (what,) = more
    with pytest.raises(TypeError, match=f"{what} (is|are) .* expected"):
        rv.Graph.from_edges(**(for_all | more))


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_names_that_are_long_or_have_no_repr_do_not_spoil_the_message() -> None:
    for name in ("x" * 100_000, Silent()):
        with pytest.raises(rv.GraphError, match="an edge names") as refused:
            rv.Graph.from_edges([(name, "a")], {"a": 1})
        assert len(str(refused.value)) < 200


def test_an_undirected_graph_has_no_order_of_computation() -> None:
    undirected = nx.Graph([("a", "b")])
    nx.set_node_attributes(undirected, 4, "memory")
    with pytest.raises(rv.GraphError, match="DiGraph"):
        rv.Graph.from_networkx(undirected)


def test_boundary_of_no_lower_set_names_the_violating_edge() -> None:
    graph = rv.Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1})
    with pytest.raises(rv.GraphError, match="'a' → 'b'"):
        graph.boundary({"b"})


def test_networkx_round_trip_keeps_structure_and_costs() -> None:
    graph = random_graph(3)
    again = rv.Graph.from_networkx(graph.to_networkx())
    assert again.fingerprint == graph.fingerprint
    assert again.names == graph.names


def test_from_networkx_names_the_node_without_memory() -> None:
    with pytest.raises(rv.GraphError, match="'a'"):
        rv.Graph.from_networkx(nx.DiGraph([("a", "b")]))


def test_fingerprint_changes_with_sizes_and_edges_but_not_with_times_and_names() -> None:
    edges, memory, time = [(0, 1), (1, 2)], [1, 2, 3], [1.0, 1.0, 1.0]
    base = rv.Graph.from_edges(edges, memory, time)
    others = [
        rv.Graph.from_edges(edges[:1], memory, time),
        rv.Graph.from_edges(edges, [1, 2, 4], time),
    ]
    assert len({g.fingerprint for g in (base, *others)}) == 3
    dearer = rv.Graph.from_edges(edges, memory, [1.0, 1.0, 2.0])
    assert dearer.fingerprint == base.fingerprint
    assert not dearer.same_as(base)
    named = rv.Graph.from_edges([("x", "y"), ("y", "z")], memory, time, names="xyz")
    assert named.fingerprint == base.fingerprint


def test_counting_stops_at_the_limit() -> None:
    graph = rv.Graph.from_edges([], memory=[1] * 40)
    with pytest.raises(rv.TooManyLowerSets, match="1,000"):
        graph.count_lower_sets(limit=1000)


def test_lower_sets_are_lazy() -> None:
    graph = rv.Graph.from_edges([], memory=[1] * 200)
    assert len(list(itertools.islice(graph.lower_sets(), 50))) == 50


def test_arrays_of_a_graph_are_frozen() -> None:
    graph = random_graph(1)
    with pytest.raises(ValueError, match="read-only"):
        graph.memory[0] = 7
    assert graph.memory.dtype == np.int64


def test_the_memory_of_a_set_is_a_sum_in_a_graph_of_any_size() -> None:
    for n in (10, 600):
        graph = rv.Graph.from_edges([(i, i + 1) for i in range(n - 1)], memory=[3**20 + i for i in range(n)])
        mask = sum(1 << v for v in range(0, n, 3))
        assert graph.memory_of(mask) == sum(3**20 + v for v in range(0, n, 3))


def test_a_name_in_place_of_a_set_of_names_is_recognised() -> None:
    graph = rv.Graph.from_edges([("fc1", "fc2")], memory={"fc1": 1, "fc2": 1})
    with pytest.raises(rv.GraphError, match=r"'f' is no node; .* for one node, write \['fc1'\]"):
        graph.mask("fc1")


@pytest.mark.parametrize("mask", [8, -1, 1 << 70])
@pytest.mark.parametrize("call", ["set_of", "boundary_mask", "memory_of", "time_of"])
def test_a_bit_mask_of_other_nodes_is_refused(call, mask):
    graph = rv.Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
    with pytest.raises(rv.GraphError, match="is not a bit mask of this graph"):
        getattr(graph, call)(mask)
    with pytest.raises(rv.GraphError, match="is not a bit mask of this graph"):
        rv.Plan.from_masks(graph, [1, mask])
    for wrong in ("x", None, 1.5, True):
        with pytest.raises(TypeError, match="expected an int"):
            getattr(graph, call)(wrong)
        with pytest.raises(TypeError, match="expected an int"):
            rv.Plan.from_masks(graph, [wrong])
