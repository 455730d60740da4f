"""Questions that are solved again: pins, other solvers, plans loaded; newest wins, nothing blocks."""

import threading

import numpy as np
import pytest

from recompviz.core.base.errors import ImpossiblePin, PlanMismatch
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.examples import residual_step
from recompviz.widgets.explorer.explorer import Explorer


def pin(explorer, keep=(), recompute=(), base=0):
    """What the page does when a node is pinned."""
    request = explorer._pins["request"] + 1
    explorer._pins = {"request": request, "base": base, "keep": list(keep), "recompute": list(recompute)}


def node(lab, **wanted):
    """A node that the plan in the middle keeps, or recomputes."""
    middle = lab.explorer().plan
    return int(np.flatnonzero(middle.keep_mask == wanted["kept"])[1])


def test_a_pin_is_obeyed_by_the_plan_shown_and_the_budget_kept(lab):
    explorer = lab.explorer()
    budget, v = explorer.budget, node(lab, kept=False)
    pin(explorer, keep=[v])
    explorer.wait(300)
    assert explorer._solving["state"] == "done"
    assert explorer.plan.keep_mask[v]
    assert explorer.budget == budget
    assert explorer.timeline.peak <= budget
    assert explorer._more[1]["base"] == 0


def test_every_row_solved_under_a_recompute_pin_obeys_it(lab):
    explorer = lab.explorer()
    v = node(lab, kept=True)
    pin(explorer, recompute=[v])
    explorer.wait(300)
    assert not any(
        plan.keep_mask[v] for plan in explorer._selection.tables.table(explorer._selection.tables.pinned).plans
    )


def test_pins_are_what_a_solve_of_their_own_gives(lab):
    explorer = lab.explorer()
    v = node(lab, kept=True)
    explorer.pin(recompute=[lab.graph.names[v]])
    explorer.wait(300)
    table = lab.planner.what_if("time", recompute=[lab.graph.names[v]])
    assert explorer.plan.overhead == table.plan(explorer.budget).overhead


def test_plans_found_under_pins_stay_when_the_pins_are_gone():
    planner = Planner(*residual_step((1, 1)))
    planner.use_plans(planner.first_plans().plans)  # a search that found little
    explorer = Explorer(planner, objectives=["live", "time"], background=False)
    explorer.budget = "60%"
    before = explorer.plan
    pinned = planner.graph.names[int(np.flatnonzero(~before.keep_mask)[0])]
    explorer.pin(recompute=[pinned])  # the plan shown obeys this pin already
    explorer.wait(300)
    under_pins = explorer.plan
    assert under_pins.overhead < before.overhead
    explorer.pin()
    assert explorer._reply["table"] == 0
    assert explorer.plan.overhead <= under_pins.overhead
    assert explorer._tables[0]["rows"] == len(explorer.tables[0]) == len(planner.plans("live"))
    assert explorer._tables[1]["objective"] == "time"


def test_taking_the_last_pin_away_in_another_objective_shows_its_plan():
    planner = Planner(*residual_step((1, 1)))
    planner.use_plans(planner.first_plans().plans)
    explorer = Explorer(planner, objectives=["live", "memory"], background=False)
    update = {"request": 5, "table": 1, "row": 1, "budget": 1e12}
    explorer._asked = update
    pin(explorer, recompute=[4], base=0)  # plans change under this pin, so there is a search
    explorer.wait(300)
    explorer._asked = {**update, "request": explorer._selection.request + 1}
    pin(explorer)
    assert (explorer._reply["table"], explorer.plan) == (1, explorer.tables[1].plan(explorer.budget))


def test_taking_the_last_pin_away_shows_the_free_plan_again(lab):
    explorer = lab.explorer()
    before = explorer.plan
    pin(explorer, keep=[node(lab, kept=False)])
    explorer.wait(300)
    assert explorer.plan is not before
    pin(explorer)
    assert explorer.plan is before
    assert explorer._more[1] == {}


def test_taking_the_last_pin_away_shows_the_baseline_that_was_shown_before_again(lab):
    explorer = lab.explorer()
    row = explorer._more[0]["names"].index("chen")
    for budget, again in ((None, True), ("100%", False)):  # a budget chosen since is the user's newer wish
        explorer._asked = {"request": explorer._selection.request + 1, "table": 2, "row": row, "budget": 0}
        before, wanted = explorer.plan, explorer.budget
        for kept in ([node(lab, kept=False)], [node(lab, kept=True)]):  # another pin is no other plan from before
            pin(explorer, keep=kept)
            explorer.wait(300)
        assert explorer.plan is not before
        if budget is not None:
            explorer.budget = budget
        pin(explorer)
        assert (explorer.plan is before) == again
        assert (explorer.budget == wanted) == again


def run_under_a_pin(lab):
    """An Explorer whose plan keeps a pinned value and was run."""
    explorer = lab.explorer(runner=lab)
    pin(explorer, keep=[node(lab, kept=False)])
    explorer.wait(300)
    explorer.run()
    explorer.wait(20)
    return explorer


