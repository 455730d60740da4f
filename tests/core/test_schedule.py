"""The schedule, replayed by a little machine that refuses to read what is not there."""

from __future__ import annotations

import random
from collections import Counter

import pytest

import recompviz as rv
from recompviz.core.steps.examples import chain_step
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule


def random_step(seed: int) -> JointGraph:
    """A random forward DAG with a backward pass that reads gradients and values as autograd does."""
    chance = random.Random(seed)
    n = chance.randint(1, 10)
    storages = [Storage(chance.randint(0, 9), i, Category.KEPT, f"v{i}") for i in range(n)]
    inputs = [sorted(chance.sample(range(i), min(i, chance.randint(0, 3)))) for i in range(n)]
    calls = [Call(rv.NodeInfo(key=f"v{i}"), False, i, tuple(inputs[i]), (i,)) for i in range(n)]
    gradient: dict[int, int] = {}
    results = {n - 1}
    for i in range(n - 1, -1, -1):
        incoming = [gradient[j] for j in range(i + 1, n) if i in inputs[j]]
        saved = [v for v in (*inputs[i], i) if chance.random() < 0.6]
        s = len(storages)
        storages.append(Storage(chance.randint(0, 9), len(calls), Category.GRADIENT, f"g{i}"))
        calls.append(Call(rv.NodeInfo(key=f"b{i}"), True, -1, (*incoming, *dict.fromkeys(saved)), (s,)))
        gradient[i] = s
        if chance.random() < 0.4:
            results.add(s)
    return JointGraph(tuple(calls), tuple(storages), frozenset(results))


def replay(schedule: Schedule) -> list[int]:
    """Bytes alive after each step; fails on a read of something dead, a double free, or a leak."""
    joint = schedule.joint
    alive: Counter[int] = Counter()  # a recomputed result has two blocks
    live = []
    for i, c in enumerate(schedule.calls):
        if i == joint.forward_count:
            forward_results = {s for s in joint.results if joint.storages[s].maker < joint.forward_count}
            assert set(alive) == schedule.saved | forward_results
        call = joint.calls[c]
        assert set(call.reads) <= set(alive), f"step {i} reads {set(call.reads) - set(alive)}, not alive"
        alive.update(call.makes)
        for s in schedule.frees[i]:
            assert alive[s] > 0, f"step {i} frees {s} twice"
            alive[s] -= 1
        alive += Counter()  # drops zeros
        live.append(sum(joint.storages[s].size * count for s, count in alive.items()))
    assert alive == Counter(joint.results)
    return live


@pytest.mark.parametrize("seed", range(200))
def test_every_read_is_alive_and_only_results_outlive_the_step(seed: int) -> None:
    joint = random_step(seed)
    chance = random.Random(seed)
    for _ in range(4):
        kept = [chance.random() < 0.5 for _ in range(joint.forward_count)]
        schedule = make_schedule(joint, kept)
        live = replay(schedule)
        assert simulate_schedule(schedule).step_ends.tolist()[: len(live)] == live
        assert not any(kept[joint.calls[c].node] for c in schedule.recomputed)
        assert all(kept[joint.calls[joint.storages[s].maker].node] for s in schedule.saved)
        assert len(schedule) == len(joint.calls) + len(schedule.recomputed)


@pytest.mark.parametrize("seed", range(50))
def test_saved_is_exactly_what_is_kept_and_read_again(seed: int) -> None:
    joint = random_step(seed)
    kept = [random.Random(seed + 1).random() < 0.6 for _ in range(joint.forward_count)]
    schedule = make_schedule(joint, kept)
    read_again = {s for c in schedule.calls[joint.forward_count :] for s in joint.calls[c].reads}
    forward = {s for s in read_again if joint.storages[s].maker < joint.forward_count}
    assert schedule.saved == {s for s in forward if kept[joint.storages[s].maker]}


def test_keeping_everything_recomputes_nothing() -> None:
    _, joint = chain_step([3, 2, 1])
    assert make_schedule(joint, [True] * 3).recomputed == frozenset()


def test_the_peak_lists_what_is_alive_and_adds_up() -> None:
    _, joint = chain_step([30, 20, 10, 1])
    timeline = simulate_schedule(make_schedule(joint, [True, False, True, True]))
    assert sum(block.size for block in timeline.at_peak()) == timeline.transient_peak
    assert timeline.bands.sum(axis=1).tolist() == timeline.step_peaks.tolist()
    assert timeline.peak == timeline.static + timeline.transient_peak


def test_sizes_are_rounded_as_the_allocator_rounds() -> None:
    graph, joint = chain_step([100, 100])
    coarse = JointGraph(joint.calls, joint.storages, joint.results, alignment=512)
    assert simulate_schedule(make_schedule(coarse, [True] * len(graph))).transient_peak % 512 == 0
