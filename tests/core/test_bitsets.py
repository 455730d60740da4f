"""Bit masks against sets of numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recompviz.core.graphs.bitsets import bit_matrix, bit_words, bits

# more than one word of 64 bits
SETS = st.lists(st.sets(st.integers(0, 129)), min_size=1, max_size=5)


def mask_of(members: set[int]) -> int:
    return sum(1 << v for v in members)


@given(SETS)
def test_the_bits_of_a_mask_are_the_members_in_order(sets: list[set[int]]) -> None:
    assert [list(bits(mask_of(members))) for members in sets] == [sorted(members) for members in sets]


@given(SETS, st.integers(130, 200))
def test_matrix_and_words_have_a_bit_for_each_member(sets: list[set[int]], n: int) -> None:
    masks = [mask_of(members) for members in sets]
    assert [set(np.flatnonzero(row)) for row in bit_matrix(masks, n)] == sets
    words = bit_words(masks, n)
    assert [{v for v in range(n) if int(row[v // 64]) >> v % 64 & 1} for row in words] == sets
