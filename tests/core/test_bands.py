"""The bands of a timeline are those at the fullest moment of each step."""

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline


def one_by_one(timeline):
    """The bands by walking through the events."""
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


def test_bands_are_those_that_a_walk_through_the_events_finds():
    rng = np.random.default_rng(5)
    for _ in range(60):
        steps, count = int(rng.integers(1, 9)), int(rng.integers(0, 25))
        at = np.sort(rng.integers(-1, steps, count)).tolist()
        events = [
            (i, k, int(rng.integers(len(Category))), int(size))
            for k, (i, size) in enumerate(zip(at, rng.choice([-3, -2, -1, 1, 2, 3], count), strict=True))
        ]
        labels = tuple(map(str, range(count)))
        more = {"static_bytes": {}, "kind": "simulated", "device": "cpu"}
        timeline = Timeline.of_events(events, ["step"] * steps, [0] * steps, storage_labels=labels, **more)
        assert (timeline.bands == one_by_one(timeline)).all()
