"""Another batch size in the Explorer, and whether the step fits into a device."""

import dataclasses
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from recompviz.core.base.errors import Cancelled
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.examples import residual_step
from recompviz.widgets.explorer.resizing import Subject, steps_of
from tests.widgets.test_javascript import run


def run_of(planner, plan, progress):
    """A report of the lab for a step of another batch."""
    progress(1, 2, "half-way")
    measured = dataclasses.replace(planner.simulate(plan), kind="measured")
    return RunReport(plan, measured, "CPU", 0.1, True, "bitwise equal")


class Resizer:
    """The residual step of the lab at other batches; traces when ``go`` is set."""

    def __init__(self, lab):
        self.lab = lab
        self.axes = (SimpleNamespace(name="batch", size=8, most=4096),)
        self.go = threading.Event()
        self.go.set()
        self.subjects = {8: Subject(lab.planner, lab, "ms")}

    def at(self, sizes, progress):
        batch = sizes["batch"]
        while not self.go.wait(0.002):
            progress(1, 2, "tracing")
        if batch == 13:
            raise ValueError("13 is no batch")
        if batch not in self.subjects:
            planner = Planner(*residual_step((1, 1), batch=batch))
            runner = SimpleNamespace(run=lambda plan, progress: run_of(planner, plan, progress))
            self.subjects[batch] = Subject(planner, runner, "ms (scaled)")
        return self.subjects[batch]


@pytest.fixture
def resizer(lab):
    return Resizer(lab)


@pytest.fixture
def explorer(lab, resizer):
    explorer = lab.explorer(runner=lab, resizer=resizer)
    yield explorer
    resizer.go.set()
    explorer.close()


def ask(explorer, batch, budget=0):
    explorer._on_message(explorer, {"type": "resize", "sizes": [batch], "budget": budget}, [])


def test_another_batch_is_planned_with_the_plans_found_and_then_searched(explorer, resizer):
    explorer.resize(batch=64)
    explorer.wait(20)
    assert explorer._sizes["now"] == [64]
    planner = resizer.subjects[64].planner
    assert explorer.planner is planner
    assert explorer.timeline.peak == planner.simulate(explorer.plan).peak
    assert [table.objective for table in explorer.tables] == ["time", "memory"]
    assert explorer.tables[0].total_peaks.tolist() == planner.plans("time").total_peaks.tolist()
    assert explorer._graph["time_unit"] == "ms (scaled)"
    assert np.frombuffer(explorer._graph["memory"], "<f8").tolist() == planner.graph.memory.tolist()


def test_a_saved_picture_says_its_batch_and_that_its_times_are_scaled(explorer):
    assert ", batch 8 on " in explorer.to_svg()
    explorer.resize(batch=64)
    explorer.wait(20)
    picture = explorer.to_svg()
    assert ", batch 64 on " in picture
    assert ", scaled from the times at another size (+" in picture


def test_plans_carried_to_another_batch_are_not_above_its_baselines(lab, resizer):
    explorer = lab.explorer(resizer=resizer, baselines=["chen"], objectives=[], background=True)
    few = lab.planner.table(lab.time.plans[:1], "live")
    explorer._selection.tables.first = (dataclasses.replace(explorer._selection.tables.first[0], table=few),)
    explorer.resize(batch=64)
    explorer.wait(20)
    tables = explorer._selection.tables
    assert tables.first[0].table.least_total <= tables.shown(1).table.least_total < few.least_total * 8
    explorer.close()


def test_the_traced_batch_has_its_own_plans_and_runs_again(explorer):
    before = explorer.tables
    explorer.run()
    explorer.wait(20)
    first = explorer._runs
    explorer.resize(batch=64)
    explorer.wait(20)
    assert explorer._runs == []
    explorer.run()
    explorer.wait(20)
    assert [message["number"] for message in explorer._runs] == [2]
    explorer.resize(batch=8)
    explorer.wait(20)
    assert explorer.tables == before
    assert explorer._runs == first
    assert len(explorer.runs) == 2


