"""A large Explorer opens with plans that need no search, and better ones replace them as one change."""

import gc
import threading
import time
import weakref

import pytest

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.live.model import profile_function
from recompviz.core.planning.first_plans import first_plans
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.examples import residual_step, u_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.widgets.conftest import RunnerOf


@pytest.mark.parametrize("step", [residual_step((2, 2)), u_step(200)])
def test_the_first_plans_are_canonical_and_reach_from_keep_all_to_far_less(step):
    graph, joint = step
    table = first_plans(graph, lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist())).profile)
    assert table.plans[0].keep_mask.all()
    assert len(table) >= 5
    assert table.least_total < 0.8 * table.total_peaks[0]
    for plan in table.plans[1:]:
        assert plan.on(graph).peak == plan.peak == max(terms.total for terms in plan.terms)


@pytest.fixture
def search(lab):
    """A planner whose search waits for ``go``, and reports progress until then."""
    return Search(lab)


class Search:
    def __init__(self, lab, error=None):
        self.go, self.begun, self.error = threading.Event(), threading.Event(), error
        self.planner = lab.planner_with(plans=self.plans)
        self.found = {"time": lab.time, "memory": lab.memory}

    def plans(self, objective, progress=None):
        self.begun.set()
        for done in range(10_000):
            if progress is not None:
                progress(done, 10_000)
            if self.go.wait(0.002):
                break
        if self.error:
            raise self.error
        return self.found[objective]


def test_better_plans_replace_the_first_ones_at_the_same_budget_and_as_one_change(lab, search):
    explorer = lab.explorer(search.planner, background=True)
    assert explorer._searching
    assert "searching" in explorer._waiting
    assert explorer._selection.tables.first[0].table is search.planner.first_plans()
    budget, request = explorer.budget, explorer._reply["request"]
    sent = []
    explorer.send_state = lambda key=None: sent.append(set(key) if isinstance(key, (list, set, tuple)) else {key})
    search.go.set()
    explorer.wait_for_plans(20)
    assert explorer.tables == (lab.time, lab.memory)
    assert explorer._waiting == ""
    assert not explorer._searching
    assert explorer.budget == max(budget, lab.time.least_total)
    assert explorer._reply["request"] == request + 1
    assert explorer.plan is lab.time.plans[explorer._reply["row"]]
    assert any({"_tables", "_reply", "_waiting"} <= keys for keys in sent)


def test_a_plan_that_was_run_before_better_ones_came_can_still_be_shown(lab, search):
    explorer = lab.explorer(search.planner, runner=lab, background=True)
    explorer._asked = {"request": 9, "table": 0, "row": 3, "budget": 0}
    run = explorer._selection.plan
    explorer._on_message(explorer, {"type": "run"}, [])
    explorer.wait(20)
    search.go.set()
    explorer.wait_for_plans(20)
    assert explorer.plan is not run
    assert explorer._runs[0]["wanted"] == explorer._reply["wanted"]  # so that the page finds the run of this budget
    row = explorer._more[0]["names"].index("run 1")
    explorer._asked = {"request": 20, "table": 2, "row": row, "budget": 0, "edition": explorer._edition}
    assert (explorer.plan.keep_mask == run.keep_mask).all()
    assert explorer.timeline.peak == explorer.runs[0].measured.peak


def test_a_plan_whose_run_ends_after_the_search_can_be_shown_too(lab, search):
    go = threading.Event()

    def wait(plan, progress):
        assert go.wait(20)
        return lab.run(plan, progress)

    explorer = lab.explorer(search.planner, runner=RunnerOf(wait), background=True)
    explorer._asked = {"request": 9, "table": 0, "row": 3, "budget": 0}
    explorer._on_message(explorer, {"type": "run"}, [])
    search.go.set()
    explorer.wait_for_plans(20)
    assert "run 1" not in explorer._more[0]["names"]
    go.set()
    explorer.wait(20)
    assert "run 1" in explorer._more[0]["names"]


