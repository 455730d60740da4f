"""Follow which module and which optimizer run, and name the storages (blocks) of their tensors."""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers
from torch.utils import _pytree as pytree

from recompviz.pytorch.debugging.recorder.block_table import BlockTable
from recompviz.pytorch.internals.node_origin import is_pytorch_file
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
    variables : dict of int to str
        ``id`` of a module → the user's expression for it, such as ``"vgg"``.
    """

    def __init__(self, table: BlockTable) -> None:
        self.table = table
        self.optimizer = ""
        self.stepped: set[int] = set()
        self._roots: list[weakref.ref[nn.Module]] = []
        self._module_names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._running: list[str] = []
        self._layers: list[tuple[str, bool]] = []
        self.variables: dict[int, str] = {}

    @property
    def layer(self) -> tuple[str, bool]:
        """Class name of the innermost running module, and whether the module has an attribute ``inplace``.

        If the class is not one of PyTorch's, or no module runs, the result is ``("", False)``.
        """
        return self._layers[-1] if self._layers else ("", False)

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

        For every module after the first, the names begin with the user's expression for the module, or with its class
        name if no expression is known.
        """
        variable = self.variables.get(id(module), "")
        prefix = (variable or type(module).__name__) + "." if self._roots else ""
        self._roots.append(weakref.ref(module))
        for name, child in module.named_modules():
            self._module_names.setdefault(child, (prefix + name).rstrip("."))
        for name, parameter in module.named_parameters():
            self.table.name_once(parameter, "parameter", prefix + name)
            self._own(parameter, variable)
        self._name_gradients_of(module)
        for name, buffer in module.named_buffers():
            self.table.name_once(buffer, "buffer", prefix + name)

    def _own(self, parameter: torch.Tensor, variable: str) -> None:
        block = self.table.block_of(parameter)
        if block is not None and not block.owner:
            block.owner = variable

    @contextlib.contextmanager
    def _module_hooks(self) -> Iterator[None]:
        def enter(module: nn.Module, _inputs: Any) -> None:
            if module not in self._module_names:
                self.add_module(module)
            self._running.append(self._module_names[module])
            kind = type(module)
            library = is_pytorch_file(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
            self._layers.append((kind.__name__, hasattr(module, "inplace")) if library else ("", False))

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            if self._running:
                self._running.pop()
                self._layers.pop()

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
        def enter(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
            self.optimizer = type(optimizer).__name__
            self.add_optimizer(optimizer)
            closures = tuple(self._outside(value) if callable(value) else value for value in args[1:])
            named = {name: self._outside(value) if callable(value) else value for name, value in kwargs.items()}
            return (*args[:1], *closures), named

        def leave(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
            self.optimizer = ""
            self.name_states(optimizer)

        with (
            undone(optimizers.register_optimizer_step_pre_hook(enter).remove),
            undone(optimizers.register_optimizer_step_post_hook(leave).remove),
        ):
            yield

    def _outside(self, closure: Any) -> Any:
        """Return a closure whose operators do not count as operators of the optimizer that calls it."""

        @functools.wraps(closure)
        def call(*args: Any, **kwargs: Any) -> Any:
            before, self.optimizer = self.optimizer, ""
            try:
                return closure(*args, **kwargs)
            finally:
                self.optimizer = before

        return call

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
            owner = (block.name if block is not None else "") or "a parameter"
            for name, value in state.items():
                tensors = pytree.tree_leaves(value)
                for i, tensor in enumerate(tensors):
                    found = self.table.block_of(tensor) if isinstance(tensor, torch.Tensor) else None
                    if found is not None and not found.role:
                        listed = f"{name}[{i}]" if isinstance(value, list | tuple) else name
                        found.role, found.name = "optimizer state", f"{listed} of {owner}"

    def name_gradients(self) -> None:
        """Name the blocks of the current gradients of all parameters, for example ``"gradient of layer1.weight"``."""
        for root in self.roots:
            self._name_gradients_of(root)

    def _name_gradients_of(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            if parameter.grad is not None and (block := self.table.block_of(parameter.grad)) is not None:
                block.role, block.name = "gradient", f"gradient of {name}"
                of = self.table.known(parameter)
                block.gradient_of = -1 if of is None else of
                block.owner = self.variables.get(id(module), "")
