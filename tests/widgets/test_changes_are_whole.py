"""Interrupts of the cell, messages of the page and observers that fail never leave half of a choice behind."""

import signal
import sys
import threading

import pytest

from recompviz.widgets.base import interrupts
from recompviz.widgets.base.interrupts import uninterrupted
from recompviz.widgets.explorer.explorer import Explorer


def whole(explorer):
    """Whether traits, selection and the last reply say the same."""
    selection, reply = explorer._selection, explorer._reply
    return (
        explorer.plan is selection.plan is selection.current.plans[selection.row]
        and explorer.timeline is selection.timeline
        and explorer.timeline.peak == reply["peak"]
        and explorer.budget == selection.budget == reply["budget"]
        and (reply["request"], reply["table"], reply["row"]) == (selection.request, selection.table, selection.row)
    )


def test_an_interrupt_waits_until_the_block_ends():
    done = []

    def block():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_stops_a_block_that_takes_long(monkeypatch):
    monkeypatch.setattr(interrupts, "PATIENCE", -1.0)
    done = []

    def block():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
            signal.raise_signal(signal.SIGINT)
            done.append(2)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]


def test_other_threads_are_not_touched():
    seen = []

    def block():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join(10)
    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize(
    "change",
    [
        lambda explorer: setattr(explorer, "budget", "60%"),
        lambda explorer: explorer.load(explorer.tables[1].plans[2]),
        lambda explorer: explorer.use_solver("auto", "memory"),
    ],
)
def test_an_interrupt_at_any_line_leaves_the_old_choice_or_the_new_one(lab, change):
    explorer = lab.explorer()
    line = total = 0

    def at_line(frame, event, _argument):
        nonlocal line
        if "/recompviz/widgets/" not in frame.f_code.co_filename or "interrupts" in frame.f_code.co_filename:
            return None if event == "call" else at_line
        if event == "line":
            line += 1
            if line == total:
                signal.raise_signal(signal.SIGINT)
        return at_line

    interrupted = 0
    while line >= total:
        explorer.budget = "100%"
        line, total = 0, total + 3
        tracing = sys.gettrace()
        sys.settrace(at_line)
        try:
            change(explorer)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(tracing)
        assert whole(explorer), f"interrupted at line {total}"
    assert interrupted > 15


def test_a_budget_set_while_a_message_of_the_page_arrives_is_checked_and_shown(lab, monkeypatch):
    arrived, go = threading.Event(), threading.Event()
    explorer, budget = lab.explorer(), int(0.6 * int(lab.time.total_peaks[0]))

    def from_json(value, _widget):
        arrived.set()
        go.wait(0.3)  # in the middle of the message: traitlets holds back all observers and validation
        return value

    monkeypatch.setattr(Explorer, "_trait_from_json", staticmethod(from_json))
    message = threading.Thread(target=explorer.set_state, args=({"_mode": "down"},))
    message.start()
    assert arrived.wait(10)
    explorer.budget = "60%"
    assert explorer.budget == budget
    assert whole(explorer)
    go.set()
    message.join(10)
    assert whole(explorer)


def test_an_observer_finds_plan_timeline_and_budget_changed_together(lab):
    explorer, seen = lab.explorer(), []
    explorer.observe(lambda _change: seen.append(whole(explorer)), ["plan", "timeline", "budget"])
    explorer._asked = {"request": 5, "table": 0, "row": 20, "budget": 0}
    explorer.budget = "100%"
    assert seen == [True] * 6


def test_an_observer_that_fails_leaves_the_whole_choice(lab):
    explorer = lab.explorer()

    def fail(_change):
        raise RuntimeError("of the user")

    explorer.observe(fail, "plan")
    with pytest.raises(RuntimeError, match="of the user"):
        explorer.budget = "100%"
    assert whole(explorer)
    assert explorer.plan is lab.time.plans[0]


def test_a_plan_that_cannot_be_simulated_is_answered_with_the_present_one(lab):
    def simulate(plan=None):
        if plan is lab.time.plans[3]:
            raise MemoryError("simulating")
        return lab.planner.simulate(plan)

    explorer = lab.explorer(lab.planner_with(simulate=simulate))
    before = explorer._reply
    with pytest.raises(MemoryError):
        explorer._asked = {"request": 5, "table": 0, "row": 3, "budget": 0}
    assert explorer._reply == {**before, "request": 5}
    assert whole(explorer)
