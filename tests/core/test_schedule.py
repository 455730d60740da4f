"""The schedule, replayed by a small machine that fails on a read of a storage that is not alive."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given

import recompviz as rv
from recompviz.core.steps.examples import chain_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.strategies import steps_with_masks


def replay(schedule: Schedule) -> list[int]:
    """Bytes alive after each step; fails on a read of something dead, a double free, or a leak."""
    joint = schedule.joint
    alive: Counter[int] = Counter()  # a recomputed result has two blocks
    static = {s for s, storage in enumerate(joint.storages) if storage.maker < 0}
    live = []
    for i, c in enumerate(schedule.calls):
        if i == joint.forward_count:
            forward_results = {s for s in joint.results if 0 <= joint.storages[s].maker < joint.forward_count}
            assert set(alive) == schedule.saved | forward_results
        call = joint.calls[c]
        missing = set(call.reads) - static - set(alive)
        assert not missing, f"step {i} reads {missing}, not alive"
        alive.update(call.makes)
        for s in schedule.frees[i]:
            assert alive[s] > 0, f"step {i} frees {s} twice"
            alive[s] -= 1
        alive += Counter()  # drops zeros
        live.append(sum(joint.storages[s].size * count for s, count in alive.items()))
    assert alive == Counter(joint.results)
    return live


def only_storages(joint: JointGraph) -> JointGraph:
    """The step without what is no storage of a call: workspace, generator states, the gradient of the loss."""
    return replace(joint, workspace=(), rng_bytes=0, tangent_bytes=0, alignment=1, optimizer_scratch=0)


@given(steps_with_masks())
def test_every_read_is_alive_and_only_results_outlive_the_step(case: tuple[rv.Graph, JointGraph, np.ndarray]) -> None:
    _, joint, mask = case
    schedule = make_schedule(only_storages(joint), mask.tolist())
    live = replay(schedule)
    assert simulate_schedule(schedule).step_ends.tolist()[: len(live)] == live
    keeps = joint.kept_calls(mask.tolist())
    assert not any(keeps[c] for c in schedule.recomputed)
    assert all(keeps[joint.storages[s].maker] for s in schedule.saved)
    assert len(schedule) == len(joint.calls) + len(schedule.recomputed)


@given(steps_with_masks())
def test_saved_is_exactly_what_is_kept_and_read_again(case: tuple[rv.Graph, JointGraph, np.ndarray]) -> None:
    _, joint, mask = case
    schedule, keeps = make_schedule(joint, mask.tolist()), joint.kept_calls(mask.tolist())
    read_again = {s for c in schedule.calls[joint.forward_count :] for s in joint.calls[c].reads}
    forward = {s for s in read_again if 0 <= joint.storages[s].maker < joint.forward_count}
    assert schedule.saved == {s for s in forward if keeps[joint.storages[s].maker]}


@given(steps_with_masks())
def test_the_bytes_alive_at_each_step_are_the_sum_of_its_blocks(case: tuple[rv.Graph, JointGraph, np.ndarray]) -> None:
    _, joint, mask = case
    timeline = simulate_schedule(make_schedule(joint, mask.tolist()))
    for event in range(len(timeline.delta)):
        assert sum(block.size for block in timeline.alive_at(event)) == timeline.live[event]
    assert timeline.live.min() >= 0
    assert timeline.bands.sum(axis=1).tolist() == timeline.step_peaks.tolist()
    assert timeline.peak == timeline.static + timeline.step_peaks.max()


def test_keeping_everything_recomputes_nothing() -> None:
    _, joint = chain_step([3, 2, 1])
    assert make_schedule(joint, [True] * 3).recomputed == frozenset()


def test_sizes_are_rounded_as_the_allocator_rounds() -> None:
    graph, joint = chain_step([100, 100])
    coarse = JointGraph(joint.calls, joint.storages, joint.results, alignment=512)
    assert simulate_schedule(make_schedule(coarse, [True] * len(graph))).transient_peak % 512 == 0