def test_loaded_plans_are_there_again_at_their_batch(explorer, lab):
    plan = Plan.from_keep_mask(lab.graph, lab.graph.names[::3], "by hand")
    explorer.load(plan)
    explorer.run()  # it is also a plan that was run; it keeps its name, and has one row
    explorer.wait(20)
    names = explorer._more[0]["names"]
    explorer.resize(batch=64)
    explorer.wait(20)
    assert explorer._more[0] is None or f"loaded {plan.kind}" not in explorer._more[0]["names"]
    explorer.resize(batch=8)
    explorer.wait(20)
    assert explorer._more[0]["names"] == names
    assert f"loaded {plan.kind}" in names
    explorer.load(plan)
    assert explorer.plan.keep_mask.tolist() == plan.keep_mask.tolist()
    assert explorer._more[0]["names"] == names


def test_a_loaded_plan_that_a_search_found_too_outlasts_better_plans(explorer, lab):
    plan = explorer.tables[0].plans[3]
    explorer.load(plan)
    assert explorer._selection.tables.find(plan) == (0, 3)
    fewer = [lab.planner.table(table.plans[:3] + table.plans[4:], table.objective) for table in explorer.tables]
    explorer._replace_tables(fewer)
    table, row = explorer._selection.tables.find(plan)
    assert explorer._more[table - 2]["names"][row].startswith("loaded ")


def test_a_budget_in_bytes_stays_and_is_raised_only_if_no_plan_fits(explorer):
    budget = explorer.budget
    ask(explorer, 4, budget)
    explorer.wait(20)
    assert explorer.budget == budget
    ask(explorer, 512, budget)
    explorer.wait(20)
    assert explorer.budget == explorer.timeline.peak > budget
    assert (explorer._reply["wanted"], explorer._reply["budget"]) == (budget, explorer.budget)


def test_a_budget_that_no_plan_fits_is_remembered_and_comes_back_with_the_old_size(explorer):
    budget, plan = explorer.budget, explorer.plan
    explorer.resize(batch=512)
    explorer.wait(20)
    assert explorer.budget == explorer.tables[0].least_total > budget
    explorer.resize(batch=256)
    explorer.wait(20)
    assert explorer._reply["wanted"] == budget < explorer.budget
    explorer.resize(batch=8)
    explorer.wait(20)
    assert (explorer.budget, explorer.plan) == (budget, plan)
    assert explorer._reply["wanted"] == budget


def test_a_budget_below_the_plans_known_so_far_is_used_when_the_search_has_found_a_plan_for_it(explorer, resizer):
    resizer.at({"batch": 64}, None)
    best = resizer.subjects[64].planner.plans("time")
    wanted = best.least_total
    few = explorer.planner.table(explorer.planner.plans("time").plans[:1], "live")
    explorer._selection.tables.first = (dataclasses.replace(explorer._selection.tables.first[0], table=few),)
    ask(explorer, 64, wanted)
    explorer._resizing.wait(20)
    explorer.wait_for_plans(20)
    assert explorer.budget == wanted == explorer._reply["wanted"]
    assert explorer.timeline.peak <= wanted


def test_a_device_that_no_plan_fits_is_asked_again_at_another_size(explorer):
    least = explorer.tables[0].least_total
    row = explorer.tables[0].row(least)
    explorer._asked = {"request": 5, "table": 0, "row": row, "budget": least // 2, "edition": explorer._edition}
    assert (explorer.budget, explorer._reply["wanted"]) == (least, least // 2)
    explorer.resize(batch=1)
    explorer.wait(20)
    assert explorer.budget == least // 2 >= explorer.timeline.peak


def test_pins_stay_at_another_size_and_are_obeyed_there(explorer, resizer):
    names, table = explorer.graph.names, explorer.tables[0]
    again = next(v for v in range(len(names)) if all(plan.keep_mask[v] for plan in table.plans[1:3]))
    explorer.pin(recompute=[names[again]])
    explorer.wait(60)
    for batch in (64, 8):
        explorer.resize(batch=batch)
        explorer.wait(60)
        explorer.wait_for_plans(60)
        explorer.wait(60)
        assert explorer.planner is resizer.subjects[batch].planner
        assert (explorer._pins["keep"], explorer._pins["recompute"]) == ([], [again])
        assert explorer._reply["table"] == explorer._selection.tables.pinned
        assert not explorer.plan.keep_mask[again]
    explorer.pin()
    explorer.resize(batch=64)
    explorer.wait(60)
    assert explorer._pins["recompute"] == []
    assert explorer._pins["lost"] == ""


def test_a_cancelled_request_keeps_what_is_shown_and_a_newer_one_replaces_it(explorer, resizer):
    graph = explorer.graph
    resizer.go.clear()
    ask(explorer, 64)
    assert explorer._sizes["state"] == "working"
    explorer._on_message(explorer, {"type": "keep-sizes"}, [])
    assert explorer._sizes["state"] == "cancelled"
    assert explorer.graph is graph
    ask(explorer, 32)
    ask(explorer, 16)
    resizer.go.set()
    explorer.wait(20)
    assert explorer._sizes["now"] == [16]


def test_a_size_that_cannot_be_traced_is_told_in_one_line_and_nothing_changes(explorer):
    graph = explorer.graph
    ask(explorer, 13)
    explorer.wait(20)
    assert explorer._sizes["state"] == "failed"
    assert "13 is no batch" in explorer._sizes["text"]
    assert "\n" not in explorer._sizes["text"]
    assert explorer.graph is graph


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"batch": 5000}, {"length": 8}])
def test_python_code_is_told_about_a_wrong_size(explorer, sizes):
    with pytest.raises(ValueError, match=r"expected|can be"):
        explorer.resize(**sizes)