def test_a_baseline_stays_selected_while_plans_that_were_run_join_it(lab, search):
    explorer = lab.explorer(search.planner, runner=lab, background=True)
    explorer._on_message(explorer, {"type": "run"}, [])
    explorer.wait(20)
    row = explorer._more[0]["names"].index("chen")
    explorer._asked = {"request": 9, "table": 1, "row": row, "budget": 0}
    chen = explorer._selection.plan
    search.go.set()
    explorer.wait_for_plans(20)
    assert "run 1" in explorer._more[0]["names"]
    assert (explorer.plan.keep_mask == chen.keep_mask).all()
    assert explorer._more[0]["names"][explorer._reply["row"]] == "chen"


def test_the_least_total_before_the_search_is_not_above_that_of_a_baseline(lab, search):
    few = PlanTable.of(lab.graph, "live", lab.time.plans[:1], profile_function(lab.graph, lab.joint))
    search.planner.first_plans = lambda: few
    explorer = lab.explorer(search.planner, background=True)
    first, given = explorer._selection.tables.first[0].table, explorer._selection.tables.shown(1).table
    assert given.least_total < few.least_total
    assert first.least_total <= given.least_total
    assert first.total_peaks[0] == few.total_peaks[0]
    search.go.set()
    explorer.wait_for_plans(20)


def test_without_objectives_nothing_is_searched_for(lab, search):
    explorer = lab.explorer(search.planner, objectives=[], background=True)
    assert explorer.tables == (search.planner.first_plans(),)
    assert not search.begun.is_set()


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("no room"), KeyboardInterrupt(), SystemExit(1)])
def test_a_search_that_fails_is_reported_and_the_first_plans_stay(lab, error):
    search = Search(lab, error)
    search.go.set()
    explorer = lab.explorer(search.planner, background=True)
    explorer.wait_for_plans(20)
    assert "the search failed" in explorer._waiting
    assert str(error) in explorer._waiting
    assert explorer._solving["state"] == "idle"
    assert explorer.tables == (search.planner.first_plans(),)


def test_better_plans_that_cannot_be_shown_are_reported_too(lab, search):
    explorer = lab.explorer(search.planner, background=True)

    def broken(_plan=None):
        raise RuntimeError("cannot simulate")

    search.planner.simulate = broken
    search.go.set()
    explorer.wait_for_plans(20)
    assert "cannot simulate" in explorer._waiting


def test_python_code_that_reads_the_plan_or_sets_a_budget_waits_for_the_search_and_the_page_does_not(lab, search):
    few = PlanTable.of(lab.graph, "time", lab.time.plans[:3], profile_function(lab.graph, lab.joint))
    assert lab.time.least_total < few.least_total
    search.planner.first_plans = lambda: few
    explorer = lab.explorer(search.planner, baselines=[], background=True)
    seen = []
    explorer.observe(lambda _change: seen.append(explorer.plan), "plan")  # an observer may read it immediately
    row = 2 - explorer._selection.row
    explorer._asked = {"request": 1, "table": 0, "row": row, "budget": float(few.total_peaks[row])}
    assert seen == [few.plans[row]]
    assert "kept" in repr(explorer)
    assert explorer.to_svg()
    threading.Timer(0.3, search.go.set).start()
    explorer.budget = lab.time.least_total  # which no first plan reaches
    assert explorer.plan is lab.time.plan(lab.time.least_total)
    assert explorer.timeline.peak == lab.time.least_total
    assert explorer._solving["state"] == "idle"


