"""Functions whose code differs between devices: allocator, random generator, clock and processor name.

Memory figures were compared with the CPU's allocator. ``tests/torch/test_cuda.py`` compares them on a CUDA device.
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
    """Return the device of the first tensor that is not on the CPU; the CPU if there is none."""
    devices = (value.device for value in values if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def without_memory(values: Iterable[Any]) -> bool:
    """Return whether any tensor among the values is on the meta device or fake, and so has a shape and no memory."""
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return any(tensor.device.type == "meta" or isinstance(tensor, FakeTensor) for tensor in tensors)


# -------------------------------------------------------------------- the allocator


def alignment(device: torch.device) -> int:
    """Return the alignment of the device's allocator in bytes: it rounds sizes up to multiples (CUDA 512, others 1)."""
    return 512 if device.type == "cuda" else 1


def rounded(size: int, device: torch.device) -> int:
    """Return the bytes of the block that the device's allocator uses for a request of ``size`` bytes."""
    block = alignment(device)
    return -(-size // block) * block


def may_be_larger(alignment: int, size: int) -> int:
    """Return by how many bytes a block of ``size`` bytes may exceed the rounded request that it serves.

    CUDA's caching allocator may serve a request with a larger free block without splitting it. The difference may be up
    to half of the block. The CPU's allocator (``alignment`` 1) never does that.
    """
    return 0 if alignment == 1 else size // 2


def memory_of(device: str) -> int | None:
    """Return the total memory of a CUDA device, in bytes; None for any other device, and without CUDA."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)


def cuda_properties(device: torch.device) -> Any:
    """Return the properties of a CUDA device, such as its name; None for other devices and without CUDA."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(device)


def allocated_bytes(device: torch.device) -> int | None:
    """Return the bytes of all tensors on a device, as its allocator counts them; None on the CPU, which counts none."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


@dataclass
class AllocatorPeaks:
    """Peaks of the device's allocator between :meth:`begin` and :meth:`end`, for the whole process.

    Attributes
    ----------
    device : torch.device
    reserved : int or None
        The most bytes reserved; None on the CPU, whose allocator does not count.
    allocated : int or None
        The most bytes allocated, less the bytes allocated at the start; None on the CPU.
    """

    device: torch.device
    reserved: int | None = None
    allocated: int | None = None
    _start: int = 0

    def begin(self) -> None:
        """Reset the allocator's peaks."""
        if self.device.type == "cuda":
            synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)

    def end(self) -> None:
        """Read the allocator's peaks into ``reserved`` and ``allocated``."""
        if self.device.type == "cuda":
            self.reserved = torch.cuda.max_memory_reserved(self.device)
            self.allocated = torch.cuda.max_memory_allocated(self.device) - self._start


def profiler_activities(device: torch.device) -> list[ProfilerActivity]:
    """Return the activities that the profiler must record to see the device's allocations."""
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


# -------------------------------------------------------------------- the random generator


def generator_bytes(device: torch.device) -> int:
    """Return the bytes that a saved generator state takes on the device; 0 for CUDA, whose state is on the host."""
    return torch.get_rng_state().numel() if device.type == "cpu" else 0


def generator_state(device: str) -> torch.Tensor:
    """Return the present state of a device's random generator."""
    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state()


@contextlib.contextmanager
def replay(state: torch.Tensor, device: str) -> Iterator[None]:
    """Run a block with an earlier state of the random generator, and restore the present state afterwards."""
    put = torch.set_rng_state if device == "cpu" else torch.cuda.set_rng_state
    present = generator_state(device)
    put(state)
    try:
        yield
    finally:
        put(present)


def generators_restored(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Restore the random generators of the CPU and of the device after a block."""
    forked: contextlib.AbstractContextManager[None] = torch.random.fork_rng([device] if device.type == "cuda" else [])
    return forked


# -------------------------------------------------------------------- the clock, the name


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work. On the CPU, return immediately."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@cache
def processor_name(device: torch.device) -> str:
    """Return the name of the processor, for example ``"NVIDIA H200"`` or ``"AMD EPYC 7763 64-Core Processor"``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def backend_settings(device: torch.device) -> str:
    """Return settings of PyTorch that decide which kernels run on a device, as one text.

    Figures that were measured on the device are used again only while this text stays the same.
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
