"""Free memory of the C library goes back to the system."""

import ctypes
import os
from pathlib import Path

import pytest
import torch

from recompviz.pytorch.internals.devices.runtimes import runtime


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the library of C is not glibc")
def test_free_memory_is_returned_to_the_system() -> None:
    # blocks below glibc's limit for mappings of their own; the last one stays and keeps the heap from shrinking
    blocks = [torch.ones(16 << 10) for _ in range(1600)]
    last = blocks[-1]
    blocks.clear()
    before = resident()
    runtime(torch.device("cpu")).empty_cache()
    assert before - resident() > 50 << 20
    assert last.sum() == 16 << 10
