"""The simulator adds up whole arrays; a plain walk over the schedule is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import recompviz as rv
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.segmentwise import freed_at_segment_ends
from recompviz.core.steps.examples import chain_step
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.schedule import Phase, Schedule, make_schedule
from recompviz.core.steps.simulation import category_of, simulate_schedule
from tests.core.strategies import steps_with_masks


def walk(schedule: Schedule) -> list[tuple[int, str, int, int]]:
    """Every (step, label, category, bytes), one call after the other."""
    joint = schedule.joint
    events: list[tuple[int, str, int, int]] = []
    held: dict[int, tuple[int, int]] = {}
    tangent = joint.rounded(joint.tangent_bytes)
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        call = joint.calls[c]
        for s in call.makes:
            held[s] = category_of(schedule, s, phase), joint.sizes[s]
            events.append((i, joint.storages[s].label, *held[s]))
        twice = call.random and c in schedule.recomputed and phase is not Phase.BACKWARD
        state = joint.rounded(joint.rng_bytes) if twice else 0
        events.append((i, "generator state", Category.KEPT, state))
        extra = joint.rounded(joint.workspace[c]) if joint.workspace else 0
        events += [(i, "workspace", Category.WORKSPACE, size) for size in (extra, -extra)]
        events += [(i, "generator state", Category.KEPT, -state)] * (2 if phase is Phase.RECOMPUTE else 0)
        for s in schedule.frees[i]:
            category, size = held.pop(s)
            events.append((i, joint.storages[s].label, category, -size))
        if i == joint.forward_count - 1:
            events.append((i, "gradient of the loss", Category.GRADIENT, tangent))
    last = len(schedule)
    for s, size in joint.clones:
        category, freed = held.pop(s, (Category.PARAMETER_GRADIENT, 0))
        label = joint.storages[s].label
        events += [(last, label, Category.PARAMETER_GRADIENT, joint.rounded(size)), (last, label, category, -freed)]
    events.append((last, "gradient of the loss", Category.GRADIENT, -tangent))
    scratch = joint.optimizer_scratch
    events += [(last + 1, "optimizer's scratch memory", Category.OPTIMIZER, size) for size in (scratch, -scratch)]
    return [event for event in events if event[3]]


@given(steps_with_masks())
def test_the_simulated_events_are_those_of_a_walk_call_by_call(case: tuple[rv.Graph, JointGraph, np.ndarray]) -> None:
    graph, joint, mask = case
    schedule = make_schedule(joint, mask.tolist())
    for each in (schedule, freed_at_segment_ends(schedule, Plan.keep_all(graph))):
        timeline = simulate_schedule(each)
        labels = [timeline.storage_labels[s] for s in timeline.storage]
        columns = timeline.step.tolist(), labels, timeline.category.tolist(), timeline.delta.tolist()
        assert list(zip(*columns, strict=True)) == walk(each)
        assert len(timeline.phases) == len(timeline.step_labels) == len(each) + 1 + (joint.optimizer_scratch > 0)
        assert np.array_equal(timeline.phases[: len(each)], each.phases)


@given(steps_with_masks())
def test_a_timeline_is_frozen_and_its_properties_have_the_same_values_in_any_order(
    case: tuple[rv.Graph, JointGraph, np.ndarray],
) -> None:
    _, joint, mask = case
    names = ["live", "step_ends", "step_peaks", "step_peak_events", "bands", "profile", "peak"]
    one, other = (simulate_schedule(make_schedule(joint, mask.tolist())) for _ in range(2))
    forwards = {name: np.array(getattr(one, name)) for name in names}
    backwards = {name: np.array(getattr(other, name)) for name in reversed(names)}
    for name in names:
        assert np.array_equal(forwards[name], backwards[name])
    for name in ("step", "storage", "category", "delta", "phases", "live", "step_peaks", "bands"):
        assert not getattr(one, name).flags.writeable


def test_the_old_name_of_step_peak_events_still_works_and_says_the_new_one() -> None:
    timeline = simulate_schedule(make_schedule(chain_step([4, 4])[1], [True, True]))
    with pytest.warns(DeprecationWarning, match="step_peak_events"):
        assert timeline.moments is timeline.step_peak_events
