"""The storages of a joint graph, and the storage of each fx node.

Two fx nodes share a storage if their fake tensors do. A view, a getitem or a detach has the storage of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from recompviz.core.steps.joint import Category, Storage
from recompviz.pytorch.internals.devices.runtimes import device_of
from recompviz.pytorch.internals.export import Role
from recompviz.pytorch.internals.symbolic_sizes import symbolic_bytes
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.kernel_sizes import real_bytes
from recompviz.pytorch.tracing.step import TraceError

# what is there before the step, by the role of its placeholder
_CATEGORY = {
    "parameter": Category.PARAMETER,
    "buffer": Category.BUFFER,
    "input": Category.INPUT,
    "target": Category.TARGET,
    "tangent": Category.GRADIENT,
}


class StorageTable:
    """The storages of a joint graph, numbered in the order in which they are added.

    Parameters
    ----------
    fx : torch.fx.GraphModule
    passed : dict of int to int
        The storage of each removed copy → the storage of the tensor that it copied; see :class:`Prepared`.

    Attributes
    ----------
    storages : list of Storage
    symbolic : dict of int to expression
        The bytes of each storage whose size depends on the sizes of the inputs, as a symbolic expression.
    storage_of : dict from torch.fx.Node to int
        The storage of each fx node whose value is one tensor.
    placeholders : list of (torch.fx.Node, (role, which))
        The placeholders that were added, as in :attr:`Folded.placeholders`.
    device : torch.device
        The device of the trace. A storage on another type of device has the size 0.
    """

    def __init__(self, fx: GraphModule, passed: dict[int, int]) -> None:
        self.storages: list[Storage] = []
        self.symbolic: dict[int, Any] = {}
        self.storage_of: dict[Node, int] = {}
        self.placeholders: list[tuple[Node, Role]] = []
        self.device = device_of(node.meta.get("val") for node in fx.graph.nodes)
        self._passed = passed
        self._by_key: dict[int, int] = {}
        self._constants: dict[str, int] = {}  # name of an attribute → key of the first tensor read from it

    # ---------------------------------------------------------------- adding

    def add(self, node: Node, value: torch.Tensor, maker: int, category: Category, label: str) -> int:
        """Return the number of the storage of a node's tensor. Add the storage if it is new.

        Parameters
        ----------
        node : torch.fx.Node
        value : torch.Tensor
            The node's value as a fake tensor.
        maker : int
            The call that allocates the storage; −1 if it exists before the training step.
        category, label
            The category and label of a new storage.
        """
        key = self._key(value)
        if key not in self._by_key:
            self._by_key[key] = len(self.storages)
            size = real_bytes(node, value) if value.device.type == self.device.type else 0
            if size and (expression := symbolic_bytes(value)) is not None:
                self.symbolic[len(self.storages)] = expression
            self.storages.append(Storage(size, maker, category, label))
        self.storage_of[node] = self._by_key[key]
        return self._by_key[key]

    def add_placeholder(self, node: Node, role_of: Callable[[Node], Role], allocated: bool) -> None:
        """Add a placeholder and the storage of its value.

        Parameters
        ----------
        node : torch.fx.Node
        role_of : callable (torch.fx.Node) → (role, which)
            Returns what the placeholder stands for, as in :attr:`Folded.placeholders`.
        allocated : bool
            Whether a call of the graph allocates the value, as for gradients that arrive from outside. This method then
            adds no storage.

        Raises
        ------
        TraceError
            If the role is none of parameter, buffer, input, target and tangent.
        """
        role, which = role_of(node)
        if role == "unknown" and "Token" in str(which):
            raise TraceError(
                "the step calls an operator that does more than return a result, such as the error checks of "
                "torch.linalg; use the variant without them, for example torch.linalg.cholesky_ex or inv_ex"
            )
        if role == "unknown":
            raise TraceError(f"the trace has an input of an unknown kind: {which}; please report this model")
        self.placeholders.append((node, (role, which)))
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or allocated:
            return
        category = _CATEGORY[role]
        self.add(node, value, -1, category, str(which) if role in ("parameter", "buffer") else category.label)

    def add_constant(self, node: Node) -> None:
        """Add a tensor that the trace contains as a constant. All reads of one attribute share one storage."""
        name, value = str(node.target), node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return
        first = self._constants.setdefault(name, self._key(value))
        if first in self._by_key:
            self._by_key[self._key(value)] = self._by_key[first]
        self.add(node, value, -1, Category.BUFFER, name)

    # ---------------------------------------------------------------- reading

    def knows(self, value: torch.Tensor) -> bool:
        """Return whether the storage of a tensor is in the table."""
        return self._key(value) in self._by_key

    def look_up(self, value: torch.Tensor) -> int:
        """Return the number of a tensor's storage. The storage must be in the table."""
        return self._by_key[self._key(value)]

    def behind(self, node: Node) -> list[int]:
        """Return the storages of the tensors in a node's value; several if the value is a tuple."""
        if node in self.storage_of:
            return [self.storage_of[node]]
        leaves = pytree.tree_leaves(node.meta.get("val"))
        return [self.look_up(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def makers(self, node: Node) -> list[int]:
        """Return the calls that allocate the storages of a node's value.

        A storage that existed before the training step has no such call.
        """
        return [maker for s in self.behind(node) if (maker := self.storages[s].maker) >= 0]

    @property
    def constants(self) -> set[int]:
        """The storages of the tensors that the trace contains as constants."""
        return {self._by_key[key] for key in self._constants.values()}

    def _key(self, value: torch.Tensor) -> int:
        key = storage_key(value)
        return self._passed.get(key, key)
