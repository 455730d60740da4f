"""What differs between devices: where a step runs, how its allocator rounds, where noise comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from recompviz.pytorch.internals.fake_tensors import FakeTensor


def device_of(values: Iterable[Any]) -> torch.device:
    """The device of a step: that of the first tensor that is not on the CPU, else the CPU."""
    devices = (value.device for value in values if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def without_memory(values: Iterable[Any]) -> bool:
    """Whether any tensor among these has a shape only: it is on the meta device, or fake."""
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return any(tensor.device.type == "meta" or isinstance(tensor, FakeTensor) for tensor in tensors)


def alignment(device: torch.device) -> int:
    """The allocator hands out multiples of this many bytes."""
    return 512 if device.type == "cuda" else 1


def generator_bytes(device: torch.device) -> int:
    """What a saved generator state takes on the device, bytes; CUDA's is a small tensor on the host."""
    return torch.get_rng_state().numel() if device.type == "cpu" else 0


def generator_state(device: str) -> torch.Tensor:
    """The present state of a device's generator."""
    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state()


@contextlib.contextmanager
def replay(state: torch.Tensor, device: str) -> Iterator[None]:
    """Run with an earlier generator state, and put the present one back."""
    put = torch.set_rng_state if device == "cpu" else torch.cuda.set_rng_state
    present = generator_state(device)
    put(state)
    try:
        yield
    finally:
        put(present)


def memory_of(device: str) -> int | None:
    """The memory a CUDA device has, bytes; None for the host, which shares its memory with everything else."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)
