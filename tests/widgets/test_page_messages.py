"""What a page sends cannot break a widget, and observers cannot stop the search."""

import contextlib
import json
import re
import signal
import threading

import numpy as np
import pytest
import traitlets

from recompviz.core.base.errors import FileError
from recompviz.widgets.base import assets
from recompviz.widgets.base.page_widget import PageWidget, amount, checked_nodes, whole_number
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.step_explorer import StepExplorer, StepView
from recompviz.widgets.lessons.set_playground import Playground
from recompviz.widgets.lessons.stepper import Stepper
from recompviz.widgets.lessons.strategy_stepper import step_strategy
from tests.core.recorded_steps import report_of
from tests.widgets.test_first_plans import Search


def update(widget, **state):
    """What arrives when the page saves changes of traits."""
    data = {"method": "update", "state": state, "buffer_paths": []}
    widget._handle_msg({"content": {"data": data}, "buffers": []})


def custom(widget, content):
    """What arrives when the page sends a message."""
    widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def asked(explorer, row=0, table=0, request=None, budget=1e12):
    request = explorer._selection.request + 1 if request is None else request
    return {"request": request, "table": table, "row": row, "budget": budget}


@pytest.mark.parametrize("value", [None, True, "1", 1.5, -1, 2**53 + 2, float("nan"), float("inf"), [], 10**400])
def test_only_whole_numbers_are_whole_numbers(value):
    with pytest.raises((TypeError, ValueError), match="expected"):
        whole_number(value)


@pytest.mark.parametrize("value", [None, True, "1", -1, 2.0**64, float("nan"), float("inf"), []])
def test_only_numbers_are_amounts(value):
    with pytest.raises((TypeError, ValueError), match="expected"):
        amount(value)


@pytest.mark.parametrize("value", [None, "12", {}, 5, [-1], [3], [0, 0], [None], [[0]], [0, 1, 2, 0], [True]])
def test_only_lists_of_different_nodes_are_node_numbers(value):
    with pytest.raises((TypeError, ValueError), match="expected"):
        checked_nodes(value, 3)


def test_the_page_cannot_change_what_is_the_kernels(lab):
    explorer = lab.explorer()
    names = ["_tables", "_reply", "_solving", "_run", "_waiting", "_labels", "_esm", "_view_name", "_graph", "budget"]
    before = {name: getattr(explorer, name) for name in names}
    update(explorer, **{name: type(before[name])() for name in names}, plan=None, nothing=1)
    assert all(getattr(explorer, name) == before[name] for name in names)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_asked", {}), ("_asked", None), ("_asked", {"request": "x", "table": 0, "row": 1, "budget": 1}),
        ("_asked", {"request": 5, "table": 0, "row": 1, "budget": float("inf")}),
        ("_pins", {}), ("_pins", None), ("_pins", {"request": 5, "base": 0, "keep": "12", "recompute": []}),
        ("_pins", {"request": 5, "base": 0, "keep": [10**9], "recompute": []}),
        ("_pins", {"request": 5, "base": 0, "keep": [1] * 100_000, "recompute": []}),
        ("_mode", "x"), ("_mode", None), ("_mode", []),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_value_that_is_not_valid_is_answered_with_the_kernels_own(lab, name, value):
    explorer = lab.explorer()
    before, sent = getattr(explorer, name), []
    explorer.send_state = lambda key=None: sent.append(key)
    update(explorer, **{name: value})
    assert getattr(explorer, name) == before
    assert sent == [[name]]
    update(explorer, _asked=asked(explorer, row=2))
    assert explorer._reply["row"] == 2


def test_the_page_may_set_what_the_wire_says():
    rows = [line.split("|") for line in (assets.HERE / "wire.md").read_text().splitlines() if line.startswith("| `_")]
    senders = {row[1].strip(" `"): row[4].strip() for row in rows}
    assert {name for name, sender in senders.items() if sender != "kernel"} == set(Explorer.page_traits)


