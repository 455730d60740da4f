"""The storages that a watcher has seen, numbered, with a weak reference to each that notes when it is freed."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch

from recompviz.pytorch.debugging.recorder.watched import Block, Operand, Saved
from recompviz.pytorch.internals.fake_tensors import FakeTensor
from recompviz.pytorch.internals.tensors import storage_key


@dataclass
class OpenBlock:
    """A :class:`Block` while the watch goes on."""

    number: int
    size: int
    step: int
    maker: int
    position: int
    operand: Operand
    first_seen: int
    address: int
    saved: list[Saved] = field(default_factory=list)
    died: int | None = None
    role: str = ""
    name: str = ""
    gradient_of: int = -1

    def frozen(self) -> Block:
        """What is known now."""
        return Block(**{**vars(self), "saved": tuple(self.saved)})


class BlockTable:
    """Blocks by storage.

    Attributes
    ----------
    blocks : list of OpenBlock
    step, operators : int
        The present step, and the number of operators so far; the watcher sets them.
    """

    def __init__(self) -> None:
        self.blocks: list[OpenBlock] = []
        self.step = -1
        self.operators = 0
        self._by_key: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def operand(self, tensor: torch.Tensor, maker: int = -1, position: int = 0) -> Operand | None:
        """Describe a tensor; its storage becomes a block if it was not seen before.

        Returns
        -------
        Operand or None
            None for a tensor without a storage of its own: sparse, fake or on the meta device.
        """
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor) or tensor.device.type == "meta":
            return None
        key = storage_key(tensor)
        number = self._by_key[key][0] if key in self._by_key else len(self.blocks)
        own = tensor.element_size()
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            own *= size if stride else min(size, 1)
        dtype = str(tensor.dtype).removeprefix("torch.")
        operand = Operand(number, tuple(tensor.shape), dtype, own, int(tensor.storage_offset()))
        if number == len(self.blocks):
            self._add(key, tensor, operand, maker, position)
        return operand

    def _add(self, key: int, tensor: torch.Tensor, operand: Operand, maker: int, position: int) -> None:
        number, storage = operand.block, tensor.untyped_storage()
        block = OpenBlock(
            number, storage.nbytes(), self.step, maker, position, operand, self.operators, storage.data_ptr()
        )
        self.blocks.append(block)

        def freed(_reference: Any) -> None:
            block.died = self.operators
            if self._by_key.get(key, (None,))[0] == number:
                del self._by_key[key]

        self._by_key[key] = number, weakref.ref(storage, freed)

    def block_of(self, tensor: torch.Tensor) -> OpenBlock | None:
        """The block of a tensor; if it was not seen before, it counts as existing before the steps."""
        found = self.operand(tensor)
        return self.blocks[found.block] if found is not None else None

    def known(self, tensor: torch.Tensor) -> int | None:
        """The number of a tensor's block; None if it was not seen before."""
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor):
            return None
        found = self._by_key.get(storage_key(tensor))
        return found[0] if found is not None else None

    def name_once(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """Give a tensor's block a role and a name, unless it has a role other than input."""
        block = self.block_of(tensor)
        if block is not None and (not block.role or block.role == "input"):
            block.role, block.name = role, name
