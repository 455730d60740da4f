"""Without liveness analysis the same schedule takes no less memory, and frees everything in the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given

import recompviz as rv
from recompviz.core.plans.segmentwise import freed_at_segment_ends, segment_of_steps
from recompviz.core.steps.examples import chain_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.random_joints import random_joint
from tests.core.strategies import steps


@given(steps())
def test_blocks_wait_for_their_segment_and_none_is_forgotten(case: tuple[rv.Graph, JointGraph]) -> None:
    graph, joint = case
    for plan in (rv.Plan.keep_all(graph), *rv.solve(graph).plans("memory")):
        schedule = make_schedule(joint, plan.keep_mask.tolist())
        late = freed_at_segment_ends(schedule, plan)
        segments = segment_of_steps(schedule, plan)
        border = joint.forward_count
        assert np.all(np.diff(segments[:border]) >= 0)
        assert np.all(np.diff(segments[border:]) <= 0)
        for half in (slice(0, border), slice(border, None)):  # no free moves from one pass to the other
            assert sorted(s for some in late.frees[half] for s in some) == sorted(
                s for some in schedule.frees[half] for s in some
            )
        once, later = simulate_schedule(schedule), simulate_schedule(late)
        assert later.peak >= once.peak
        assert later.live[-1] == once.live[-1]


def test_liveness_lowers_the_peak_of_a_chain() -> None:
    graph, joint = chain_step([4, 4, 4])
    plan = rv.Plan.keep_all(graph)
    schedule = make_schedule(joint, plan.keep_mask.tolist())
    assert simulate_schedule(schedule).peak < simulate_schedule(freed_at_segment_ends(schedule, plan)).peak


def test_without_segments_everything_stays_to_the_end_of_its_pass() -> None:
    graph, joint = random_joint(3)
    plan = rv.Plan.keep_all(graph)
    late = freed_at_segment_ends(make_schedule(joint, plan.keep_mask.tolist()), plan)
    freeing = [i for i, some in enumerate(late.frees) if some]
    assert set(freeing) <= {joint.forward_count - 1, len(late) - 1}
