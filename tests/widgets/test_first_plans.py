"""A large Explorer opens with plans that need no search, and better ones replace them as one change."""

import threading
import time

import pytest

from recompviz.core.live.model import profile_function
from recompviz.core.planning.first_plans import first_plans
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.examples import residual_step, u_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.widgets.explorer.explorer import Explorer


@pytest.mark.parametrize("step", [residual_step((2, 2)), u_step(200)])
def test_the_first_plans_are_canonical_and_reach_from_keep_all_to_far_less(step):
    graph, joint = step
    table = first_plans(graph, lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist())).profile)
    assert table.plans[0].keep_mask.all()
    assert len(table) >= 5
    assert table.least_total < 0.8 * table.total_peaks[0]
    for plan in table.plans[1:]:
        assert plan.on(graph).peak == plan.peak == max(terms.total for terms in plan.terms)


def test_better_plans_replace_the_first_ones_at_the_same_budget_and_as_one_change(lab):
    go = threading.Event()

    def later(_progress):
        assert go.wait(20)
        return [lab.time, lab.memory]

    table = first_plans(lab.graph, profile_function(lab.graph, lab.joint))
    explorer = Explorer(lab.graph, table, lab.simulate, later=later)
    assert "better ones" in explorer._waiting
    budget, request = explorer.budget, explorer._reply["request"]
    sent = []
    explorer.send_state = lambda key=None: sent.append(set(key) if isinstance(key, (list, set, tuple)) else {key})
    go.set()
    explorer.wait_for_plans(20)
    assert explorer.tables == (lab.time, lab.memory)
    assert explorer._waiting == ""
    assert explorer.budget == max(budget, lab.time.least_total)
    assert explorer._reply["request"] == request + 1
    assert explorer.plan is lab.time.plans[explorer._reply["row"]]
    assert any({"_tables", "_reply", "_waiting"} <= keys for keys in sent)


def test_a_search_that_fails_is_told_and_the_first_plans_stay(lab):
    def later(_progress):
        raise MemoryError("no room for the search")

    explorer = Explorer(lab.graph, lab.time, lab.simulate, later=later)
    explorer.wait_for_plans(20)
    assert "no room for the search" in explorer._waiting
    assert explorer.tables == (lab.time,)


def test_who_reads_the_plan_or_sets_a_budget_in_python_waits_for_the_better_plans_and_the_picture_does_not(lab):
    go = threading.Event()

    def later(_progress):
        assert go.wait(20)
        return [lab.time, lab.memory]

    table = PlanTable.of(lab.graph, "time", lab.time.plans[:3], profile_function(lab.graph, lab.joint))
    assert lab.time.least_total < table.least_total
    explorer = Explorer(lab.graph, table, lab.simulate, later=later, joint=lab.joint)
    seen = []
    explorer.observe(lambda _change: seen.append(explorer.plan), "plan")  # who is told of a choice may read it at once
    row = 2 - explorer._choice[1]
    explorer._asked = {"request": 1, "table": 0, "row": row, "budget": float(table.total_peaks[row])}
    assert seen == [table.plans[row]]
    assert "kept" in repr(explorer)
    assert explorer.to_svg()
    threading.Timer(0.3, go.set).start()
    explorer.budget = lab.time.least_total  # which no first plan reaches
    assert explorer.plan is lab.time.plan(lab.time.least_total)
    assert explorer.timeline.peak == lab.time.least_total
    assert explorer._solving["state"] == "idle"


def test_the_search_tells_its_progress_and_the_page_may_stop_it(lab):
    at_work = threading.Event()

    def later(progress):
        for done in range(10_000):
            progress(done, 10_000)
            at_work.set()
            time.sleep(0.002)
        return [lab.time]

    explorer = Explorer(lab.graph, lab.memory, lab.simulate, later=later)
    assert at_work.wait(20)
    assert explorer._solving["state"] == "solving"
    assert "being searched for" in explorer._solving["text"]
    explorer._on_message(explorer, {"type": "page"}, [])
    assert "better plans" in explorer._solving["text"]
    explorer._on_message(explorer, {"type": "stop"}, [])
    explorer.wait_for_plans(20)
    assert "stopped" in explorer._waiting
    assert explorer._solving["state"] == "idle"
    assert explorer.tables == (lab.memory,)


def test_a_plan_that_was_loaded_meanwhile_stays_on_the_screen(lab):
    go = threading.Event()

    def later(_progress):
        assert go.wait(20)
        return [lab.time, lab.memory]

    explorer = Explorer(
        lab.graph, first_plans(lab.graph, profile_function(lab.graph, lab.joint)), lab.simulate, later=later
    )
    loaded = lab.memory.plans[-1]
    explorer.load(loaded)
    go.set()
    explorer.wait_for_plans(20)
    assert (explorer.plan.keep_mask == loaded.keep_mask).all()
    assert explorer._choice[0] == explorer._tabled.given == 2
