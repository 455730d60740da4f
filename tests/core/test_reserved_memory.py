"""The reserved memory of a simulated step equals that of its requests, made by hand in the allocator's model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recompviz.core.allocator.caching_allocator import CachingAllocator
from recompviz.core.allocator.reserved_memory import ReservedMemory
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.steps.examples import chain_step, residual_step
from recompviz.core.steps.joint import Category, JointGraph, Storage
from recompviz.core.steps.reserved_prediction import with_reserved
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

MIB = 1 << 20


def predicted(joint: JointGraph, mask: list[bool], text: str = "", memory: int | None = None) -> ReservedMemory:
    timeline = simulate_schedule(make_schedule(joint, mask))
    reserved = with_reserved(timeline, joint, AllocatorSettings.parse(text), memory).reserved
    assert reserved is not None
    return reserved


def test_the_requests_of_a_chain_are_made_in_the_order_of_the_step() -> None:
    _, joint = chain_step(sizes=[3 * MIB, 12 * MIB, 5 * MIB])
    allocator = CachingAllocator()
    most = []
    for _ in range(2):
        values = [allocator.allocate(size * MIB) for size in (3, 12, 5)]
        last = allocator.allocate(5 * MIB)  # the gradient of the last value
        most.append(allocator.reserved)
        allocator.free(values[1])  # its last reader was the backward call of the last value
        middle = allocator.allocate(12 * MIB)
        allocator.free(last)
        allocator.free(values[0])
        first = allocator.allocate(3 * MIB)
        for address in (middle, values[2], first):
            allocator.free(address)
        most.append(allocator.reserved)
    found = predicted(joint, [True] * 3)
    assert (found.peak, found.steps) == (max(most), 2)
    assert found.allocated_peak == (3 + 12 + 5 + 5) * MIB
    assert found.segments == sum(1 for _ in allocator.segments())


@pytest.mark.parametrize("text", ["", "expandable_segments:True", "max_split_size_mb:32", "roundup_power2_divisions:4"])
def test_reserved_memory_is_at_least_what_is_allocated_and_the_simulated_bytes(text: str) -> None:
    graph, joint = residual_step(batch=2, pixels=64)
    masks = [[True] * len(graph), [i % 3 == 0 for i in range(len(graph))]]
    for mask in masks:
        timeline = simulate_schedule(make_schedule(joint, mask))
        found = predicted(joint, mask, text)
        assert (found.reserved >= found.allocated).all()
        assert len(found.reserved) == len(timeline.delta)
        assert found.peak >= found.allocated_peak >= timeline.peak
        assert found.failure == ""


def test_blocks_that_exist_before_come_first_and_the_state_of_the_optimizer_after_the_first_step() -> None:
    _, joint = chain_step(sizes=[2 * MIB])
    static = [Storage(25 * MIB, -1, Category.PARAMETER, "w"), Storage(30 * MIB, -1, Category.OPTIMIZER, "state")]
    found = predicted(replace(joint, storages=(*joint.storages, *static)), [True])
    assert found.peak == (26 + 30 + 20) * MIB
    assert int(found.allocated[0]) == (25 + 30 + 2 + 1) * MIB  # 1 MiB of 26 MiB is too little to be split off


def test_a_step_that_does_not_fit_says_which_request_failed() -> None:
    _, joint = chain_step(sizes=[30 * MIB, 30 * MIB, 30 * MIB])
    found = predicted(joint, [True] * 3, memory=100 * MIB)
    assert found.failed_at == 3
    assert "a block of 30.0 MiB does not fit into 100 MiB of device memory: 90.0 MiB are reserved" in found.text
    assert len(found.reserved) == len(found.allocated) == len(simulate_schedule(make_schedule(joint, [True] * 3)).delta)
    assert predicted(joint, [True] * 3, memory=200 * MIB).failed_at is None


def test_the_timeline_says_what_is_reserved() -> None:
    _, joint = chain_step(sizes=[30 * MIB])
    timeline = simulate_schedule(make_schedule(joint, [True]))
    assert timeline.reserved is timeline.reserved_peak is None
    found = with_reserved(timeline, joint)
    assert found.reserved_peak == 60 * MIB
    assert repr(found).endswith("; the caching allocator reserves about 60.0 MiB)")
    assert np.array_equal(found.live, timeline.live)
