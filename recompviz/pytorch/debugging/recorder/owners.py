"""Follow which module and which optimizer run, and name the storages (blocks) of their tensors."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers
from torch.utils import _pytree as pytree

from recompviz.pytorch.debugging.recorder.block_table import BlockTable
from recompviz.pytorch.internals.undone import undone


class Owners:
    """The modules and optimizers that run in the watched training steps, held by weak references only.

    Attributes
    ----------
    table : BlockTable
        The table whose blocks get roles and names.
    optimizer : str
        Class name of the optimizer whose ``step`` runs now; empty if none runs.
    stepped : set of int
        The numbers of the blocks of all parameters that an optimizer updates.
    """

    def __init__(self, table: BlockTable) -> None:
        self.table = table
        self.optimizer = ""
        self.stepped: set[int] = set()
        self._roots: list[weakref.ref[nn.Module]] = []
        self._module_names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._running: list[str] = []

    @property
    def module(self) -> str:
        """Path of the innermost module whose ``forward`` runs now, such as ``"layer1.conv"``; empty if none runs."""
        return self._running[-1] if self._running else ""

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow every module and optimizer that runs inside the ``with`` block."""
        with self._module_hooks(), self._optimizer_hooks():
            yield

    @property
    def roots(self) -> list[nn.Module]:
        """The modules that still exist and that were added by :meth:`add_module` or because they ran."""
        return [module for reference in self._roots if (module := reference()) is not None]

    def add_module(self, module: nn.Module) -> None:
        """Name a module and its children, and the blocks of its parameters and buffers.

        The names of every module after the first begin with its class name.
        """
        prefix = type(module).__name__ + "." if self._roots else ""
        self._roots.append(weakref.ref(module))
        for name, child in module.named_modules():
            self._module_names.setdefault(child, (prefix + name).rstrip("."))
        for name, parameter in module.named_parameters():
            self.table.name_once(parameter, "parameter", prefix + name)
        for name, buffer in module.named_buffers():
            self.table.name_once(buffer, "buffer", prefix + name)

    @contextlib.contextmanager
    def _module_hooks(self) -> Iterator[None]:
        def enter(module: nn.Module, _inputs: Any) -> None:
            if module not in self._module_names:
                self.add_module(module)
            self._running.append(self._module_names[module])

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            if self._running:
                self._running.pop()

        hooks = torch.nn.modules.module
        with (
            undone(hooks.register_module_forward_pre_hook(enter).remove),
            undone(hooks.register_module_forward_hook(leave, always_call=True).remove),
        ):
            yield

    def add_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the blocks of an optimizer's parameters to ``stepped``."""
        for group in optimizer.param_groups:
            blocks = [self.table.block_of(parameter) for parameter in group["params"]]
            self.stepped.update(block.number for block in blocks if block is not None)

    @contextlib.contextmanager
    def _optimizer_hooks(self) -> Iterator[None]:
        def enter(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
            self.optimizer = type(optimizer).__name__
            self.add_optimizer(optimizer)

        def leave(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
            self.optimizer = ""
            self.name_states(optimizer)

        with (
            undone(optimizers.register_optimizer_step_pre_hook(enter).remove),
            undone(optimizers.register_optimizer_step_post_hook(leave).remove),
        ):
            yield

    # ---------------------------------------------------------------- names of blocks

    def name_given(self, values: Any, role: str) -> None:
        """Name the blocks of the tensors in a pytree, for example ``"input 0"``, and set their role to ``role``.

        A block that already has a role other than ``"input"`` keeps its role and name.
        """
        for i, leaf in enumerate(pytree.tree_leaves(values)):
            if isinstance(leaf, torch.Tensor):
                self.table.name_once(leaf, role, f"{role} {i}")

    def name_states(self, optimizer: torch.optim.Optimizer) -> None:
        """Name the blocks of an optimizer's state, for example ``"exp_avg of layer1.weight"``."""
        for parameter, state in optimizer.state.items():
            block = self.table.block_of(parameter)
            owner = block.name if block is not None else "a parameter"
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and (found := self.table.block_of(value)) is not None:
                    found.role, found.name = "optimizer state", f"{name} of {owner}"

    def name_gradients(self) -> None:
        """Name the blocks of the current gradients of all modules, for example ``"gradient of layer1.weight"``."""
        for root in self.roots:
            for name, parameter in root.named_parameters():
                if parameter.grad is not None and (block := self.table.block_of(parameter.grad)) is not None:
                    block.role, block.name = "gradient", f"gradient of {name}"
                    of = self.table.known(parameter)
                    block.gradient_of = -1 if of is None else of
