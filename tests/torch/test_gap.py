"""On the CPU a calibrated trace leaves nothing of the gap unexplained."""

from __future__ import annotations

import pytest

import recompviz as rv
from tests.torch.steps import make


@pytest.mark.parametrize("name", ["batch norm", "tied transformer with dropout"])
def test_nothing_is_left_between_simulated_and_measured(name: str) -> None:
    case = make(name)
    trace = rv.calibrate(case.trace())
    plan = trace.plans("live").plans[-1]
    measured = rv.measure(rv.apply(trace, plan), *case.inputs, kwargs=case.kwargs, targets=case.targets)
    gap = rv.explain_gap(trace, plan, measured)
    assert gap.steps[-1].name == "measured"
    assert gap.steps[-1].change == 0
    assert gap.steps[-1].total == measured.peak
    assert gap.steps[-2].name == "workspace"
