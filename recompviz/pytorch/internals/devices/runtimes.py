"""The device of a value, and the runtime (:class:`DeviceRuntime`) of a device."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch

from recompviz.pytorch.internals.devices.accelerator import AcceleratorRuntime
from recompviz.pytorch.internals.devices.base import DeviceRuntime
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.internals.devices.cuda import CudaRuntime
from recompviz.pytorch.internals.devices.mps import MpsRuntime
from recompviz.pytorch.internals.devices.xpu import XpuRuntime
from recompviz.pytorch.internals.fake_tensors import FakeTensor

# the devices with a file of their own; all others are an AcceleratorRuntime
RUNTIMES: dict[str, type[DeviceRuntime]] = {
    "cpu": CpuRuntime, "meta": CpuRuntime, "cuda": CudaRuntime, "xpu": XpuRuntime, "mps": MpsRuntime,
}  # fmt: skip


@cache
def runtime(device: torch.device | str) -> DeviceRuntime:
    """Return the runtime of a device: the object through which recompviz uses the device.

    Raises
    ------
    RuntimeError
        If ``device`` is a string that PyTorch does not know as a device.
    """
    device = torch.device(device)
    return RUNTIMES.get(device.type, AcceleratorRuntime)(device)


def device_of(values: Iterable[Any]) -> torch.device:
    """Return the device of the first tensor that is not on the CPU; the CPU if there is none."""
    devices = (value.device for value in values if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def present_accelerator() -> torch.device | None:
    """Return the accelerator that PyTorch currently uses, if recompviz has a file for its kind; otherwise None."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type not in RUNTIMES:
        return None
    return torch.device(found.type, torch.accelerator.current_device_index())


def autocast_devices() -> tuple[str, ...]:
    """Return the kinds of devices whose autocast settings can change a training step on this machine."""
    found = torch.accelerator.current_accelerator()
    return tuple(dict.fromkeys(("cpu", "cuda", *([] if found is None else [found.type]))))


def any_without_memory(values: Iterable[Any]) -> bool:
    """Return whether any tensor among the values is on the meta device or fake, and so has a shape and no memory."""
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return any(tensor.device.type == "meta" or isinstance(tensor, FakeTensor) for tensor in tensors)


def backend_settings(device: torch.device) -> str:
    """Return, as one text, the settings of PyTorch that decide which kernels run on a device.

    Figures that were measured on the device are used again only while this text stays the same.
    """
    return ", ".join(f"{name}: {value}" for name, value in runtime(device).settings().items())


def may_be_larger(alignment: int, size: int) -> int:
    """Return by how many bytes a block of ``size`` bytes may exceed the rounded request that it serves.

    A caching allocator (``alignment`` over 1) may serve a request with a larger free block without splitting the block.
    The difference may be up to half of the block. For the CPU's allocator, the result is 0.
    """
    return 0 if alignment == 1 else size // 2
