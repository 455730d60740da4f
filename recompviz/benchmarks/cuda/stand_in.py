"""A stand-in for ``torch.cuda``: operators run on the CPU, and a model of the allocator counts their memory.

A dispatch mode sees the result of every operator. Each new storage becomes a block of
:class:`~recompviz.core.allocator.caching_allocator.CachingAllocator`, and is freed when the storage is. So the
statistics, the snapshots and the errors of a full device are those that CUDA's allocator would give for the same
requests. Memory that kernels use internally is not seen. Events record the time of the CPU's clock.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.core.allocator.caching_allocator import CachingAllocator, DeviceFull
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.pytorch.internals.devices import runtimes
from recompviz.pytorch.internals.devices.cuda import CudaRuntime

MEMORY = 16 << 30
DEVICE = torch.device("cpu")


class StandInCuda:
    """The functions of ``torch.cuda`` that recompviz calls, for one device.

    Parameters
    ----------
    total_memory : int
        Bytes of the device.
    """

    OutOfMemoryError = torch.OutOfMemoryError
    default_generators = (torch.default_generator,)

    def __init__(self, total_memory: int = MEMORY) -> None:
        self._total = total_memory
        self._events: list[dict[str, Any]] | None = None
        self._books = _Recorded(self._event, AllocatorSettings(), total_memory)
        self._peak_allocated = self._peak_reserved = 0
        self._sizes: dict[int, int] = {}  # address of a block → bytes that were requested
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.memory = SimpleNamespace(
            _record_memory_history=self._record_memory_history,
            _snapshot=self._snapshot,
            _dump_snapshot=self._dump_snapshot,
        )

    # -------------------------------------------------------------------- the device

    def init(self) -> None:
        """Do nothing: there is no device to open."""

    def is_available(self) -> bool:
        """Return True."""
        return True

    def current_device(self) -> int:
        """Return 0."""
        return 0

    def get_device_name(self, device: Any = None) -> str:
        """Return ``"stand-in for CUDA"``."""
        return str(self.get_device_properties(device).name)

    def get_device_properties(self, device: Any = None) -> Any:
        """Return the properties of the device, as ``torch.cuda.get_device_properties`` does."""
        return SimpleNamespace(
            name="stand-in for CUDA",
            total_memory=self._total,
            multi_processor_count=1,
            clock_rate=1_000_000,
            memory_clock_rate=1_000_000,
            memory_bus_width=64,
            major=0,
            minor=0,
        )

    def synchronize(self, device: Any = None) -> None:
        """Do nothing: operators of the CPU have finished when they return."""

    def Event(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> Any:
        """Return an event that records the time of the CPU's clock."""
        return _Event(enable_timing)

    def get_rng_state(self, device: Any = "cuda") -> torch.Tensor:
        """Return the state of the CPU's random generator."""
        return torch.get_rng_state()

    def set_rng_state(self, new_state: torch.Tensor, device: Any = "cuda") -> None:
        """Set the state of the CPU's random generator."""
        torch.set_rng_state(new_state)

    # -------------------------------------------------------------------- statistics

    def memory_allocated(self, device: Any = None) -> int:
        """Return the bytes of all blocks in use."""
        return self._books.allocated

    def max_memory_allocated(self, device: Any = None) -> int:
        """Return the largest number of bytes in use since the last reset."""
        return self._peak_allocated

    def memory_reserved(self, device: Any = None) -> int:
        """Return the bytes of all segments."""
        return self._books.reserved

    def max_memory_reserved(self, device: Any = None) -> int:
        """Return the largest number of bytes reserved since the last reset."""
        return self._peak_reserved

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """Start new peaks at the current figures."""
        self._peak_allocated, self._peak_reserved = self._books.allocated, self._books.reserved

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Return the free and the total bytes of the device."""
        return self._total - self._books.reserved, self._total

    def empty_cache(self) -> None:
        """Release every segment without a block in use."""
        self._books.empty_cache()

    def set_per_process_memory_fraction(self, fraction: float, device: Any = None) -> None:
        """Limit the reserved bytes to a share of the device's memory."""
        self._books.limit(fraction)

    # -------------------------------------------------------------------- snapshots

    def _record_memory_history(self, enabled: str | None = "all", *_args: Any, **_kwargs: Any) -> None:
        self._events = [] if enabled else None

    def _snapshot(self, device: Any = None) -> dict[str, Any]:
        segments: list[dict[str, Any]] = [
            {
                "device": 0,
                "address": segment.address,
                "total_size": segment.size,
                "stream": 0,
                "segment_type": "small" if segment.small else "large",
                "allocated_size": segment.size - segment.free,
                "active_size": segment.size - segment.free,
                "blocks": [
                    {
                        "address": address,
                        "size": size,
                        "requested_size": self._sizes.get(address, size),
                        "state": "active_allocated" if used else "inactive",
                        "frames": [],
                    }
                    for address, size, used in segment.blocks
                ],
            }
            for segment in self._books.segments()
        ]
        settings = {"PYTORCH_CUDA_ALLOC_CONF": ""}
        return {"segments": segments, "device_traces": [self._events or []], "allocator_settings": settings}

    def _dump_snapshot(self, filename: str = "dump_snapshot.pickle") -> None:
        with open(filename, "wb") as file:
            pickle.dump(self._snapshot(), file)

    def _event(self, action: str, address: int, size: int) -> None:
        if self._events is not None:
            frames = _frames() if action in ("alloc", "segment_alloc", "oom") else []
            self._events.append({"action": action, "addr": address, "size": size, "stream": 0, "frames": frames})

    # -------------------------------------------------------------------- the books

    def _count(self, values: Iterable[Any]) -> None:
        """Allocate a block for each storage among the values that is new.

        Raises
        ------
        torch.OutOfMemoryError
            If the device is full.
        """
        for value in values:
            if not isinstance(value, torch.Tensor) or type(value) not in (torch.Tensor, torch.nn.Parameter):
                continue
            if value.device.type != "cpu" or value.layout != torch.strided:
                continue
            storage = value.untyped_storage()
            if storage.device.type != "cpu" or not storage.nbytes() or storage in self._seen:
                continue
            self._seen[storage] = size = storage.nbytes()
            try:
                address = self._books.allocate(size)
            except DeviceFull as full:
                self._event("oom", 0, size)
                raise torch.OutOfMemoryError(f"stand-in for CUDA out of memory. {full}") from None
            self._sizes[address] = size
            weakref.finalize(storage, self._free, address)
            self._event("alloc", address, size)
            self._peak_allocated = max(self._peak_allocated, self._books.allocated)
            self._peak_reserved = max(self._peak_reserved, self._books.reserved)

    def _free(self, address: int) -> None:
        size = self._sizes.pop(address)
        self._event("free_requested", address, size)
        self._event("free_completed", address, size)
        self._books.free(address)