def test_a_plan_that_was_run_under_pins_can_be_shown_after_they_are_gone(lab):
    explorer = run_under_a_pin(lab)
    run = explorer.plan
    pin(explorer)
    assert explorer.plan is not run
    row = explorer._more[0]["names"].index("run 1")
    assert (explorer._selection.tables.table(2).plans[row].keep_mask == run.keep_mask).all()


def test_an_impossible_pin_is_reported_and_changes_nothing(lab):
    explorer = lab.explorer()
    before = explorer.plan
    pin(explorer, keep=[len(lab.graph) - 1])
    explorer.wait(300)
    assert explorer._solving["state"] == "failed"
    assert "drop the pin" in explorer._solving["text"]
    assert explorer.plan is before


def test_a_newer_question_takes_the_place_of_an_older_one(lab):
    begun, go = threading.Event(), threading.Event()

    def slow(*arguments, keep, **options):
        if len(keep) == 1:
            begun.set()
            go.wait(20)
        return lab.planner.what_if(*arguments, keep=keep, **options)

    explorer = lab.explorer(lab.planner_with(what_if=slow))
    free = [v for v in range(len(lab.graph) - 1) if not explorer.plan.keep_mask[v]]
    pin(explorer, keep=free[:1])
    assert begun.wait(20)
    older = explorer._questions._job
    pin(explorer, keep=free[:2])
    explorer.wait(300)
    shown = explorer.plan
    go.set()
    assert older.wait(20)
    assert explorer.plan is shown
    assert all(shown.keep_mask[v] for v in free[:2])


def explorer_under_pins():
    """An Explorer whose search under pins waits; its messages, two events, and a value that its plan recomputes."""
    planner = Planner(*residual_step((2, 1)))
    what_if = planner.what_if
    begun, go = threading.Event(), threading.Event()
    shown = []

    def waiting(*arguments, progress, **options):
        def paused(done, total):
            if shown and not begun.is_set():
                begun.set()
                go.wait(60)
            progress(done, total)

        return what_if(*arguments, progress=paused, **options)

    planner.what_if = waiting
    explorer = Explorer(planner, objectives=["live"], background=False)
    explorer.budget = "60%"
    explorer.observe(lambda change: shown.append(change["new"]) if change["new"]["interim"] else None, "_solving")
    return explorer, shown, begun, go, int(np.flatnonzero(~explorer.plan.keep_mask)[0])


def test_known_plans_are_shown_under_pins_before_the_search_and_it_finds_none_worse():
    explorer, shown, begun, go, v = explorer_under_pins()
    before = explorer.plan
    pin(explorer, keep=[v])
    assert begun.wait(60)
    first = explorer.plan
    assert shown[0]["state"] == "solving"
    assert first.keep_mask[v]
    assert explorer.timeline.peak <= explorer.budget
    assert first.overhead >= before.overhead
    go.set()
    explorer.wait(300)
    assert (explorer._solving["state"], explorer._solving["interim"]) == ("done", False)
    assert explorer.plan.keep_mask[v]
    assert explorer.plan.overhead <= first.overhead


def test_a_table_chosen_after_the_first_answer_stays_when_the_search_ends():
    explorer, _, begun, go, v = explorer_under_pins()
    pin(explorer, keep=[v])
    assert begun.wait(60)
    explorer.budget = explorer.tables[0].total_peaks[0]
    explorer._asked = {"request": explorer._selection.request + 1, "table": 0, "row": 0, "budget": 1e12}
    go.set()
    explorer.wait(300)
    assert explorer._selection.table == 0
    assert all(plan.keep_mask[v] for plan in explorer._selection.tables.table(explorer._selection.tables.pinned).plans)


def test_stopping_the_search_under_pins_keeps_its_first_answer():
    explorer, _, begun, go, v = explorer_under_pins()
    pin(explorer, keep=[v])
    assert begun.wait(60)
    first = explorer.plan
    explorer._on_message(explorer, {"type": "stop"}, [])
    go.set()
    explorer.wait(60)
    assert (explorer._solving["state"], explorer._solving["interim"]) == ("cancelled", True)
    assert explorer.plan is first
    pin(explorer)
    assert not explorer._solving["interim"]


def test_stopping_a_solve_shows_nothing_of_it(lab):
    begun, go = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        go.wait(20)
        return lab.planner.what_if(*arguments, **options)

    explorer = lab.explorer(lab.planner_with(what_if=slow))
    before = explorer.plan
    pin(explorer, keep=[node(lab, kept=False)])
    assert begun.wait(20)
    explorer._on_message(explorer, {"type": "stop"}, [])
    assert explorer._solving["state"] == "cancelled"
    go.set()
    explorer.wait(20)
    assert explorer.plan is before
    assert explorer._more[1] == {}


def test_another_solver_is_solved_once_and_then_known(lab):
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return lab.planner.what_if(*arguments, **options)

    explorer = lab.explorer(lab.planner_with(what_if=counted))
    explorer._on_message(explorer, {"type": "solve", "objective": "time", "family": "paper"}, [])
    explorer.wait(300)
    number = explorer._selection.table
    assert explorer._more[number - 2]["family"] == "paper"
    explorer.use_solver("auto", "time")
    assert explorer._selection.table == 0
    explorer.use_solver("paper", "time")
    assert explorer._selection.table == number
    assert calls == [("time", "paper")]


