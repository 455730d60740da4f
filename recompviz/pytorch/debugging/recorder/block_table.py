"""Number the storages that a watcher has seen, and record when each is freed. Only weak references are kept."""

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
    """A :class:`Block` whose attributes may still change, because the training steps are running."""

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
    owner: str = ""

    def frozen(self) -> Block:
        """Return the current attributes as a :class:`Block`."""
        return Block(**{**vars(self), "saved": tuple(self.saved)})


class BlockTable:
    """The storages seen so far, called blocks.

    Attributes
    ----------
    blocks : list of OpenBlock
        In the order in which they were seen first.
    step : int
        The present training step; −1 before the first. The watcher sets it.
    operators : int
        The number of operators that have started. The watcher sets it.
    """

    def __init__(self) -> None:
        self.blocks: list[OpenBlock] = []
        self.step = -1
        self.operators = 0
        self._by_key: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def operand(self, tensor: torch.Tensor, maker: int = -1, position: int = 0) -> Operand | None:
        """Describe a tensor, and add its storage as a block if the storage was not seen before.

        Parameters
        ----------
        tensor : torch.Tensor
            The tensor that an operator reads or returns.
        maker : int
            The number of the operator that returned the tensor; −1 if the storage existed before.
        position : int
            The position of the tensor among the results of that operator.

        Returns
        -------
        Operand or None
            None for a tensor without a dense storage in memory: sparse, fake or on the meta device.
        """
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor) or tensor.device.type == "meta":
            return None
        key = storage_key(tensor)
        number = self._by_key[key][0] if key in self._by_key else len(self.blocks)
        own = tensor.element_size()
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            own *= size if stride else min(size, 1)
        dtype = str(tensor.dtype).removeprefix("torch.")
        needs_grad = tensor.requires_grad
        operand = Operand(number, tuple(tensor.shape), dtype, own, int(tensor.storage_offset()), needs_grad)
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
        """Return the block of a tensor; None for a tensor without a dense storage in memory.

        A storage that was not seen before is added as a block that no watched operator made.
        """
        found = self.operand(tensor)
        return self.blocks[found.block] if found is not None else None

    def known(self, tensor: torch.Tensor) -> int | None:
        """Return the number of a tensor's block; None if its storage was not seen before or is not dense."""
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor):
            return None
        found = self._by_key.get(storage_key(tensor))
        return found[0] if found is not None else None

    def name_once(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """Set role and name of a tensor's block, unless it already has a role other than ``"input"``."""
        block = self.block_of(tensor)
        if block is not None and (not block.role or block.role == "input"):
            block.role, block.name = role, name
