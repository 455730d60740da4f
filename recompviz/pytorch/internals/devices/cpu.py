"""The CPU. Its allocator has no statistics, and its work is finished when a call returns."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from recompviz.pytorch.internals.devices.base import DeviceRuntime
from recompviz.pytorch.internals.devices.cpu_clock import CpuClock
from recompviz.pytorch.internals.devices.large_allocations import large_allocations, resident_set_size


class CpuRuntime(DeviceRuntime):
    """The CPU, and devices without memory (the meta device)."""

    def is_available(self) -> bool:
        return True

    def name(self) -> str:
        return _processor_name()

    def label(self) -> str:
        return str(self.device).upper()

    def settings(self) -> dict[str, Any]:
        backends: Any = torch.backends  # its attributes are set at run time
        return super().settings() | {
            "matmul precision": backends.mkldnn.matmul.fp32_precision,
            "capability": backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

    def reset_peaks(self) -> None:
        pass

    def unseen(self, known: Mapping[int, int]) -> list[int]:
        return [size for address, size in large_allocations().items() if address not in known]

    def in_use(self) -> tuple[int, int] | None:
        resident = resident_set_size()
        return None if resident is None else (resident, -1)

    def empty_cache(self) -> None:
        if trim := _malloc_trim():
            trim(0)

    def generator(self) -> torch.Generator:
        return torch.default_generator

    def generator_bytes(self) -> int:
        return torch.get_rng_state().numel()

    def generator_state(self) -> torch.Tensor:
        return torch.get_rng_state()

    def set_generator_state(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)

    def synchronize(self) -> None:
        pass

    def stopwatch(self) -> CpuClock:
        return CpuClock()


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return the function of glibc that returns free memory to the system; None where the library of C has none.

    glibc keeps the free memory of a thread that has ended. Runs in background threads would otherwise let the resident
    memory of the process grow.
    """
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no library of the process itself
        return None


@cache
def _processor_name() -> str:
    with contextlib.suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
