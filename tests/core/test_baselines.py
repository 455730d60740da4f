"""Baselines against brute force and against the optimum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recompviz as rv
from recompviz.core.plans.baselines import METHODS, chen, chen_plans, cut_prefixes, per_module
from recompviz.core.steps.examples import residual_step
from tests.core.strategies import graphs


def algorithm_3(graph: rv.Graph, budget: int) -> list[set[object]]:
    """Chen et al. 2016, Algorithm 3, node by node as they write it, candidates taken from the definition."""
    sequence, prefix, held = [], set(), 0
    for v in graph.order:
        prefix = prefix | {graph.names[v]}
        held += int(graph.memory[v])
        if len(prefix) < len(graph) and len(graph.boundary(prefix)) <= 1 and held > budget:
            sequence.append(prefix)
            held = 0
    return [*sequence, set(graph.names)]


@given(graphs(max_nodes=9, sizes=st.integers(0, 7)))
def test_chens_plans_are_those_of_algorithm_3_for_every_segment_budget(graph: rv.Graph) -> None:
    expected = [algorithm_3(graph, b) for b in range(int(graph.memory.sum()) + 1)]
    distinct = [sequence for i, sequence in enumerate(expected) if i == 0 or sequence != expected[i - 1]]
    assert [[set(L) for L in plan.lower_sets] for plan in chen_plans(graph)] == distinct


@given(graphs(max_nodes=8))
def test_chens_plan_never_beats_the_optimum_at_its_own_peak(graph: rv.Graph) -> None:
    curve = rv.solve(graph, "all")
    for plan in chen_plans(graph):
        assert plan.kind == "chen"
        assert curve.plan(plan.peak).overhead <= plan.overhead
    assert chen(graph).peak == min(plan.peak for plan in chen_plans(graph))


def test_chen_cuts_a_residual_network_only_in_stem_and_head_and_at_the_ends_of_blocks() -> None:
    graph, _ = residual_step(blocks=(2,))
    ends = [graph.boundary(graph.set_of(mask)) for mask in cut_prefixes(graph)]
    stem, head = ["conv1", "bn1", "relu", "maxpool"], ["avgpool", "", "fc"]
    blocks = ["layer1.0", "layer1.0.relu", "layer1.1", "layer1.1.relu"]
    module = dict(zip(graph.names, (info.module for info in graph.info), strict=True))
    assert [module[name] for (name,) in ends] == [*stem, *blocks, *head]


def test_an_empty_graph_and_a_single_value_have_their_baselines() -> None:
    for sizes in ([], [3]):
        graph = rv.Graph.from_edges([], memory=sizes)
        assert rv.baseline(graph, "chen").peak == rv.baseline(graph, "keep-all").peak == 2 * sum(sizes)


def modular(modules: list[str], edges: list[tuple[int, int]], blocks: list[str]) -> rv.Graph:
    plain = rv.Graph.from_edges(edges, memory=[1] * len(modules))
    infos = tuple(rv.NodeInfo(module=m, block=b) for m, b in zip(modules, blocks, strict=True))
    return rv.Graph(plain.names, plain.memory, plain.time, plain.edges, infos)


def test_per_module_keeps_what_crosses_a_block_and_all_that_lies_outside() -> None:
    modules = ["stem", "h.0.a", "h.0.b", "h.0.c", "h.1.a", "h.1.b", "loss"]
    blocks = ["", "h.*", "h.*", "h.*", "h.*", "h.*", ""]
    skip = [(1, 5)]  # from inside the first block into the second
    graph = modular(modules, [(i, i + 1) for i in range(6)] + skip, blocks)
    assert per_module(graph).keep == {0, 1, 3, 5, 6}


def test_series_of_single_values_are_no_blocks_and_top_level_children_are_taken() -> None:
    modules = ["features.0", "features.1", "features.2", "head", "loss"]
    graph = modular(modules, [(i, i + 1) for i in range(4)], ["features.*"] * 3 + ["", ""])
    assert per_module(graph).keep == {2, 3, 4}


def test_per_module_of_a_residual_network_recomputes_exactly_the_inside_of_its_blocks() -> None:
    graph, _ = residual_step(blocks=(2, 1))
    plan = rv.baseline(graph, "per-module")
    leaving = {graph.names[u] for u, v in graph.edges.tolist()
               if graph.info[u].module[:8] != graph.info[v].module[:8]}  # fmt: skip
    inside = {name for name, info in zip(graph.names, graph.info, strict=True) if info.block} - leaving
    assert plan.recompute == inside
    again = rv.Plan.from_json(graph, plan.to_json())
    assert (again.keep, again.kind, again.peak) == (plan.keep, "per-module", plan.peak)


def test_a_method_in_the_registry_is_a_baseline_of_graphs_and_of_planners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "nothing", lambda graph: rv.Plan.from_keep_mask(graph, [], "nothing"))
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    planner = rv.Planner(graph)
    assert rv.baseline(graph, "nothing").keep == planner.baseline("nothing").keep == frozenset()
    assert "nothing" in planner.baseline_names
    with pytest.raises(ValueError, match=r"'sqrt'; choose .*'nothing'"):
        rv.baseline(graph, "sqrt")


def test_a_graph_that_names_no_modules_or_a_name_that_is_no_baseline_is_refused() -> None:
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    with pytest.raises(rv.GraphError, match="name no modules"):
        rv.baseline(graph, "per-module")
    with pytest.raises(ValueError, match="'sqrt'"):
        rv.baseline(graph, "sqrt")
    with pytest.raises(ValueError, match=r"trace\.baseline"):
        rv.baseline(graph, "min-cut 0.5")
    with pytest.raises(TypeError, match="graph is 'graph', expected a Graph"):
        rv.baseline("graph", "chen")  # type: ignore[arg-type]
