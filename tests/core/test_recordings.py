"""Recordings are replayed, and predicted from their requests, under every setting of the allocator."""

from __future__ import annotations

import contextlib
import pickle
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recompviz as rv
from recompviz.core.allocator.caching_allocator import DeviceFull
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.snapshots.prediction import predict_recording
from recompviz.core.snapshots.ranges import Ranges
from recompviz.core.snapshots.replay import replay
from recompviz.core.snapshots.starting_state import starting_state
from tests.core.snapshot_writer import Allocator, RecordedAllocator

MIB = 1 << 20
SETTINGS = {
    "default": AllocatorSettings(),
    "expandable": AllocatorSettings(expandable_segments=True),
    "max split": AllocatorSettings(max_split_size=24 * MIB),
    "roundup": AllocatorSettings(roundup_power2_divisions=(8,) * 16),
    "collects": AllocatorSettings(garbage_collection_threshold=0.6, memory_fraction=1.0),
}


def recorded(seed: int, settings: AllocatorSettings, before: int, during: int, memory: int | None = None) -> Any:
    """A random run, of which the last part was recorded, and the model's state when the recording began."""
    drawn = random.Random(seed)
    model = RecordedAllocator(settings, memory)
    live: list[int] = []
    start: Any = None
    for i in range(before + during):
        if i == before:
            model.trace.clear()
            start = deepcopy(list(model.segments()))
        if live and drawn.random() < 0.47:
            model.free(live.pop(drawn.randrange(len(live))))
        else:
            size = drawn.choice([drawn.randint(1, 5000), drawn.randint(1, MIB), drawn.randint(1, 30 * MIB)])
            with contextlib.suppress(DeviceFull):
                live.append(model.allocate(size, drawn.randrange(2), (0, int(drawn.random() < 0.2))))
    return model, start


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("memory", [None, 200 * MIB])
@pytest.mark.parametrize("before", [0, 80])
def test_a_replay_ends_with_the_bytes_of_the_snapshot(name: str, memory: int | None, before: int) -> None:
    for seed in range(4):
        model, start = recorded(seed, SETTINGS[name], before, 150, memory)
        history = replay(model.snapshot_segments(), model.trace, SETTINGS[name])
        assert history.contradictions == 0
        assert int(history.allocations.live[-1]) == model.allocated
        assert history.reserved[-1] == model.reserved
        if history.records_before:
            assert history.reserved[0] == sum(one.size for one in start)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("memory", [None, 200 * MIB])
def test_the_state_at_the_start_is_derived_from_the_end_and_the_events(name: str, memory: int | None) -> None:
    for seed in range(6):
        model, start = recorded(seed, SETTINGS[name], 80, 150, memory)
        found = starting_state(model.snapshot_segments(), model.trace, SETTINGS[name])
        assert [segment[:2] for segment in found.segments] == [(one.address, one.size) for one in start]
        assert [segment[2] for segment in found.segments if not segment[2].expandable] == [
            (one.small, one.stream, one.pool, one.expandable) for one in start if not one.expandable
        ]
        used = {address: size for one in start for address, size, in_use in one.blocks if in_use}
        blocks = {block.address: block.size for block in found.blocks}
        assert blocks.keys() == used.keys()
        # the rest of a block that was not split off is not known if a free block follows
        most = 24 * MIB if name == "max split" else MIB
        assert all(0 <= used[address] - size <= most for address, size in blocks.items())
        assert found.allocator(SETTINGS[name]).reserved == sum(one.size for one in start)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_model_reserves_what_was_recorded_if_all_was_recorded(name: str) -> None:
    for seed in range(5):
        model, _ = recorded(seed, SETTINGS[name], 0, 250)
        predicted = predict_recording(model.snapshot_segments(), model.trace, SETTINGS[name])
        assert predicted.predicted.tolist() == predicted.recorded.tolist()
        assert predicted.recorded_free == predicted.predicted_free
        assert predicted.same_address == predicted.requests or name == "expandable"


@pytest.mark.parametrize("name", ["default", "expandable", "roundup"])
def test_the_model_reserves_nearly_what_was_recorded_from_the_middle_on(name: str) -> None:
    for seed in range(8):
        model, _ = recorded(seed, SETTINGS[name], 100, 250)
        predicted = predict_recording(model.snapshot_segments(), model.trace, SETTINGS[name])
        assert abs(predicted.error) <= 0.02


def test_a_recording_of_the_list_of_blocks_is_predicted_to_the_byte() -> None:
    drawn = random.Random(5)
    allocator = Allocator()
    live: list[int] = []
    for _ in range(500):
        if live and drawn.random() < 0.45:
            allocator.free(live.pop(drawn.randrange(len(live))))
        else:
            live.append(allocator.alloc(drawn.choice([drawn.randint(1, MIB), drawn.randint(1, 30 * MIB)])))
    snapshot = allocator.snapshot()
    predicted = predict_recording(snapshot["segments"], snapshot["device_traces"][0])
    assert predicted.error == predicted.largest_error == 0
    assert predicted.recorded_peak == sum(total for _, total, _, _ in allocator.segments)
    assert predicted.same_address == predicted.requests


@pytest.mark.parametrize("skipped", ["free_requested", "free_completed"])
def test_a_recording_without_one_kind_of_free_has_the_same_bytes(skipped: str) -> None:
    model, _ = recorded(1, AllocatorSettings(), 60, 200)
    whole = replay(model.snapshot_segments(), model.trace)
    part = [event for event in model.trace if event["action"] != skipped]
    skipping = replay(model.snapshot_segments(), part)
    assert skipping.allocations.live.tolist() == whole.allocations.live.tolist()
    assert skipping.reserved == whole.reserved
    assert predict_recording(model.snapshot_segments(), part).error == 0