class _Recorded(CachingAllocator):
    """A caching allocator whose limit can change. It calls ``event`` for each segment that it reserves or releases."""

    def __init__(self, event: Any, settings: AllocatorSettings, total: int) -> None:
        super().__init__(settings, total)
        self._event = event

    def limit(self, fraction: float) -> None:
        self.settings = replace(self.settings, memory_fraction=fraction)

    def _change_reserved(self, block: Any, size: int) -> None:
        super()._change_reserved(block, size)
        self._event("segment_alloc" if size > 0 else "segment_free", block.address, abs(size))


class _Event:
    def __init__(self, enable_timing: bool) -> None:
        self._timed, self._at = enable_timing, 0.0

    def record(self, stream: Any = None) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end_event: _Event) -> float:
        if not (self._timed and end_event._timed):
            raise ValueError("both events need enable_timing=True")
        return 1000 * (end_event._at - self._at)


def _frames() -> list[dict[str, Any]]:
    """Return the Python stack as a snapshot has it, the innermost call first."""
    found: list[dict[str, Any]] = []
    frame: Any = sys._getframe(1)
    while frame is not None and len(found) < 40:
        code = frame.f_code
        if code.co_filename != __file__:
            found.append({"filename": code.co_filename, "line": frame.f_lineno or 0, "name": code.co_name})
        frame = frame.f_back
    return found


class _Counted(TorchDispatchMode):
    """Shows the results of every operator to the stand-in."""

    def __init__(self, cuda: StandInCuda) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self._cuda = cuda

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return True, so that Dynamo compiles under this mode."""
        return True

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self._cuda._count(pytree.tree_leaves(result))
        return result


@contextlib.contextmanager
def stand_in(total_memory: int = MEMORY) -> Iterator[StandInCuda]:
    """In a ``with`` block, let recompviz treat the CPU as a CUDA device of ``total_memory`` bytes."""
    cuda = StandInCuda(total_memory)

    class Runtime(CudaRuntime):
        def _module(self) -> Any:
            return cuda

        def generator_bytes(self) -> int:
            return cuda.get_rng_state().numel()  # on the device, because the device is the host

    before = runtimes.RUNTIMES["cpu"]
    runtimes.RUNTIMES["cpu"] = Runtime
    runtimes.runtime.cache_clear()
    try:
        with _Counted(cuda):
            yield cuda
    finally:
        runtimes.RUNTIMES["cpu"] = before
        runtimes.runtime.cache_clear()