@pytest.mark.parametrize("content", [{}, {"sizes": [4, 4], "budget": 1}, {"sizes": ["4"], "budget": 1}, {"sizes": [4]}])
def test_a_damaged_message_changes_nothing(explorer, content):
    explorer._on_message(explorer, {"type": "resize", **content}, [])
    assert explorer._sizes["state"] == "idle"
    assert explorer._sizes["now"] == [8]


def test_a_run_under_way_does_not_report_to_another_batch(lab, resizer):
    begun, go = threading.Event(), threading.Event()

    def slow(plan, progress):
        begun.set()
        go.wait(20)
        try:
            progress(1, 2, "half-way")
        except Cancelled:
            begun.clear()
            raise
        return lab.run(plan, progress)

    resizer.subjects[8] = Subject(lab.planner, SimpleNamespace(run=slow), "ms")
    explorer = lab.explorer(runner=SimpleNamespace(run=slow), resizer=resizer)
    explorer.run()
    assert begun.wait(20)
    old = explorer._run_jobs
    explorer.resize(batch=64)
    explorer._resizing.wait(20)
    go.set()
    old.wait(20)
    assert not begun.is_set()
    assert explorer._run["state"] == "idle"
    assert explorer.runs == ()


def test_a_run_that_ends_out_of_memory_after_a_change_of_the_batch_is_dropped(lab, resizer):
    begun, go, broken = threading.Event(), threading.Event(), []

    def greedy(_plan, _progress):
        begun.set()
        assert go.wait(20)
        raise MemoryError("could not allocate 3 GiB")

    explorer = lab.explorer(runner=SimpleNamespace(run=greedy), resizer=resizer)
    explorer.pin(keep=[lab.graph.names[0]])
    explorer.wait(60)
    explorer.run()
    assert begun.wait(20)
    old, hook = explorer._run_jobs, threading.excepthook
    threading.excepthook = broken.append
    try:
        explorer.resize(batch=64)
        explorer._resizing.wait(20)
        go.set()
        old.wait(20)
    finally:
        threading.excepthook = hook
    assert not broken
    assert explorer._run["state"] == "idle"


def test_the_slider_offers_powers_of_two_and_the_traced_size():
    steps = steps_of(SimpleNamespace(name="batch", size=5, most=20))
    assert steps == [1, 2, 3, 4, 5, 6, 8, 12, 16, 20]


# ---------------------------------------------------------------- the sentence and the code

TABLE = {"rows": 3, "objective": "live", "totalPeaks": [40e9, 23e9, 18e9], "overheads": [0, 7, 50], "names": []}
GIVEN = {"rows": 1, "objective": "given", "totalPeaks": [33e9], "overheads": [30], "names": ["per-module"]}


def sentence(gigabytes, **facts):
    target = {"bytes": gigabytes * 1e9, "label": f"{gigabytes} GB", "device": True}
    defaults = {
        "table": TABLE, "given": GIVEN, "target": target, "base": {"time": 100, "name": "the forward"},
        "unit": "ms (measured)", "axes": [["batch", 16, []]], "now": [64],
    }  # fmt: skip
    return run("explorer/fit.js", "m.fitSentence(v.facts)", facts=defaults | facts)


