"""Accelerators, through the functions that ``torch.cuda``, ``torch.xpu`` and PyTorch's other device modules share.

If the device module lacks a function, the corresponding figure is unknown. A kind of device needs a file of its own
only for the rounding of its allocator and for the settings that choose its kernels. The code of this file was not tried
on a device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.utils import _foreach_utils

from recompviz.pytorch.internals.devices.base import DeviceRuntime


class AcceleratorRuntime(DeviceRuntime):
    """A device whose work is asynchronous and whose memory PyTorch's caching allocator counts."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.module = self._module()
        self.foreach_optimizers = device.type in _foreach_utils._get_foreach_kernels_supported_devices()

    def _module(self) -> Any:
        """Return PyTorch's module of functions for this kind of device."""
        return torch.get_device_module(self.device)

    def is_available(self) -> bool:
        return bool(self.module.is_available())

    def name(self) -> str:
        named = getattr(self.module, "get_device_name", None)
        return str(named(self.device)) if named is not None and self.is_available() else self.device.type.upper()

    def label(self) -> str:
        kind = self.device.type.upper()
        return f"{kind} ({self.name()})" if self.is_available() and self.name() != kind else str(self.device).upper()

    def properties(self) -> Any | None:
        read = getattr(self.module, "get_device_properties", None)
        return read(self.device) if read is not None and self.is_available() else None

    # -------------------------------------------------------------------- the allocator

    def total_memory(self) -> int | None:
        total = getattr(self.properties(), "total_memory", None)
        return None if total is None else int(total)

    def allocated(self) -> int | None:
        return self._statistic("memory_allocated")

    def in_use(self) -> tuple[int, int] | None:
        read, reserved = getattr(self.module, "mem_get_info", None), self._statistic("memory_reserved")
        if read is None or reserved is None or not self.is_available():
            return None
        free, total = read(self.device)
        return int(total) - int(free), reserved

    def reset_peaks(self) -> None:
        self.synchronize()
        if hasattr(self.module, "reset_peak_memory_stats"):
            self.module.reset_peak_memory_stats(self.device)

    def empty_cache(self) -> None:
        if hasattr(self.module, "empty_cache"):
            self.module.empty_cache()

    def peak_allocated(self) -> int | None:
        return self._statistic("max_memory_allocated")

    def peak_reserved(self) -> int | None:
        return self._statistic("max_memory_reserved")

    def _statistic(self, name: str) -> int | None:
        read = getattr(self.module, name, None)
        return None if read is None else int(read(self.device))

    def profiler_activities(self) -> list[ProfilerActivity]:
        own = ProfilerActivity.__members__.get(self.device.type.upper(), ProfilerActivity.PrivateUse1)
        return [ProfilerActivity.CPU, own]

    # -------------------------------------------------------------------- the random generator

    def generator(self) -> torch.Generator:
        getattr(self.module, "init", lambda: None)()  # before it, PyTorch has no list of generators
        index = self.module.current_device() if self.device.index is None else self.device.index
        generator: torch.Generator = self.module.default_generators[index]
        return generator

    def generator_bytes(self) -> int:
        return 0

    def generator_state(self) -> torch.Tensor:
        state: torch.Tensor = self.module.get_rng_state(self.device)
        return state

    def set_generator_state(self, state: torch.Tensor) -> None:
        self.module.set_rng_state(state, self.device)

    # -------------------------------------------------------------------- the clock

    def synchronize(self) -> None:
        torch.accelerator.synchronize(self.device)

    def stopwatch(self) -> EventClock:
        return EventClock(self._event(), self._event())

    def _event(self) -> Any:
        """Return a new event that notes the time at which the device reaches it."""
        return torch.Event(self.device, enable_timing=True)


class EventClock:
    """A stopwatch that puts two events into the device's queue. The device does not wait for events."""

    preempted = False  # another program on the device is not noticed

    def __init__(self, first: Any, last: Any) -> None:
        self._first, self._last = first, last

    def start(self) -> None:
        """Put the first event into the queue."""
        self._first.record()

    def stop(self) -> None:
        """Put the second event into the queue."""
        self._last.record()

    def seconds(self) -> float:
        """Return the seconds between the two events. Synchronise the device before this call."""
        return float(self._first.elapsed_time(self._last)) / 1000
