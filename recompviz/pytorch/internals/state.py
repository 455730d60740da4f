"""Restoring the state of a model, its batch and its optimizer after recompviz ran a training step with them.

============================  =========================================================
restored                      from
============================  =========================================================
buffers                       a copy on their device; a replaced buffer is put back
inputs and targets            a copy on their device, if they require no gradient
gradients                     the gradient tensors themselves
random generators             the states of the generators of the CPU, the device, Python and NumPy
plain attributes of modules   the former values; changes inside a list or dict are not undone
parameters                    a copy on the host, if an optimizer steps or ``overwritten`` lists them
the optimizer                 a copy of its state on the host, and a copy of its options
============================  =========================================================

Values are written back in place, so that every tensor stays the same object. A value that did not change is not
written, so that other work with the same batch is not disturbed. The optimizer's own ``step`` is never called; see
:func:`recompviz.pytorch.internals.optimizers.plain_optimizer`.
"""

from __future__ import annotations

import contextlib
import copy
import random
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.devices.runtimes import device_of, runtime
from recompviz.pytorch.internals.optimizers import has_own_state_dict
from recompviz.pytorch.internals.tensors import version_of

# Two training steps of one model at the same time would clear each other's gradients and reset each other's generators.
# Code that runs a step and restores its state, or that profiles, holds this lock.
one_at_a_time = threading.RLock()


def gradient_holders(module: nn.Module, arguments: Any) -> list[torch.Tensor]:
    """Return the parameters of a module, and the leaf tensors among its arguments that require a gradient."""
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    return [*module.parameters(), *(leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf)]


def clear_gradients(module: nn.Module, arguments: Any) -> None:
    """Set the gradient of every parameter, input and target to None."""
    for holder in gradient_holders(module, arguments):
        holder.grad = None


class WriteCounts:
    """Counts of the in-place writes of a training step to its parameters, its inputs and their gradients.

    Two equal training steps have equal counts. If the counts of a step differ from the usual counts, other work wrote
    to the same parameters while it ran.
    """

    def __init__(self, module: nn.Module, arguments: Any) -> None:
        self.holders = gradient_holders(module, arguments)
        self.start = [version_of(holder) for holder in self.holders]

    def so_far(self) -> list[tuple[int, int]]:
        """Return two counts for each parameter and differentiable input: of writes to its data, and to its gradient.

        The first counts writes since the :class:`WriteCounts` object was made. The second counts all writes to the
        gradient; it is −1 if there is no gradient.
        """
        return [
            (version_of(holder) - start, -1 if holder.grad is None else version_of(holder.grad))
            for holder, start in zip(self.holders, self.start, strict=True)
        ]