@pytest.mark.node
def test_the_sentence_says_what_fits_for_what_and_what_a_checkpoint_around_each_block_needs():
    assert sentence(24) == (
        "batch 64 fits in 24 GB (22.4 GiB) for +7.0% of the forward, 7.00 ms; a checkpoint around each block needs "
        "30.7 GiB, +30%"
    )
    assert (
        sentence(80) == "batch 64 fits in 80 GB (74.5 GiB) with nothing recomputed; keeping everything needs 37.3 GiB"
    )
    assert sentence(16).startswith("batch 64 does not fit in 16 GB (14.9 GiB): the leanest plan found needs 16.8 GiB")
    assert "at most +7.0%" in sentence(24, searching=True)
    may = "searching: batch 64 may fit in 16 GB (14.9 GiB): the leanest plan so far needs 16.8 GiB"
    assert sentence(16, searching=True).startswith(may)
    assert sentence(24, bound="at most 14% of the forward above the best possible").startswith(
        "batch 64 fits in 24 GB (22.4 GiB) for +7.0% of the forward, 7.00 ms, at most 14% of the forward "
        "above the best possible;"
    )
    assert "ms" not in sentence(24, unit="FLOP")
    assert sentence(24, axes=[], now=[], given=None).startswith("this step fits in 24 GB")


@pytest.mark.node
def test_a_budget_that_no_plan_fits_is_told_beside_it_and_what_is_shown_instead():
    def words(gib, **about):
        call = "m.misfitText(v.wanted, v.table, v.about)"
        return run("explorer/fit.js", call, wanted=gib * 2**30, table=TABLE, about=about)

    assert words(10, sizes="batch 48") == "10.0 GiB does not fit batch 48; shown: the least, 16.8 GiB"
    assert words(10, searching=True) == "searching: no plan for 10.0 GiB yet; shown: the least so far, 16.8 GiB"
    assert words(10, unsearched=True) == "no plan yet for 10.0 GiB; shown: the least so far, 16.8 GiB"
    assert words(10, pinned=True) == "10.0 GiB does not fit this step with these pins; shown: the least, 16.8 GiB"
    device = {"label": "12 GB", "bytes": 12e9, "device": True}
    assert words(10, target=device) == "12 GB (11.2 GiB) does not fit this step; shown: the least, 16.8 GiB"
    assert words(18, sizes="batch 48") == words(18, searching=True) == ""


@pytest.mark.node
def test_a_text_that_is_no_size_is_quoted_short():
    call = "m.notASize(v.text, '500 MiB or 60%')"
    assert run("explorer/fit.js", call, text="lots") == "“lots” is not a size; for example 500 MiB or 60%"
    assert len(run("explorer/fit.js", call, text="x" * 500)) < 70


@pytest.mark.node
def test_a_device_is_marked_by_what_it_costs():
    def marks(**about):
        mark = "m.fitMark(v.table, b, { time: 100, name: 'the step' }, v.about)"
        call = f"v.sizes.map((b) => {mark}).map(({{ mark, fits }}) => [mark, fits])"
        return [tuple(m) for m in run("explorer/fit.js", call, table=TABLE, sizes=[1e9, 24e9, 80e9], about=about)]

    assert marks() == [("✗", "no"), ("+7.0%", "yes"), ("✓", "yes")]
    # a plan may still be found, unless what is alive in the whole step is already too large
    assert marks(searching=True) == [("…", "open"), ("≤ +7.0%", "yes"), ("✓", "yes")]
    assert marks(unsearched=True)[0] == ("?", "open")
    assert marks(searching=True, fixed=2e9)[0] == ("✗", "no")
    sizes = [999, 33.1e9, 141e9, 462_422_016, 1.5e12]
    written = run("shared/units.js", "v.sizes.map(m.formatDecimal)", sizes=sizes)
    assert written == ["999 B", "33.1 GB", "141 GB", "462 MB", "1.5 TB"]


