"""The model of the caching allocator against a reimplementation with lists, its invariants, and worked examples."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recompviz.core.allocator.caching_allocator import CachingAllocator, DeviceFull
from recompviz.core.allocator.settings import AllocatorSettings
from tests.core.snapshot_writer import Allocator

MIB = 1 << 20


def requests(drawn: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """Random allocations (their size) and frees (which of the live blocks)."""
    live = 0
    for _ in range(count):
        if live and drawn.random() < 0.47:
            yield "free", drawn.randrange(live)
            live -= 1
        else:
            yield "alloc", drawn.choice([drawn.randint(1, 5000), drawn.randint(1, MIB), drawn.randint(1, 30 * MIB)])
            live += 1


@pytest.mark.parametrize("seed", range(20))
def test_every_block_and_segment_equals_those_of_a_list_of_blocks(seed: int) -> None:
    drawn = random.Random(seed)
    listed, model = Allocator(), CachingAllocator()
    model._lowest = listed.next_address
    live: list[int] = []
    for action, number in requests(drawn, 400):
        if action == "alloc":
            live.append(listed.alloc(number))
            assert model.allocate(number) == live[-1]
        else:
            address = live.pop(number)
            listed.free(address)
            model.free(address)
        assert model.allocated == listed.allocated
        assert model.reserved == sum(total for _, total, _, _ in listed.segments)
    found = [(one.address, one.size, "small" if one.small else "large", one.blocks) for one in model.segments()]
    assert found == sorted(
        (address, total, kind, tuple((p.address, p.size, p.used) for p in pieces))
        for address, total, kind, pieces in listed.segments
    )


SETTINGS = st.builds(
    AllocatorSettings,
    expandable_segments=st.booleans(),
    max_split_size=st.sampled_from([None, 20 * MIB, 64 * MIB]),
    garbage_collection_threshold=st.sampled_from([0.0, 0.5]),
    roundup_power2_divisions=st.sampled_from([(0,) * 16, (4,) * 16]),
    memory_fraction=st.sampled_from([None, 0.7]),
)


@given(SETTINGS, st.integers(0, 2**32), st.sampled_from([None, 150 * MIB, 400 * MIB]))
def test_blocks_fill_their_segments_and_sums_hold_under_all_settings(
    settings: AllocatorSettings, seed: int, memory: int | None
) -> None:
    drawn = random.Random(seed)
    model = CachingAllocator(settings, memory)
    live: dict[int, int] = {}
    for step in range(120):
        if live and drawn.random() < 0.45:
            address = drawn.choice(list(live))
            del live[address]
            model.free(address)
        else:
            size = drawn.choice([drawn.randint(1, 2 * MIB), drawn.randint(1, 90 * MIB)])
            stream, pool = drawn.randrange(2), (0, drawn.randrange(2))
            with contextlib.suppress(DeviceFull):
                live[model.allocate(size, stream, pool)] = size
        if step % 10 == 0 or memory is not None:
            check(model, live, settings)
        # PyTorch compares the fraction with the rounded request, and then maps whole pages
        page = 20 * MIB if settings.expandable_segments and settings.memory_fraction else 0
        assert memory is None or model.reserved <= min(memory, memory * (settings.memory_fraction or 1) + page)
    for address in live:
        model.free(address)
    model.empty_cache()
    assert (model.reserved, model.allocated, list(model.segments())) == (0, 0, [])


def check(model: CachingAllocator, live: dict[int, int], settings: AllocatorSettings) -> None:
    segments = list(model.segments())
    blocks = [block for segment in segments for block in segment.blocks]
    used = {address: size for address, size, in_use in blocks if in_use}
    assert used.keys() == live.keys()
    assert all(size >= settings.rounded(live[address]) for address, size in used.items())
    assert model.allocated == sum(used.values())
    assert model.reserved == sum(segment.size for segment in segments)
    for segment in segments:
        at = segment.address
        for address, size, _ in segment.blocks:
            assert address == at  # without gaps
            at += size
        assert at == segment.address + segment.size
        # free neighbours are merged
        assert not any(not a[2] and not b[2] for a, b in pairwise(segment.blocks))
    ends = [(one.address, one.address + one.size) for one in segments]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    free = {(key[1], key[0], key[2]): pool.size_free for key, pool in model._pools.items() if pool.size_free}
    sums: dict[tuple[int, tuple[int, int], bool], int] = {}
    for one in segments:
        if one.free:
            key = (one.stream, one.pool, one.small)
            sums[key] = sums.get(key, 0) + one.free
    assert free == sums


def test_small_blocks_are_split_at_512_bytes_and_large_ones_only_above_1_mib() -> None:
    model = CachingAllocator()
    assert model.allocate(512) + 512 == model.allocate(1)
    assert (model.reserved, model.allocated) == (2 * MIB, 1024)
    large = model.allocate(19 * MIB)  # a segment of its own size, rounded up to 2 MiB
    assert (model.reserved, model.block_size(large)) == (22 * MIB, 20 * MIB)  # 1 MiB is too little to be split off
    model.free(large)
    assert model.block_size(model.allocate(19 * MIB - 512)) == 19 * MIB - 512


def test_each_stream_and_each_private_pool_has_its_own_segments() -> None:
    model = CachingAllocator()
    model.free(model.allocate(5 * MIB))
    model.allocate(5 * MIB, stream=1)
    model.allocate(5 * MIB, pool=(0, 1))
    assert model.reserved == 60 * MIB
    model.allocate(5 * MIB)
    assert model.reserved == 60 * MIB
    assert [model.cached(5 * MIB), model.cached(1), model.cached(5 * MIB, 1)] == [15 * MIB, 0, 15 * MIB]


def test_an_expandable_segment_grows_where_others_would_add_segments() -> None:
    fixed, expandable = CachingAllocator(), CachingAllocator(AllocatorSettings(expandable_segments=True))
    for model in (fixed, expandable):
        model.free(model.allocate(40 * MIB))
        model.allocate(60 * MIB)
    assert (fixed.reserved, fixed.fragmentation) == (100 * MIB, 0)  # 40 MiB would not have been enough
    assert (expandable.reserved, expandable.fragmentation) == (60 * MIB, 0)
    [segment] = expandable.segments()
    assert [size for _, size, _ in segment.blocks] == [60 * MIB]


def test_pages_of_an_expandable_segment_have_2_or_20_mib_and_are_split_at_512_bytes() -> None:
    model = CachingAllocator(AllocatorSettings(expandable_segments=True))
    model.allocate(512)
    assert model.reserved == 2 * MIB
    model.allocate(21 * MIB)
    assert model.reserved == 42 * MIB
    model.allocate(19 * MIB - 512)
    assert (model.reserved, model.allocated) == (42 * MIB, 40 * MIB)


def test_memory_unmapped_in_the_middle_of_an_expandable_segment_is_mapped_again() -> None:
    model = CachingAllocator(AllocatorSettings(expandable_segments=True), device_memory=102 * MIB)
    first, middle, last = (model.allocate(30 * MIB) for _ in range(3))
    assert model.reserved == 100 * MIB  # 90 MiB need five pages
    model.free(middle)
    model.allocate(10 * MIB)  # in the middle
    model.free(last)
    model.allocate(50 * MIB)  # 60 MiB are free from 40 MiB on
    model.free(first)
    model.allocate(5, stream=1)
    assert (model.reserved, model.retries) == (102 * MIB, 0)
    model.allocate(5, stream=2)
    assert (model.reserved, model.retries) == (84 * MIB, 1)  # of the first 30 MiB, one whole page was unmapped
    with pytest.raises(DeviceFull):
        model.allocate(10 * MIB + 512)
    model.device_memory = 104 * MIB
    assert model.allocate(10 * MIB + 512) == first
    assert model.reserved == 104 * MIB


def test_unused_segments_are_released_before_the_device_is_full() -> None:
    model = CachingAllocator(device_memory=100 * MIB)
    blocks = [model.allocate(20 * MIB) for _ in range(4)]
    model.free(blocks[1])
    model.free(blocks[2])
    model.allocate(50 * MIB)
    assert (model.reserved, model.retries) == (90 * MIB, 1)
    with pytest.raises(DeviceFull) as full:
        model.allocate(30 * MIB)
    assert (full.value.requested, full.value.reserved, full.value.allocated) == (30 * MIB, 90 * MIB, 90 * MIB)


def test_a_segment_with_one_used_block_is_not_released() -> None:
    model = CachingAllocator(device_memory=30 * MIB)
    big, _ = model.allocate(8 * MIB), model.allocate(2 * MIB)
    model.free(big)
    with pytest.raises(DeviceFull):
        model.allocate(11 * MIB)
    assert (model.reserved, model.allocated) == (20 * MIB, 2 * MIB)


@pytest.mark.parametrize(("memory", "size", "reserved", "retries"), [(200, 100, 140, 1), (150, 40, 96, 0)])
def test_blocks_above_max_split_size_are_not_split_and_are_released_first(
    memory: int, size: int, reserved: int, retries: int
) -> None:
    model = CachingAllocator(AllocatorSettings(max_split_size=32 * MIB), memory * MIB)
    big = model.allocate(64 * MIB)
    model.free(big)
    small = model.allocate(16 * MIB)
    assert model.reserved == 80 * MIB
    assert model.block_size(model.allocate(50 * MIB)) == 64 * MIB  # larger by less than 20 MiB
    model.free(big)
    other = model.allocate(40 * MIB)  # larger by more
    assert (model.block_size(other), model.reserved) == (40 * MIB, 120 * MIB)
    model.free(small)
    model.allocate(size * MIB)
    assert (model.reserved, model.retries) == (reserved * MIB, retries)


def test_old_segments_are_released_above_the_threshold_if_a_fraction_is_set() -> None:
    settings = AllocatorSettings(garbage_collection_threshold=0.5, memory_fraction=1.0)
    for chosen, reserved in ((settings, 100), (AllocatorSettings(garbage_collection_threshold=0.5), 120)):
        model = CachingAllocator(chosen, device_memory=120 * MIB)
        old, new = model.allocate(20 * MIB), model.allocate(22 * MIB)
        model.allocate(28 * MIB)
        model.free(old)
        model.allocate(600 * 1024)
        for _ in range(3):
            model.free(model.allocate(22 * MIB) if model.block_size(new) == 0 else new)
        model.allocate(48 * MIB)  # 72 MiB are reserved, 12 MiB above the threshold
        assert model.reserved == reserved * MIB


@pytest.mark.parametrize(
    ("divisions", "size", "block"),
    [
        ("4", 1200 * 1024, 1280 * 1024),
        ("4", 1 << 20, 1 << 20),
        ("8", 1_200_000, 1_310_720),
        ("[256:1,512:2,>:4]", 600 << 20, 768 << 20),
        ("[256:1,512:2,>:4]", 1100 << 20, 1280 << 20),
        ("[256:1,512:2,>:4]", (300 << 20) + 1, (300 << 20) + 512),
        ("1", 1000, 1024),
    ],
)
def test_sizes_are_rounded_to_a_part_of_a_power_of_two(divisions: str, size: int, block: int) -> None:
    settings = AllocatorSettings.parse(f"roundup_power2_divisions:{divisions}")
    assert settings.rounded(size) == block


def test_settings_are_read_from_the_text_the_environment_and_a_snapshot() -> None:
    text = (
        "expandable_segments:True, max_split_size_mb:128,garbage_collection_threshold:0.8,"
        "roundup_power2_divisions:[64:8,128:2,>:1],pinned_num_register_threads:4,backend:native,"
        "max_non_split_rounding_mb:30,large_segment_size_mb:40,per_process_memory_fraction:0.5"
    )
    settings = AllocatorSettings.parse(text)
    assert settings == AllocatorSettings(
        True, 128 * MIB, 30 * MIB, 0.8, (8,) * 7 + (2,) + (1,) * 8, 40 * MIB, memory_fraction=0.5
    )
    old, new = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"
    assert AllocatorSettings.from_environment({old: text}) == settings
    assert AllocatorSettings.from_environment({old: text, new: "expandable_segments:True"}) == AllocatorSettings(True)
    assert AllocatorSettings.from_environment({}) == AllocatorSettings.from_snapshot(None) == AllocatorSettings()
    recorded = {
        old: "expandable_segments:True",
        "expandable_segments": False,
        "max_split_size": -1,
        "garbage_collection_threshold": 0.25,
        "roundup_power2_divisions": {"1": 8},
    }
    assert AllocatorSettings.from_snapshot(recorded) == AllocatorSettings(
        garbage_collection_threshold=0.25, roundup_power2_divisions=(8, *(0,) * 15)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expandable_segments:yes", "expandable_segments is 'yes', expected True or False"),
        ("max_split_size_mb:8", "max_split_size is 8388608, expected at least 20 MiB"),
        ("max_split_size_mb:many", "expected a number of MiB"),
        ("max_split_size_mb:0", "max_split_size is 0, expected at least 20 MiB"),
        ("max_non_split_rounding_mb:19", "expected at least 20 MiB"),
        ("large_segment_size_mb:10", "expected more than 10 MiB"),
        ("garbage_collection_threshold:1.5", "expected more than 0 and less than 1"),
        ("garbage_collection_threshold:0", "expected more than 0 and less than 1"),
        ("roundup_power2_divisions:0", "expected a power of two"),
        ("roundup_power2_divisions:3", "roundup_power2_divisions is 3, expected 0 or a power of two"),
        ("roundup_power2_divisions:[3:1]", "expected a power of two, or a list"),
        ("splits:1", "'splits' is not a setting of the allocator, expected one of expandable_segments"),
        ("backend:cudaMallocAsync", "no other allocator is modelled"),
        ("expandable_segments", "'expandable_segments' is not a setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("[", r"\[").replace("(", r"\(")):
        AllocatorSettings.parse(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("garbage_collection_threshold", "x"),
        ("roundup_power2_divisions", None),
        ("roundup_power2_divisions", (1.5,) * 16),
        ("expandable_segments", 3),
        ("block", 512.5),
        ("max_split_size", "128"),
        ("memory_fraction", True),
    ],
)
def test_a_setting_of_a_wrong_type_is_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        AllocatorSettings(**{name: value})  # type: ignore[arg-type]


def test_only_ascii_digits_are_numbers_in_settings() -> None:
    with pytest.raises(ValueError, match="max_split_size_mb"):
        AllocatorSettings.parse("max_split_size_mb:\u0663\u0662")


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size is -1, expected a number of bytes"):
        CachingAllocator().allocate(-1)
