"""Two plans compared: what moved, and what that changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given

import recompviz as rv
from recompviz.core.steps.examples import chain_step, residual_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.strategies import graphs


@given(graphs())
def test_what_moved_and_the_changes_are_differences_of_the_plans(graph: rv.Graph) -> None:
    curve = rv.solve(graph, "all")
    plans = [rv.Plan.keep_all(graph), curve.plan_at(0), curve.plan_at(0, "memory"), curve.plan(curve.least_budget)]
    for a in plans:
        for b in plans:
            found = rv.compare(a, b)
            assert set(found.now_recomputed) == a.keep - b.keep
            assert set(found.now_kept) == b.keep - a.keep
            sizes = [row["bytes"] for row in found.rows()]
            assert sizes == sorted(sizes, reverse=True)
            assert {row["node"] for row in found.rows()} == a.keep ^ b.keep
            assert all((row["a"] == "kept") == (row["node"] in a.keep) for row in found.rows())
            assert found.overhead_change == b.overhead - a.overhead
            assert found.peak_change == b.peak - a.peak
            assert found.segments_change == len(b.segments) - len(a.segments)
            back = rv.compare(b, a)
            assert back.kept_change == -found.kept_change
            moved = {row["node"]: row["bytes"] for row in found.rows()}
            assert found.kept_change == sum(moved[v] for v in found.now_kept) - sum(
                moved[v] for v in found.now_recomputed
            )


def test_timelines_add_the_total_peak_and_what_is_alive_at_one_peak_only() -> None:
    graph, joint = residual_step(blocks=(2, 2))
    keep_all, lean = rv.Plan.keep_all(graph), rv.baseline(graph, "per-module")
    a, b = (simulate_schedule(make_schedule(joint, plan.keep_mask.tolist())) for plan in (keep_all, lean))
    found = rv.compare(keep_all, lean, timelines=(a, b))
    assert found.total_change == b.peak - a.peak
    # what both peaks share cancels out
    difference = sum(x.size for x in found.only_at_peak_of_b) - sum(x.size for x in found.only_at_peak_of_a)
    assert difference == b.transient_peak - a.transient_peak
    assert set(found.only_at_peak_of_a) <= set(a.at_peak())
    assert "total peak" in found.text
    assert found.only_at_peak_of_a[0].label in found.text


def test_a_comparison_without_timelines_says_nothing_of_totals() -> None:
    graph, _ = chain_step([3, 2, 1])
    found = rv.compare(rv.Plan.keep_all(graph), rv.solve(graph, "all").plan_at(0))
    assert found.total_change is None
    assert found.only_at_peak_of_a == ()
    assert "total" not in repr(found)


def test_plans_of_different_graphs_are_refused_and_of_equal_graphs_compared() -> None:
    one, _ = chain_step([3, 2, 1])
    same, _ = chain_step([3, 2, 1])
    other, _ = chain_step([3, 2, 2])
    assert rv.compare(rv.Plan.keep_all(one), rv.Plan.keep_all(same)).rows() == []
    with pytest.raises(rv.PlanMismatch, match="different graphs"):
        rv.compare(rv.Plan.keep_all(one), rv.Plan.keep_all(other))


def test_a_comparison_is_frozen() -> None:
    graph, _ = chain_step([1, 1])
    found = rv.compare(rv.Plan.keep_all(graph), rv.Plan.keep_all(graph))
    with pytest.raises(FrozenInstanceError):
        found.a = found.b  # type: ignore[misc]