@pytest.mark.node
def test_a_device_with_room_for_everything_is_ticked_although_pins_recompute_something():
    pinned = {"rows": 2, "base": 0, "objective": "live", "totalPeaks": [38e9, 20e9], "overheads": [2, 9]}
    call = "[80e9, 24e9].map((b) => m.fitMark(v.table, b, { time: 100, name: 'the step' }))"
    roomy, tight = run("explorer/fit.js", call, table=pinned)
    assert roomy["mark"] == "✓"
    assert roomy["words"] == "everything can be kept except what the pins need recomputed, for +2.0% of the step"
    assert tight["mark"] == "+9.0%"
    assert tight["words"] == "fits for +9.0% of the step, of which the pins alone need +2.0% of the step"
    unpinned, _ = run("explorer/fit.js", call, table={**pinned, "base": -1})
    assert unpinned["mark"] == "+2.0%"


@pytest.mark.node
def test_a_typed_size_is_answered_in_the_units_of_the_user():
    typed = ["100mib", "0.5 GB", "12", "1,500 kb", "2 TiB", "60%", "abc", "0", "5 parsecs", ""]
    targets = run("explorer/fit.js", "v.typed.map(m.typedTarget)", typed=typed)
    found = [target and (target["label"], target["bytes"], target["binary"]) for target in targets]
    assert found == [
        ("100 MiB", 100 * 2**20, True), ("0.5 GB", 5 * 10**8, False), ("12 GB", 12 * 10**9, False),
        ("1500 kB", 15 * 10**5, False), ("2 TiB", 2 * 2**40, True), None, None, None, None, None,
    ]  # fmt: skip
    for target in filter(None, targets):
        assert parse_bytes(target["label"]) == target["bytes"]  # the copied line means the same
    assert sentence(0, target=targets[0]) == (
        "batch 64 does not fit in 100 MiB: the leanest plan found needs 16.8 GiB; a checkpoint around each block needs "
        "30.7 GiB"
    )
    assert "0.5 GB (477 MiB): the leanest plan found needs 16.8 GiB" in sentence(0, target=targets[1])


@pytest.mark.node
def test_a_typed_size_is_marked_with_its_label_until_another_target_is_chosen():
    marked = "m.markedDevices(v.target)"
    target = {"bytes": 30 * 2**30, "label": "30 GiB", "device": True}
    with_own = run("explorer/fit.js", marked, target=target)
    common = run("explorer/fit.js", marked, target=None)
    assert [mark["label"] for mark in common] == ["16 GB", "24 GB", "40 GB", "80 GB", "141 GB"]
    assert [mark["label"] for mark in with_own] == ["16 GB", "24 GB", "30 GiB", "40 GB", "80 GB", "141 GB"]
    assert run("explorer/fit.js", marked, target={**common[0], "device": True}) == common


@pytest.mark.node
def test_the_copied_lines_say_the_size_and_that_an_optimizer_is_not_counted():
    lines = "m.trainingLines(v.target, (x) => x >= 5e7, ['this step fits'], v.optimizer)"
    written = run("explorer/fit.js", lines, target={"bytes": 58615399.5, "label": "55.9 MiB"}, optimizer=True)
    assert 'model = rv.compile(model, total="55.9 MiB")' in written.splitlines()
    assert "optimizer" not in written
    assert "optimizer state not counted" in run("explorer/fit.js", lines, target=DEVICE, optimizer=False)


@pytest.mark.node
def test_the_copied_code_names_its_sizes_and_is_for_a_total_that_works():
    def code(gigabytes, now):
        target = {"bytes": gigabytes * 1e9, "label": f"{gigabytes} GB", "device": True}
        facts = {
            "table": TABLE, "given": None, "target": target, "base": {"time": 100, "name": "the step"}, "unit": "ms",
            "axes": [["batch", 16, []], ["length", 128, []]], "now": now,
        }  # fmt: skip
        label = run("explorer/fit.js", "m.codeLabel(v.facts.table, v.facts.target)", facts=facts)
        return label, run("explorer/fit.js", "m.codeFor(v.facts)", facts=facts).splitlines()

    label, lines = code(24, [16, 128])
    assert label == "Copy the code"
    assert "# for batch 16, length 128" in lines
    assert 'model = rv.compile(model, total="24 GB")' in lines
    label, lines = code(16, [64, 128])
    assert label == "Copy the code for the least, 16.8 GiB"
    assert "# for batch 64, length 128, computed from the step traced at batch 16, length 128" in lines
    assert any(line.startswith("# batch 64, length 128 do not fit in 16 GB") for line in lines)
    total = next(line for line in lines if line.startswith("model ="))
    assert total == 'model = rv.compile(model, total="16.8 GiB")'
    assert parse_bytes("16.8 GiB") >= 18e9