def test_a_solver_that_finishes_after_another_choice_is_known_and_does_not_take_its_place(lab):
    begun, go = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(60)
        return lab.planner.what_if(*arguments, **options)

    explorer = lab.explorer(lab.planner_with(what_if=slow))
    explorer.use_solver("paper", "time")
    assert begun.wait(60)
    explorer._asked = {"request": 5, "table": 1, "row": 0, "budget": 0}
    go.set()
    explorer.wait(300)
    assert explorer._selection.table == 1
    assert any(more.get("family") == "paper" for more in explorer._more)


def test_baselines_can_be_chosen_like_any_plan(lab):
    explorer = lab.explorer()
    row = explorer._more[0]["names"].index("chen")
    explorer._asked = {"request": 5, "table": 2, "row": row, "budget": 0}
    assert explorer.plan.kind == "chen"
    assert explorer.timeline.peak == explorer.budget


def test_a_saved_plan_is_loaded_back(lab, tmp_path):
    explorer = lab.explorer()
    kept = explorer.plan.keep_mask.copy()
    kept[np.flatnonzero(~kept)[0]] = True
    plan = Plan.from_keep_mask(lab.graph, kept, "by hand")
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json())
    explorer.load(path)
    assert (explorer.plan.keep_mask == kept).all()
    assert "loaded by hand" in explorer._more[0]["names"]
    explorer.load(lab.time.plans[3].to_json())
    assert explorer.plan is lab.time.plans[3]


def test_a_plan_of_another_graph_is_refused(lab):
    other = Graph.from_edges([(0, 1)], memory=[1, 1])
    explorer = lab.explorer()
    before = explorer.plan
    with pytest.raises(PlanMismatch):
        explorer.load(Plan.keep_all(other))
    explorer._on_message(explorer, {"type": "load", "text": Plan.keep_all(other).to_json()}, [])
    assert explorer._solving["state"] == "failed"
    assert "another model" in explorer._solving["text"]
    assert explorer.plan is before


def test_a_run_under_pins_is_recorded_with_what_it_kept(lab):
    explorer = run_under_a_pin(lab)
    bits = np.unpackbits(np.frombuffer(explorer._runs[0]["kept"], np.uint8), bitorder="little")[: len(lab.graph)]
    assert (bits.astype(bool) == explorer.plan.keep_mask).all()
    steps = explorer._runs[0]["gap"]
    assert sum(step[1] for step in steps) == steps[-1][2] == explorer.runs[0].measured.peak


def test_pins_while_a_given_plan_is_shown_start_from_the_first_table(lab):
    explorer = lab.explorer()
    row = explorer._more[0]["names"].index("chen")
    explorer._asked = {"request": 5, "table": 2, "row": row, "budget": 0}
    explorer.pin(keep=[lab.graph.names[node(lab, kept=False)]])
    explorer.wait(300)
    assert explorer._solving["state"] == "done"
    assert explorer._more[1]["base"] == 0


def test_an_observer_may_ask_and_wait_without_a_dead_lock(lab):
    explorer, seen = lab.explorer(), []

    def pin_and_wait(_change):
        explorer.pin(recompute=[lab.graph.names[node(lab, kept=True)]])
        explorer.wait()  # It returns immediately: the answer needs the lock under which observers are called.
        seen.append(explorer._solving["state"])

    explorer.observe(pin_and_wait, "plan")
    choice = threading.Thread(target=lambda: setattr(explorer, "budget", lab.time.least_total), daemon=True)
    choice.start()
    choice.join(60)
    assert not choice.is_alive()
    assert seen[0] == "solving"
    explorer.unobserve_all("plan")
    explorer.wait(300)


@pytest.mark.parametrize(
    ("family", "objective"), [("typo", None), ("auto", "typo"), ("paper", "typo"), ("paper", "live"), ("auto", "given")]
)
def test_a_solver_that_does_not_exist_is_refused_before_a_question_starts(lab, family, objective):
    explorer = lab.explorer(lab.planner_with(what_if=None))
    with pytest.raises(ValueError, match="choose"):
        explorer.use_solver(family, objective)
    assert explorer._questions._job is None


def test_opposite_pins_of_one_value_are_refused_before_a_question_starts(lab):
    explorer = lab.explorer(lab.planner_with(what_if=None))
    with pytest.raises(ImpossiblePin):
        explorer.pin(keep=lab.graph.names[2:4], recompute=lab.graph.names[3:5])
    assert explorer._questions._job is None
    assert explorer._pins["keep"] == []


def test_an_unknown_objective_is_refused_before_a_search_starts(lab):
    with pytest.raises(ValueError, match="typo"):
        lab.explorer(lab.planner_with(first_plans=None), objectives=["time", "typo"], background=True)


def test_the_first_budget_may_be_a_percentage(lab):
    explorer, other = lab.explorer(budget="70%"), lab.explorer()
    other.budget = "70%"
    assert explorer.budget == other.budget == int(0.7 * int(lab.time.total_peaks[0]))
    assert explorer.plan is other.plan
