"""Everything that differs between devices, so that no other file asks for the kind of a device.

This is where a step runs, how its allocator rounds and counts, its random generator, its clock and its name.
Memory figures were compared with the allocator on the CPU only; see tests/torch/test_cuda.py for CUDA.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from recompviz.pytorch.internals.fake_tensors import FakeTensor


def device_of(values: Iterable[Any]) -> torch.device:
    """The device of a step: that of the first tensor that is not on the CPU, else the CPU."""
    devices = (value.device for value in values if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def without_memory(values: Iterable[Any]) -> bool:
    """Whether any tensor among these has a shape only: it is on the meta device, or fake."""
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return any(tensor.device.type == "meta" or isinstance(tensor, FakeTensor) for tensor in tensors)


# -------------------------------------------------------------------- the allocator


def alignment(device: torch.device) -> int:
    """The allocator rounds every block up to a multiple of this many bytes."""
    return 512 if device.type == "cuda" else 1


def rounded(size: int, device: torch.device) -> int:
    """Bytes of the block that the device's allocator takes for ``size`` bytes."""
    block = alignment(device)
    return -(-size // block) * block


def may_be_larger(alignment: int, size: int) -> int:
    """Bytes by which a block of ``size`` may exceed what was requested, beyond rounding.

    CUDA's caching allocator may reuse a larger free block without splitting it; the CPU's allocator never does.
    """
    return 0 if alignment == 1 else size // 2


def memory_of(device: str) -> int | None:
    """The memory of a CUDA device, bytes; None for the host, which shares its memory with everything else."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)


def cuda_properties(device: torch.device) -> Any:
    """The properties of a CUDA device, for example its name; None if it is not in this machine."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(device)


@dataclass
class AllocatorPeaks:
    """What the device's allocator counts over a period, for the whole process; None where it counts nothing (CPU).

    Attributes
    ----------
    reserved : int or None
        The most bytes reserved.
    allocated : int or None
        The most bytes allocated above what was allocated at the start.
    """

    device: torch.device
    reserved: int | None = None
    allocated: int | None = None
    _start: int = 0

    def begin(self) -> None:
        """Start counting."""
        if self.device.type == "cuda":
            synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)

    def end(self) -> None:
        """Read the counters."""
        if self.device.type == "cuda":
            self.reserved = torch.cuda.max_memory_reserved(self.device)
            self.allocated = torch.cuda.max_memory_allocated(self.device) - self._start


def profiler_activities(device: torch.device) -> list[ProfilerActivity]:
    """What the profiler has to record to see the device's allocations."""
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


# -------------------------------------------------------------------- the random generator


def generator_bytes(device: torch.device) -> int:
    """Bytes that a saved generator state takes on the device; CUDA's state is a small tensor on the host."""
    return torch.get_rng_state().numel() if device.type == "cpu" else 0


def generator_state(device: str) -> torch.Tensor:
    """The present state of a device's generator."""
    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state()


@contextlib.contextmanager
def replay(state: torch.Tensor, device: str) -> Iterator[None]:
    """Run with an earlier generator state, and restore the present one afterwards."""
    put = torch.set_rng_state if device == "cpu" else torch.cuda.set_rng_state
    present = generator_state(device)
    put(state)
    try:
        yield
    finally:
        put(present)


def generators_restored(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Restore the generators of the CPU and of the device afterwards."""
    forked: contextlib.AbstractContextManager[None] = torch.random.fork_rng([device] if device.type == "cuda" else [])
    return forked


# -------------------------------------------------------------------- the clock, the name


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work; returns immediately on the CPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@cache
def processor_name(device: torch.device) -> str:
    """The name of the processor, for example ``"NVIDIA H200"`` or ``"AMD EPYC 7763 64-Core Processor"``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def backend_settings(device: torch.device) -> str:
    """The settings of PyTorch that decide which kernels run on a device, as one text.

    Two runs with the same operators, device and settings run the same kernels.
    """
    backends: Any = torch.backends  # its attributes are set at run time
    settings: dict[str, Any] = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fp32 precision": backends.fp32_precision,
        "mkldnn": backends.mkldnn.is_available() and backends.mkldnn.enabled,
        "processor": processor_name(device),
    }
    if device.type == "cuda":
        settings |= {
            "matmul precision": backends.cuda.matmul.fp32_precision,
            "cudnn": backends.cudnn.enabled,
            "cudnn benchmark": backends.cudnn.benchmark,
            "cudnn deterministic": backends.cudnn.deterministic,
        }
    else:
        settings |= {
            "matmul precision": backends.mkldnn.matmul.fp32_precision,
            "capability": backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }
    return ", ".join(f"{name}: {value}" for name, value in settings.items())
