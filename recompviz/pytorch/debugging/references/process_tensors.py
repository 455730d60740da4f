"""Tensors of the process that no training step touches, such as an old model or cached batches.

Python's garbage collector knows every tensor that has a Python object. They are listed before the first training step.
After the steps, those that no operator used and that belong to no module or optimizer of the steps lie *outside*. They
take memory beside the steps, and are reported as such.
"""

from __future__ import annotations

import gc
import re
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.references.walk import Walk
from recompviz.pytorch.internals.fake_tensors import FakeTensor
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.internals.user_lines import in_packages

# number of referring objects on the way to a name
MOST_REFERRERS = 4


@dataclass(frozen=True)
class OutsideTensor:
    """A tensor outside the training steps.

    Attributes
    ----------
    expression : str
        The Python expression that reaches it, such as ``old_model.weight``; empty if none was found.
    root : str
        The start of the expression, for example ``global``; empty if there is none.
    size : int
        Bytes of its storage.
    shape : tuple of int
    dtype : str
    of_module : bool
        Whether it belongs to a module, as a parameter, buffer or gradient.
    """

    expression: str
    root: str
    size: int
    shape: tuple[int, ...]
    dtype: str
    of_module: bool

    @property
    def variable(self) -> str:
        """The variable with which the expression begins, such as ``old_model`` or ``self.old_model``."""
        return variable_of(self.expression)


def variable_of(expression: str) -> str:
    """Return the variable with which an expression begins; with the attribute, if the variable is ``self``.

    Examples
    --------
    >>> variable_of("cached[3]"), variable_of("self.bank[0].weight"), variable_of("gradient of net.bias")
    ('cached', 'self.bank', 'net')
    """
    found = re.match(r"(self\.)?[^\W\d]\w*", expression.rpartition(" of ")[2])
    return found.group() if found else ""


class ProcessTensors:
    """The tensors of the process before the first training step, described without keeping them alive.

    Parameters
    ----------
    device : torch.device
        Tensors on devices of another type are left out.
    """

    def __init__(self, device: torch.device) -> None:
        self._tensors: dict[int, weakref.ref[torch.Tensor]] = {}
        self._parts: dict[int, str] = {}  # storage → "gradient of" and the like
        self._owner: dict[int, weakref.ref[torch.Tensor]] = {}
        for value in gc.get_objects():
            kind = type(value)
            if issubclass(kind, torch.Tensor):
                self._add(value, device)
                gradient = value.grad if value.is_leaf else None
                if gradient is not None:
                    self._add(gradient, device, "gradient", value)
            elif issubclass(kind, torch.optim.Optimizer):
                for owner, state in value.state.items():
                    for name, leaf in state.items() if isinstance(state, dict) else ():
                        for tensor in pytree.tree_leaves(leaf):
                            if isinstance(tensor, torch.Tensor):
                                self._add(tensor, device, f"{name} ({kind.__name__})", owner)

    def _add(self, tensor: torch.Tensor, device: torch.device, part: str = "", of: torch.Tensor | None = None) -> None:
        if tensor.layout is not torch.strided or issubclass(type(tensor), FakeTensor):
            return
        if tensor.device.type != device.type:
            return
        key = storage_key(tensor)
        self._tensors.setdefault(key, weakref.ref(tensor))
        if part and of is not None:
            self._parts[key], self._owner[key] = part, weakref.ref(of)

    def outside(self, watcher: Watcher, walk: Walk) -> tuple[list[OutsideTensor], set[str]]:
        """Return the tensors that the steps did not touch, largest first, and the variables that reach touched tensors.

        Parameters
        ----------
        watcher : Watcher
            It knows the storages that the steps touched.
        walk : Walk
            A search that names tensors.
        """
        names: dict[int, tuple[str, str, bool]] = {}
        touched = set()
        for found in walk.found:
            if found.tensor.layout is not torch.strided or issubclass(type(found.tensor), FakeTensor):
                continue
            of_module = any(issubclass(type(link.owner), torch.nn.Module) for link in found.links)
            names.setdefault(storage_key(found.tensor), (found.expression, found.root, of_module))
            if watcher.known(found.tensor) is not None:
                touched.add(variable_of(found.expression))
        listed: dict[int, OutsideTensor] = {}
        for key, reference in self._tensors.items():
            tensor = reference()
            if tensor is None or watcher.known(tensor) is not None:
                continue
            address, size = _memory(tensor)
            if not size or address in listed:
                continue
            expression, root, of_module = names.get(key, ("", "", False))
            owner = self._owner[key]() if key in self._owner else None
            if not expression and owner is not None:
                of, root, of_module = names.get(storage_key(owner), ("", "", False))
                expression = f"{self._parts[key]} of {of or 'a parameter'}"
                if not of:
                    root = self._parts[key]
            if not expression:
                expression = referred_by(tensor, (self._tensors, watcher, walk))
                root = "another object" if expression else ""
            listed[address] = OutsideTensor(
                expression,
                root,
                size,
                tuple(tensor.shape),
                str(tensor.dtype).removeprefix("torch."),
                of_module,
            )
        return sorted(listed.values(), key=lambda one: -one.size), touched


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """Return address and bytes of a tensor's storage; zeros if it has no memory of its own."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):  # traced or wrapped tensors
        return 0, 0


def referred_by(value: Any, ours: Iterable[Any] = ()) -> str:
    """Describe an object that refers to a value: a variable of a module, or else a class; empty if there is none.

    Parameters
    ----------
    value : object
    ours : iterable of object
        Objects of recompviz that do not count.
    """
    skipped = {id(one) for one in ours}
    level: list[tuple[Any, str]] = [(value, "")]
    nearest = ""
    seen = {id(value)}
    for _ in range(MOST_REFERRERS):
        following: list[tuple[Any, str]] = []
        for child, below in level:
            for parent in gc.get_referrers(child):
                if id(parent) in seen or id(parent) in skipped or parent is level or parent is following:
                    continue
                kind = type(parent)
                if issubclass(kind, types.FrameType) and in_packages(parent.f_code.co_filename):
                    continue
                if issubclass(kind, list | tuple) and any(parent is one for one in (*level, *following)):
                    continue
                seen.add(id(parent))
                named = _module_variable(parent, child)
                if named:
                    return f"{named}{below}"
                nearest = nearest or ("a frame" if kind is types.FrameType else f"an object of {kind.__name__}")
                following.append((parent, below))
                if len(following) > 50:
                    break
        level = following
    return nearest


def _module_variable(space: Any, value: Any) -> str:
    if not isinstance(space, dict) or "__name__" not in space or "__loader__" not in space:
        return ""
    return next((f"{space['__name__']}.{name}" for name, one in space.items() if one is value), "")


def by_variable(outside: Iterable[OutsideTensor]) -> Iterator[tuple[str, list[OutsideTensor]]]:
    """Yield groups of tensors that one variable reaches, the largest group first."""
    groups: dict[str, list[OutsideTensor]] = {}
    for one in outside:
        groups.setdefault(one.variable or one.expression, []).append(one)
    yield from sorted(groups.items(), key=lambda group: -sum(one.size for one in group[1]))


def sizes_by_variable(outside: Iterable[OutsideTensor]) -> Mapping[str, int]:
    """Return the bytes of each variable's tensors."""
    return {name: sum(one.size for one in members) for name, members in by_variable(outside)}
