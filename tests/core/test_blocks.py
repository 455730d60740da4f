"""Blocks: what counts at each step adds up to its profile, and is what the timeline lists at the peak."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from recompviz.core.base.units import parse_bytes
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.transient_blocks import binding, blocks_of
from tests.core.strategies import steps_with_masks

TIMELINES = steps_with_masks().map(lambda case: simulate_schedule(make_schedule(case[1], case[2].tolist())))


@given(TIMELINES)
def test_the_blocks_alive_at_each_step_add_up_to_its_bytes_in_every_category(timeline):
    blocks = blocks_of(timeline)
    for s in range(len(timeline.phases)):
        alive = (blocks.first <= s) & (s < blocks.stop)
        by_category = np.bincount(blocks.category[alive], blocks.size[alive], timeline.bands.shape[1])
        assert (by_category == timeline.bands[s]).all()


@given(TIMELINES)
def test_at_the_peak_they_are_what_the_timeline_lists_there(timeline):
    blocks, at = blocks_of(timeline), timeline.peak_step
    alive = (blocks.first <= at) & (at < blocks.stop)
    assert sorted(zip(blocks.storage[alive].tolist(), blocks.size[alive].tolist(), strict=True)) == sorted(
        (block.storage, block.size) for block in timeline.at_peak()
    )


def test_what_binds_names_the_step_and_the_largest_values_and_leaves_no_byte_out():
    graph, joint = residual_step((1, 1))
    timeline = simulate_schedule(make_schedule(joint, [True] * len(graph)))
    text = binding(timeline)
    assert f"(step {timeline.peak_step + 1} of {len(timeline.phases)})" in text
    # every byte is in the sum of a category
    whole, _, _ = text.partition("; the largest is ")
    sizes = [part.rsplit(" ", 2)[1:] for part in whole.partition("): ")[2].split(", ")]
    assert sum(parse_bytes(" ".join(size)) for size in sizes) == pytest.approx(timeline.peak, rel=0.02)


def test_what_binds_names_the_largest_value_and_no_workspace_as_one():
    graph, joint = residual_step((1,))
    names = tuple(f"v{i}" for i in range(len(joint.storages)))
    timeline = replace(simulate_schedule(make_schedule(joint, [True] * len(graph))), storage_labels=names)
    largest = next(block for block in timeline.at_peak() if block.category is not Category.WORKSPACE)
    assert f"; the largest is {largest.label}, " in binding(timeline)


def test_what_binds_is_short_enough_for_its_place_in_the_page():
    """Five lines of forty letters: a longer text would be cut."""
    graph, joint = residual_step((1, 1))
    timeline = simulate_schedule(make_schedule(joint, [True] * len(graph)))
    deep = [f"blocks.{'x' * 60}.{label}" for label in timeline.storage_labels]
    assert len(binding(replace(timeline, storage_labels=tuple(deep)))) <= 175
