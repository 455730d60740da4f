"""Sets and their lattice are checked against the definitions, on every subset of small random graphs."""

from __future__ import annotations

from itertools import combinations

import pytest

import recompviz as rv
from recompviz.core.teaching.sets import hasse, inspect_set
from recompviz.core.teaching.small_graphs import NAMES, small_graph
from tests.core.random_graphs import random_graph


@pytest.mark.parametrize("seed", range(25))
def test_a_set_is_judged_as_the_definition_says(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    lower_sets = list(graph.lower_sets())
    for size in range(len(graph) + 1):
        for nodes in combinations(graph.names, size):
            report = inspect_set(graph, nodes)
            named = {(graph.names[u], graph.names[v]) for u, v in report.violations}
            assert named == {(u, v) for u, v in edges if u not in nodes and v in nodes}
            assert report.is_lower_set == (frozenset(nodes) in lower_sets)
            smallest = min((L for L in lower_sets if set(nodes) <= L), key=len)
            assert graph.set_of(report.closure) == smallest
            assert graph.set_of(report.boundary) == graph.boundary(smallest)


@pytest.mark.parametrize("seed", range(25))
def test_the_diagram_has_every_lower_set_once_and_every_cover(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    diagram = hasse(graph)
    sets = [graph.set_of(mask) for mask in diagram.sets]
    assert len(sets) == graph.count_lower_sets() == len(set(sets))
    assert (sets[0], sets[-1]) == (frozenset(), frozenset(graph.names))
    assert set(diagram.covers) == {
        (i, j) for i, a in enumerate(sets) for j, b in enumerate(sets) if a < b and len(b) == len(a) + 1
    }


def test_a_diagram_too_large_to_draw_is_refused() -> None:
    with pytest.raises(rv.TooManyLowerSets, match="more than 80"):
        hasse(rv.Graph.from_edges([], memory=[1] * 7))


@pytest.mark.parametrize("name", NAMES)
def test_a_small_graph_is_small_enough_to_draw(name: str) -> None:
    graph = small_graph(name)
    assert len(hasse(graph).sets) == graph.count_lower_sets() <= 30


def test_an_unknown_small_graph_is_named() -> None:
    with pytest.raises(ValueError, match=r"'ring'.*'chain'"):
        small_graph("ring")
