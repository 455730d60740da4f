"""Restore the state of a model, a batch and an optimizer after a training step with them.

============================  =========================================================
restored                      from
============================  =========================================================
parameters and buffers        copies of their bits on the host; replaced ones are put back
inputs and targets            copies of their bits on the host
gradients                     the gradient tensors themselves
optimizers                    their attributes, options and state; tensors from copies
random generators             the states of the generators of the devices, Python and NumPy
attributes of modules         the values; lists, dicts, sets and arrays with their contents
hooks, training flags         as attributes of modules
flags of the process          gradients, autocast, MKL-DNN, deterministic algorithms, default dtype
============================  =========================================================

Values are written back in place, so that every tensor, list and dict stays the same object. A value that did not change
is not written, so that other work with the same batch is not disturbed. The optimizer's own ``step`` is never called;
see :func:`recompviz.pytorch.internals.optimizers.plain_optimizer`. If a hook of the user steps an optimizer in the
backward pass, this optimizer and its parameters are restored, too.

Files are not restored. Nor are attributes of other objects than modules, optimizers, containers, arrays and random
generators.

Private PyTorch used here: the switch of MKL-DNN in ``torch._C``. Tried on torch 2.13.0, on the CPU.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.devices.runtimes import any_without_memory, autocast_devices, runtime
from recompviz.pytorch.internals.tensors import place_of, same_bits, set_version, version_of
from recompviz.pytorch.internals.undone import undone

__all__ = [
    "WriteCounts",
    "clear_gradients",
    "gradient_holders",
    "one_at_a_time",
    "own_random_numbers",
    "state_restored",
]

# Two training steps of one model at the same time would clear each other's gradients and reset each other's generators.
# Code that traces, that runs a step and restores its state, or that profiles, holds this lock.
one_at_a_time = threading.RLock()

# The elements of a longer list or dict are not searched for tensors and containers.
SEARCHED = 10_000


def gradient_holders(module: nn.Module, arguments: Any) -> list[torch.Tensor]:
    """Return the parameters of a module, and the leaf tensors among its arguments that require a gradient."""
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    return [*module.parameters(), *(leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf)]


def clear_gradients(module: nn.Module, arguments: Any) -> None:
    """Set the gradient of every tensor of :func:`gradient_holders` to None."""
    for holder in gradient_holders(module, arguments):
        holder.grad = None


class WriteCounts:
    """Counts of in-place writes to the parameters and inputs of a training step, and to their gradients.

    Two equal training steps have equal counts. If their counts differ, other work wrote to the same tensors during one
    of the two steps.

    Parameters
    ----------
    module : torch.nn.Module
        The module with the parameters.
    arguments : pytree
        The inputs and targets of the step. Only leaf tensors that require a gradient are watched.
    """

    def __init__(self, module: nn.Module, arguments: Any) -> None:
        self.holders = gradient_holders(module, arguments)
        self.start = [version_of(holder) for holder in self.holders]

    def so_far(self) -> list[tuple[int, int]]:
        """Return two counts for each parameter and for each input that requires a gradient.

        The first count is the number of writes to the tensor since this object was made. The second count is the number
        of all writes to its gradient; −1 if there is no gradient.
        """
        return [
            (version_of(holder) - start, -1 if holder.grad is None else version_of(holder.grad))
            for holder, start in zip(self.holders, self.start, strict=True)
        ]


@contextlib.contextmanager
def state_restored(
    modules: nn.Module | Iterable[nn.Module],
    arguments: Any,
    optimizer: torch.optim.Optimizer | None = None,
    overwritten: Iterable[torch.Tensor] | None = None,
) -> Iterator[None]:
    """Restore, after a ``with`` block, the state that a training step in the block changes.

    The state is restored also if the block raises an error. The docstring of this module lists the state. Only one
    thread of the process is in such a block at a time; other threads wait.

    Parameters
    ----------
    modules : torch.nn.Module or iterable of torch.nn.Module
        The modules whose state is restored.
    arguments : pytree
        The inputs, keyword arguments and targets.
    optimizer : torch.optim.Optimizer, optional
        The optimizer that steps inside the block.
    overwritten : iterable of torch.Tensor, optional
        The parameters that the step itself overwrites, for example the parameters of a momentum encoder. The values of
        all other parameters are then not restored, unless an optimizer steps, so that other work may train them
        meanwhile. By default, the values of all parameters are restored.
    """
    with one_at_a_time, contextlib.ExitStack() as stack:
        known = overwritten is not None and optimizer is None
        state = _State({id(tensor) for tensor in overwritten or ()} if known else None)
        stack.enter_context(undone(state.restore))
        state.save([modules] if isinstance(modules, nn.Module) else list(modules))
        state.save(arguments)
        state.save(pytree.tree_leaves(arguments))  # also in containers that only pytree knows
        state.save(optimizer)
        state.save_process()
        own = {id(tensor) for tensor in state.tensors}

        def before_step(stepping: torch.optim.Optimizer, *_arguments: Any) -> None:
            stepped = [parameter for group in stepping.param_groups for parameter in group["params"]]
            if any(id(parameter) in own for parameter in stepped):
                state.save(stepping)
                state.save_values(stepped)

        handle = register_optimizer_step_pre_hook(before_step)
        stack.enter_context(undone(handle.remove))
        yield


_own_seed: ContextVar[int | None] = ContextVar("recompviz_seed", default=None)
# the seed of a step that draws no random numbers
_NO_DRAWS = -1


@contextlib.contextmanager
def own_random_numbers(draws: bool) -> Iterator[None]:
    """In a ``with`` block, let :func:`state_restored` handle random generators so that other threads can use them.

    If a generator were restored, other threads would draw its numbers a second time. Therefore the generators of Python
    and NumPy are not restored. PyTorch's generators get a random seed before each training step, so that all threads
    draw from this seed during the step. After the step, the generators get their earlier states, unless another thread
    has seeded them.

    Parameters
    ----------
    draws : bool
        Whether the training steps draw random numbers. If not, no generator is changed.
    """
    with undone(partial(_own_seed.set, _own_seed.get())):
        _own_seed.set(int.from_bytes(os.urandom(7), "little") if draws else _NO_DRAWS)
        yield


class _State:
    """Objects with the values that they had when they were saved.

    Parameters
    ----------
    overwritten : set of int or None
        The identities of the parameters whose values are copied; None for all.
    """

    def __init__(self, overwritten: set[int] | None) -> None:
        self.overwritten = overwritten
        self.tensors: list[torch.Tensor] = []
        self._saved: dict[int, Any] = {}  # by identity; it keeps the objects alive, so that identities stay unique
        self._copied: set[int] = set()  # the identities of the tensors whose values are copied
        self._restore: list[Callable[[], object]] = []

    def save(self, value: Any) -> None:
        """Save a value and everything that can be reached from it through containers, modules and optimizers."""
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if isinstance(value, _LEAVES) or id(value) in self._saved:
                continue
            self._saved[id(value)] = value
            if isinstance(value, torch.Tensor):
                self._save_tensor(value)
            elif isinstance(value, (nn.Module, torch.optim.Optimizer)):
                waiting.append(vars(value))
            elif type(value) in _CONTAINERS:
                self._restore.append(partial(_CONTAINERS[type(value)], value, value.copy()))
                if len(value) <= SEARCHED:
                    waiting += value.values() if isinstance(value, dict) else value
            elif isinstance(value, tuple):
                waiting += value
            elif (restore := _saved_source(value)) is not None:
                self._restore.append(restore)

    def save_process(self) -> None:
        """Save the random generators and the flags of the process."""
        generators, seed = _generators(self.tensors), _own_seed.get()
        if seed is None:
            self._restore += [partial(each.set_state, each.get_state()) for each in generators]
            self._restore.append(partial(random.setstate, random.getstate()))
            self._restore.append(partial(np.random.set_state, np.random.get_state()))  # noqa: NPY002 (the user's)
        elif seed != _NO_DRAWS:
            self._restore += [partial(_restore_generator, each, each.get_state(), seed) for each in generators]
            for generator in generators:
                generator.manual_seed(seed)
        self._restore += [_flag(read, write) for read, write in _FLAGS]

    def restore(self) -> None:
        """Restore everything that was saved."""
        for restore in self._restore:
            restore()

    def save_values(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the values of tensors, if they are not copied yet."""
        for tensor in tensors:
            if id(tensor) not in self._copied and not any_without_memory([tensor]):
                self._copied.add(id(tensor))
                # on the host, so that the copies take no memory of the device that is measured
                copied = tensor.detach().to("cpu", copy=True)
                self._restore.append(partial(_restore_values, tensor, copied, version_of(tensor)))

    def _save_tensor(self, tensor: torch.Tensor) -> None:
        self.tensors.append(tensor)
        # of the same storage, in case another one is assigned to ``tensor.data``
        self._restore.append(partial(_restore_storage, tensor, tensor.detach()))
        if tensor.is_leaf:
            self._restore.append(partial(_restore_leaf, tensor, tensor.requires_grad, tensor.grad))
        if self.overwritten is None or not isinstance(tensor, nn.Parameter) or id(tensor) in self.overwritten:
            self.save_values([tensor])