@contextlib.contextmanager
def state_restored(
    module: nn.Module,
    arguments: Any,
    optimizer: torch.optim.Optimizer | None = None,
    overwritten: Iterable[torch.Tensor] = (),
) -> Iterator[None]:
    """Restore, after a block, the state that a training step in the block changes.

    Buffers, inputs, targets, gradients, random generators and plain attributes are restored. Parameters are restored
    only if ``optimizer`` or ``overwritten`` is given. Only one such block runs at a time in a process; other threads
    wait.

    Parameters
    ----------
    module : torch.nn.Module
    arguments : pytree
        The inputs, keyword arguments and targets.
    optimizer : torch.optim.Optimizer, optional
        The optimizer that steps inside the block. Its state, its options and its parameters are restored.
    overwritten : iterable of torch.Tensor
        The parameters that the forward pass may overwrite, for example those of a momentum encoder.
    """
    with one_at_a_time, contextlib.ExitStack() as stack:
        tensors = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
        parameters = list(overwritten)
        if optimizer is not None:
            parameters += [*module.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
            stack.enter_context(_optimizer_restored(optimizer))
        stack.enter_context(_gradients_restored(gradient_holders(module, arguments)))
        # on the host, so that the copies take no memory of the device that is measured
        stack.enter_context(_values_restored(parameters, torch.device("cpu")))
        stack.enter_context(_values_restored([t for t in (*module.buffers(), *tensors) if not t.requires_grad]))
        stack.enter_context(_buffers_in_place(module))
        stack.enter_context(_attributes_restored(module))
        stack.enter_context(_python_generators_restored())
        stack.enter_context(runtime(device_of([*module.parameters(), *tensors])).generators_restored())
        yield


@contextlib.contextmanager
def _values_restored(tensors: Iterable[torch.Tensor], device: torch.device | None = None) -> Iterator[None]:
    """Write the values of tensors back after a block, from copies on a device; by default on the tensor's own."""
    unique = {id(tensor): tensor for tensor in tensors}.values()
    before = [(tensor, tensor.detach().to(device or tensor.device, copy=True)) for tensor in unique]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in before:
                if not _same_values(tensor, old):
                    tensor.copy_(old)


@contextlib.contextmanager
def _gradients_restored(holders: list[torch.Tensor]) -> Iterator[None]:
    gradients = [holder.grad for holder in holders]
    try:
        yield
    finally:
        for holder, gradient in zip(holders, gradients, strict=True):
            holder.grad = gradient


@contextlib.contextmanager
def _buffers_in_place(module: nn.Module) -> Iterator[None]:
    """Put back the buffer tensors that ``forward`` replaced by new tensors."""
    before = [(each._buffers, dict(each._buffers)) for each in module.modules()]
    try:
        yield
    finally:
        for buffers, old in before:
            buffers.update(old)


@contextlib.contextmanager
def _attributes_restored(module: nn.Module) -> Iterator[None]:
    """Put back plain attributes that ``forward`` assigns, such as counters, but not the contents of lists and dicts."""
    before = [(each, _plain_attributes(each)) for each in module.modules()]
    try:
        yield
    finally:
        for each, old in before:
            for name in _plain_attributes(each).keys() - old.keys():
                del vars(each)[name]
            vars(each).update(old)


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    registered = ("_parameters", "_buffers", "_modules")
    return {name: value for name, value in vars(module).items() if name not in registered}


@contextlib.contextmanager
def _python_generators_restored() -> Iterator[None]:
    """Restore the global random generators of Python and NumPy after a block. Layers may draw from them."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  the generator that user code draws from
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _optimizer_restored(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Restore an optimizer's options and state after a block, tensors in place. New options and state are removed."""
    own = copy.deepcopy(optimizer.state_dict()) if has_own_state_dict(optimizer) else None
    groups = [
        (group, {name: value if name == "params" else _containers_copied(value) for name, value in group.items()})
        for group in optimizer.param_groups
    ]
    state: dict[Any, Any] = optimizer.state
    entries = dict(state)
    contents = {key: _containers_copied(entry) for key, entry in entries.items()}
    held = (contents, [{name: value for name, value in old.items() if name != "params"} for _, old in groups])
    tensors = [leaf for leaf in pytree.tree_leaves(held) if isinstance(leaf, torch.Tensor)]
    with _values_restored(tensors, torch.device("cpu")):
        try:
            yield
        finally:
            for group, old in groups:
                group.clear()
                group.update(old)
            state.clear()
            for key, entry in entries.items():
                if isinstance(entry, dict):
                    entry.clear()
                    entry.update(contents[key])
                state[key] = entry if isinstance(entry, dict) else contents[key]
            if own is not None:
                optimizer.load_state_dict(own)


def _containers_copied(value: Any) -> Any:
    """Copy nested dicts, lists and tuples. The leaves in them are not copied."""
    return pytree.tree_map(lambda leaf: leaf, value)


def _same_values(tensor: torch.Tensor, old: torch.Tensor) -> bool:
    """Return whether a tensor equals a copy; False if they cannot be compared."""
    if tensor.device != old.device:
        return False
    try:
        return torch.equal(tensor, old)
    except (RuntimeError, NotImplementedError):
        return False