@pytest.mark.node
def test_the_least_total_is_rounded_up_to_a_text_that_the_view_rounds_to_its_own_number():
    sizes = [1, 1000, 1024, 47178055, 18e9, 123456789, 1.5e12]
    texts = run("explorer/fit.js", "v.sizes.map(m.enoughFor)", sizes=sizes)
    assert all(size <= parse_bytes(text) <= 1.01 * size for size, text in zip(sizes, texts, strict=True))
    assert texts[3] == "45 MiB"
    shown = run("shared/units.js", "v.sizes.map(m.formatBytes)", sizes=sizes)
    least = 92_096_430  # was "87.8 MiB" in the view and "87.9 MiB" on the button
    assert run("explorer/fit.js", "m.enoughFor(v.least)", least=least) == "87.83 MiB"
    assert [format_bytes(parse_bytes(text)) for text in texts] == shown


@pytest.mark.node
def test_before_another_size_is_traced_an_estimate_is_told():
    axes = [["batch", 16, []], ["length", 128, []]]
    facts = {"table": TABLE, "fixed": 2e9, "axes": axes, "now": [16, 128]}
    asked = [[16, 128], [64, 128], [16, 256]]
    texts = run(
        "explorer/fit.js", "v.asked.map((asked) => m.estimateText({ ...v.facts, asked }))", facts=facts, asked=asked
    )
    assert texts[0] == ""
    assert "about 143 GiB with everything kept, about 61.5 GiB at least" in texts[1]  # 2 + 4 · 38, 2 + 4 · 16 GB
    assert "between 72.6 GiB and 143 GiB with everything kept" in texts[2]


@pytest.mark.node
def test_bytes_that_no_size_changes_are_those_of_the_weights_and_their_gradients():
    categories = [
        {"number": 0, "fixed": True, "bytes": 5}, {"number": 2, "fixed": True, "bytes": 7},
        {"number": 5, "fixed": False, "bytes": 0}, {"number": 9, "fixed": False, "bytes": 0},
    ]  # fmt: skip
    reply = {"categories": categories, "bands": [5, 5, 7, 7, 1, 9, 0, 3], "steps": 2, "peakStep": 1}
    assert run("explorer/fit.js", "m.bytesOfAnySize(v.reply)", reply=reply) == 8


@pytest.mark.node
def test_the_bound_without_pins_is_a_bound_with_pins():
    first = {**TABLE, "base": -1}
    pinned = {"rows": 2, "base": 0, "totalPeaks": [20e9, 40e9], "overheads": [30, 0]}
    gap = "v.rows.map((row) => m.planGapText(v.first, [0, 6, 20], v.pinned, row, { time: 100, name: 'the step' }))"
    tight, whole = run("explorer/fit.js", gap, first=first, pinned=pinned, rows=[0, 1])
    assert (
        tight == "at most 24% of the step above the best possible without the pins"
    )  # the bound of 23 GB holds for 20
    assert whole == "the best possible, with or without the pins"
    assert run("explorer/fit.js", "m.planGapText(v.t, [0], v.t, 0, { time: 100 })", t=first) == ""  # of another table


@pytest.mark.node
def test_a_copied_budget_is_the_shortest_text_that_chooses_the_same_plan():
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(np.log(3e4), np.log(3e12), 40))
    tables = [
        {"rows": 30, "totalPeaks": np.sort(np.round(scale * rng.uniform(0.5, 1, 30)))[::-1].tolist()}
        for scale in scales
    ]
    budgets = [[peak + rng.integers(0, 2) * float(rng.uniform(0, 1e4)) for peak in t["totalPeaks"]] for t in tables]
    row = "((table, bytes) => table.totalPeaks.findIndex((peak) => peak <= bytes))"
    texts = run(
        "explorer/fit.js",
        f"v.tables.map((t, i) => v.b[i].map((b) => m.budgetText(b, (x) => {row}(t, x) === {row}(t, b))))",
        tables=tables, b=budgets,
    )  # fmt: skip
    lengths = []
    for table, asked, found in zip(tables, budgets, texts, strict=True):
        peaks = np.array(table["totalPeaks"])
        for budget, text in zip(asked, found, strict=True):
            size = parse_bytes(text)
            assert np.argmax(peaks <= size) == np.argmax(peaks <= budget)
            assert peaks[-1] <= size
            lengths.append(len(text.replace(".", "").split()[0]))
            assert size <= budget or size - budget < 0.011 * budget
    assert np.mean(np.array(lengths) <= 3) > 0.5
    # the budget of a plan with 83.59995 MiB, whose next plan needs 84 MiB
    assert run("explorer/fit.js", "m.budgetText(87660900, (x) => x >= 87660900 && x < 88e6)") == "83.6 MiB"
    assert run("explorer/fit.js", "m.budgetText(58615399, (x) => x >= 58e6)") == "55.9 MiB"