def _restore_storage(tensor: torch.Tensor, same_storage: torch.Tensor) -> None:
    if place_of(tensor) != place_of(same_storage):
        tensor.data = same_storage


def _restore_values(tensor: torch.Tensor, values: torch.Tensor, version: int) -> None:
    """Restore the bits of a tensor, and the version that autograd compares when a graph of the user reads it."""
    same = _same_values(tensor, values)
    if not same:
        with torch.no_grad():
            tensor.copy_(values)
    # the version of a parameter with the same bits says that other work has written to it
    if version_of(tensor) != version and not (same and isinstance(tensor, nn.Parameter)):
        set_version(tensor, version)


def _restore_leaf(tensor: torch.Tensor, requires_grad: bool, gradient: torch.Tensor | None) -> None:
    if tensor.requires_grad != requires_grad:
        tensor.requires_grad_(requires_grad)
    if tensor.grad is not gradient:
        tensor.grad = gradient


def _same_values(tensor: torch.Tensor, values: torch.Tensor) -> bool:
    """Return whether a tensor has the bits of a copy on the host; False if they cannot be compared."""
    try:
        return same_bits(tensor, values.to(tensor.device))
    except (RuntimeError, NotImplementedError):
        return False


# -------------------------------------------------------------------- containers

# values that cannot change, and of which there are many
_LEAVES = (str, int, float, bytes, type, type(None))


