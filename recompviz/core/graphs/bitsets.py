"""Sets of nodes as bit masks, and the conversion of bit masks to arrays.

A bit mask is a Python int. Bit v is 1 if node v is in the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bits(mask: int) -> Iterator[int]:
    """Yield the node numbers in a bit mask, lowest first: the positions of the bits that are 1.

    Examples
    --------
    >>> list(bits(0b1011))
    [0, 1, 3]
    """
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def bit_matrix(masks: Sequence[int], n: int) -> NDArray[np.bool_]:
    """Return bit masks of sets of ``n`` nodes as a boolean array of shape (len(masks), n).

    Entry [i, v] is True if node v is in the set ``masks[i]``.

    Examples
    --------
    >>> bit_matrix([0b01, 0b11], 2).astype(int).tolist()
    [[1, 0], [1, 1]]
    """
    width = (n + 7) // 8
    raw = np.frombuffer(b"".join(mask.to_bytes(width, "little") for mask in masks), dtype=np.uint8)
    return np.unpackbits(raw.reshape(len(masks), width), axis=1, bitorder="little", count=n).astype(np.bool_)


def bit_words(masks: Sequence[int], n: int) -> NDArray[np.uint64]:
    """Return bit masks of sets of ``n`` nodes as an array of uint64 words, one row for each mask.

    Node v is bit v % 64 of word v // 64. The shape is (len(masks), ⌈n / 64⌉), with one word for n = 0.

    Examples
    --------
    >>> bit_words([0b101, 1 << 64], 65).tolist()
    [[5, 0], [0, 1]]
    """
    width = max(1, (n + 63) // 64)
    raw = b"".join(mask.to_bytes(8 * width, "little") for mask in masks)
    return np.frombuffer(raw, dtype="<u8").reshape(len(masks), width).astype(np.uint64)
