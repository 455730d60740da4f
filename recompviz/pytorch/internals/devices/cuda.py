"""CUDA, and ROCm, which has the same names in PyTorch (``torch.cuda``).

``python -m recompviz.benchmarks.cuda`` and ``tests/torch/test_cuda.py`` compare predicted with measured memory on a
device. They were not run on a device so far.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity

from recompviz.pytorch.internals.devices.accelerator import AcceleratorRuntime


class CudaRuntime(AcceleratorRuntime):
    """A CUDA device with PyTorch's caching allocator, which rounds to 512 bytes."""

    alignment = 512
    caching_allocator = True

    def _module(self) -> Any:
        return torch.cuda

    def software(self) -> str:
        hip = torch.version.hip
        return f"ROCm {hip}" if hip else f"CUDA {torch.version.cuda}"

    def settings(self) -> dict[str, Any]:
        backends: Any = torch.backends  # its attributes are set at run time
        return super().settings() | {
            "matmul precision": backends.cuda.matmul.fp32_precision,
            "cudnn": backends.cudnn.enabled,
            "cudnn benchmark": backends.cudnn.benchmark,
            "cudnn deterministic": backends.cudnn.deterministic,
        }

    def profiler_activities(self) -> list[ProfilerActivity]:
        return [ProfilerActivity.CPU, ProfilerActivity.CUDA]

    def synchronize(self) -> None:
        self.module.synchronize(self.device)

    def _event(self) -> Any:
        return self.module.Event(enable_timing=True)
