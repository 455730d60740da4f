"""The branches for CUDA, run on the CPU with a stand-in for ``torch.cuda`` that a model of its allocator counts for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.benchmarks.cuda.stand_in import StandInCuda, stand_in
from recompviz.pytorch.budgeting.calibration_cache import CalibrationCache
from recompviz.pytorch.internals.devices.peaks import AllocatorPeaks
from recompviz.pytorch.internals.devices.runtimes import backend_settings, runtime
from recompviz.pytorch.running.compiled import budget_of

# PyTorch's profiler records no CUDA here
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available, disabling CUDA profiling:UserWarning")
CPU = torch.device("cpu")
BLOCK = 512


@pytest.fixture
def cuda() -> Iterator[StandInCuda]:
    with stand_in() as made:
        yield made


def layers(count: int = 4, width: int = 64, dropout: float = 0.5) -> nn.Module:
    last = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*(part for _ in range(count) for part in (nn.Linear(width, width), nn.Tanh(), *last)))


@pytest.mark.parametrize(
    "name", sorted(name for name, value in vars(StandInCuda).items() if not name.startswith("_") and callable(value))
)
def test_the_stand_in_has_the_signatures_of_torch_cuda(name: str) -> None:
    real: Any = getattr(torch.cuda, name)
    if name in ("Event", "OutOfMemoryError") or not inspect.isfunction(real):
        return
    ours = inspect.signature(getattr(StandInCuda, name)).parameters
    theirs = inspect.signature(real).parameters
    assert [p for p in ours if p != "self"] == list(theirs)[: len(ours) - 1]


def test_the_allocators_books_are_those_of_512_bytes_and_segments(cuda: StandInCuda) -> None:
    one = torch.empty(1000, dtype=torch.uint8)
    two = torch.empty(3 << 20, dtype=torch.uint8)
    assert cuda.memory_allocated() == 1024 + (3 << 20)
    assert cuda.memory_reserved() == (2 << 20) + (20 << 20)
    del two
    assert cuda.memory_allocated() == 1024
    assert cuda.max_memory_allocated() == 1024 + (3 << 20)
    cuda.empty_cache()
    assert cuda.memory_reserved() == 2 << 20
    assert one[:10].view(2, 5).untyped_storage().nbytes() == 1000
    assert cuda.memory_allocated() == 1024  # a view has no memory of its own


def test_the_runtime_is_that_of_cuda(cuda: StandInCuda) -> None:
    used = runtime(CPU)
    assert used.is_available()
    assert (used.alignment, used.rounded(1)) == (BLOCK, BLOCK)
    assert used.total_memory() == cuda.mem_get_info()[1]
    assert used.label() == "CPU (stand-in for CUDA)"
    assert "stand-in for CUDA" in backend_settings(CPU)
    assert "cudnn benchmark" in backend_settings(CPU)
    assert used.software().startswith(("CUDA", "ROCm"))
    assert used.generator() is torch.default_generator
    state = used.generator_state()
    first = torch.rand(3)
    with used.replay(state):
        assert torch.equal(torch.rand(3), first)
    watch = used.stopwatch()
    watch.start()
    used.synchronize()
    watch.stop()
    assert 0 <= watch.seconds() < 1


def test_peaks_are_counted_from_the_start_of_the_period(cuda: StandInCuda) -> None:
    before = torch.empty(1 << 20)
    peaks = AllocatorPeaks(CPU)
    peaks.begin()
    inside = torch.empty(3 << 20, dtype=torch.uint8)
    peaks.end()
    assert peaks.allocated == inside.nbytes
    assert peaks.reserved == cuda.max_memory_reserved() >= before.nbytes + inside.nbytes


def test_the_simulated_peak_is_the_allocators(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECOMPVIZ_CACHE", str(tmp_path))
    with stand_in():
        model, x = layers(dropout=0), torch.randn(32, 64)
        trace = rv.calibrate(rv.trace(model, x, loss=torch.sum))
        assert trace.joint.alignment == BLOCK
        assert min(trace.joint.seconds) >= 0
        for plan in (rv.Plan.keep_all(trace.graph), trace.plans("live").plans[-1]):
            module = rv.apply(trace, plan)
            for _ in range(2):
                module(x).backward()
                model.zero_grad()
            peaks = AllocatorPeaks(CPU)
            peaks.begin()
            module(x).backward()
            peaks.end()
            assert peaks.allocated == rv.simulate(trace, plan).transient_peak
            model.zero_grad()
            measured = rv.measure(module, x)
            assert measured.reserved_peak == rv.simulate(trace, plan, allocator="").reserved_peak == 2 << 20
            assert measured.notes == ()
            assert rv.certify(trace, plan).gradients == "bitwise"


def test_what_nobody_named_counts_in_a_compiled_step(cuda: StandInCuda) -> None:
    model, x = layers(width=128), torch.randn(16, 128)
    compiled = rv.compile(model, total="1 GiB")
    budget = budget_of(compiled)
    for _ in range(4):
        compiled(x).sum().backward()
        model.zero_grad()
    assert budget.planned is not None
    assert budget.memory.held_bytes < 1 << 20
    teacher = torch.empty(64 << 20, dtype=torch.uint8)
    compiled(x).sum().backward()
    assert teacher.nbytes <= budget.memory.held_bytes < cuda.memory_allocated()


def test_another_device_has_another_calibration_cache() -> None:
    usual = CalibrationCache(CPU).path
    with stand_in():
        assert CalibrationCache(CPU).path != usual


def test_debug_without_a_module_watches_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    from recompviz.pytorch.internals.devices import runtimes

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: CPU)  # noqa: ARG005
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    with stand_in():
        assert runtimes.present_accelerator() == torch.device("cpu", 0)
        assert runtimes.autocast_devices() == ("cpu", "cuda")


def test_a_recorded_snapshot_has_the_allocators_peaks(cuda: StandInCuda, tmp_path: Path) -> None:
    model, x = layers(width=512), torch.randn(2048, 512)
    scope: dict[str, Any] = {}
    exec(compile("def step(model, x):\n    model(x).sum().backward()", "/home/me/train.py", "exec"), scope)
    cuda.memory._record_memory_history()
    cuda.reset_peak_memory_stats()
    scope["step"](model, x)
    path = tmp_path / "snapshot.pickle"
    cuda.memory._dump_snapshot(str(path))
    cuda.memory._record_memory_history(enabled=None)
    report = rv.load_snapshot(path)
    assert report.peak == cuda.max_memory_allocated()
    assert report.timeline.reserved_peak == cuda.max_memory_reserved()
    assert any(row.line is not None and row.line.place == "train.py:2" for row in report.rows)


def test_a_step_that_does_not_fit_raises_and_leaves_the_state(cuda: StandInCuda) -> None:
    model, x = nn.Sequential(*(nn.Tanh() for _ in range(8))), torch.randn(4 << 20, requires_grad=True)
    trace = rv.trace(model, x, loss=torch.sum)
    table = trace.plans("live")
    most = rv.simulate(trace, rv.Plan.keep_all(trace.graph)).peak
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    cuda.empty_cache()
    cuda.set_per_process_memory_fraction((0.5 * most + 0.5 * table.least_total) / cuda.mem_get_info()[1])
    with pytest.raises(torch.OutOfMemoryError, match="stand-in for CUDA out of memory"):
        rv.measure(model, x, loss=torch.sum)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert x.grad is None
    cuda.empty_cache()
    module = rv.apply(trace, table.plans[-1])
    assert rv.measure(module, x).peak <= table.least_total
    assert torch.isfinite(module(x))


@pytest.mark.slow
def test_calibration_runs_where_only_a_searched_plan_fits(
    cuda: StandInCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECOMPVIZ_CACHE", str(tmp_path))
    model, x = nn.Sequential(*(nn.Tanh() for _ in range(24))), torch.randn(4 << 20, requires_grad=True)
    trace = rv.trace(model, x, loss=torch.sum)
    usual, least = int(trace.plans("time").total_peaks.min()), trace.plans("live").least_total
    # the first backward pass keeps a tangent longer
    limit = usual - (1 << 20)
    assert least + x.nbytes < limit
    cuda.empty_cache()
    cuda.set_per_process_memory_fraction(limit / cuda.mem_get_info()[1])
    calibrated = rv.calibrate(trace, fresh=True)
    assert sum(calibrated.joint.seconds) > 0
    assert cuda.max_memory_reserved() <= limit
