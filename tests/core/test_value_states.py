"""The states of values, checked against a replay of the schedule."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from recompviz.core.planning.planner import Planner
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.value_states import ValueState, saved_bytes, value_states
from tests.core.strategies import steps_with_masks


@given(steps_with_masks())
def test_a_value_stays_or_runs_again_or_neither_as_a_replay_of_the_schedule_finds(step_with_mask):
    graph, joint, mask = step_with_mask
    keep = [bool(bit) for bit in mask]
    schedule = make_schedule(joint, keep)
    freed = {s for frees in schedule.frees[: joint.forward_count] for s in frees}
    again = set(schedule.calls[joint.forward_count :])
    states = value_states(schedule, keep)
    assert len(states) == len(graph)
    for v in range(len(graph)):
        calls = [c for c in range(joint.forward_count) if v in (joint.calls[c].node, *joint.calls[c].views)]
        if not calls:
            assert states[v] == keep[v]
            continue
        stays = any(s not in freed for c in calls for s in joint.calls[c].makes)
        runs_again = any(c in again for c in calls)
        wanted = ValueState.RECOMPUTED if runs_again else ValueState.KEPT if stays else ValueState.UNNEEDED
        assert states[v] == wanted


@given(steps_with_masks())
def test_the_saved_bytes_of_all_values_are_at_most_those_of_the_schedule(step_with_mask):
    graph, joint, mask = step_with_mask
    schedule = make_schedule(joint, [bool(bit) for bit in mask])
    found = saved_bytes(schedule, len(graph))
    assert found.sum() <= schedule.saved_bytes
    assert (found >= 0).all()


def test_values_that_nothing_reads_later_hold_nothing_whatever_the_plan_says_of_them():
    planner = Planner(*residual_step((1, 1)))
    joint: JointGraph = planner.joint
    everything = np.ones(len(planner.graph), np.bool_)
    states = value_states(make_schedule(joint, everything.tolist()), everything.tolist())
    unneeded = states == ValueState.UNNEEDED
    assert unneeded.any()
    assert not saved_bytes(make_schedule(joint, everything.tolist()), len(states))[unneeded].any()
    fewer = everything & ~unneeded
    assert planner.simulate(planner.baseline("keep-all").with_keep_mask(planner.graph, fewer)).peak == (
        planner.simulate(planner.baseline("keep-all")).peak
    )
    assert (value_states(make_schedule(joint, fewer.tolist()), fewer.tolist()) == states).all()
