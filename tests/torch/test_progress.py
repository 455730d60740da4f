"""Measuring, timing and comparing steps report progress before each step. An error in the report stops them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.base.progress import Progress
from recompviz.pytorch.measuring import meter
from recompviz.pytorch.measuring.step_timing import time_turns
from tests.torch.steps import Case, make


def measure_eager(case: Case, _trace: rv.Trace, progress: Progress) -> Any:
    outputs = lambda output, *_targets: output.sum()  # noqa: E731
    return rv.measure(case.model, *case.inputs, kwargs=case.kwargs, loss=outputs, progress=progress)


def measure_planned(case: Case, trace: rv.Trace, progress: Progress) -> Any:
    planned = rv.apply(trace, trace.baseline("keep-all"))
    return rv.measure(planned, *case.inputs, kwargs=case.kwargs, targets=case.targets, progress=progress)


def compare(_case: Case, trace: rv.Trace, progress: Progress) -> Any:
    return rv.certify(trace, trace.baseline("chen"), progress=progress).require()


def take_turns(_case: Case, trace: rv.Trace, progress: Progress) -> Any:
    return time_turns(trace, [trace.step, rv.apply(trace, trace.baseline("keep-all"))], 2, float("inf"), progress)


def run_out_of_time(_case: Case, trace: rv.Trace, progress: Progress) -> Any:
    return time_turns(trace, [trace.step], 5, 0.0, progress)


@pytest.mark.parametrize(
    ("work", "shares"),
    [
        (measure_eager, [0, 1 / 3, 2 / 3]),
        (compare, [0, 1 / 4, 2 / 4, 3 / 4]),
        (take_turns, [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),
        (run_out_of_time, [0, 5 / 6]),
    ],
)
def test_each_training_step_is_reported(work: Callable[..., Any], shares: list[float]) -> None:
    case = make("batch norm")
    seen: list[float] = []
    work(case, case.trace(), lambda done, total: seen.append(done / total))
    assert seen == pytest.approx(shares)


def test_a_measurement_under_a_plan_reports_progress_inside_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "REPORTED_EVERY", 0.0)
    case = make("batch norm")
    trace = case.trace()
    seen: list[float] = []
    measured = measure_planned(case, trace, lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert len(seen) > len(trace.joint.calls)
    assert seen[-1] == pytest.approx(2 / 3)
    assert measured.peak == measure_planned(case, trace, lambda _done, _total: None).peak


@pytest.mark.parametrize("work", [measure_eager, measure_planned, compare, take_turns])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_it_can_be_cancelled_and_the_model_is_as_before(work: Callable[..., Any], share: float) -> None:
    case = make("batch norm")
    trace = case.trace()
    before = {key: value.clone() for key, value in case.model.state_dict().items()}

    def stop(done: int, total: int) -> None:
        if done >= share * total:
            raise rv.Cancelled

    with pytest.raises(rv.Cancelled):
        work(case, trace, stop)
    assert all(bool((case.model.state_dict()[key] == value).all()) for key, value in before.items())
    assert all(parameter.grad is None for parameter in case.model.parameters())
