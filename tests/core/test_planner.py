"""The planner: what it caches, what it can be asked while it searches, and that every search can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recompviz as rv
from recompviz.core.live.live_search import LEAST_GAIN, live_plans
from recompviz.core.planning.cache import Cache
from recompviz.core.plans.baselines import METHODS
from recompviz.core.steps.examples import residual_step

SECONDS = 30


@pytest.fixture
def planner() -> rv.Planner:
    return rv.Planner(*residual_step((1, 1)))


class Stopped:
    """A progress function that raises Cancelled from its n-th call on."""

    def __init__(self, calls: int = 1) -> None:
        self.calls, self.left = 0, calls

    def __call__(self, _done: int, _total: int) -> None:
        self.calls += 1
        self.left -= 1
        if self.left <= 0:
            raise rv.Cancelled("stopped by the test")


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


@pytest.mark.parametrize("objective", ["time", "memory", "live"])
def test_a_table_is_searched_once_and_has_the_simulated_peaks(planner: rv.Planner, objective: Any) -> None:
    table = planner.plans(objective)
    assert planner.plans(objective) is table
    assert table.objective == objective
    assert table.total_peaks.tolist() == [planner.simulate(plan).peak for plan in table.plans]
    for plan in table.plans:
        assert np.array_equal(planner.profile_function()(plan), planner.simulate(plan).profile)


def test_the_search_in_simulated_bytes_is_never_worse_than_the_formula(planner: rv.Planner) -> None:
    live, time = planner.plans("live"), planner.plans("time")
    assert live.least_total <= time.least_total
    for total in time.total_peaks.tolist():
        assert planner.plan(total).overhead <= planner.plan(total, "time").overhead


def test_a_budget_that_no_plan_fits_is_refused_with_the_least_one(planner: rv.Planner) -> None:
    with pytest.raises(rv.InfeasibleBudget) as refused:
        planner.plan("1 kB", "time")
    assert refused.value.least == planner.plans("time").least_total
    assert planner.simulate(planner.plan(refused.value.least, "time")).peak == refused.value.least


def test_a_graph_without_a_joint_graph_is_planned_in_the_paper_s_memory_model() -> None:
    graph = rv.Graph.from_edges([(i, i + 1) for i in range(7)], memory=[3] * 8)
    planner = rv.Planner(graph)
    assert len(planner.joint.calls) == 2 * len(graph)
    assert planner.plan(planner.plans("time").total_peaks[0], "time").recompute == frozenset()
    assert planner.plans("time").least_total < planner.simulate().peak


def test_no_more_rows_than_asked_for_and_both_ends_among_them() -> None:
    graph, joint = residual_step((2, 2))
    whole, few = rv.Planner(graph, joint).plans("time"), rv.Planner(graph, joint, most_rows=4).plans("time")
    assert len(few) <= 5 < len(whole)  # keep-all may be one more
    assert few.formula_peaks.min() == whole.formula_peaks.min()
    assert few.formula_peaks.max() == whole.formula_peaks.max()


def test_a_graph_is_expected() -> None:
    with pytest.raises(TypeError, match=r"expected a Graph.*trace\.planner"):
        rv.Planner("resnet50")  # type: ignore[arg-type]


def test_an_unknown_objective_is_refused(planner: rv.Planner) -> None:
    for ask in (planner.plans, planner.what_if):
        with pytest.raises(ValueError, match="'given' is unknown; choose \"time\""):
            ask("given")  # type: ignore[arg-type]


# -------------------------------------------------------------------- what-ifs


def test_plans_under_pins_obey_them_for_every_objective(planner: rv.Planner) -> None:
    names = planner.graph.names
    kept, again = 3, 6
    for objective in ("time", "memory", "live"):
        table = planner.what_if(objective, keep=[names[kept]], recompute=[names[again]])  # type: ignore[arg-type]
        assert all(plan.keep_mask[kept] and not plan.keep_mask[again] for plan in table.plans), objective


def test_pins_that_no_plan_can_obey_are_refused(planner: rv.Planner) -> None:
    sink = planner.graph.names[-1]
    with pytest.raises(rv.ImpossiblePin):
        planner.what_if("time", keep=[sink])


def test_plans_found_under_pins_join_the_plans_of_the_search() -> None:
    planner = rv.Planner(*residual_step((1, 1)))
    planner.use_plans(planner.first_plans().plans)  # a search that found little
    before = planner.plans("live")
    found = planner.what_if("live", recompute=[planner.graph.names[4]])
    assert before.improved_by(found)
    after = planner.plans("live")
    assert after is planner.plans("live")
    assert not after.improved_by(found)
    assert not after.improved_by(before)
    planner.what_if("live", recompute=[planner.graph.names[4]])
    assert set(after.plans) <= set(planner.plans("live").plans)


def test_pins_that_no_best_plan_breaks_need_no_search() -> None:
    planner = rv.Planner(*residual_step((2, 1)))
    free = planner.plans("live")
    always = np.flatnonzero(np.all([plan.keep_mask for plan in free.plans], axis=0))
    assert len(always)
    first: list[rv.PlanTable] = []
    found = planner.what_if("live", keep=[planner.graph.names[always[0]]], first=first.append)
    assert not first
    assert found.total_peaks.tolist() == free.total_peaks.tolist()
    assert [plan.overhead for plan in found.plans] == [plan.overhead for plan in free.plans]


def test_known_plans_are_changed_to_obey_pins_before_the_search_which_finds_none_worse() -> None:
    planner = rv.Planner(*residual_step((2, 1)))
    free = planner.plans("live")
    often = int(np.argmax(np.sum([~plan.keep_mask for plan in free.plans], axis=0)))
    first: list[rv.PlanTable] = []
    found = planner.what_if("live", keep=[planner.graph.names[often]], first=first.append)
    assert len(first) == 1
    assert all(plan.keep_mask[often] for plan in first[0].plans)
    assert first[0].improved_by(free)
    assert not found.improved_by(first[0])


def test_a_search_from_the_plans_found_finds_little_more() -> None:
    planner = rv.Planner(*residual_step((2, 1)))
    table = planner.plans("live")
    again = planner.table(live_plans(planner.graph, planner.joint, table.plans), "live")
    totals = np.linspace(table.least_total, table.total_peaks.max(), 40).astype(int)
    gains = [table.plan(int(total)).overhead - again.plan(int(total)).overhead for total in totals]
    assert np.mean(gains) <= LEAST_GAIN * planner.graph.time.sum()


def test_another_family_is_a_question_of_its_own(planner: rv.Planner) -> None:
    table = planner.what_if("time", "paper")
    curve = rv.solve(planner.graph, "paper")
    assert set(curve.time_centric.peaks.tolist()) <= set(table.formula_peaks.tolist())


# -------------------------------------------------------------------- baselines


def test_a_baseline_that_was_given_is_made_once_and_gets_the_text_after_its_name() -> None:
    graph, joint = residual_step((1, 1))
    asked = []

    def first(count: str) -> rv.Plan:
        asked.append(count)
        return rv.Plan.from_keep_mask(graph, np.arange(len(graph)) < int(count), "first")

    planner = rv.Planner(graph, joint, baselines={"first": first})
    assert int(planner.baseline("first 12").keep_mask.sum()) == 12
    assert planner.baseline("first 12") is planner.baseline("first 12")
    assert asked == ["12"]
    assert planner.baseline_names == (*METHODS, "first")
    with pytest.raises(ValueError, match=r"'best'; choose 'keep-all', .* 'first'"):
        planner.baseline("best")


def test_curves_carry_over_to_another_joint_graph_of_an_equal_graph() -> None:
    graph, joint = residual_step((1, 1))
    one, same, other = rv.Planner(graph, joint), rv.Planner(graph), rv.Planner(*residual_step((2, 1)))
    curve, table = one.tradeoff(), one.plans("time")
    same.reuse_curves(one)
    other.reuse_curves(one)
    assert same.tradeoff() is curve
    assert same.plans("time") is not table
    assert other.tradeoff() is not curve


# -------------------------------------------------------------------- searches that are stopped


@pytest.mark.parametrize("objective", ["time", "memory", "live"])
def test_a_search_says_how_far_it_is_and_stops_wherever_it_is_told_to(objective: Any) -> None:
    step = residual_step((1, 1))
    seen: list[float] = []
    rv.Planner(*step).plans(objective, lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert 0 <= seen[0] < 0.2
    assert 0.9 < seen[-1] <= 1
    for calls in sorted({1, 2, len(seen) // 3, len(seen) // 2, len(seen)} - {0}):
        planner, stopped = rv.Planner(*step), Stopped(calls)
        with pytest.raises(rv.Cancelled):
            planner.plans(objective, stopped)
        assert stopped.calls == calls
        assert len(planner.plans("time")) > 1


def test_pins_can_be_stopped_although_the_free_search_was_stopped_before(planner: rv.Planner) -> None:
    with pytest.raises(rv.Cancelled):
        planner.plans("live", Stopped())
    stopped = Stopped()
    with pytest.raises(rv.Cancelled):
        planner.what_if("live", recompute=[planner.graph.names[2]], progress=stopped)
    assert stopped.calls == 1
    assert planner._searches._cache.peek("plans live") is None


def test_a_table_is_found_while_another_thread_searches_for_another_one(planner: rv.Planner) -> None:
    planner.plans("time")
    searching, go = threading.Event(), threading.Event()

    def wait(_done: int, _total: int) -> None:
        searching.set()
        assert go.wait(SECONDS)

    search, found = in_thread(lambda: planner.plans("live", wait))
    assert searching.wait(SECONDS)
    other, table = in_thread(lambda: (planner.plans("time"), planner.baseline("chen")))
    other.join(SECONDS)
    assert len(table) == 1
    go.set()
    search.join(SECONDS)
    assert found == [planner.plans("live")]


def test_who_waits_for_the_search_of_another_thread_can_stop_waiting(planner: rv.Planner) -> None:
    searching, go, waits = threading.Event(), threading.Event(), threading.Event()

    def wait(_done: int, _total: int) -> None:
        searching.set()
        assert go.wait(SECONDS)

    search, found = in_thread(lambda: planner.plans("live", wait))
    assert searching.wait(SECONDS)

    def stop(_done: int, _total: int) -> None:
        waits.set()
        raise rv.Cancelled("no longer wanted")

    second, result = in_thread(lambda: planner.plans("live", stop))
    assert waits.wait(SECONDS)
    second.join(SECONDS)
    assert isinstance(result[0], rv.Cancelled)
    go.set()
    search.join(SECONDS)
    assert isinstance(found[0], rv.PlanTable)


def test_two_threads_that_ask_for_one_key_compute_it_once() -> None:
    cache, started, go = Cache(), threading.Event(), threading.Event()

    def slow() -> object:
        started.set()
        assert go.wait(SECONDS)
        return object()

    one, first = in_thread(lambda: cache.get("key", slow))
    assert started.wait(SECONDS)
    two, second = in_thread(lambda: cache.get("key", object))
    go.set()
    one.join(SECONDS)
    two.join(SECONDS)
    assert first[0] is second[0]


def test_a_replaced_value_is_dropped_from_the_cache() -> None:
    cache = Cache()
    assert [cache.replace("of ", f"of {name}", lambda name=name: name) for name in "aab"] == ["a", "a", "b"]
    cache.get("other", lambda: 1)
    assert (cache.with_prefix("of "), cache.peek("other")) == ({"of b": "b"}, 1)


def test_an_empty_graph_has_one_empty_plan_for_every_objective() -> None:
    planner = rv.Planner(rv.Graph.from_edges([], []))
    assert len(planner.first_plans()) == 1
    for objective in ("time", "memory", "live"):
        (plan,) = planner.plans(objective).plans
        assert (plan.overhead, plan.peak, planner.simulate(plan).peak) == (0, 0, 0)


def test_the_live_search_ends_whatever_the_sizes() -> None:
    # no plan of the formula is better than keep-all, so the search lowers the peak in steps of one byte
    graph = rv.Graph.from_edges([(2, 3), (3, 1)], memory=[2**57 - 1] * 3 + [2**56, 1, 1, 2**56], time=[0] * 7)
    assert rv.Planner(graph).plans("live").least_total <= rv.Planner(graph).plans("time").least_total


def test_a_baseline_made_after_the_search_is_in_the_table_if_it_is_better() -> None:
    graph, joint = residual_step((1,))
    best = rv.Planner(graph, joint).plans("live")
    good = best.plans[len(best) // 2]
    planner = rv.Planner(
        graph,
        joint,
        baselines={"good": lambda _: rv.Plan.from_keep_mask(graph, good.keep_mask, "good"), "all": lambda _: good},
    )
    planner.use_plans([rv.Plan.keep_all(graph)])
    few = planner.plans("live")
    assert len(few) == 1
    planner.baseline("keep-all")
    assert planner.plans("live") is few  # it is not better than the plan of the table
    planner.baseline("good")
    more = planner.plans("live")
    assert [plan.kind for plan in more.plans] == ["keep-all", "good"]
    assert more is planner.plans("live")
    assert more.plan(int(more.total_peaks[1])).overhead == good.overhead
    peak = planner.simulate(good).peak
    assert planner.plan(peak).overhead <= good.overhead


def test_on_a_large_graph_the_search_does_not_wait_for_the_curves_of_the_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recompviz.core.planning.plan_searches.LARGE", 10)
    graph, joint = residual_step((1,))
    planner = rv.Planner(graph, joint)
    planner.plans("live")
    assert planner._searches._cache.peek("tradeoff auto") is None
    other = rv.Planner(graph, joint)
    formula = other.plans("time")  # once made, they are seeds
    live = other.plans("live")
    for plan, peak in zip(formula.plans, formula.total_peaks.tolist(), strict=True):
        assert live.plan(peak).overhead <= plan.overhead


def test_plans_of_another_graph_are_refused() -> None:
    planner = rv.Planner(*residual_step((1,)))
    other = rv.Plan.keep_all(residual_step((1, 1))[0])
    for use in (planner.use_plans, planner.table):
        with pytest.raises(rv.PlanMismatch):
            use([other])
        with pytest.raises(TypeError, match="plan is None, expected a Plan"):
            use([None])  # type: ignore[list-item]
