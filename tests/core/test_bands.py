"""The bands of a timeline are the bytes by category at the peak of each step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline


def one_by_one(timeline):
    """The bands from a walk through the events."""
    bands = np.zeros((len(timeline.phases), len(Category)), np.int64)
    now = np.zeros(len(Category), np.int64)
    event = 0
    for s in range(len(timeline.phases)):
        best = now.copy()
        while event < len(timeline.step) and timeline.step[event] <= s:
            now[timeline.category[event]] += timeline.delta[event]
            event += 1
            if now.sum() > best.sum():
                best = now.copy()
        bands[s] = best
    return bands


STEPS = st.integers(1, 8)
EVENT = st.tuples(st.integers(-1, 7), st.integers(0, len(Category) - 1), st.sampled_from([1, 2, 3, -1, -2, -3]))


@given(STEPS, st.lists(EVENT, max_size=24))
def test_bands_are_those_that_a_walk_through_the_events_finds(steps, drawn):
    ordered = sorted((min(at, steps - 1), k, category, size) for k, (at, category, size) in enumerate(drawn))
    labels = tuple(map(str, range(len(drawn))))
    more = {"static_bytes": {}, "kind": "simulated", "device": "cpu"}
    timeline = Timeline.of_events(ordered, ["step"] * steps, [0] * steps, storage_labels=labels, **more)
    assert (timeline.bands == one_by_one(timeline)).all()
    assert (timeline.bands.sum(axis=1) == timeline.step_peaks).all()