@pytest.mark.parametrize(
    ("entry", "widget"),
    [
        ("explorer/explorer.js", Explorer), ("explorer/step_view.js", StepView), ("lessons/stepper.js", Stepper),
        ("lessons/playground.js", Playground),
    ],
)  # fmt: skip
def test_a_question_of_the_page_has_all_traits_that_the_page_may_set(entry, widget):
    named = re.search(r"inStep\(\[(.*?)\]\)", (assets.HERE / "js" / entry).read_text())[1]
    assert tuple(re.findall(r'"(\w+)"', named)) == widget.page_traits


def test_stale_choices_are_ignored_and_rows_that_do_not_exist_are_answered_with_the_present_one(lab):
    explorer = lab.explorer()
    update(explorer, _asked=asked(explorer, row=3, request=100))
    for other, request in ((asked(explorer, row=1, request=99), 100), (asked(explorer, row=10**6), 101)):
        update(explorer, _asked=other)
        assert (explorer._reply["row"], explorer._reply["request"]) == (3, request)


@pytest.mark.parametrize(
    "content",
    [None, [], "load", {"type": []}, {"type": {}}, {"type": "solve", "family": [1]}, {"type": "open"}],
    ids=str,
)
def test_messages_of_an_unknown_kind_are_ignored(lab, content, caplog):
    explorer = lab.explorer()
    custom(explorer, content)
    assert explorer._solving["state"] == "idle"
    assert not caplog.records


def test_each_damaged_plan_dropped_on_the_page_is_answered(lab):
    explorer = lab.explorer()
    text = lab.time.plans[2].to_json()
    data = json.loads(text)
    damaged = [
        None, 5, {}, "", "{}", "hello", "/etc/passwd", "/", "a\0b", "[" * 5000, '{"a":' * 100_000, text[:100],
        text + "}", text.replace('"segment": [', '"segment": [Infinity, '), json.dumps({**data, "segment": [1]}),
        json.dumps({**data, "kind": None}), json.dumps({**data, "segment": data["segment"][::-1]}),
    ]  # fmt: skip
    for one in damaged:
        explorer._tell_solving("idle", 0.0, "")
        custom(explorer, {"type": "load", "text": one})
        assert explorer._solving["state"] == "failed"
        assert "plan" in explorer._solving["text"] or "segment" in explorer._solving["text"]
    answers = []
    explorer.observe(lambda change: answers.append(change["new"]["state"]), "_solving")
    for one in ("x", "x", text, text):  # the page is notified each time
        custom(explorer, {"type": "load", "text": one})
    assert [answer for answer in answers if answer != "idle"] == ["failed", "failed", "done", "done"]
    assert explorer._solving["loaded"]
    assert np.array_equal(explorer.plan.keep_mask, lab.time.plans[2].keep_mask)


def test_a_plan_from_a_file_that_cannot_be_read_is_one_type_of_error(lab, tmp_path):
    explorer = lab.explorer()
    for path in (tmp_path, tmp_path / "missing", "hello"):
        with pytest.raises(FileError, match="cannot read"):
            explorer.load(path)
    with pytest.raises(TypeError, match="plan is 5"):
        explorer.load(5)


