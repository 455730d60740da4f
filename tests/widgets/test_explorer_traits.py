"""The Explorer by its traits, without a browser: choices, stale requests, runs, and its static forms."""

import base64
import dataclasses
import re
import threading
import time
import xml.dom.minidom

import pytest

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.step_times import StepTimes
from recompviz.core.steps.timeline import Timeline
from recompviz.core.steps.value_states import ValueState, value_states
from recompviz.widgets.explorer.runs import LISTED, WHOLE, bounded
from tests.widgets.conftest import RunnerOf


def ask(explorer, request, row, table=0):
    """What the page does on a tick of the slider."""
    budget = float(explorer.tables[table].total_peaks[row])
    explorer._asked = {"request": request, "table": table, "row": row, "budget": budget}


def test_it_begins_with_a_plan_that_recomputes_something(lab):
    explorer = lab.explorer()
    assert 0 < (~explorer.plan.keep_mask).sum() < len(lab.graph)
    assert explorer.budget == explorer.timeline.peak
    assert isinstance(explorer.timeline, Timeline)


def test_a_budget_is_set_in_bytes_or_as_a_string(lab):
    explorer = lab.explorer(budget="1 GiB")
    assert explorer.plan.keep_mask.all()
    explorer.budget = lab.time.least_total
    assert explorer.timeline.peak == lab.time.least_total
    explorer.budget = f"{lab.time.least_total / 2**20 + 0.1} MiB"
    assert explorer.timeline.peak == lab.time.least_total


def test_a_budget_is_set_in_per_cent_of_keep_all(lab):
    explorer = lab.explorer()
    explorer.budget = "100%"
    assert explorer.plan.keep_mask.all()
    assert explorer.budget == lab.time.total_peaks[0]
    with pytest.raises(ValueError, match="'500 MiB' or '60%'"):
        explorer.budget = "much%"


def test_per_cent_are_of_keep_all_also_if_the_pinned_plans_do_not_include_it(lab):
    explorer = lab.explorer()
    explorer.pin(recompute=[lab.graph.names[v] for v in (~lab.time.plans[-1].keep_mask).nonzero()[0]])
    explorer.wait()
    pinned = explorer._selection.current
    assert not any(plan.keep_mask.all() for plan in pinned.plans)
    explorer.budget = "100%"
    assert explorer.budget == lab.time.total_peaks[0] > pinned.total_peaks[0]


def test_an_infeasible_budget_is_refused_with_the_least_one_and_changes_nothing(lab):
    explorer = lab.explorer()
    before = explorer.plan
    with pytest.raises(InfeasibleBudget) as refused:
        explorer.budget = "1 MiB"
    assert refused.value.least == lab.time.least_total
    assert refused.value.unit == "total"
    assert explorer.plan is before


def test_none_is_no_budget_and_changes_nothing(lab):
    explorer = lab.explorer()
    before = explorer.budget, explorer.plan
    with pytest.raises(TypeError, match="budget cannot be None"):
        explorer.budget = None
    assert (explorer.budget, explorer.plan) == before
    explorer.budget = "100%"
    assert explorer.plan.keep_mask.all()


def test_a_tick_of_the_page_is_confirmed_with_its_row(lab):
    explorer = lab.explorer()
    ask(explorer, 5, 3)
    assert (explorer._reply["request"], explorer._reply["row"]) == (5, 3)
    assert explorer.plan is lab.time.plans[3]
    assert explorer._reply["peak"] == lab.time.total_peaks[3] == explorer.timeline.peak


def test_an_older_request_is_dropped(lab):
    explorer = lab.explorer()
    ask(explorer, 5, 3)
    ask(explorer, 4, 7)
    assert explorer._reply["row"] == 3


def test_a_request_superseded_while_it_is_simulated_is_never_answered(lab):
    slow, go = threading.Event(), threading.Event()

    def simulate(plan=None):
        if plan is lab.time.plans[3]:
            slow.set()
            go.wait(10)
        return lab.planner.simulate(plan)

    explorer = lab.explorer(lab.planner_with(simulate=simulate))
    replies = []
    explorer.observe(lambda change: replies.append(change["new"]["request"]), "_reply")
    first = threading.Thread(target=ask, args=(explorer, 5, 3))
    first.start()
    assert slow.wait(10)
    second = threading.Thread(target=ask, args=(explorer, 6, 7))
    second.start()
    while explorer._selection.request < 6:
        time.sleep(0.01)
    go.set()
    first.join()
    second.join()
    assert replies == [6]
    assert explorer.plan is lab.time.plans[7]


def test_a_damaged_choice_of_the_page_is_ignored(lab):
    explorer = lab.explorer()
    before = explorer._reply
    for damaged in ({}, {"row": "x"}, {"budget": float("inf")}, {"table": None}):
        explorer._asked = damaged and {"request": 9, "table": 0, "row": 1, "budget": 1} | damaged
    assert explorer._reply is before


