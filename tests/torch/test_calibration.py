"""A calibrated simulation equals what the allocator does, also inside operators."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import recompviz as rv
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.measuring import calibration, distinct_calls
from recompviz.pytorch.measuring.distinct_calls import DistinctCalls
from tests.torch.steps import MARKED_CASES, make


@pytest.mark.parametrize("long", [0.0, float("inf")], ids=["equal calls once", "whole steps"])
@pytest.mark.parametrize("name", MARKED_CASES)
def test_simulated_and_measured_memory_agree_to_the_byte_inside_every_operator(
    name: str, long: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "LONG", long)
    case = make(name)
    trace = rv.calibrate(case.trace(), fresh=True)
    table = trace.plans("live")
    budgets = np.linspace(table.least_total, int(table.total_peaks.max()), 4).astype(int).tolist()
    plans = [table.plans[row] for row in sorted({table.row(budget) for budget in budgets})]
    for plan in [*plans, rv.Plan.from_keep_mask(trace.graph, [], "nothing kept")]:
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), *case.inputs, kwargs=case.kwargs, targets=case.targets)
        steps = len(trace.schedule(plan))
        assert np.array_equal(simulated.step_ends[:steps], measured.step_ends[:steps])
        assert np.array_equal(simulated.step_peaks[:steps], measured.step_peaks[:steps])
        assert simulated.peak == measured.peak


@pytest.mark.parametrize("name", ["tied transformer with dropout", "convolutions with dropout"])
def test_a_replayed_generator_state_is_counted_where_it_is_taken_and_put_back(name: str) -> None:
    case = make(name)
    trace = rv.calibrate(case.trace(), fresh=True)
    plan = rv.Plan.from_keep_mask(trace.graph, np.zeros(len(trace.graph), np.bool_), "none")
    schedule = trace.schedule(plan)
    assert any(trace.joint.calls[c].random for c in schedule.recomputed)
    simulated = rv.simulate(trace, plan)
    measured = rv.measure(rv.apply(trace, plan), *case.inputs, targets=case.targets)
    assert np.array_equal(simulated.step_ends[: len(schedule)], measured.step_ends[: len(schedule)])
    assert np.array_equal(simulated.step_peaks[: len(schedule)], measured.step_peaks[: len(schedule)])


def test_the_model_is_as_before_and_the_graph_is_the_same() -> None:
    case = make("batch norm")
    trace = case.trace()
    before = {key: value.clone() for key, value in case.model.state_dict().items()}
    calibrated = rv.calibrate(trace, fresh=True)
    assert all(bool((case.model.state_dict()[key] == value).all()) for key, value in before.items())
    assert all(p.grad is None for p in case.model.parameters())
    assert calibrated.graph.fingerprint == trace.graph.fingerprint
    assert trace.joint.workspace == ()


@pytest.mark.parametrize(
    ("seconds", "preemptions", "timed"),
    [(0.0, 0, 1), (float("inf"), 0, calibration.TIMED_STEPS), (float("inf"), 1, calibration.MOST_TIMED_STEPS)],
    ids=["long", "quiet", "busy machine"],
)
def test_long_steps_are_timed_less_often_and_disturbed_ones_more_often(
    monkeypatch: pytest.MonkeyPatch, seconds: float, preemptions: int, timed: int
) -> None:
    monkeypatch.setattr(calibration, "LONG", float("inf"))
    count = itertools.count(step=preemptions)
    monkeypatch.setattr("recompviz.pytorch.internals.devices.cpu_clock._preemptions", lambda: next(count))
    monkeypatch.setattr(calibration, "TIMED_SECONDS", seconds)
    started: list[int] = []
    trace = rv.calibrate(make("batch norm").trace(), fresh=True, progress=lambda done, _total: started.append(done))
    # a step to warm up, the timed steps, and one that is recorded
    last = calibration.TIMED_STEPS
    assert started == [0, *(min(done, last) for done in range(1, 1 + timed)), 1 + last]
    assert trace.joint.seconds is not None
    assert sum(trace.joint.seconds) > 0


def test_in_a_long_step_only_the_first_of_equal_calls_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "LONG", 0.0)
    ran: list[DistinctCalls] = []

    class Kept(DistinctCalls):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            ran.append(self)

    monkeypatch.setattr(calibration, "DistinctCalls", Kept)
    blocks = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh()) for _ in range(8)]
    model = torch.nn.Sequential(*blocks, torch.nn.Linear(16, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace = rv.trace(model, torch.randn(4, 16), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    calibrated = rv.calibrate(trace, fresh=True)
    assert len(ran[0].ran) < len(trace.joint.calls) / 3
    tanh = [c for c, call in enumerate(trace.joint.calls) if call.info.op == "aten.tanh"]
    assert len(tanh) == 8
    assert len({calibrated.joint.seconds[c] for c in tanh}) == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Slowed:
    """A function that takes given times, in seconds, by a clock of its own. A negative time was disturbed."""

    def __init__(self, times: list[float]) -> None:
        self.now, self.times, self.preempted = 0.0, list(times), 0

    def __call__(self) -> torch.Tensor:
        took = self.times.pop(0)
        self.now += abs(took)
        self.preempted += took < 0
        return torch.ones(2)

    def stopwatch(self) -> Any:
        return StoppedBy(self)


class StoppedBy:
    """A stopwatch that reads the clock of a slowed function."""

    def __init__(self, function: Slowed) -> None:
        self.function, self.preempted, self._seconds = function, False, 0.0

    def start(self) -> None:
        self._begin = (self.function.now, self.function.preempted)

    def stop(self) -> None:
        self._seconds = self.function.now - self._begin[0]
        self.preempted = self.function.preempted > self._begin[1]

    def seconds(self) -> float:
        return self._seconds


@pytest.mark.parametrize(
    ("times", "calls", "seconds"),
    [
        ([0.0045, 0.003, 0.001], 1, 0.001),
        ([0.0045, 0.001, 0.003], 9, 0.001),
        ([0.04, 0.03], 1, 0.03),
        ([0.04, 0.07], 9, 0.07),
        ([0.5], 1, 0.5),
        ([0.5], 9, 0.5),
        ([0.0045, 0.003, -0.001], 1, 0.003),
        ([0.0045, -0.002, -0.001, -0.002, 0.003], 9, 0.003),
        ([-0.04, -0.07, 0.03], 1, 0.03),
        ([-0.5], 1, 0.5),
    ],
)
def test_the_first_run_of_a_call_does_not_count_unless_it_is_long(
    monkeypatch: pytest.MonkeyPatch, times: list[float], calls: int, seconds: float
) -> None:
    trace = make("batch norm").trace()
    schedule = trace.schedule(trace.baseline("keep-all"))
    made = next(i for i, c in enumerate(schedule.calls) if trace.joint.calls[c].info.op == "aten.mean")
    keys = [str(c) for c in range(len(trace.joint.calls))]
    function, again = Slowed(times), []
    mark = lambda: contextlib.nullcontext(again.append(1))  # noqa: E731
    distinct = DistinctCalls(trace.folded, schedule, keys, mark, function.stopwatch)
    monkeypatch.setattr(distinct_calls, "time", SimpleNamespace(perf_counter=lambda: function.now))
    monkeypatch.setattr("recompviz.pytorch.measuring.distinct_calls.DISTURBED_SECONDS", 0.15)
    key = keys[schedule.calls[made]]
    distinct._left[key] = calls
    for _ in range(calls):
        distinct(made, function)
    assert not function.times
    assert distinct.seconds(key) == pytest.approx(seconds)
    assert len(distinct.ran) + len(again) == len(times)


def test_a_call_that_other_programs_always_disturb_is_not_repeated_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make("batch norm").trace()
    schedule = trace.schedule(trace.baseline("keep-all"))
    made = next(i for i, c in enumerate(schedule.calls) if trace.joint.calls[c].info.op == "aten.mean")
    keys = [str(c) for c in range(len(trace.joint.calls))]
    function = Slowed([-0.004] * 100)
    distinct = DistinctCalls(trace.folded, schedule, keys, contextlib.nullcontext, function.stopwatch)
    monkeypatch.setattr(distinct_calls, "time", SimpleNamespace(perf_counter=lambda: function.now))
    distinct(made, function)
    assert 3 < 100 - len(function.times) < 30
    assert distinct.seconds(keys[schedule.calls[made]]) == pytest.approx(0.004)


def test_a_call_that_writes_runs_each_time() -> None:
    trace = make("batch norm").trace()
    schedule = trace.schedule(trace.baseline("keep-all"))
    keys = [str(call.info.op) for call in trace.joint.calls]
    calls = DistinctCalls(trace.folded, schedule, keys, contextlib.nullcontext, runtime("cpu").stopwatch)
    writes = [i for i, c in enumerate(schedule.calls) if not trace.joint.calls[c].makes]
    assert writes
    ran: Counter[int] = Counter()
    for i in range(len(schedule)):
        calls(i, partial(lambda i: (ran.update([i]), torch.ones(2))[1], i))
    assert all(ran[i] == 1 for i in writes)
    assert len(ran) < len(schedule)


def test_a_long_step_reports_progress_and_can_be_cancelled_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LONG", 0.0)
    monkeypatch.setattr(calibration, "TOLD_EVERY", 0.0)
    case = make("batch norm")
    before = {key: value.clone() for key, value in case.model.state_dict().items()}
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if 2 * done > total:
            raise rv.Cancelled

    with pytest.raises(rv.Cancelled):
        rv.calibrate(case.trace(), fresh=True, progress=stop)
    assert len(seen) > 3
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(torch.equal(case.model.state_dict()[key], value) for key, value in before.items())
    assert all(p.grad is None for p in case.model.parameters())
    assert len(rv.calibrate(case.trace(), fresh=True).joint.seconds or ()) > 0
