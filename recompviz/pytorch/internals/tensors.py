"""Access to a tensor's bits, storage, version and hooks, and to a module's hooks.

Private PyTorch used here: ``torch._subclasses.fake_tensor``, ``UntypedStorage._cdata``, ``Tensor._version``,
``torch._C._autograd._unsafe_set_version_counter``, ``Tensor._backward_hooks``,
``Module._forward_pre_hooks`` and ``torch.multiprocessing.reductions.StorageWeakRef``. Tried on torch 2.11.0,
2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parameter import is_lazy

__all__ = [
    "StorageWeakRef",
    "address_of",
    "changes_arguments",
    "has_lazy_parameters",
    "living_storages",
    "place_of",
    "same_bits",
    "set_version",
    "storage_key",
    "tensor_hooks",
    "version_of",
    "weak_storage",
]


def same_bits(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Return whether two tensors have the same layout, dtype, shape and bits, or both are None.

    In bits, a NaN equals the same NaN, and 0.0 differs from −0.0. Sparse tensors are made dense for the comparison. The
    tensors must be on the same device.

    Examples
    --------
    >>> zero, nan = torch.zeros(1), torch.full((1,), torch.nan)
    >>> same_bits(nan, nan.clone()), same_bits(zero, -zero)
    (True, False)
    """
    if a is None or b is None:
        return a is b
    if a.layout != b.layout or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(_bytes_of(a), _bytes_of(b))


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    dense = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
    return dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def has_lazy_parameters(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether any tensor is a parameter or buffer without a shape, as in a new ``torch.nn.LazyLinear``."""
    return any(is_lazy(tensor) for tensor in tensors)


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that identifies the tensor's storage as long as the storage exists.

    Raises
    ------
    NotImplementedError
        If the tensor has no storage, for example because it is sparse.
    """
    return int(tensor.untyped_storage()._cdata)


def place_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return the address of a tensor's first element, and its shape, strides and dtype.

    If the tensor has no storage, return only shape and dtype.
    """
    try:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
    except (RuntimeError, NotImplementedError):  # sparse, or a subclass that wraps other tensors
        return tensor.shape, tensor.dtype


def weak_storage(tensor: torch.Tensor) -> StorageWeakRef | None:
    """Return a weak reference to the tensor's storage; None for a layout without a storage (a sparse tensor).

    Two references are equal if they refer to the same storage. A reference stays different from references to storages
    that are made later.
    """
    if tensor.layout is not torch.strided:
        return None
    return StorageWeakRef(tensor.untyped_storage())


def address_of(tensor: torch.Tensor) -> int:
    """Return the address at which the tensor's storage begins; 0 if the tensor has no storage of its own.

    Sparse tensors, fake tensors and subclasses that wrap other tensors (DTensor) have no such storage.
    """
    if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor):  # reading a fake tensor's address warns
        return 0
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):
        return 0


def living_storages() -> dict[int, StorageWeakRef]:
    """Return a weak reference to the storage of each living tensor, by the address at which the storage begins.

    Tensors for which :func:`address_of` is 0 are left out. Later, an address alone does not identify a storage, because
    a new storage may have the same address. Tensors are found among all objects that Python's garbage collector knows.
    This takes tens of milliseconds.
    """
    found: dict[int, StorageWeakRef] = {}
    for value in gc.get_objects():
        if issubclass(type(value), torch.Tensor) and (address := address_of(value)) and address not in found:
            found[address] = StorageWeakRef(value.untyped_storage())
    return found


def version_of(tensor: torch.Tensor) -> int:
    """Return the number of in-place writes to a tensor that autograd has counted; 0 for an inference tensor."""
    return 0 if tensor.is_inference() else int(tensor._version)


def set_version(tensor: torch.Tensor, version: int) -> None:
    """Set autograd's count of in-place writes. Call this only if the tensor has the bits that it had at that count."""
    torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))


def tensor_hooks(tensor: torch.Tensor) -> list[Any]:
    """Return the hooks that were registered with ``tensor.register_hook``."""
    return list((tensor._backward_hooks or {}).values())


def changes_arguments(module: torch.nn.Module) -> bool:
    """Return whether a module's ``forward`` may get other arguments than the module's caller gives.

    This is so if the module has forward pre-hooks, or if its class has a ``__call__`` of its own.
    """
    return bool(module._forward_pre_hooks) or type(module).__call__ is not torch.nn.Module.__call__