@pytest.mark.parametrize(("table", "row"), [(0, 10**6), (7, 0), (-1, 0), (3, 0)])
def test_a_choice_that_is_not_possible_any_more_is_answered_with_the_present_one(lab, table, row):
    explorer = lab.explorer()  # table 3 is that of pins: there are none
    before = explorer._reply
    explorer._asked = {"request": 9, "table": table, "row": row, "budget": 1}
    assert explorer._reply == {**before, "request": 9}
    explorer._asked = {"request": 10, "table": 0, "row": 1, "budget": 1}
    assert (explorer._reply["request"], explorer._reply["row"]) == (10, 1)


def test_the_page_may_choose_a_memory_centric_plan(lab):
    explorer = lab.explorer()
    ask(explorer, 2, len(lab.memory) - 1, table=1)
    assert explorer.plan is lab.memory.plans[-1]


def test_python_may_watch_the_plan(lab):
    explorer = lab.explorer()
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "plan")
    ask(explorer, 2, 1)
    assert seen == [lab.time.plans[1]]


def test_a_plan_change_lays_nothing_out_and_sends_no_table_again(lab):
    explorer = lab.explorer()
    changed = []
    explorer.observe(lambda change: changed.append(change["name"]), ["_graph", "_layout", "_tables", "_more"])
    for request, row in enumerate((4, 2, 0), start=2):
        ask(explorer, request, row)
    assert changed == []


def test_another_layout_mode_is_sent_when_the_page_wishes_it(lab):
    explorer = lab.explorer()
    explorer._mode = "down"
    assert explorer._layout["mode"] == "down"
    explorer._mode = "no such mode"
    assert explorer._layout["mode"] == "down"


def test_run_measures_in_the_background_and_is_recorded(lab):
    explorer = lab.explorer(runner=lab)
    explorer._on_message(explorer, {"type": "run"}, [])
    explorer.wait(20)
    (report,) = explorer.runs
    assert report.plan is explorer.plan
    assert report.deviation(explorer.timeline) == 0
    assert explorer._run["state"] == "done"
    assert explorer._runs[0]["measured_peak"] == explorer.timeline.peak
    budget = explorer._reply["budget"]
    explorer.budget = int(lab.time.least_total)
    assert explorer._runs[0]["budget"] == budget != explorer._reply["budget"]


def test_the_history_of_runs_is_bounded(lab):
    explorer = lab.explorer(runner=lab)
    explorer.run()
    explorer.wait(20)
    (first,) = explorer.runs
    events, figures = len(first.measured.delta), explorer._runs[0]
    for _ in range(WHOLE + 1):
        explorer.run()
        explorer.wait(20)
    assert len(explorer.runs) == WHOLE
    assert first not in explorer.runs
    assert len(first.measured.delta) == events  # the user's own reference is the whole report
    assert [message["number"] for message in explorer._runs] == list(range(1, WHOLE + 3))
    assert [bool(message["measured"]) for message in explorer._runs] == [False, False] + [True] * WHOLE
    assert explorer._runs[0] == {**figures, "measured": b"", "gap": []}
    assert bounded([{"number": number} for number in range(LISTED + 3)])[0]["number"] == 3


def test_a_run_can_be_cancelled(lab):
    started = threading.Event()

    def endless(_plan, progress):
        started.set()
        while True:
            progress(1, 2, "working")
            time.sleep(0.01)

    explorer = lab.explorer(runner=RunnerOf(endless))
    explorer.run()
    assert started.wait(10)
    explorer._on_message(explorer, {"type": "cancel"}, [])
    explorer.wait(10)
    assert explorer._run["state"] == "cancelled"
    assert explorer.runs == ()


def test_out_of_memory_is_reported_with_the_next_step_and_the_explorer_lives_on(lab):
    calls = []

    def greedy(plan, progress):
        calls.append(plan)
        if len(calls) == 1:
            raise MemoryError("could not allocate 3 GiB")
        return lab.run(plan, progress)

    explorer = lab.explorer(runner=RunnerOf(greedy))
    explorer.run()
    explorer.wait(10)
    assert explorer._run["state"] == "failed"
    assert "out of memory: could not allocate 3 GiB" in explorer._run["text"]
    assert "smaller budget" in explorer._run["text"]
    assert lab.time.least_total <= explorer._run["offer"] < explorer.timeline.peak
    explorer.run()
    explorer.wait(10)
    assert len(explorer.runs) == 1


def test_out_of_memory_is_reported_also_if_the_table_of_the_plan_is_gone(lab):
    began, go, calls = threading.Event(), threading.Event(), []

    def greedy(plan, progress):
        calls.append(plan)
        if len(calls) > 1:
            return lab.run(plan, progress)
        began.set()
        assert go.wait(10)
        raise MemoryError("could not allocate 3 GiB")

    explorer = lab.explorer(runner=RunnerOf(greedy))
    explorer.pin(keep=[lab.graph.names[0]])
    explorer.wait(60)
    gone = explorer._reply["table"]
    assert gone == explorer._selection.tables.pinned
    explorer.run()
    assert began.wait(10)
    explorer.pin()
    explorer.wait_for_plans()
    assert explorer._selection.tables.shown(gone) is None
    go.set()
    explorer.wait(10)
    assert (explorer._run["state"], explorer._run["number"]) == ("failed", 1)
    assert "out of memory" in explorer._run["text"]
    explorer.run()
    explorer.wait(10)
    assert len(explorer.runs) == 1


