"""Let the profiler see every free of a buffer that a collective used.

PyTorch's profiler records only the frees of the thread that opened it. A thread of gloo holds the buffers of a
collective for a moment after the caller has waited for the result. If the caller drops a buffer in that moment, gloo's
thread frees it, and the profiler does not see the free. In a block of :class:`CollectiveBuffers`, the caller's thread
holds each buffer until nobody else does, and frees it before its next operator.

Private PyTorch used here: ``torch._C._storage_Use_Count``, ``UntypedStorage._cdata``. Tried on torch 2.13.0, 2.14.1 and
2.15.0, on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["CollectiveBuffers"]

_COLLECTIVES = frozenset({"c10d", "_c10d_functional", "_c10d_functional_autograd"})


class CollectiveBuffers(TorchDispatchMode):
    """A ``with`` block in which the buffers of collectives are freed by the thread that started the collectives.

    Attributes
    ----------
    held : dict of int to torch.UntypedStorage
        The buffers that this object holds now, by the address of PyTorch's storage object.

    Examples
    --------
    >>> with CollectiveBuffers() as buffers:
    ...     _ = torch.zeros(4) + 1  # no collective
    >>> buffers.held
    {}
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.held: dict[int, torch.UntypedStorage] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return True: compiled code runs compiled inside the block."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Drop the buffers that nobody else holds, then run an operator. Hold its buffers if it is a collective."""
        self.drop_unused()
        result = func(*args, **(kwargs or {}))
        if func.namespace in _COLLECTIVES:
            for leaf in pytree.tree_leaves((args, kwargs, result)):
                if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided:
                    storage = leaf.untyped_storage()
                    self.held.setdefault(storage._cdata, storage)
        return result

    def __exit__(self, *error: Any) -> None:
        """Leave the block, and drop all buffers."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # not annotated
        self.held.clear()

    def drop_unused(self) -> None:
        """Drop the buffers in ``held`` to which no other reference exists. This frees them."""
        for key in [key for key in self.held if torch._C._storage_Use_Count(key) == 1]:
            del self.held[key]
