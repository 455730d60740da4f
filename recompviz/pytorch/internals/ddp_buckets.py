"""The memory that DistributedDataParallel (DDP) holds for itself: buckets, into which it copies gradients.

The buckets have as many bytes as the trained parameters. Python has no tensor for them. A model knows nothing of the
DDP around it, so each DDP is noted when a forward pass runs inside it. On a device whose allocator counts the allocated
bytes, its count contains the buckets.

Private PyTorch used here: ``DistributedDataParallel._active_ddp_module`` and ``_module_parameters``. Tried on torch
2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch.nn.parallel import DistributedDataParallel

from recompviz.pytorch.internals.devices.runtimes import runtime

__all__ = ["bucket_bytes"]

_noted: weakref.WeakSet[DistributedDataParallel] = weakref.WeakSet()


def bucket_bytes(device: torch.device, rounded: Callable[[int], int]) -> int:
    """Return the bytes that the buckets of DDPs take on a kind of device.

    A DDP counts, as long as it exists, if its forward pass is running in this call or was running in an earlier call.
    The result is 0 on devices whose allocator counts the allocated bytes, buckets included. With
    ``gradient_as_bucket_view=True``, gradients are views of the buckets. The bytes of the gradients that exist are then
    subtracted, because they are counted as gradients.

    Parameters
    ----------
    device : torch.device
    rounded : callable (bytes) → bytes
        Rounds a size as the allocator of the device rounds it.
    """
    active = DistributedDataParallel._active_ddp_module
    if active is not None:
        _noted.add(active)
    if not _noted or runtime(device).allocated() is not None:
        return 0
    total = 0
    for one in _noted:
        trained = [p for p in one._module_parameters if p.requires_grad and p.device.type == device.type]
        size = sum(p.nbytes for p in trained)
        if one.gradient_as_bucket_view:
            size -= sum(p.grad.nbytes for p in trained if p.grad is not None)
        total += rounded(max(0, size))
    return total
