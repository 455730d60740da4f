"""Plans: what they hold, and that a plan for another graph is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recompviz as rv
from tests.core.strategies import graphs, graphs_with_sequences, keep_masks


@given(graphs_with_sequences(), st.data())
def test_json_round_trip_gives_the_same_plan(case: tuple[rv.Graph, list[int]], data: st.DataObject) -> None:
    graph, sequence = case
    by_hand = rv.Plan.from_keep_mask(graph, data.draw(keep_masks(len(graph))), "by hand")
    for plan in (rv.Plan.keep_all(graph), rv.Plan.from_masks(graph, sequence), by_hand):
        again = rv.Plan.from_json(graph, plan.to_json())
        assert (again.keep_mask == plan.keep_mask).all()
        assert (again.segment == plan.segment).all()
        assert (again.overhead, again.peak, again.kind) == (plan.overhead, plan.peak, plan.kind)


@given(graphs(), st.data())
def test_segments_of_any_keep_mask_have_their_whole_boundary_kept(graph: rv.Graph, data: st.DataObject) -> None:
    mask = data.draw(keep_masks(len(graph)))
    plan = rv.Plan.from_keep_mask(graph, mask, "by hand")
    assert plan.keep == {graph.names[v] for v in np.flatnonzero(mask)}
    for lower in plan.lower_sets:
        assert graph.boundary(lower) <= plan.keep


def test_a_plan_for_another_graph_is_refused() -> None:
    one = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    two = rv.Graph.from_edges([(0, 1)], memory=[1, 2])
    with pytest.raises(rv.PlanMismatch, match="another model"):
        rv.Plan.from_json(two, rv.Plan.keep_all(one).to_json())


@pytest.mark.parametrize(
    ("version", "writer"), [(None, "an older version"), ("0.0.1", r"recompviz 0\.0\.1 wrote"), (rv.__version__, None)]
)
def test_a_plan_of_another_version_is_read_if_the_graph_is_the_same(version: str | None, writer: str | None) -> None:
    one = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    two = rv.Graph.from_edges([(0, 1)], memory=[1, 2])
    data = json.loads(rv.Plan.keep_all(one).to_json())
    assert data.pop("version") == rv.__version__
    text = json.dumps(data if version is None else data | {"version": version})
    assert rv.Plan.from_json(one, text).kind == "keep-all"
    for graph, other in ((two, text), (one, text.replace("plan 1", "plan 2"))):
        with pytest.raises(rv.PlanMismatch) as refused:
            rv.Plan.from_json(graph, other)
        found = re.search(writer or "wrote", str(refused.value))
        assert (found is not None) == (writer is not None)


GRAPH = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
TEXT = rv.Plan.from_lower_sets(GRAPH, [{0}, {0, 1}]).to_json()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("format", ["other", None, 1, "x" * 10**6]),
        ("fingerprint", ["0" * 64, None, 5, [], "\ud800"]),
        ("kind", [None, 5, "", "x" * 1001, "\ud800", ["canonical"]]),
        ("keep", [None, 10, "", "1", "100", "12", "１0", ["1", "0"], "00"]),
        ("segment", [
            None, 5, {}, "12", [], [1], [1, 2, 2], [0, 1], [-1, 1], [1, 3], [2, 2], [2, 1], [True, 2], [1.0, 2],
            [1.5, 2], ["1", 2], [None, 2], [[1], 2], [1, 10**9], [1, 10**30], [1, 1e300],
        ]),
    ],
)  # fmt: skip
def test_the_error_of_a_damaged_plan_names_the_key_and_what_was_expected(key: str, values: list[object]) -> None:
    data = json.loads(TEXT)
    for value in values:
        with pytest.raises(rv.PlanMismatch) as refused:
            rv.Plan.from_json(GRAPH, json.dumps(data | {key: value}))
        assert refused.value.key == key or "characters, expected at most" in str(refused.value)
        assert len(str(refused.value)) < 400
    del data[key]
    with pytest.raises(rv.PlanMismatch, match=f"no {key}, expected"):
        rv.Plan.from_json(GRAPH, json.dumps(data))


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "null", "[]", "5", '"x"', TEXT[:50], TEXT + "x", TEXT + TEXT, "\ufeff" + TEXT, None, 5,
        TEXT.encode(), "[" * 10_000, "[" * 100_000, '{"a":' * 10_000,
        TEXT[:-1] + ', "x": ' + "[" * 5_000 + "]" * 5_000 + "}",
        TEXT[:-1] + ', "keep": "00"}', TEXT.replace("[1", "[NaN"), TEXT.replace("[1", "[-Infinity"),
        TEXT.replace("[1", "[" + "1" * 5000), TEXT[:-1] + " " * 10**6 + "}",
    ],
    ids=lambda text: str(text)[:20],
)  # fmt: skip
def test_a_text_that_is_not_a_plan_is_one_type_of_error(text: str) -> None:
    with pytest.raises(rv.PlanMismatch, match=r"expected|it is not JSON"):
        rv.Plan.from_json(GRAPH, text)


def test_a_plan_of_many_segments_is_read_in_proportion_to_its_size() -> None:
    graph = rv.Graph.from_edges([(i, i + 1) for i in range(2999)], memory=[1] * 3000)
    plan = rv.Plan.from_masks(graph, [(2 << i) - 1 for i in range(3000)])
    assert (rv.Plan.from_json(graph, plan.to_json()).segment == plan.segment).all()


def test_keep_all_keeps_all() -> None:
    text = rv.Plan.keep_all(GRAPH).to_json()
    with pytest.raises(rv.PlanMismatch) as refused:
        rv.Plan.from_json(GRAPH, text.replace('"11"', '"10"'))
    assert refused.value.key == "keep"


def test_a_sequence_that_is_no_lower_set_names_the_edge() -> None:
    graph = rv.Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1})
    with pytest.raises(ValueError, match="'a' → 'b'"):
        rv.Plan.from_lower_sets(graph, [{"b"}, {"a", "b"}])


@given(graphs_with_sequences())
def test_terms_of_the_formula_add_up_to_the_peak(case: tuple[rv.Graph, list[int]]) -> None:
    plan = rv.Plan.from_masks(*case)
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


@given(graphs_with_sequences())
def test_a_canonical_keep_set_has_the_same_overhead_however_it_is_made(case: tuple[rv.Graph, list[int]]) -> None:
    plan = rv.Plan.from_masks(*case)
    assert rv.Plan.from_keep_mask(case[0], plan.keep_mask, "by hand").overhead == plan.overhead


def test_old_names_still_work_and_say_the_new_one() -> None:
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    with pytest.warns(DeprecationWarning, match="from_keep_mask"):
        plan = rv.Plan.from_kept(graph, [0], "by hand")
    with pytest.warns(DeprecationWarning, match="keep_mask"):
        assert plan.kept is plan.keep_mask


def test_a_list_of_flags_is_a_keep_mask_and_not_a_list_of_the_names_0_and_1() -> None:
    graph = rv.Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
    assert rv.Plan.from_keep_mask(graph, [True, False, True], "by hand").keep == {0, 2}
    with pytest.raises(ValueError, match="shape"):
        rv.Plan.from_keep_mask(graph, [True, False], "by hand")
    with pytest.raises(TypeError, match="dtype int64"):
        rv.Plan.from_keep_mask(graph, np.array([1, 0, 1]), "by hand")


def test_swapped_arguments_of_from_json_are_named() -> None:
    graph = rv.Graph.from_edges([(0, 1)], memory=[1, 1])
    with pytest.raises(TypeError, match="graph"):
        rv.Plan.from_json(rv.Plan.keep_all(graph).to_json(), graph)  # type: ignore[arg-type]
