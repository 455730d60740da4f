"""Messages of a damaged page to the widgets: none may raise an error, and the widget must answer the next valid one.

The messages are updates of traits and custom messages with values of any type, stale and unordered choices, and damaged
plans dropped on the page. After each message a valid choice must be confirmed with its own plan.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import random
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import traitlets.log

from recompviz.benchmarks.faults.cases import Tally, TooLong, limited, run_in_processes, said
from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.core.base.errors import Cancelled
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.gap import gap_of
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.examples import residual_step
from recompviz.core.teaching.small_graphs import graph_of
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.lessons.programme_stepper import step_programme
from recompviz.widgets.lessons.set_playground import Playground
from recompviz.widgets.lessons.stepper import Stepper

# messages that one widget gets before a new one is made
PER_WIDGET = 50
_PLANNER = Planner(*residual_step((1, 1)))

TRAITS = (
    "_asked", "_pins", "_mode", "_layout", "_tables", "_more", "_graph", "_reply", "_run", "_runs", "_solving",
    "_labels",
    "_waiting", "_modules", "budget", "plan", "timeline", "nope", "_view_name", "_esm", "_css", "comm", "keys",
    "layout",
    "_shown", "_frame", "_scenes", "_chosen", "_sequence", "_lesson", "_stepper", "_problem",
)  # fmt: skip
KINDS: tuple[Any, ...] = (
    "run",
    "cancel",
    "stop",
    "solve",
    "load",
    "page",
    "edit",
    "step",
    "open",
    "x",
    "",
    None,
    5,
    [],
    {},
    "__init__",
)


def run(count: int, seed: int) -> list[FaultCount]:
    """Send ``count`` random messages, and count wrong answers."""
    return run_in_processes("messages", count, seed, 500)


def cases(numbers: Iterable[int], seed: int) -> list[FaultCount]:
    """Send the random messages ``numbers``, and count wrong answers."""
    tally = Tally()
    logged = _Logged()
    logger: Any = traitlets.log.get_logger()
    logger.addHandler(logged)
    widgets: list[Any] = []
    try:
        for i, number in enumerate(numbers):
            drawn = random.Random(f"{seed} {number}")
            if i % PER_WIDGET == 0:
                for widget in widgets:
                    widget.close()
                widgets = _widgets(drawn)
            widget = drawn.choice([widgets[0], widgets[0], widgets[0], *widgets])
            kind, message = any_message(drawn, widget)
            logged.records.clear()
            wrong = None
            try:
                with limited():
                    with _undisturbed(widget):
                        widget._handle_msg(message)
                        wrong = answered(widget, kind, message)
                    if drawn.random() < 0.3:
                        _wait(widget)
                    wrong = wrong or healthy(drawn, widget)
            except (Exception, TooLong) as error:  # any error here is a fault of the widget
                wrong = said(error)
            wrong = wrong or (f"logged {logged.records[0][:300]}" if logged.records else None)
            what = f"message {number} of seed {seed}: {ascii(message)[:300]}: {wrong}"
            tally.add(type(widget).__name__, kind, None if wrong is None else what)
    finally:
        logger.removeHandler(logged)
        for widget in widgets:
            _wait(widget)
            widget.close()
    return tally.rows()


class _Logged(logging.Handler):
    """Collects what ipywidgets logs about errors of a message."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a record."""
        error = record.exc_info[1] if record.exc_info else None
        self.records.append(f"{record.getMessage()} {type(error).__name__}")


