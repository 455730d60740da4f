"""Sizes in words and numbers."""

from __future__ import annotations

import pytest

from recompviz.core.base.units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("10 GiB", 10 * 2**30), ("800MB", 800_000_000), ("1.5 kib", 1536), ("12", 12), ("1e3", 1000), (5, 5), (2.0, 2)],
)
def test_sizes_are_read(text: str | int | float, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["ten GiB", "10 GG", "", "-1 GiB", -1, float("nan"), float("inf")])
def test_what_is_no_size_is_quoted_in_the_error(text: str | float) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


def test_formatted_sizes_say_their_unit() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 10 * 2**30, 1023.9 * 2**20)] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "10.0 GiB",
        "1.00 GiB",
    ]


@pytest.mark.parametrize("size", [2**63, 10**400, 1e30, "1e30 GB", "9_000_000_000 TiB"])
def test_a_size_above_any_memory_is_the_largest_that_fits_in_64_bits(size: int | float | str) -> None:
    assert parse_bytes(size) == 2**63 - 1


@pytest.mark.parametrize("size", ["1__0", "_1", "1_", -(10**400)])
def test_numbers_that_only_look_like_sizes_are_refused(size: int | str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(size)