def test_free_memory_of_a_private_pool_is_no_fragment_for_other_requests() -> None:
    model = RecordedAllocator()
    model.free(model.allocate(100 * MIB, pool=(0, 1)))
    model.allocate(60 * MIB)
    for events in (model.trace, [{k: v for k, v in event.items() if k != "pool_id"} for event in model.trace]):
        history = replay(model.snapshot_segments(), events)
        assert (history.reserved[-1], history.fragmentation[-1]) == (160 * MIB, 0)


def test_memory_mapped_during_the_recording_is_not_counted_twice() -> None:
    model = RecordedAllocator(AllocatorSettings(expandable_segments=True))
    model.allocate(40 * MIB)
    model.trace.clear()
    model.allocate(20 * MIB)
    history = replay(model.snapshot_segments(), model.trace, model.settings)
    assert history.reserved == [40 * MIB, 60 * MIB]


def test_a_segment_that_is_released_and_reserved_again_at_one_address_counts() -> None:
    model = RecordedAllocator(device_memory=100 * MIB, settings=AllocatorSettings(expandable_segments=True))
    kept = model.allocate(20 * MIB)
    for _ in range(3):
        model.free(model.allocate(60 * MIB))
        model.empty_cache()
    model.free(kept)
    history = replay(model.snapshot_segments(), model.trace, model.settings)
    assert max(history.reserved) == 80 * MIB
    assert history.reserved[-1] == model.reserved == 20 * MIB


def test_blocks_are_rounded_by_the_settings_in_the_file(tmp_path: Path) -> None:
    model = RecordedAllocator(AllocatorSettings(roundup_power2_divisions=(8, *(0,) * 15)))
    for _ in range(16):
        model.allocate(1_200_000)
    file = tmp_path / "roundup.pickle"
    file.write_bytes(pickle.dumps(model.snapshot()))
    assert rv.load_snapshot(file).peak == model.allocated == 20 * MIB


@pytest.mark.parametrize(
    "settings",
    [7, {"max_split_size": "x"}, {"PYTORCH_CUDA_ALLOC_CONF": "x:1"}, {"roundup_power2_divisions": {"1": 3}}],
)
def test_wrong_settings_in_a_file_are_refused(settings: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.pickle"
    event = {"action": "alloc", "addr": 0, "size": 5}
    file.write_bytes(pickle.dumps({"segments": [], "device_traces": [[event]], "allocator_settings": settings}))
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(file)
    assert (error.value.reason, error.value.field) == ("wrong field", "allocator_settings")


def test_a_failed_request_is_the_top_finding_with_its_line(tmp_path: Path) -> None:
    frames = [{"filename": "train.py", "line": 77, "name": "step"}]
    event = {"action": "oom", "size": 300 * MIB, "device_free": 5 * MIB, "stream": 0, "frames": frames}
    file = tmp_path / "oom.pickle"
    file.write_bytes(pickle.dumps({"segments": [], "device_traces": [[event]]}))
    top = rv.load_snapshot(file).top
    assert top is not None
    assert top.line is not None
    assert (top.cause, top.line.place, top.size) == ("out of memory", "train.py:77", 300 * MIB)
    assert "5.00 MiB were free on the device" in top.why


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(
                [
                    "alloc",
                    "free_requested",
                    "free_completed",
                    "segment_alloc",
                    "segment_free",
                    "segment_map",
                    "segment_unmap",
                    "oom",
                ]
            ),
            "addr": st.integers(0, 6).map(lambda n: n * MIB),
            "size": st.sampled_from([0, 1, 512, MIB, 2 * MIB, 5 * MIB, 20 * MIB]),
            "stream": st.integers(0, 1),
        },
        optional={"pool_id": st.sampled_from([(0, 0), [0, 1], "x", (1,)])},
    ),
    max_size=25,
)
SEGMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "address": st.integers(0, 8).map(lambda n: n * MIB),
            "total_size": st.sampled_from([0, MIB, 2 * MIB, 20 * MIB]),
            "is_expandable": st.booleans(),
            "blocks": st.lists(
                st.fixed_dictionaries(
                    {
                        "size": st.sampled_from([0, 512, MIB, 3 * MIB]),
                        "state": st.sampled_from(["active_allocated", "inactive"]),
                    },
                    optional={"address": st.integers(0, 9).map(lambda n: n * MIB)},
                ),
                max_size=4,
            ),
        }
    ),
    max_size=4,
)


@given(SEGMENTS, EVENTS, st.sampled_from(list(SETTINGS.values())))
def test_recordings_that_contradict_themselves_are_replayed_and_predicted(
    segments: list[Any], events: list[Any], settings: AllocatorSettings
) -> None:
    history = replay(segments, events, settings)
    assert len(history.reserved) == len(history.allocations.delta) == len(history.fragmentation)
    assert min(history.reserved, default=0) >= 0
    predict_recording(segments, events, settings)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 12)), max_size=30))
def test_ranges_hold_at_each_address_what_was_added_last(steps: list[tuple[bool, int, int]]) -> None:
    ranges: Ranges[int] = Ranges()
    cells: dict[int, int] = {}
    for label, (adds, start, length) in enumerate(steps):
        if adds:
            ranges.add(start, start + length, label)
            cells.update(dict.fromkeys(range(start, start + length), label))
        else:
            removed = ranges.cut(start, start + length)
            assert {cell: tag for a, b, tag in removed for cell in range(a, b)} == {
                cell: cells.pop(cell) for cell in range(start, start + length) if cell in cells
            }
        assert {cell: tag for a, b, tag in ranges for cell in range(a, b)} == cells
    for cell in range(45):
        found = ranges.at(cell)
        assert (found[2] if found else None) == cells.get(cell)
