"""``DeviceRuntime``: the functions that differ between devices. Each kind of device implements them in its own file.

The methods that are not abstract suit a device without statistics, such as the CPU.
"""

from __future__ import annotations

import contextlib
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity

from recompviz.pytorch.internals.undone import undone


class Stopwatch(Protocol):
    """An object that measures the time of a device for the work between :meth:`start` and :meth:`stop`."""

    @property
    def preempted(self) -> bool:
        """Whether other programs are known to have made the time too long. :meth:`seconds` is then an estimate."""

    def start(self) -> None:
        """Note the start of the work. The device need not have finished earlier work at this time."""

    def stop(self) -> None:
        """Note the end of the work. The device need not have finished the work at this time."""

    def seconds(self) -> float:
        """Return the time of the work in seconds. Call this after the device was synchronised."""


def typical_seconds(watches: Sequence[Stopwatch]) -> float:
    """Return the typical time of several equal pieces of work, in seconds: the median of the undisturbed times.

    A time is undisturbed if its stopwatch is not :attr:`~Stopwatch.preempted`. If all times are disturbed, the result
    is the least of them, because other programs make a time longer and never shorter. Of two middle times, the median
    is the shorter one.

    Parameters
    ----------
    watches : sequence of Stopwatch
        One stopwatch for each piece of work.

    Raises
    ------
    ValueError
        If ``watches`` is empty.
    """
    undisturbed = [watch.seconds() for watch in watches if not watch.preempted]
    return statistics.median_low(undisturbed) if undisturbed else min(watch.seconds() for watch in watches)


class DeviceRuntime(ABC):
    """The allocator, random generator, clock, name and settings of a device.

    Parameters
    ----------
    device : torch.device
        The device that the object stands for.

    Attributes
    ----------
    alignment : int
        The device's allocator rounds sizes up to multiples of this number of bytes.
    caching_allocator : bool
        Whether the device's allocator is the one that :mod:`recompviz.core.allocator` models.
    foreach_optimizers : bool
        Whether PyTorch's optimizers by default update all parameters of this device together.
    """

    alignment: int = 1
    caching_allocator: bool = False
    foreach_optimizers: bool = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    # -------------------------------------------------------------------- the device

    @abstractmethod
    def is_available(self) -> bool:
        """Return whether this machine has such a device."""

    @abstractmethod
    def name(self) -> str:
        """Return the name of the processor, for example ``"NVIDIA H200"`` or ``"AMD EPYC 7763 64-Core Processor"``."""

    @abstractmethod
    def label(self) -> str:
        """Return the kind and name of the device, to be shown, for example ``"CPU"`` or ``"CUDA (NVIDIA H200)"``."""

    def software(self) -> str:
        """Return the name and version of the vendor's software, for example ``"CUDA 12.8"``; empty if there is none."""
        return ""

    def properties(self) -> Any | None:
        """Return an object with the name and clocks of the device. Return None on the CPU, or if they are unknown."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return, by name, what decides which kernels run on the device: settings of PyTorch and the processor."""
        backends: Any = torch.backends  # its attributes are set at run time
        return {
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "fp32 precision": backends.fp32_precision,
            "mkldnn": backends.mkldnn.is_available() and backends.mkldnn.enabled,
            "processor": self.name(),
        }

    # -------------------------------------------------------------------- the allocator

    def rounded(self, size: int) -> int:
        """Return the bytes of the block that the device's allocator uses for a request of ``size`` bytes."""
        return -(-size // self.alignment) * self.alignment

    def total_memory(self) -> int | None:
        """Return the memory of the device in bytes. Return None on the CPU, or if the number is unknown."""
        return None

    def allocated(self) -> int | None:
        """Return the bytes in use on the device, as its allocator counts them; None if the allocator does not count."""
        return None

    def unseen(self, known: Mapping[int, int]) -> list[int]:
        """Return the bytes of the memory that PyTorch has allocated and that belongs to none of the known storages.

        Parameters
        ----------
        known : mapping of int to int
            Address of a storage → its bytes.

        Returns
        -------
        list of int
            The bytes of each block; or one number, the bytes of all blocks together. Empty if there are no such blocks,
            or if they cannot be found on this device. Small blocks of the CPU are not found.
        """
        allocated = self.allocated()
        rest = 0 if allocated is None else allocated - sum(self.rounded(size) for size in known.values())
        return [rest] if rest > 0 else []

    def in_use(self) -> tuple[int, int] | None:
        """Return the bytes in use on the device, by all processes, and the bytes that PyTorch reserves there.

        On the CPU, return the resident memory of the process, and −1 in place of the reserved bytes. Return None if the
        numbers are unknown.
        """
        return None

    @abstractmethod
    def reset_peaks(self) -> None:
        """Reset the peaks in the allocator's statistics. Do nothing if the allocator does not count."""

    @abstractmethod
    def empty_cache(self) -> None:
        """Give memory that the allocator has reserved, but does not use, back to the device or the operating system."""

    def peak_allocated(self) -> int | None:
        """Return the largest number of bytes allocated at one time since :meth:`reset_peaks`; None if it is unknown."""
        return None

    def peak_reserved(self) -> int | None:
        """Return the largest number of bytes reserved at one time since :meth:`reset_peaks`; None if it is unknown."""
        return None

    def profiler_activities(self) -> list[ProfilerActivity]:
        """Return the activities that PyTorch's profiler must record to see the device's allocations."""
        return [ProfilerActivity.CPU]

    # -------------------------------------------------------------------- the random generator

    @abstractmethod
    def generator(self) -> torch.Generator:
        """Return the random generator that operators on the device use by default."""

    @abstractmethod
    def generator_bytes(self) -> int:
        """Return the bytes that a saved generator state takes on the device; 0 if the state is on the host."""

    @abstractmethod
    def generator_state(self) -> torch.Tensor:
        """Return the current state of the random generator."""

    @abstractmethod
    def set_generator_state(self, state: torch.Tensor) -> None:
        """Set the state of the random generator."""

    @contextlib.contextmanager
    def replay(self, state: torch.Tensor) -> Iterator[None]:
        """In a ``with`` block, use an earlier state of the random generator. Restore the current state afterwards."""
        with undone(partial(self.set_generator_state, self.generator_state())):
            self.set_generator_state(state)
            yield

    # -------------------------------------------------------------------- the clock

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has finished all its work."""

    @abstractmethod
    def stopwatch(self) -> Stopwatch:
        """Return a new stopwatch for work on the device."""