@pytest.mark.node
def test_the_copied_code_of_a_long_total_is_short_and_chooses_the_plan_of_the_view():
    table = {"objective": "live", "rows": 3, "totalPeaks": [100e6, 87660850, 80e6], "overheads": [0, 5, 9]}
    facts = {
        "table": table, "given": None, "target": {"bytes": 87660900, "label": "83.6 MiB", "device": False},
        "base": {"time": 100, "name": "the step"}, "unit": "ms", "axes": [], "now": [],
    }  # fmt: skip
    assert 'total="83.6 MiB"' in run("explorer/fit.js", "m.codeFor(v.facts)", facts=facts)


DEVICE = {"bytes": 24e9, "label": "24 GB", "device": True}
BUDGET = {"bytes": 5e7 + 0.5, "label": "47.7 MiB", "device": False}


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.parametrize("target", [DEVICE, BUDGET])
def test_the_copied_lines_run_and_train_like_the_model(target):
    torch = pytest.importorskip("torch")
    lines = run("explorer/fit.js", "m.trainingLines(v.target, (x) => x >= 4e7, ['batch 64 fits'])", target=target)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    x = torch.ones(4, 8)
    model(x).sum().backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    names = {"model": model}
    exec(lines, names)
    for _ in range(3):
        names["model"].zero_grad()
        names["model"](x).sum().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(wanted, names["model"].parameters(), strict=True))


@pytest.mark.node
def test_a_device_near_the_axis_extends_it_and_a_far_one_does_not():
    domain = "m.budgetDomain([v.table], null, v.devices)"
    near = run("explorer/budget_axis.js", domain, table=TABLE, devices=[16e9, 44e9, 141e9])
    assert near["low"] < 16e9
    assert 44e9 < near["high"] < 141e9


@pytest.mark.node
def test_all_totals_of_a_view_are_written_with_the_same_figures():
    mib = 2**20
    code = "m.shareFigures(v.tables).map((t) => t.totalPeaks.map((b) => m.totalText(t, b)))"

    def texts(*tables):
        return run("data/plan_table.js", code, tables=[{"totalPeaks": [p * mib for p in peaks]} for peaks in tables])

    # three figures, whatever the neighbours on the curve are
    assert texts([188, 122.14, 112.9, 56.67], [16.619]) == [["188 MiB", "122 MiB", "113 MiB", "56.7 MiB"], ["16.6 MiB"]]
    # more, for all of them, only if the whole range is a few steps of the last figure
    assert texts([112.9, 109.04], [110]) == [["112.9 MiB", "109.0 MiB"], ["110.0 MiB"]]
    assert texts([10250, 10240]) == [["10.010 GiB", "10.000 GiB"]]
    assert texts([100, 100]) == [["100 MiB", "100 MiB"]]


@pytest.mark.node
def test_a_peak_never_looks_larger_than_its_budget():
    peaks = np.sort(np.random.default_rng(1).uniform(90, 190, 200))
    table = {"totalPeaks": (peaks * 2**20).tolist()}
    code = "v.t.totalPeaks.map((b) => Number.parseFloat(m.totalText(v.t, b)))"
    written = run("data/plan_table.js", code, t=table)
    assert written == sorted(written)


@pytest.mark.node
def test_other_sizes_are_told_with_what_they_are_computed_from():
    axes = [["batch", 8, []], ["length", 64, []]]
    said = [run("explorer/fit.js", "m.sizesFrom(v.axes, v.now)", axes=axes, now=now) for now in ([8, 64], [8, 32])]
    assert said == ["", "computed from the step traced at batch 8, length 64"]
