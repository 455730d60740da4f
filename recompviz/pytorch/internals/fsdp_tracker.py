"""The peak that PyTorch's own tracker counts in one step of a sharded model, for comparison.

Private PyTorch used here: ``torch.distributed._tools.fsdp2_mem_tracker``. Tried on torch 2.13.0, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["tracked_peak"]


def tracked_peak(model: torch.nn.Module, step: Callable[[], Any], inputs: Any) -> int:
    """Return the bytes that PyTorch's ``FSDPMemTracker`` counts at the peak of a step of a sharded model.

    The result is the sum of the peaks of the devices that this process uses.

    Parameters
    ----------
    model : torch.nn.Module
        A model that was given to ``fully_shard``.
    step : callable () → result
        Runs the forward and the backward pass. All ranks must run it together.
    inputs : structure of tensors
        Tensors that exist before the step and are not part of the model.
    """
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

    counter: Any = FSDPMemTracker(model)
    counter.track_inputs(inputs)
    with counter:
        step()
    return int(sum(sizes["Total"] for sizes in counter.get_tracker_snapshot("peak").values()))