class _Runner:
    """Runs a plan by simulating it; sometimes it fails."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn

    def run(self, plan: Plan, progress: Any) -> RunReport:
        """Return the simulated step as a measured one."""
        progress(1, 2, "half-way")
        if self._drawn.random() < 0.3:
            raise self._drawn.choice([ValueError("broken"), MemoryError("3 GiB"), Cancelled("stopped")])
        measured = dataclasses.replace(_PLANNER.simulate(plan), kind="measured")
        return RunReport(plan, measured, "CPU", 0.1, True, "equal", gap=gap_of(_PLANNER.joint, plan, measured))


def _widgets(drawn: random.Random) -> list[Any]:
    planner = Planner(*residual_step((1, 1)))
    background = drawn.random() < 0.3
    explorer = Explorer(
        planner, _Runner(random.Random(drawn.random())), objectives=["time", "memory"], baselines=["chen"],
        background=background,
    )  # fmt: skip
    return [explorer, Playground("diamond"), step_programme("chain")]


def _undisturbed(widget: Any) -> AbstractContextManager[Any]:
    """Return a context in which no search or question in the background changes a widget.

    A search that ends between a message and the check of its answer would replace the text that the page shows.
    """
    return widget._selection.changing() if isinstance(widget, Explorer) else nullcontext()


def _wait(widget: Any) -> None:
    if isinstance(widget, Explorer):
        widget.wait(50)
        widget.wait_for_plans(50)


# -------------------------------------------------------------------- messages


def any_message(drawn: random.Random, widget: Any) -> tuple[str, Any]:
    """Return a random message of a page to a widget, as (name of its kind, message)."""
    choice = drawn.random()
    if choice < 0.1:
        return "no message", drawn.choice([
            None, {}, [], {"content": None}, {"content": {}}, {"content": {"data": {}}}, {"content": {"data": []}},
            {"content": {"data": {"method": "update"}}}, {"content": {"data": {"method": "custom"}}},
            {"content": {"data": {"method": "update", "state": None, "buffer_paths": []}}},
            {"content": {"data": {"method": "update", "state": {}, "buffer_paths": [["x", 0]]}}, "buffers": [b"x"]},
            {"content": {"data": {"method": "update", "state": {"_asked": {}}, "buffer_paths": [["_asked"]]}}},
            {"content": {"data": {"method": any_value(drawn), "state": {}}}}, {"content": {"data": {"method": "x"}}},
        ])  # fmt: skip
    if choice < 0.25:
        return "a damaged plan", _custom({"type": "load", "text": damaged_plan(drawn)})
    if choice < 0.45:
        content = {"type": drawn.choice(KINDS)}
        for key in drawn.sample(["family", "objective", "text", "region", "verb", "name", "memory", "time", "from"], 3):
            content[key] = drawn.choice([any_value(drawn), "auto", "paper", "live", "node", "edge", "preset", "a"])
        return "custom", _custom(drawn.choice([content, content, content, any_value(drawn)]))
    if choice < 0.65 and isinstance(widget, Explorer):
        selection = widget._selection
        asked = {
            "request": selection.request + drawn.choice([-1000, -1, 0, 1, 2, 1000]), "table": drawn.randrange(-1, 6),
            "row": drawn.randrange(-1, 40), "budget": drawn.choice([-1, 0, 1e9, 1e18, selection.budget]),
        }  # fmt: skip
        if drawn.random() < 0.3:
            asked["edition"] = drawn.choice([0, 1, 7, any_value(drawn)])
        return "stale and unordered choices", _update({"_asked": asked})
    if choice < 0.75:
        return "what was lost", _custom(_since(drawn, widget))
    names = drawn.sample(TRAITS, drawn.choice([1, 1, 2, 5]))
    state = {name: drawn.choice([any_value(drawn), _almost(drawn, widget, name)]) for name in names}
    return "traits", _update(state)


def _since(drawn: random.Random, widget: Any) -> dict[str, Any]:
    """Return a question about lost messages, with numbers and traits that may be of any type."""
    numbers = {
        name: drawn.choice([0, 1, 5, 10**9, any_value(drawn)])
        for name in ("since", "own", "question")
        if drawn.random() < 0.8
    }
    names = drawn.sample(TRAITS, drawn.choice([0, 1, 3]))
    state: Any = {name: drawn.choice([any_value(drawn), _almost(drawn, widget, name)]) for name in names}
    return {"type": "since", **numbers, "state": drawn.choice([state, state, state, any_value(drawn)])}


def any_value(drawn: random.Random) -> Any:
    """Return a random value of a type that JSON has."""
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    return drawn.choice([
        None, True, False, -1, 0, 1, 3, 2**31, 2**53, 2**63, 10**400, 1.5, -0.5, math.nan, math.inf, 1e308,
        "", "1", "60%",
        "auto", "\ud800", "x" * 100_000, "<script>", [], [1], [-1], [1, 1], [None], [[0]], [[0], [0, 1]],
        list(range(100_000)),
        {}, {"0": 1}, {"request": 5}, deep, {"type": {}}, [[{}]], "/etc/passwd", "\0",
    ])  # fmt: skip


def _almost(drawn: random.Random, widget: Any, name: str) -> Any:
    """Return a value of a trait with one field of any type."""
    request = widget._selection.request + 1 if isinstance(widget, Explorer) else 1
    pins = {"request": request, "base": 0, "keep": [1, 2], "recompute": [3]}
    whole: dict[str, Any] = {
        "_asked": {"request": request, "table": 0, "row": 1, "budget": 1e9, "more": "x"},
        "_pins": drawn.choice([pins, {**pins, "recompute": [2]}, {**pins, "keep": [31], "base": 7}]),
        "_chosen": [0, 2], "_sequence": [[0], [0, 1]],
    }  # fmt: skip
    value = whole.get(name, drawn.choice(["down", "right", 0, 1]))
    if isinstance(value, dict):
        return {**value, drawn.choice(list(value)): any_value(drawn)}
    return [*value, any_value(drawn)] if isinstance(value, list) else value


def damaged_plan(drawn: random.Random) -> Any:
    """Return the text of a plan, usually damaged; sometimes a value that is no text."""
    plan = drawn.choice(_PLANNER.plans("time").plans)
    text = plan.to_json()
    choice = drawn.randrange(6)
    if choice == 0:
        return text if drawn.random() < 0.5 else any_value(drawn)
    if choice == 1:
        at = drawn.randrange(len(text))
        return (
            text[:at]
            + drawn.choice(["", "[" * 5000, "NaN", '"', "9" * 5000, "\ud800", "}"])
            + text[at + drawn.randrange(5) :]
        )
    data = json.loads(text)
    key = drawn.choice(list(data))
    data[key] = any_value(drawn)
    if choice == 2:
        del data[key]
    return json.dumps(data)


def _custom(content: Any) -> dict[str, Any]:
    return {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}


def _update(state: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}, "buffers": []}


# -------------------------------------------------------------------- answers


def answered(widget: Any, kind: str, message: Any) -> str | None:
    """Return what is wrong with an Explorer's answer to a plan; None if nothing is.

    A valid plan must be shown, and a damaged one refused with a text. ``kind`` and ``message`` are a result of
    :func:`any_message`; for messages of other kinds the result is None.
    """
    if kind != "a damaged plan" or not isinstance(widget, Explorer):
        return None
    state, said = widget._solving["state"], widget._solving["text"]
    text = message["content"]["data"]["content"]["text"]
    try:
        plan = Plan.from_json(widget.graph, text)
    except Exception:  # a damaged plan may raise any type; the widget must have refused it
        return None if state == "failed" and 10 < len(said) < 1000 else f"the page says {state} {said!r}"
    same = np.array_equal(widget._selection.plan.keep_mask, plan.keep_mask)
    return (
        None
        if same and state in ("done", "solving", "idle")
        else f"the plan is not shown; the page says {state} {said!r}"
    )


def healthy(drawn: random.Random, widget: Any) -> str | None:
    """Send a valid message, and return what is wrong with the answer; None if nothing is."""
    if isinstance(widget, Stepper):
        tab = drawn.randrange(len(widget.scenes))
        widget._handle_msg(_update({"_shown": tab, "_frame": 1}))
        widget.to_svg()
        return None if (widget.shown, widget.frame) == (tab, 1) else "the step is not shown"
    if isinstance(widget, Playground):
        widget._handle_msg(_update({"_chosen": [0]}))
        widget.to_svg()
        repr(widget)
        if widget.chosen != {widget.graph.names[0]}:
            return "the node is not chosen"
        if drawn.random() < 0.3:
            widget.graph = graph_of("diamond")
        return None
    if drawn.random() < 0.1:
        widget.pin(keep=[widget.graph.names[1]])
        widget.wait(50)
        if widget._solving["state"] != "done" or not widget.plan.keep_mask[1]:
            return f"a pin is not obeyed: {widget._solving}"
        widget.pin()
    with widget._selection.changing():
        table = widget._selection.tables.first[0].table
        row = drawn.randrange(len(table))
        request, total = widget._selection.request + 1, int(table.total_peaks[row])
        widget._handle_msg(_update({"_asked": {"request": request, "table": 0, "row": row, "budget": float(total)}}))
        reply, plan = widget._reply, widget.plan
        confirmed = reply["request"], reply["table"], reply["row"]
        if confirmed != (request, 0, row):
            return f"a valid choice is not confirmed: {confirmed}, asked {request, 0, row}"
        if not np.array_equal(plan.keep_mask, table.plans[row].keep_mask) or widget.budget != total:
            return "the plan or the budget is not the one that was confirmed"
    return None if threading.active_count() < 50 else "threads are left"