def test_a_run_belongs_to_the_plan_it_began_with(lab):
    go = threading.Event()

    def patient(plan, progress):
        go.wait(10)
        return lab.run(plan, progress)

    explorer = lab.explorer(runner=RunnerOf(patient))
    begun = explorer.plan
    explorer.run()
    ask(explorer, 9, 0)
    go.set()
    explorer.wait(10)
    assert explorer.runs[0].plan is begun
    assert explorer.tables[0].plans[explorer._runs[0]["row"]] is begun


def test_without_a_runner_there_is_no_button(lab):
    explorer = lab.explorer()
    assert explorer._run["can"] is False
    with pytest.raises(RuntimeError, match="pass runner="):
        explorer.run()


def test_a_graph_in_place_of_a_planner_is_refused_with_the_next_step(lab):
    with pytest.raises(TypeError, match=r"rv\.Planner"):
        lab.explorer(lab.graph)


def test_the_static_picture_is_well_formed_and_says_which_bytes(lab):
    svg = lab.explorer(title="a <b> & c").to_svg()
    xml.dom.minidom.parseString(svg)
    assert "total bytes" in svg
    plan = lab.explorer().plan
    states = value_states(lab.planner.schedule(plan), plan.keep_mask.tolist())
    counts = [int((states == state).sum()) for state in ValueState]
    assert all(counts)
    assert svg.count('stroke-dasharray="3.5 2"') == counts[ValueState.RECOMPUTED]
    assert f"{counts[0]} of {len(states)} values recomputed, {counts[1]} kept, {counts[2]} not needed later" in svg


def test_formula_bytes_and_segments_are_in_the_static_picture_only_in_the_paper_s_view(lab):
    band = LIGHT["band-0"]
    for theory in (False, True):
        svg = lab.explorer(theory=theory).to_svg()
        assert ("formula bytes" in svg, band in svg) == (theory, theory)


def test_the_static_picture_has_the_budget_the_outline_of_keep_all_and_in_a_notebook_a_caption(lab):
    explorer = lab.explorer()
    least, most = explorer.tables[0].least_total, int(explorer.tables[0].total_peaks[0])
    heights = []
    for budget in (least, (least + most) // 2):
        explorer.budget = budget
        svg = explorer.to_svg()
        assert svg.count('class="keep-all"') == 1
        assert svg.count('class="budget"') == 2  # in the curve and in the landscape
        assert f"budget {format_bytes(budget)}" in svg
        heights.append(float(re.findall(r'class="budget" d="M[\d.]+ ([\d.]+)H', svg)[0]))
    assert heights[0] > heights[1]  # y grows downwards
    assert "Saved picture of the selected plan" not in svg
    image = base64.b64decode(explorer._image().split("base64,")[1].split('"')[0]).decode()
    assert "Saved picture of the selected plan; run the cell to explore" in image


def test_the_static_picture_of_a_plan_that_was_run_has_its_measured_memory_and_times(lab):
    def measure(plan, progress):
        report = lab.run(plan, progress)
        more = report.measured.delta.copy()
        more[0] += 4 * report.measured.peak
        times = StepTimes((10.0,) * 6, (12.0,) * 6, 1.5)
        return dataclasses.replace(report, measured=dataclasses.replace(report.measured, delta=more), times=times)

    explorer = lab.explorer(runner=RunnerOf(measure))
    assert "measured" not in explorer.to_svg()
    explorer.run()
    explorer.wait(20)
    svg = explorer.to_svg()
    xml.dom.minidom.parseString(svg)
    peak = format_bytes(explorer.runs[0].measured.peak)
    assert svg.count(f"measured on CPU: peak {peak}, 80.00% off · gradients checked") == 2  # in its title, too
    assert svg.count("measured step 12.0 ms, eager 10.0 ms, predicted 11.5 ms; extra +20.0% (") == 2
    assert svg.count(">measured</text>") == 1  # in the legend
    line = re.search(r'class="measured" d="([^"]+)"', svg)[1]
    bars = re.search(r'class="budget" d="M470.0 ([\d.]+)H', svg)[1]
    heights = [float(y) for y in re.findall(r"(?:M[\d.]+ |V)([\d.]+)", line)]
    assert 34 < min(heights) < float(bars)  # in the frame, above the predicted peak
    explorer.budget = "100%"
    assert "measured" not in explorer.to_svg()  # another plan


def test_text_and_html_stand_beside_the_widget_view(lab):
    data, _ = lab.explorer()._repr_mimebundle_()
    assert 'src="data:image/svg+xml;base64,' in data["text/html"]
    assert "total bytes" in data["text/plain"]
    assert "formula bytes" in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data
