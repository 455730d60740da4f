"""Where a benchmark ran, in words."""

from __future__ import annotations

import platform

import torch


def device_name(device: str) -> str:
    """The device in words, for example ``"CPU x86_64, 2 threads"``."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"