def test_the_search_reports_its_progress_and_the_page_may_stop_it(lab, search):
    explorer = lab.explorer(search.planner, background=True)
    assert search.begun.wait(20)
    assert explorer._solving["state"] == "solving"
    assert "searching for better plans" in explorer._solving["text"]
    explorer._on_message(explorer, {"type": "page"}, [])
    assert "after the search" in explorer._solving["text"]
    explorer._on_message(explorer, {"type": "stop"}, [])
    assert "stopped" in explorer._waiting
    assert not explorer._searching
    assert explorer._solving["state"] == "idle"
    assert explorer.tables == (search.planner.first_plans(),)  # without waiting: the search never ends by itself


def test_a_plan_loaded_during_the_search_stays_selected(lab, search):
    explorer = lab.explorer(search.planner, background=True)
    loaded = lab.memory.plans[-1]
    explorer.load(loaded)
    search.go.set()
    explorer.wait_for_plans(20)
    assert (explorer.plan.keep_mask == loaded.keep_mask).all()
    assert explorer._selection.table == explorer._selection.tables.given == 2


def test_an_observer_that_loads_a_plan_during_the_search_while_another_reads_it_is_no_dead_lock(lab, search):
    explorer = lab.explorer(search.planner, background=True)
    assert search.begun.wait(20)
    first, loaded, seen = search.planner.first_plans(), lab.memory.plans[-1], []

    def load_once(_change):
        explorer.unobserve(load_once, "plan")
        explorer.load(loaded)

    explorer.observe(load_once, "plan")
    explorer.observe(lambda _change: seen.append(explorer.plan), "timeline")
    asked = {"request": 9, "table": 0, "row": 0, "budget": float(first.total_peaks[0])}
    message = threading.Thread(target=lambda: setattr(explorer, "_asked", asked), daemon=True)
    message.start()
    message.join(20)
    assert not message.is_alive()
    assert any((plan.keep_mask == loaded.keep_mask).all() for plan in seen)
    search.go.set()
    explorer.wait_for_plans(20)
    assert explorer.tables == (lab.time, lab.memory)


def test_after_stop_a_pin_is_answered_without_the_search_and_can_be_stopped_too(lab, search):
    endless, turning, ended = threading.Event(), threading.Event(), threading.Event()

    def what_if(*arguments, progress, **options):
        try:
            while endless.is_set():
                turning.set()
                progress(1, 2)
                time.sleep(0.002)
        finally:
            ended.set()
        return lab.planner.what_if(*arguments, progress=progress, **options)

    search.planner.what_if = what_if
    explorer = lab.explorer(search.planner, background=True)
    assert search.begun.wait(20)
    explorer._on_message(explorer, {"type": "stop"}, [])
    explorer.pin(recompute=[lab.graph.names[3]])
    explorer.wait(60)
    assert explorer._solving["state"] == "done"
    assert not explorer.plan.keep_mask[3]
    ended.clear()
    endless.set()
    explorer.pin(recompute=[lab.graph.names[4]])
    assert turning.wait(20)
    explorer._on_message(explorer, {"type": "stop"}, [])
    assert explorer._solving["state"] == "cancelled"
    assert ended.wait(20)
    assert not explorer._questions.running


def test_pins_of_the_page_and_a_solver_under_way_outlast_the_search(lab, search):
    search.planner.what_if = lab.planner.what_if
    explorer = lab.explorer(search.planner, background=True)
    pins = {"request": 1, "base": 0, "keep": [], "recompute": [3]}
    explorer._pins = pins
    explorer.wait(60)
    tables = explorer._selection.tables
    assert explorer._selection.table == tables.pinned == 2
    begun, go = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(20)
        return lab.planner.what_if(*arguments, **options)

    search.planner.what_if = slow
    search.go.set()
    explorer.wait_for_plans(20)
    assert begun.wait(20)
    assert explorer._selection.table == tables.pinned == 3  # shown until the pins are solved again
    assert not explorer.plan.keep_mask[3]
    assert explorer._pins == pins | {"request": 2, "edition": 1}
    go.set()
    explorer.wait(60)
    assert explorer._solving["state"] == "done"
    again = lab.planner.what_if("time", recompute=[lab.graph.names[3]])
    assert explorer.plan.overhead == again.plan(explorer.budget).overhead
    assert explorer._more[1]["base"] == 0


