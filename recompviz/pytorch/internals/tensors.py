"""A tensor's storage, version and hooks, and a module's hooks.

Private PyTorch used here: ``UntypedStorage._cdata``, ``Tensor._version``, ``Tensor._backward_hooks``,
``Module._forward_pre_hooks`` and ``torch.multiprocessing.reductions.StorageWeakRef``. Tried on torch 2.10.0, 2.11.0,
2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["StorageWeakRef", "changes_arguments", "storage_key", "tensor_hooks", "version_of", "weak_storage"]


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that identifies the tensor's storage as long as the storage exists."""
    return int(tensor.untyped_storage()._cdata)


def weak_storage(tensor: torch.Tensor) -> StorageWeakRef | None:
    """Return a weak reference to the tensor's storage; None for a layout without a storage (a sparse tensor).

    Two references are equal if they refer to the same storage. While a reference exists, its identity is not given to
    another storage.
    """
    if tensor.layout is not torch.strided:
        return None
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def version_of(tensor: torch.Tensor) -> int:
    """Return the number of in-place writes to the tensor's data that autograd has counted."""
    return int(tensor._version)


def tensor_hooks(tensor: torch.Tensor) -> list[Any]:
    """Return the hooks that were registered with ``tensor.register_hook``."""
    return list((tensor._backward_hooks or {}).values())


def changes_arguments(module: torch.nn.Module) -> bool:
    """Return whether a module's ``forward`` may get other arguments than the module's caller gives."""
    return bool(module._forward_pre_hooks) or type(module).__call__ is not torch.nn.Module.__call__
