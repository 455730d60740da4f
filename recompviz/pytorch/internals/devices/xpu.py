"""XPU (Intel GPUs). Its allocator rounds as CUDA's allocator does. The code of this file was not tried on a device."""

from __future__ import annotations

import torch

from recompviz.pytorch.internals.devices.accelerator import AcceleratorRuntime


class XpuRuntime(AcceleratorRuntime):
    """An XPU device. Its allocator serves blocks of multiples of 512 bytes."""

    alignment = 512

    def software(self) -> str:
        return f"SYCL {torch.version.xpu}" if torch.version.xpu else ""
