"""Watch every operator of eager training steps, and every storage that an operator reads or returns.

The watcher uses hooks that do not change the computation. A dispatch mode observes each forward and backward operator.
Hooks on saved tensors observe which tensors each autograd node saves. Hooks on modules and optimizers show which module
or optimizer calls an operator. The watcher keeps no tensor alive. Each operator runs inside a profiler range with the
operator's number, so that the allocator's events can be assigned to operators.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.block_table import BlockTable, OpenBlock
from recompviz.pytorch.debugging.recorder.owners import Owners
from recompviz.pytorch.debugging.recorder.watched import NodeRun, Operand, Operator, Saved, WatchedSteps
from recompviz.pytorch.internals.autograd import (
    dispatch_modes_off,
    keeps_graph,
    next_sequence_number,
    running_node,
    sequence_number,
)
from recompviz.pytorch.internals.profiler import named_range
from recompviz.pytorch.internals.tensors import version_of
from recompviz.pytorch.internals.user_lines import checkpointed_at, in_file, own_stack

# functions with which a user asks for another dtype
_CASTS = frozenset({"float", "double", "half", "bfloat16", "to", "type", "type_as", "float32"})


class Watcher:
    """Records the operators that run inside ``with watcher.watching():`` blocks. There may be several such blocks.

    Parameters
    ----------
    model : torch.nn.Module, optional
        The model whose modules, parameters and buffers are named first. Other modules are named when they run.

    Attributes
    ----------
    operators : list of Operator
        The operators that have started, in order.
    step_starts : list of int
        The number of the first operator of each training step; see :meth:`begin_step`.
    on_operator : callable or None
        Called with each :class:`Operator` after it has run.
    function : str
        Name of the PyTorch function that the user calls now; empty if there is none.
    owners : Owners
        The modules and optimizers that run.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.operators: list[Operator] = []
        self.step_starts: list[int] = []
        self.on_operator: Callable[[Operator], None] | None = None
        self.function = ""
        self._table = BlockTable()
        self.owners = Owners(self._table)
        self._outputs: list[tuple[int, int, int]] = []
        self._runs: dict[int, NodeRun] = {}
        self._operator_of_node: dict[int, int] = {}
        self._backward_lines: dict[int, SourceLine] = {}
        self._leaves: set[int] = set()
        if model is not None:
            self.owners.add_module(model)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record the operators that run in a ``with`` block."""
        with (
            self.owners.hooks(),
            torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack),
            _Functions(self),
            _Dispatch(self),
        ):
            yield

    def begin_step(self) -> None:
        """Start the next training step. Operators that run after this call belong to the new step."""
        self._table.step += 1
        self.owners.optimizer = ""  # the step before may have raised an error inside the optimizer
        self.step_starts.append(len(self.operators))

    def drop_step(self) -> None:
        """Take back :meth:`begin_step`, if no operator has run since."""
        if self.step_starts and self.step_starts[-1] == len(self.operators):
            self._table.step -= 1
            self.step_starts.pop()

    def watched(self) -> WatchedSteps:
        """Return a copy of the observations so far. Later training steps do not change the copy."""
        return WatchedSteps(
            tuple(self.operators),
            tuple(block.frozen() for block in self.blocks),
            tuple(self.step_starts),
            tuple(self._outputs),
            dict(self._runs),
            dict(self._operator_of_node),
            dict(self._backward_lines),
            frozenset(self.owners.stepped),
            frozenset(self._leaves),
        )

    @property
    def blocks(self) -> list[OpenBlock]:
        """The storages seen so far, in the order in which they were seen first."""
        return self._table.blocks

    @property
    def step(self) -> int:
        """The number of the current training step; −1 before the first."""
        return self._table.step

    def known(self, tensor: torch.Tensor) -> int | None:
        """Return the number of a tensor's block; None if its storage was not seen before or is not dense."""
        return self._table.known(tensor)

    # ---------------------------------------------------------------- what autograd saves

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        with dispatch_modes_off():
            operand = self._table.operand(tensor)
            if operand is not None:
                self.blocks[operand.block].saved.append(Saved(_saving_node(tensor), operand))
            # detached: a saved output with its graph would keep its own node alive
            return tensor.detach(), version_of(tensor)

    def _unpack(self, packed: tuple[torch.Tensor, int]) -> torch.Tensor:
        tensor, version = packed
        if version_of(tensor) != version:  # autograd skips this check if there are hooks on saved tensors
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{list(tensor.shape)} is at version {version_of(tensor)}; expected version {version} instead"
            )
        return tensor

    # ---------------------------------------------------------------- operators

    def dispatched(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, record it, and return its result."""
        number = len(self.operators)
        frame = sys._getframe(2)
        operator = self._described(number, function, frame, args, kwargs)
        self.operators.append(operator)
        self._table.operators += 1
        with named_range(f"rv:{number}"):
            out = function(*args, **kwargs)
        makes: list[Operand] = []
        views: list[Operand] = []
        for position, leaf in enumerate(pytree.tree_leaves(out)):
            if not isinstance(leaf, torch.Tensor):
                continue
            seen_before = self.known(leaf) is not None
            operand = self._table.operand(leaf, number, position)
            if operand is not None:
                (views if seen_before else makes).append(operand)
                self._outputs.append((number, leaf.untyped_storage().data_ptr(), operand.block))
        operator = self.operators[number] = replace(operator, makes=tuple(makes), views=tuple(views))
        if self.on_operator is not None:
            self.on_operator(operator)
        return out

    def _described(self, number: int, function: Any, frame: Any, args: Any, kwargs: Any) -> Operator:
        """Describe an operator that is about to run: everything except its results."""
        node = running_node()
        checkpoint = checkpointed_at(frame)
        stack = own_stack(frame)
        if node is None:
            sequence = next_sequence_number() - 1
            phase = Phase.OPTIMIZER if self.owners.optimizer else Phase.FORWARD
            if in_file(frame, "torch/autograd/__init__.py"):
                phase = Phase.BACKWARD
            self._operator_of_node.setdefault(sequence, number)
        else:
            sequence = sequence_number(node)
            phase = Phase.BACKWARD if checkpoint is None else Phase.RECOMPUTE
            made_by = self._operator_of_node.get(sequence)
            if made_by is not None and phase is Phase.BACKWARD:
                if stack:
                    self._backward_lines[number] = stack[0]
                stack = self.operators[made_by].stack
            elif made_by is not None:
                checkpoint = self.operators[made_by].checkpoint or checkpoint
            run = self._runs.get(sequence)
            self._runs[sequence] = NodeRun(run.first if run is not None else number, number, keeps_graph())
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        reads = []
        for leaf in leaves:
            if (operand := self._table.operand(leaf)) is not None:
                reads.append(operand)
                if operand.needs_grad and leaf.is_leaf and phase is Phase.FORWARD:
                    self._leaves.add(operand.block)
        return Operator(
            number,
            self.step,
            str(getattr(function, "overloadpacket", function)),
            self.function,
            self._module_of(sequence, node, phase),
            phase,
            stack,
            sequence,
            node.name() if node is not None else "",
            self.owners.optimizer,
            checkpoint,
            self.function in _CASTS,
            torch.Tag.pointwise in getattr(function, "tags", ()),
            any(torch.is_autocast_enabled(kind) for kind in {leaf.device.type for leaf in leaves}),
            *self.owners.layer,
            torch.is_grad_enabled(),
            tuple(reads),
        )

    def _module_of(self, sequence: int, node: Any, phase: Phase) -> str:
        if node is not None and phase is Phase.BACKWARD:
            made_by = self._operator_of_node.get(sequence)
            return self.operators[made_by].module if made_by is not None else ""
        return self.owners.module


def _saving_node(tensor: torch.Tensor) -> int:
    """Return the sequence number of the autograd node that saves a tensor now.

    Usually that is the newest node. An in-place operator such as ``mul_`` may first clone the value that it overwrites.
    The clone creates a newer node, but the node before it saves the clone.
    """
    newest = next_sequence_number() - 1
    node = tensor.grad_fn
    cloned = node is not None and node.name() == "CloneBackward0" and sequence_number(node) == newest
    return newest - cloned


class _Dispatch(TorchDispatchMode):
    def __init__(self, watcher: Watcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.watcher = watcher

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.watcher.dispatched(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """A mode that tells the watcher the function that the user calls, not the functions that PyTorch calls inside."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, self.watcher.function = self.watcher.function, getattr(func, "__name__", "")
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.watcher.function = before