def test_a_solver_that_the_page_asks_for_during_the_search_is_shown_after_it(lab, search):
    begun, go = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(20)
        return lab.planner.what_if(*arguments, **options)

    search.planner.what_if = slow
    explorer = lab.explorer(search.planner, background=True)
    explorer._on_message(explorer, {"type": "solve", "objective": "time", "family": "paper"}, [])
    assert begun.wait(20)
    search.go.set()
    explorer.wait_for_plans(20)
    assert explorer._solving["state"] == "solving"
    go.set()
    explorer.wait(60)
    tables = explorer._selection.tables
    assert explorer._selection.table == tables.solved("time", "paper") == 4


def test_the_plans_that_need_no_search_are_not_taken_for_those_of_a_solver(lab, search):
    search.planner.what_if = lab.planner.what_if
    explorer = lab.explorer(search.planner, background=True)
    explorer._on_message(explorer, {"type": "solve", "objective": "time", "family": "auto"}, [])
    explorer.wait(60)
    assert explorer._selection.table == 3
    assert explorer._selection.current.least_total == lab.time.least_total


@pytest.mark.parametrize("ask", ["pin", "solver"])
def test_pins_and_solvers_of_a_script_wait_for_the_search(lab, search, ask):
    search.planner.what_if = lab.planner.what_if
    explorer = lab.explorer(search.planner, background=True)
    threading.Timer(0.1, search.go.set).start()
    if ask == "pin":
        explorer.pin(recompute=[lab.graph.names[3]])
    else:
        explorer.use_solver("paper")
    assert not explorer._search.running
    explorer.wait(60)
    assert explorer._selection.table == (3 if ask == "pin" else 4)


def test_a_first_budget_below_the_first_plans_is_searched_for(lab, search):
    few = PlanTable.of(lab.graph, "time", lab.time.plans[:3], profile_function(lab.graph, lab.joint))
    search.planner.first_plans = lambda: few
    search.go.set()
    least = lab.time.least_total
    assert lab.explorer(search.planner, background=True, budget=few.least_total)._search is not None
    explorer = lab.explorer(search.planner, background=True, budget=least)
    assert explorer.budget == explorer.timeline.peak == least < few.least_total
    assert explorer.tables == (lab.time, lab.memory)
    with pytest.raises(InfeasibleBudget) as raised:
        lab.explorer(search.planner, background=True, budget=least - 1)
    assert raised.value.least == least


def test_a_run_of_python_code_waits_for_the_search_and_the_button_runs_what_is_shown(lab, search):
    explorer = lab.explorer(search.planner, lab, background=True)
    assert search.begun.wait(20)
    explorer._on_message(explorer, {"type": "run"}, [])
    explorer.wait(20)
    (interim,) = explorer.runs
    assert interim.plan in search.planner.first_plans().plans
    threading.Timer(0.05, search.go.set).start()
    explorer.run()
    assert not explorer._searching
    explorer.wait(20)
    assert explorer.runs[1].plan is explorer.plan
    assert explorer.plan in lab.time.plans


def test_closing_the_explorer_stops_the_search_and_the_question(lab, search):
    explorer = lab.explorer(search.planner, background=True)
    assert search.begun.wait(20)
    explorer.close()
    assert not explorer._search.running
    assert explorer._search._job.wait(20)
    assert explorer._search._job.state == "cancelled"


def test_a_closed_explorer_is_freed(lab):
    explorer = lab.explorer(runner=lab, background=True)
    explorer.run()
    explorer.wait(20)
    explorer.use_solver("paper", "time")
    explorer.wait(60)
    alive = weakref.ref(explorer)
    explorer.close()
    del explorer
    gc.collect()
    assert alive() is None