def _restore_list(value: Any, before: Any) -> None:
    if len(value) != len(before) or any(a is not b for a, b in zip(value, before, strict=True)):
        value[:] = before


def _restore_deque(value: deque[Any], before: deque[Any]) -> None:
    if len(value) != len(before) or any(a is not b for a, b in zip(value, before, strict=True)):
        value.clear()
        value.extend(before)


def _restore_dict(value: dict[Any, Any], before: dict[Any, Any]) -> None:
    if any(key not in value for key in before):
        value.clear()  # so that the order is restored, too
    for key in [key for key in value if key not in before]:
        del value[key]
    for key, old in before.items():
        if key not in value or value[key] is not old:
            value[key] = old


def _restore_set(value: set[Any], before: set[Any]) -> None:
    if value != before:
        value.clear()
        value.update(before)


_CONTAINERS: dict[type, Callable[[Any, Any], None]] = {
    list: _restore_list,
    deque: _restore_deque,
    dict: _restore_dict,
    OrderedDict: _restore_dict,
    defaultdict: _restore_dict,
    set: _restore_set,
}


# -------------------------------------------------------------------- arrays, random generators, flags


def _saved_source(value: Any) -> Callable[[], object] | None:
    """Return a function that restores an array or a random generator; None for anything else."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        return partial(np.copyto, value, value.copy())
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    return None


def _generators(tensors: Iterable[torch.Tensor]) -> list[torch.Generator]:
    """Return the random generators of the CPU and of the devices of some tensors."""
    devices = {torch.device("cpu"), *(tensor.device for tensor in tensors if not any_without_memory([tensor]))}
    return [runtime(device).generator() for device in devices]


def _restore_generator(generator: torch.Generator, state: torch.Tensor, seed: int) -> None:
    """Restore the state of a generator, unless other work has given it another seed."""
    if generator.initial_seed() == seed:
        generator.set_state(state)


def _flag(read: Callable[[], Any], write: Callable[[Any], object]) -> Callable[[], object]:
    """Return a function that writes the current value of a flag again if the flag has another value then."""
    before = read()
    return lambda: None if read() == before else write(before)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_FLAGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    (_deterministic, lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])),
    *(
        (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in autocast_devices()
    ),
)
