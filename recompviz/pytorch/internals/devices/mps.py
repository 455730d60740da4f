"""MPS (Apple GPUs). ``torch.mps`` counts allocated memory, but no peaks. Not tried on a device.

Private PyTorch used here: ``torch.mps._get_default_mps_generator``.
"""

from __future__ import annotations

from typing import Any

import torch

from recompviz.pytorch.internals.devices.accelerator import AcceleratorRuntime


class MpsRuntime(AcceleratorRuntime):
    """The MPS device. Peaks are unknown, and so is the rounding of its allocator: sizes are not rounded."""

    def is_available(self) -> bool:
        return torch.backends.mps.is_available()

    def total_memory(self) -> int | None:
        return int(self.module.recommended_max_memory()) if self.is_available() else None

    def allocated(self) -> int | None:
        return int(self.module.current_allocated_memory())

    def generator(self) -> torch.Generator:
        generator: torch.Generator = self.module._get_default_mps_generator()
        return generator

    def synchronize(self) -> None:
        self.module.synchronize()

    def _event(self) -> Any:
        return self.module.Event(enable_timing=True)
