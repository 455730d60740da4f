"""The outputs of planned regions (captured graphs) whose memory is not freed yet, for all models in the process.

A caller may keep an output after the training step, or give it to another compiled model. The captured graphs do not
show this, so this module has a weak reference to each output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from recompviz.pytorch.internals.tensors import StorageWeakRef, address_of, weak_storage

if TYPE_CHECKING:
    import torch

# References to fewer outputs are not searched for outputs that are gone.
FEWEST = 256


class LiveOutput(NamedTuple):
    """A weak reference to an output of a region, or to a gradient, with its size, device and address.

    Attributes
    ----------
    reference : StorageWeakRef
        Refers to the storage of the output or gradient.
    size : int
        Bytes that the allocator takes for the storage.
    device : str
        The type of the device.
    address : int
        The address at which the storage begins.
    """

    reference: StorageWeakRef
    size: int
    device: str
    address: int = 0

    @property
    def key(self) -> int:
        """The number that :func:`recompviz.pytorch.internals.tensors.storage_key` returns for the storage."""
        return int(self.reference.cdata)

    @property
    def alive(self) -> bool:
        """Whether the storage exists."""
        return not self.reference.expired()


_outputs: dict[int, LiveOutput] = {}
_most = FEWEST


def note_outputs(outputs: Iterable[torch.Tensor], sizes: Iterable[int]) -> None:
    """Remember outputs of a region for as long as they are alive. ``sizes`` has the bytes of each output's storage."""
    global _most
    for output, size in zip(outputs, sizes, strict=True):
        reference = weak_storage(output)
        if reference is not None:
            live = LiveOutput(reference, size, output.device.type, address_of(output))
            _outputs[live.key] = live
    if len(_outputs) > _most:
        _most = max(FEWEST, 2 * len(_alive()))


def live_outputs(device: str) -> list[LiveOutput]:
    """Return the outputs that are alive on a type of device, for example ``"cuda"``."""
    return [live for live in _alive() if live.device == device] if _outputs else []


def _alive() -> list[LiveOutput]:
    """Forget the outputs that are gone, and return the others."""
    for key in [key for key, live in list(_outputs.items()) if not live.alive]:
        _outputs.pop(key, None)
    return list(_outputs.values())


def forget_outputs() -> None:
    """Forget all outputs. They no longer count in any total, even if they are alive."""
    _outputs.clear()
