"""A tensor's storage, version and hooks.

Private PyTorch used here: ``UntypedStorage._cdata``, ``Tensor._version``, ``Tensor._backward_hooks`` and
``torch.multiprocessing.reductions.StorageWeakRef``. Tried on torch 2.10.0, 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the
CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["StorageWeakRef", "storage_key", "tensor_hooks", "version_of", "weak_storage"]


def storage_key(tensor: torch.Tensor) -> int:
    """An identity of the tensor's storage, valid while the storage lives."""
    return int(tensor.untyped_storage()._cdata)


def weak_storage(tensor: torch.Tensor) -> StorageWeakRef | None:
    """A weak reference to the tensor's storage, hashed by identity. None for a layout without a storage.

    No other storage has the same identity while the reference lives.
    """
    if tensor.layout is not torch.strided:
        return None
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def version_of(tensor: torch.Tensor) -> int:
    """How many in-place writes autograd has counted on the tensor's data."""
    return int(tensor._version)


def tensor_hooks(tensor: torch.Tensor) -> list[Any]:
    """The hooks registered with ``tensor.register_hook``."""
    return list((tensor._backward_hooks or {}).values())
