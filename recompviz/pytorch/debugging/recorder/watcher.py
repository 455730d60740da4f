"""The watcher: every operator of eager steps as it is dispatched, and every block of memory it makes or looks at.

It sits where PyTorch lets one look without changing what is done: a dispatch mode sees each operator, forward and
backward, hooks on saved tensors see what autograd keeps and for which node, hooks on modules and optimisers say
whose operator it is, and a weak reference to each storage says when it is gone. It keeps nothing alive itself. Each
operator runs inside a range that the profiler records by number, so that the allocator's events find their operator.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.core.reports.memory_report import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.watched import Block, NodeRun, Operand, Operator, Saved
from recompviz.pytorch.internals.autograd import (
    dispatch_modes_off,
    keeps_graph,
    next_sequence_number,
    running_node,
    sequence_number,
)
from recompviz.pytorch.internals.fake_tensors import FakeTensor
from recompviz.pytorch.internals.profiler import named_range
from recompviz.pytorch.internals.tensors import storage_key, version_of
from recompviz.pytorch.internals.user_lines import checkpointed_at, in_file, own_stack


class Watcher:
    """Watches what runs inside ``with watcher:``; ``begin_step()`` counts steps."""

    def __init__(self, model: nn.Module | None = None) -> None:
        self.operators: list[Operator] = []
        self.blocks: list[Block] = []
        self.pointers: list[tuple[int, int, int]] = []  # (operator, address, block) of every output
        self.runs: dict[int, NodeRun] = {}
        self.operator_of_node: dict[int, int] = {}
        self.backward_lines: dict[int, SourceLine] = {}  # operator number → the line that called backward
        self.step = -1
        self.step_starts: list[int] = []
        self.on_operator: Callable[[Operator], None] | None = None
        self._roots: list[weakref.ref[nn.Module]] = []
        self._optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self.stepped: set[int] = set()  # blocks of the parameters that some optimiser steps
        self.function = ""
        self._by_key: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._module_names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._modules: list[str] = []
        self._optimizer = ""
        self._stack: contextlib.ExitStack | None = None
        if model is not None:
            self._add_root(model)

    # ---------------------------------------------------------------- going in and out

    def __enter__(self) -> Watcher:
        stack = contextlib.ExitStack()
        stack.enter_context(self._module_hooks())
        stack.enter_context(self._optimizer_hooks())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack))
        stack.enter_context(_Functions(self))
        stack.enter_context(_Dispatch(self))
        self._stack = stack
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._stack is not None
        self._stack.close()

    def begin_step(self) -> None:
        """From here on operators belong to the next step."""
        self.step += 1
        self.step_starts.append(len(self.operators))

    @contextlib.contextmanager
    def _module_hooks(self) -> Iterator[None]:
        def enter(module: nn.Module, _inputs: Any) -> None:
            if module not in self._module_names:
                self._add_root(module)
            self._modules.append(self._module_names[module])

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            if self._modules:
                self._modules.pop()

        hooks = torch.nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(enter),
            hooks.register_module_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add_root(self, module: nn.Module) -> None:
        prefix = type(module).__name__ + "." if self._roots else ""
        self._roots.append(weakref.ref(module))
        for name, child in module.named_modules():
            self._module_names.setdefault(child, (prefix + name).rstrip("."))
        for name, parameter in module.named_parameters():
            self._static(parameter, "parameter", prefix + name)
        for name, buffer in module.named_buffers():
            self._static(buffer, "buffer", prefix + name)

    @property
    def roots(self) -> list[nn.Module]:
        """The modules that ran and are still there."""
        return [module for reference in self._roots if (module := reference()) is not None]

    def add_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Know an optimiser, and which parameters it steps."""
        self._optimizers.add(optimizer)
        for group in optimizer.param_groups:
            self.stepped.update(b.number for p in group["params"] if (b := self.block_of(p)) is not None)

    @contextlib.contextmanager
    def _optimizer_hooks(self) -> Iterator[None]:
        def enter(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
            self._optimizer = type(optimizer).__name__
            self.add_optimizer(optimizer)

        def leave(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
            self._optimizer = ""
            self.name_states(optimizer)

        handles = [
            optimizers.register_optimizer_step_pre_hook(enter),
            optimizers.register_optimizer_step_post_hook(leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # ---------------------------------------------------------------- names

    def _static(self, tensor: torch.Tensor, role: str, name: str) -> None:
        block = self.block_of(tensor)
        if block is not None and (not block.role or block.role == "input"):
            block.role, block.name = role, name

    def name_given(self, values: Any, role: str) -> None:
        """Name the tensors of a batch."""
        for i, leaf in enumerate(pytree.tree_leaves(values)):
            if isinstance(leaf, torch.Tensor):
                self._static(leaf, role, f"{role} {i}")

    def name_states(self, optimizer: torch.optim.Optimizer) -> None:
        """Name what an optimiser keeps for each parameter."""
        for parameter, state in optimizer.state.items():
            block = self.block_of(parameter)
            owner = block.name if block is not None else "a parameter"
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and (found := self.block_of(value)) is not None:
                    found.role, found.name = "optimiser state", f"{name} of {owner}"

    def name_gradients(self) -> None:
        """Name the gradients that parameters hold now."""
        for root in self.roots:
            for name, parameter in root.named_parameters():
                if parameter.grad is not None and (block := self.block_of(parameter.grad)) is not None:
                    block.role, block.name = "gradient", f"gradient of {name}"
                    of = self.known(parameter)
                    block.gradient_of = -1 if of is None else of

    # ---------------------------------------------------------------- blocks

    def block_of(self, tensor: torch.Tensor) -> Block | None:
        """The block that a tensor looks at; one not seen before was there before."""
        found = self._operand(tensor)
        return self.blocks[found.block] if found is not None else None

    def _operand(self, tensor: torch.Tensor, maker: int = -1, position: int = 0) -> Operand | None:
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor) or tensor.device.type == "meta":
            return None
        key = storage_key(tensor)
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        own = tensor.element_size()
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            own *= size if stride else min(size, 1)
        if key in self._by_key:
            return Operand(self._by_key[key][0], shape, dtype, own, int(tensor.storage_offset()))
        number = len(self.blocks)
        operand = Operand(number, shape, dtype, own, int(tensor.storage_offset()))
        storage = tensor.untyped_storage()
        block = Block(number, storage.nbytes(), self.step, maker, position, operand, len(self.operators))
        block.address = storage.data_ptr()
        self.blocks.append(block)

        def gone(_reference: Any) -> None:
            block.died = len(self.operators)
            if self._by_key.get(key, (None,))[0] == number:
                del self._by_key[key]

        self._by_key[key] = number, weakref.ref(storage, gone)
        return operand

    def known(self, tensor: torch.Tensor) -> int | None:
        """The number of the block a tensor looks at, if it was seen before."""
        if tensor.layout is not torch.strided or isinstance(tensor, FakeTensor):
            return None
        found = self._by_key.get(storage_key(tensor))
        return found[0] if found is not None else None

    # ---------------------------------------------------------------- what autograd keeps

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        with dispatch_modes_off():
            operand = self._operand(tensor)
            if operand is not None:
                self.blocks[operand.block].saved.append(Saved(_saver(tensor), operand))
            # not the tensor itself: an output would then hold the very node that holds it
            return tensor.detach(), version_of(tensor)

    def _unpack(self, packed: tuple[torch.Tensor, int]) -> torch.Tensor:
        tensor, version = packed
        if version_of(tensor) != version:  # hooks on saved tensors switch autograd's own check off
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{list(tensor.shape)} is at version {version_of(tensor)}; expected version {version} instead"
            )
        return tensor

    # ---------------------------------------------------------------- operators

    def dispatched(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator and write down what it was and did."""
        number = len(self.operators)
        frame = sys._getframe(2)
        node = running_node()
        checkpoint = checkpointed_at(frame)
        sequence = next_sequence_number() - 1
        if node is None:
            phase = Phase.OPTIMIZER if self._optimizer else Phase.FORWARD
            if in_file(frame, "torch/autograd/__init__.py"):
                phase = Phase.BACKWARD
            self.operator_of_node.setdefault(sequence, number)
            stack = own_stack(frame)
        else:
            sequence = sequence_number(node)
            recomputing = checkpoint is not None
            phase = Phase.RECOMPUTE if recomputing else Phase.BACKWARD
            stack = own_stack(frame)
            made_by = self.operator_of_node.get(sequence)
            if not recomputing and made_by is not None:
                self.backward_lines[number] = stack[0] if stack else None  # type: ignore[assignment]
                stack = self.operators[made_by].stack
            elif recomputing and made_by is not None:
                checkpoint = self.operators[made_by].checkpoint or checkpoint
            run = self.runs.setdefault(sequence, NodeRun(number, number, False))
            run.last, run.keeps_graph = number, keeps_graph()
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        operator = Operator(
            number,
            self.step,
            str(getattr(function, "overloadpacket", function)),
            self.function,
            self._module_of(sequence, node, phase),
            phase,
            stack,
            sequence,
            node.name() if node is not None else "",
            self._optimizer,
            checkpoint,
            self.function in _CASTS,
            torch.Tag.pointwise in getattr(function, "tags", ()),
            any(torch.is_autocast_enabled(kind) for kind in {leaf.device.type for leaf in leaves}),
            tuple(found for leaf in leaves if (found := self._operand(leaf)) is not None),
            sizes=tuple(a for a in args if isinstance(a, int) and not isinstance(a, bool)),
        )
        self.operators.append(operator)
        del leaves
        with named_range(f"rv:{number}"):
            out = function(*args, **kwargs)
        made: list[Operand] = []
        views: list[Operand] = []
        for position, leaf in enumerate(pytree.tree_leaves(out)):
            if not isinstance(leaf, torch.Tensor):
                continue
            old = self.known(leaf) is not None
            operand = self._operand(leaf, number, position)
            if operand is not None:
                (views if old else made).append(operand)
                self.pointers.append((number, leaf.untyped_storage().data_ptr(), operand.block))
        operator.makes, operator.views = tuple(made), tuple(views)
        if self.on_operator is not None:
            self.on_operator(operator)
        return out

    def _module_of(self, sequence: int, node: Any, phase: Phase) -> str:
        if node is not None and phase is Phase.BACKWARD:
            made_by = self.operator_of_node.get(sequence)
            return self.operators[made_by].module if made_by is not None else ""
        return self._modules[-1] if self._modules else ""


def _saver(tensor: torch.Tensor) -> int:
    """The sequence number of the node that saves a tensor now: the newest, but for the clone of an in-place operator.

    ``mul_`` makes its node, then clones what it will write over, which makes a node of its own, then saves the clone.
    """
    newest = next_sequence_number() - 1
    node = tensor.grad_fn
    cloned = node is not None and node.name() == "CloneBackward0" and sequence_number(node) == newest
    return newest - cloned


# functions by which a user asks for another dtype
_CASTS = frozenset({"float", "double", "half", "bfloat16", "to", "type", "type_as", "float32"})


class _Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, watcher: Watcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watcher = watcher

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.watcher.dispatched(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Knows what the user called; inner calls of PyTorch's own do not count."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, self.watcher.function = self.watcher.function, getattr(func, "__name__", "")
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.watcher.function = before