def ends(function, seconds=20):
    """Whether a function ends, in a thread of its own."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_an_observer_that_loads_a_plan_during_the_search_does_not_stop_it(lab):
    search = Search(lab)
    explorer = lab.explorer(search.planner, background=True)
    search.begun.wait(20)
    seen = []

    def load(_change):
        if len(seen) < 3:
            seen.append(explorer.plan)
            explorer.load(lab.time.plans[-1])

    explorer.observe(load, "plan")
    explorer.observe(lambda _change: seen.append(explorer.timeline), "timeline")
    assert ends(lambda: update(explorer, _asked=asked(explorer, row=1)))
    assert explorer._search.running
    assert seen
    search.go.set()
    assert ends(explorer.wait_for_plans)
    assert explorer._waiting == ""


def test_an_observer_may_wait_for_the_search_itself(lab):
    search = Search(lab)
    explorer = lab.explorer(search.planner, background=True)
    search.begun.wait(20)
    done = threading.Event()

    def wait(_change):
        if not done.is_set():
            search.go.set()
            done.wait(0.3)  # the search reports its progress meanwhile, and ends
            done.set()

    explorer.observe(wait, "plan")
    assert ends(lambda: update(explorer, _asked=asked(explorer, row=1)))
    assert ends(explorer.wait_for_plans)


def test_progress_of_the_search_does_not_wait_for_an_observer(lab):
    search = Search(lab)
    explorer = lab.explorer(search.planner, background=True)
    search.begun.wait(20)
    with explorer._selection.changing():
        explorer._search._job._reported = 0.0
        assert ends(lambda: explorer._search._on_job(explorer._search._job))
    search.go.set()
    assert ends(explorer.wait_for_plans)


def test_an_observer_that_raises_leaves_plan_timeline_and_budget_in_step(lab):
    explorer = lab.explorer()

    def fail(_change):
        raise ValueError("observer")

    explorer.observe(fail, "plan")
    total = lab.time.least_total
    with pytest.raises(ValueError, match="observer"):
        explorer.budget = total
    assert explorer.plan is lab.time.plan(total)
    assert explorer.timeline.peak == explorer.budget == total


def test_a_failure_to_show_better_plans_says_so(lab):
    search = Search(lab)
    explorer = lab.explorer(search.planner, background=True)

    def fail(_change):
        raise ValueError("observer")

    explorer.observe(fail, "plan")
    search.go.set()
    explorer.wait_for_plans(20)
    assert "showing the better plans failed: ValueError: observer" in explorer._waiting
    assert not explorer._search.running


def test_a_step_view_takes_only_points_that_exist():
    steps = StepExplorer(report_of(5))
    before = steps._view._chosen
    for value in (None, {}, {"point": -1, "budget": 1}, {"point": 10**6, "budget": 1}, {"point": 0, "budget": "x"}):
        update(steps._view, _chosen=value)
        assert steps._view._chosen == before
    update(steps._view, _chosen={"point": 0, "budget": 1e9})
    assert (steps.point, steps.total) == (0, 10**9)
    custom(steps._view, {"type": "open", "region": "x"})
    assert "cannot be shown" in steps._view._opened["text"]


def test_lessons_take_only_what_they_have():
    stepper, playground = step_strategy("diamond"), Playground("diamond")
    last = len(stepper.scenes[0].frames) - 1
    for state in (
        {"_frame": last + 1},
        {"_frame": -1},
        {"_shown": 9},
        {"_frame": None},
        {"_shown": []},
        {"_scenes": []},
    ):
        update(stepper, **state)
        assert (stepper.shown, stepper.frame) == (0, 0)
        stepper.to_svg()
    update(stepper, _shown=0, _frame=last)
    assert stepper.frame == last
    for state in ({"_chosen": [9]}, {"_chosen": "01"}, {"_sequence": [[0], [9]]}, {"_sequence": [5]}, {"_lesson": {}}):
        update(playground, **state)
        assert (playground.chosen, playground.sequence) == (frozenset(), ())
        playground.to_svg()
    for content in ({"type": "edit"}, {"type": "edit", "verb": "node"}, {"type": "edit", "verb": "node", "name": []}):
        custom(playground, content)
        assert playground._problem


class Held(PageWidget):
    """A widget of which one thread holds changes back."""

    first, second = traitlets.Int().tag(sync=True), traitlets.Int().tag(sync=True)


def test_a_thread_that_holds_changes_back_does_not_hold_those_of_another():
    widget, told = Held(), []
    widget.observe(lambda change: told.append((change["name"], change["new"])))
    other = threading.Thread(target=lambda: setattr(widget, "second", 2))
    with contextlib.suppress(KeyboardInterrupt), widget.hold_trait_notifications(), widget.hold_sync():
        widget.first = 1
        other.start()
        other.join()
        assert told == [("second", 2)]
        raise KeyboardInterrupt
    assert told == [("second", 2), ("first", 1)]
    widget.first = 3
    assert told[-1] == ("first", 3)


def test_an_interrupt_waits_until_the_state_of_a_page_is_taken(monkeypatch):
    widget, told = Held(), []
    monkeypatch.setattr(Held, "page_traits", ("first", "second"))
    monkeypatch.setattr(Held, "from_page", lambda _self, _name, value, _state: value)
    widget.observe(
        lambda change: (signal.raise_signal(signal.SIGINT), told.append(change["name"])), ["first", "second"]
    )
    with pytest.raises(KeyboardInterrupt):
        widget.set_state({"first": 1, "second": 2})
    assert told == ["first", "second"]
