"""Plans: what they hold, and that a plan for another graph is refused."""

from __future__ import annotations

import json

import pytest

import recompviz as rv
from tests.core.random_graphs import random_graph


@pytest.mark.parametrize("seed", range(20))
def test_json_round_trip_gives_the_same_plan(seed: int) -> None:
    graph = random_graph(seed)
    for plan in (rv.Plan.keep_all(graph), rv.solve(graph, "all").plan_at(0)):
        again = rv.Plan.from_json(graph, plan.to_json())
        assert (again.keep_mask == plan.keep_mask).all()
        assert (again.segment == plan.segment).all()
        assert (again.overhead, again.peak, again.kind) == (plan.overhead, plan.peak, plan.kind)


def test_a_plan_for_another_graph_is_refused() -> None:
    one = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    two = rv.Graph.from_edges([(0, 1)], memory=[1, 2])
    with pytest.raises(rv.PlanMismatch, match="another model"):
        rv.Plan.from_json(two, rv.Plan.keep_all(one).to_json())


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(segment=[1]),
        lambda d: d.update(segment=[1, 3]),
        lambda d: d.update(segment=[2, 1]),
        lambda d: d.update(keep="00"),
        lambda d: d.update(format="other"),
        lambda d: d.pop("keep"),
    ],
)
def test_a_damaged_plan_is_refused(damage: object) -> None:
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    data = json.loads(rv.Plan.from_lower_sets(graph, [{0}, {0, 1}]).to_json())
    damage(data)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"plan|segment|keep mask|lower set"):
        rv.Plan.from_json(graph, json.dumps(data))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(rv.PlanMismatch, match="no recompviz plan"):
        rv.Plan.from_json(rv.Graph.from_edges([], memory=[1]), "hello")


def test_a_sequence_that_is_no_lower_set_names_the_edge() -> None:
    graph = rv.Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1})
    with pytest.raises(ValueError, match="'a' → 'b'"):
        rv.Plan.from_lower_sets(graph, [{"b"}, {"a", "b"}])


def test_terms_of_the_formula_add_up_to_the_peak() -> None:
    graph = random_graph(11, most_nodes=8)
    for plan in (rv.solve(graph, "all").plan_at(i) for i in range(2)):
        assert max(terms.total for terms in plan.terms) == plan.peak


def test_a_plan_of_any_kept_values_survives_json_and_other_costs() -> None:
    graph = rv.Graph.from_edges([(0, 1), (1, 2), (2, 3), (0, 3)], memory=[4, 3, 2, 1])
    for kept in ([0, 1], [1, 2], [], [0, 1, 2, 3]):
        plan = rv.Plan.from_keep_mask(graph, kept, "by hand")
        again = rv.Plan.from_json(graph, plan.to_json())
        assert (again.keep, again.kind, again.peak) == (frozenset(kept), "by hand", plan.peak)
        larger = rv.Graph.from_edges([(0, 1), (1, 2), (2, 3), (0, 3)], memory=[8, 6, 4, 2])
        assert plan.on(larger).keep == frozenset(kept)
        assert plan.on(larger).peak == 2 * plan.peak


def test_a_canonical_keep_set_has_the_same_overhead_however_it_is_made() -> None:
    for seed in range(40):
        graph = random_graph(seed)
        for plan in (rv.solve(graph, "all").plan_at(0), rv.Plan.keep_all(graph)):
            free = rv.Plan.from_keep_mask(graph, plan.keep_mask, "by hand")
            assert free.overhead == plan.overhead
            boundaries = {v for L in free.lower_sets for v in graph.boundary(L)}
            assert boundaries <= plan.keep


def test_old_names_still_work_and_say_the_new_one() -> None:
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    with pytest.warns(DeprecationWarning, match="from_keep_mask"):
        plan = rv.Plan.from_kept(graph, [0], "by hand")
    with pytest.warns(DeprecationWarning, match="keep_mask"):
        assert plan.kept is plan.keep_mask
