"""What differs between devices is in ``pytorch/internals/devices``, in one file for each device."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity

from recompviz.pytorch.internals.devices import cpu_clock
from recompviz.pytorch.internals.devices.base import DeviceRuntime
from recompviz.pytorch.internals.devices.mps import MpsRuntime
from recompviz.pytorch.internals.devices.runtimes import RUNTIMES, runtime
from recompviz.pytorch.internals.devices.xpu import XpuRuntime
from tests.rooms import HOME
from tests.test_layers import dotted

# the core imports no torch and knows the name of a device only; the benchmarks name the devices that they compare
ALLOWED = (HOME / "pytorch" / "internals" / "devices", HOME / "core", HOME / "benchmarks")


def test_no_other_file_asks_which_device_it_runs_on() -> None:
    found = set()
    for path in sorted(HOME.rglob("*.py")):
        if any(path.is_relative_to(folder) for folder in ALLOWED):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                node.attr == "is_cuda" or dotted(node)[:2] == ["torch", "cuda"]
                if isinstance(node, ast.Attribute)
                else False
            )
            compares = isinstance(node, ast.Compare | ast.Call) and any(
                isinstance(part, ast.Constant) and part.value in ("cuda", "xpu", "mps")
                for part in (*getattr(node, "comparators", ()), *getattr(node, "args", ()))
            )
            if names or compares:
                found.add(f"{path.relative_to(HOME)}:{node.lineno}")
    assert found == set()


@pytest.mark.parametrize("kind", sorted(RUNTIMES))
def test_each_device_has_every_function_of_the_interface(kind: str) -> None:
    made = runtime(kind)
    assert isinstance(made, DeviceRuntime)
    assert made.device == torch.device(kind)
    assert made.label()
    assert made.rounded(1) == made.alignment


def test_an_xpu_device_is_read_through_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"memory_allocated": 5, "max_memory_allocated": 7, "max_memory_reserved": 9}
    for name, value in figures.items():
        monkeypatch.setattr(torch.xpu, name, lambda _device, value=value: value)
    xpu = XpuRuntime(torch.device("xpu"))
    assert (xpu.allocated(), xpu.peak_allocated(), xpu.peak_reserved(), xpu.rounded(513)) == (5, 7, 9, 1024)
    assert xpu.software() == ""  # this build of PyTorch has no XPU
    assert ProfilerActivity.XPU in xpu.profiler_activities()


def test_an_mps_device_is_read_through_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, waited = torch.Generator(), []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name, function in {
        "recommended_max_memory": lambda: 16 << 30,
        "current_allocated_memory": lambda: 5,
        "_get_default_mps_generator": lambda: generator,
        "synchronize": lambda: waited.append(1),
        "Event": lambda enable_timing: FakeEvent(enable_timing),
    }.items():
        monkeypatch.setattr(torch.mps, name, function)
    mps = MpsRuntime(torch.device("mps"))
    assert (mps.total_memory(), mps.allocated(), mps.peak_allocated(), mps.peak_reserved()) == (16 << 30, 5, None, None)
    assert torch.equal(mps.generator().get_state(), mps.generator_state())
    state = mps.generator_state()
    torch.rand(1, generator=generator)
    mps.set_generator_state(state)
    assert torch.equal(generator.get_state(), state)
    watch = mps.stopwatch()
    watch.start()
    watch.stop()
    mps.reset_peaks()
    assert watch.seconds() == 0.25
    assert waited, "a device that works asynchronously is waited for"


class FakeEvent:
    """An event whose distance to each other event is 250 ms."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        """Do nothing."""

    def elapsed_time(self, _other: object) -> float:
        """Return milliseconds."""
        return 250.0


def test_the_cpu_restores_its_generator_and_measures_time() -> None:
    cpu = runtime("cpu")
    assert torch.equal(cpu.generator().get_state(), cpu.generator_state())
    state = cpu.generator_state()
    first = torch.rand(3)
    present = cpu.generator_state()
    with cpu.replay(state):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(cpu.generator_state(), present)
    watch = cpu.stopwatch()
    watch.start()
    sum(range(1000))
    watch.stop()
    assert 0 < watch.seconds() < 1


@pytest.mark.parametrize(
    ("preemptions", "wall", "own", "all_threads", "seconds", "preempted"),
    [
        (0, 5.0, 0.4, 0.4, 5.0, False),  # it waited for something else
        (3, 5.0, 4.9, 9.7, 5.0, False),  # preempted for a moment
        (3, 5.0, 0.4, 0.4, 0.4, True),
        (3, 5.0, 0.4, 3.0, 1.5, True),
        (3, 5.0, 0.4, 20.0, 5.0, True),
        (1, 0.004, 0.004, 0.005, 0.004, True),  # the other thread was without a core
    ],
)
def test_the_time_of_preempted_work_is_estimated_from_processor_times(
    monkeypatch: pytest.MonkeyPatch,
    preemptions: int,
    wall: float,
    own: float,
    all_threads: float,
    seconds: float,
    preempted: bool,
) -> None:
    counted = iter([7, 7 + preemptions])
    monkeypatch.setattr(cpu_clock, "_preemptions", lambda: next(counted))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    took = {"perf_counter": wall, "thread_time": own, "process_time": all_threads}
    clocks = {name: iter([100.0, 100.0 + seconds_]).__next__ for name, seconds_ in took.items()}
    monkeypatch.setattr(cpu_clock, "time", SimpleNamespace(**clocks))  # not the clocks of other threads
    watch = runtime("cpu").stopwatch()
    watch.start()
    watch.stop()
    assert watch.seconds() == pytest.approx(seconds)
    assert watch.preempted == preempted


def test_memory_of_all_processes_is_read_through_the_devices_module(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = runtime("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (30, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 1536)
    monkeypatch.setattr(type(cuda), "is_available", lambda _runtime: True)
    assert cuda.in_use() == (70, 50)
    assert cuda.unseen({1: 1, 2: 500}) == [512]  # two blocks of 512 bytes are known
    assert cuda.unseen({1: 1, 2: 500, 3: 512}) == []
    monkeypatch.setattr(type(cuda), "is_available", lambda _runtime: False)
    assert cuda.in_use() is None
