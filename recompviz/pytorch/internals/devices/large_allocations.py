"""Large blocks of CPU memory that PyTorch has allocated, found by the headers that the C library writes before blocks.

PyTorch allocates memory of the CPU with an alignment of 64 bytes. glibc gives a large block pages of its own. The pages
begin with a header of two words, which contains the size of the pages and the flag 2. The header of the aligned block
follows 48 bytes later. Blocks of NumPy and of most libraries have no such second header. The pages are read through
``/proc/self/mem``, because reading a page that is gone is then an error, not a crash. On systems without glibc or
``/proc``, nothing is found.

glibc treats a block as large from a certain size on. Whenever a large block is freed, glibc may raise this size, up to
32 MiB. Smaller blocks have no pages of their own, and are not found. A large block that fills a gap between smaller
blocks is not found, either. Tried with glibc 2.36.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

# bytes between the beginning of the pages and the header of the aligned block; flag of blocks with pages of their own
_LEAD, _OWN_PAGES = 48, 2
_PAGE = 4096
_WORDS = struct.Struct("8Q")
# no block of less than this is listed; no more than this is read
LEAST, MOST_READS = 1 << 20, 400_000
# ranges in which no block has pages of its own, such as stacks of threads: they are not read again
_without_blocks: set[tuple[int, int]] = set()


def large_allocations() -> dict[int, int]:
    """Return the large blocks of memory that look like PyTorch's allocations: address → bytes.

    The bytes reach to the end of the block's last page, so they may be up to a page more than PyTorch asked for. Blocks
    of less than 1 MiB are left out.

    Examples
    --------
    >>> import torch
    >>> kept = torch.zeros(40 << 20, dtype=torch.uint8)
    >>> found = large_allocations()  # empty on a system without glibc
    >>> not found or found[kept.data_ptr()] >= 40 << 20
    True
    """
    found: dict[int, int] = {}
    # only Linux has these files, and a range may be unmapped while it is read
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        lines = file.readlines()
        memory = os.open("/proc/self/mem", os.O_RDONLY)
        try:
            reads = 0
            for low, high in _anonymous(lines):
                if (low, high) in _without_blocks:
                    continue
                at, blocks = low, 0
                while at < high and reads < MOST_READS:
                    size, aligned = _block_at(memory, at, high)
                    reads += 1
                    if aligned and size >= LEAST:
                        found[at + _LEAD + 16] = size - _LEAD - 16
                    at += size or _PAGE
                    blocks += size > 0
                if at >= high and not blocks:
                    _without_blocks.add((low, high))
        finally:
            os.close(memory)
    return found


def _anonymous(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of private writable memory that belongs to no file, and is not the heap or a stack."""
    for line in lines:
        fields = line.split()
        if len(fields) == 5 and fields[1] == "rw-p":
            low, high = fields[0].split("-")
            yield int(low, 16), int(high, 16)


def _block_at(memory: int, at: int, high: int) -> tuple[int, bool]:
    """Return the bytes of the block whose pages begin at an address, and whether it is aligned as PyTorch's.

    The bytes are 0 if no block begins there.
    """
    try:
        words = _WORDS.unpack(os.pread(memory, _WORDS.size, at))
    except (OSError, struct.error, OverflowError):
        return 0, False
    size = words[1] & ~7
    if words[0] or words[1] & 7 != _OWN_PAGES or size % _PAGE or not 0 < size <= high - at:
        return 0, False
    return size, words[6] == _LEAD and words[7] == (size - _LEAD) | _OWN_PAGES


def resident_set_size() -> int | None:
    """Return the resident memory of the process in bytes; None if the operating system does not report it."""
    # only Linux has this file; other systems that have /proc may write it in another form
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
