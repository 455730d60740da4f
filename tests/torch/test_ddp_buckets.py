"""The buckets of DistributedDataParallel count in every total: before a step was recorded, and after."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import recompviz as rv
from recompviz.benchmarks.ranks.engines import _bytes
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events

STEPS, MEASURED = 6, 3


class Net(nn.Module):
    """Residual blocks whose parameters take about as much as their values."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(96, 192), nn.GELU(), nn.Linear(192, 96)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def counted(run: Callable[[], Any]) -> tuple[Any, int, int]:
    """Run a function; return its result, the bytes that stay allocated, and the most bytes in between."""
    with memory_window(torch.device("cpu")) as window:
        result = run()
    now = most = 0
    for event in allocation_events(window.profiled, "cpu"):
        now += event.size
        most = max(most, now)
    return result, now, most


def one_step(model: Any, measured: bool) -> int:
    """Run a training step; return its peak if it is measured, 0 if not."""
    x, y = torch.randn(256, 96), torch.randn(256, 96)
    for parameter in model.parameters():
        parameter.grad = None
    gc.collect()
    before = _bytes([value for value in gc.get_objects() if issubclass(type(value), torch.Tensor)])

    def run() -> None:
        nn.functional.mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]

    if measured:
        return before + counted(run)[2]
    run()
    return 0


def trained(model: Any) -> int:
    """Train some steps; return the peak of a later step, without what is no tensor of Python before it."""
    return min(
        [one_step(model, measured=i >= MEASURED) for i in range(STEPS)][MEASURED:]
    )  # a buffer that a thread of gloo frees late is not seen to be freed


def least_before_a_step(model: Any) -> int:
    with pytest.raises(rv.InfeasibleBudget) as caught:
        rv.compile(model, total="100 KiB")(torch.randn(256, 96))
    return caught.value.least


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"find_unused_parameters": True}], ids=["plain", "unused"])
def test_the_measured_peak_with_buckets_is_the_predicted_one_and_stays_under_the_total(
    options: dict[str, bool],
) -> None:
    model = Net()
    wrapped, allocated, _ = counted(lambda: DistributedDataParallel(model, **options))
    # the buffer in which the parameters are sent is as large, and a thread of gloo may free it unseen
    buckets = sum(p.nbytes for p in model.parameters())
    assert allocated >= buckets
    compiled = rv.compile(wrapped, total="1 GiB")
    peak = trained(compiled) + buckets
    report = rv.step_report(compiled)
    assert peak == pytest.approx(report.peak(), rel=1e-3)
    total = int(report.least_total + 0.4 * (report.peak(0) - report.least_total))
    again = rv.compile(wrapped, total=total)
    assert trained(again) + buckets <= total
    assert rv.step_report(again).peak() > total - buckets  # a total without the buckets would be exceeded


def test_before_a_step_was_recorded_the_buckets_count_too() -> None:
    without = least_before_a_step(Net())
    for view in (False, True):
        model = Net()
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=view)
        size = sum(p.nbytes for p in model.parameters())
        assert least_before_a_step(wrapped) == pytest.approx(without + size, abs=4096)
        del wrapped, model
        gc.collect()
