"""Reports count memory that no Python object refers to, which lowers the coverage, and other memory of the process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.pytorch.debugging.references.process_tensors import ProcessTensors
from recompviz.pytorch.internals.autograd import saved_by
from recompviz.pytorch.internals.devices.large_allocations import large_allocations
from recompviz.pytorch.internals.devices.xpu import XpuRuntime

MIB = 1 << 20
needs_glibc = pytest.mark.skipif(
    not large_allocations() and not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc"
)


def debugged() -> MemoryReport:
    torch.manual_seed(0)
    net, x = nn.Linear(64, 64), torch.randn(64, 64)

    def step() -> None:
        net(x).square().mean().backward()

    return rv.debug(step, steps=1, advise=False)


@pytest.fixture
def hidden_block() -> Iterator[int]:
    """A block as PyTorch allocates it, with pages of its own, which no object of Python leads to."""
    library = ctypes.CDLL(None)
    blocks: list[ctypes.c_void_p] = []
    while not blocks or blocks[-1].value not in large_allocations():  # the first ones may fill gaps of freed blocks
        blocks.append(ctypes.c_void_p())
        assert library.posix_memalign(ctypes.byref(blocks[-1]), 64, 48 * MIB) == 0
        assert len(blocks) < 40
    assert blocks[-1].value is not None
    ctypes.memset(blocks[-1], 1, 48 * MIB)
    yield blocks[-1].value
    for block in blocks:
        library.free(block)


@needs_glibc
def test_a_block_without_an_object_of_python_lowers_the_coverage(hidden_block: int) -> None:
    report = debugged()
    assert hidden_block in large_allocations()
    nameless = [row for row in report.outside if not row.attributed and row.size >= 48 * MIB]
    assert len(nameless) == 1
    assert nameless[0].size < 48 * MIB + 8192
    assert "no object of Python" in nameless[0].why
    assert report.coverage < 0.5
    assert f"{report.coverage:.1%}" in report.text
    assert "of them of unknown origin" in report._repr_html_()


@needs_glibc
def test_without_such_a_block_nothing_is_of_unknown_origin() -> None:
    kept = [torch.zeros(40 * MIB, dtype=torch.uint8)]
    while kept[-1].data_ptr() not in large_allocations() and len(kept) < 40:  # as above
        kept.append(torch.zeros(40 * MIB, dtype=torch.uint8))
    assert large_allocations()[kept[-1].data_ptr()] >= 40 * MIB
    report = debugged()
    assert any(row.size == 40 * MIB and row.attributed for row in report.outside)
    assert report.unattributed == 0


def test_what_an_old_graph_has_saved_is_counted_and_named() -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        return x.tanh().exp().sum()

    leaf = torch.ones(2 * MIB, requires_grad=True)
    old_loss = model(leaf)
    report = debugged()
    graph = [row for row in report.outside if row.value == "`graph of old_loss`" or "graph" in row.value]
    assert sum(row.size for row in graph) == 2 * leaf.nbytes  # the results of tanh and exp
    assert all(row.attributed for row in graph)
    top = report.top
    assert top is not None
    assert top.cause == "memory that the step does not touch"
    assert "old_loss" in top.fix
    old_loss.backward()
    assert list(saved_by(old_loss.grad_fn)) == []
    del old_loss


def test_a_storage_without_a_tensor_is_counted() -> None:
    storage = torch.UntypedStorage(3 * MIB)
    report = debugged()
    assert any(row.size == storage.nbytes() and row.value == "a storage" for row in report.outside)


def test_the_process_is_told_beside_the_tensors() -> None:
    kept = torch.ones(16 * MIB, dtype=torch.uint8)
    memory = ProcessTensors(torch.device("cpu")).memory
    assert memory is not None
    assert memory.used > memory.tensors >= kept.nbytes
    assert memory.other == memory.used - memory.tensors
    assert debugged().process is not None


def test_an_allocator_that_counts_tells_what_no_tensor_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"memory_allocated": 10_240, "memory_reserved": 4 * MIB}
    for name, value in figures.items():
        monkeypatch.setattr(torch.xpu, name, lambda _device, value=value: value)
    monkeypatch.setattr(torch.xpu, "mem_get_info", lambda _device: (10 * MIB, 16 * MIB), raising=False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    xpu = XpuRuntime(torch.device("xpu"))
    assert xpu.unseen({1: 1_000, 2: 512}) == [10_240 - 1_024 - 512]
    assert xpu.unseen({1: 10_240}) == []
    assert xpu.in_use() == (6 * MIB, 4 * MIB)
