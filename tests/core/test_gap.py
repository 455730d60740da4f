"""The gap adds up to the byte, and what is behind a step is what makes it."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given

import recompviz as rv
from recompviz.core.plans.gap import gap_of
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.random_joints import random_joint
from tests.core.strategies import steps_with_masks


@given(steps_with_masks())
def test_the_changes_add_up_to_the_simulated_peak_for_any_step_and_plan(
    case: tuple[rv.Graph, JointGraph, np.ndarray],
) -> None:
    graph, joint, mask = case
    plan = Plan.from_keep_mask(graph, mask, "any")
    gap = gap_of(joint, plan)
    simulated = simulate_schedule(make_schedule(joint, mask.tolist()))
    assert gap.steps[0].total == plan.peak
    assert sum(step.change for step in gap.steps) == gap.steps[-1].total == simulated.peak
    by_name = {step.name: step for step in gap.steps}
    assert by_name["rounding"].change >= 0
    assert by_name["workspace"].change >= 0
    for name in ("static", "liveness"):
        assert sum(size for _, size in by_name[name].behind) == by_name[name].change
    scratch = by_name["workspace"]
    assert not scratch.behind or sum(size for _, size in scratch.behind) == scratch.change
    if joint.alignment == 1:
        assert by_name["rounding"].change == 0


def test_what_is_not_calibrated_is_said() -> None:
    _, joint = random_joint(3)
    bare = dataclasses.replace(joint, workspace=())
    graph, _ = random_joint(3)
    step = gap_of(bare, Plan.keep_all(graph)).steps[-1]
    assert (step.name, step.change) == ("workspace", 0)
    assert "not calibrated" in step.why


def test_a_measurement_and_what_was_reserved_end_the_gap() -> None:
    graph, joint = random_joint(5)
    plan = Plan.keep_all(graph)
    simulated = simulate_schedule(make_schedule(joint, plan.keep_mask.tolist()))
    more = simulated.delta.copy()
    at = simulated.peak_event
    more[at] += 1000
    measured = dataclasses.replace(simulated, delta=more, kind="measured", reserved_peak=simulated.peak + 4096)
    gap = gap_of(joint, plan, measured)
    assert [step.name for step in gap.steps][-2:] == ["measured", "reserved"]
    assert gap.steps[-2].change == 1000
    assert gap.steps[-2].behind[0][1] == 1000
    assert gap.steps[-1].change == 4096 - 1000
    assert gap.steps[-1].total == simulated.peak + 4096
    assert "measured" in gap.text
    assert len(gap.figure().data[0].x) == len(gap.steps)
