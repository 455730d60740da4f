"""The stacked bands of a timeline against a walk over its events, one by one."""

import dataclasses

import numpy as np
import pytest

from recompviz.core.examples import chain_step, residual_step, u_step
from recompviz.core.joint import Category
from recompviz.core.schedule import make_schedule
from recompviz.core.simulation import simulate_schedule


def walked(timeline):
    """Bytes by category at the first moment of each step that holds the most: its beginning, or after an event."""
    now = np.zeros(len(Category), np.int64)
    events = iter(zip(timeline.step.tolist(), timeline.category.tolist(), timeline.delta.tolist(), strict=True))
    event = next(events, None)
    bands = []
    for step in range(len(timeline.phases)):
        best = now.copy()
        while event is not None and event[0] <= step:
            now[event[1]] += event[2]
            if now.sum() > best.sum():
                best = now.copy()
            event = next(events, None)
        bands.append(best)
    return np.array(bands)


@pytest.mark.parametrize("step", [residual_step((1, 1)), chain_step([3, 1, 4, 1, 5]), u_step(40)])
def test_the_bands_are_those_of_each_step_s_fullest_moment(step):
    graph, joint = step
    draw = np.random.default_rng(0)
    for share in (0, 0.3, 0.7, 1):
        timeline = simulate_schedule(make_schedule(joint, (draw.random(len(graph)) < share).tolist()))
        assert (timeline.bands == walked(timeline)).all()
        ties = dataclasses.replace(timeline, delta=draw.integers(-2, 3, len(timeline.delta)))
        assert (ties.bands == walked(ties)).all()
