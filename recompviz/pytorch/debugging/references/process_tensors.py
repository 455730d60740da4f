"""Tensors of the process that no training step touches, such as an old model or cached batches.

Python's garbage collector knows every tensor and every storage that has a Python object. Autograd graphs lead to
further tensors, which autograd saved. All these tensors are listed before the first training step. After the steps, the
tensors that no operator used and that belong to no module or optimizer of the steps are called *outside*. They take
memory beside the steps, and are reported. The allocator may have allocated more bytes than all these tensors take. Such
memory has no Python object; it is counted as memory of unknown origin.
"""

from __future__ import annotations

import gc
import re
import sys
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.reports.process_memory import ProcessMemory
from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.references.walk import LAST_ERROR, Walk
from recompviz.pytorch.internals.autograd import saved_by
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.fake_tensors import FakeTensor
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.internals.user_lines import in_packages

# number of referring objects on the way to a name
MOST_REFERRERS = 4
# number of autograd nodes that are searched for saved tensors
MOST_NODES = 20_000
# the root of memory without a tensor of Python
NO_OBJECT = "allocated by PyTorch, and no object of Python leads to it"
_PAGE = 8192


@dataclass(frozen=True)
class OutsideTensor:
    """A tensor outside the training steps, or a piece of memory that no tensor takes.

    Attributes
    ----------
    expression : str
        The Python expression that reaches it, such as ``old_model.weight``, or a description, such as
        ``gradient of net.bias`` or ``an object of Cache``; empty if none was found.
    root : str
        The start of the expression, for example ``global``, or a text on what holds the tensor; empty if there is none.
    size : int
        Bytes of its storage, or of memory without a tensor.
    shape : tuple of int
        Empty for memory without a tensor.
    dtype : str
        Empty for memory without a tensor.
    of_module : bool
        Whether it belongs to a module, as a parameter, buffer or gradient.
    twice : bool
        Whether it is the state of an optimizer for a parameter that another optimizer updates in the steps.
    variable : str
        The variable that reaches it, such as ``old_model``, ``self.old_model`` or ``package.cache``; empty if none is
        known.
    """

    expression: str
    root: str
    size: int
    shape: tuple[int, ...]
    dtype: str
    of_module: bool
    twice: bool = False
    variable: str = ""


def variable_of(expression: str) -> str:
    """Return the variable with which an expression begins; with the attribute, if the variable is ``self``.

    The result is empty if the expression describes an object that no variable names.

    Examples
    --------
    >>> variable_of("cached[3]"), variable_of("self.bank[0].weight"), variable_of("gradient of net.bias")
    ('cached', 'self.bank', 'net')
    >>> variable_of("an object of Kept"), variable_of("a storage")
    ('', '')
    """
    rest = expression.rpartition(" of ")[2]
    if rest.startswith(LAST_ERROR):
        return LAST_ERROR
    if re.match(r"(a|an|the) ", rest) or "an object of " in expression:  # a description, and no variable
        return ""
    found = re.match(r"(self\.)?[^\W\d]\w*", rest)
    return found.group() if found else ""


class ProcessTensors:
    """The tensors of the process before the first training step, described without keeping them alive.

    Parameters
    ----------
    device : torch.device
        Tensors on devices of another type are left out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._storages: dict[int, weakref.ref[Any]] = {}
        self._tensors: dict[int, weakref.ref[torch.Tensor]] = {}
        self._parts: dict[int, str] = {}  # storage → "gradient of" and the like
        self._owner: dict[int, weakref.ref[torch.Tensor]] = {}
        self._optimizer: dict[int, weakref.ref[torch.optim.Optimizer]] = {}  # storage of state → its optimizer
        for value in gc.get_objects():
            kind = type(value)
            if issubclass(kind, torch.Tensor):
                self._add(value, device)
                gradient = value.grad if value.is_leaf else None
                if gradient is not None:
                    self._add(gradient, device, "gradient", value)
            elif issubclass(kind, torch.UntypedStorage) and value.device.type == device.type:
                address, size = _place(value)
                if size:
                    self._storages[address] = weakref.ref(value)
            elif issubclass(kind, torch.optim.Optimizer):
                for owner, state in value.state.items():
                    for name, leaf in state.items() if isinstance(state, dict) else ():
                        for tensor in pytree.tree_leaves(leaf):
                            if isinstance(tensor, torch.Tensor):
                                self._add(tensor, device, f"{name} ({kind.__name__})", owner)
                                self._optimizer[storage_key(tensor)] = weakref.ref(value)
        self._known = self._addresses()
        seam = runtime(device)
        self._unseen = seam.unseen(self._known)
        self._in_use = seam.in_use()

    def _addresses(self) -> dict[int, int]:
        """Return address and bytes of each storage that an object of Python or an autograd graph leads to."""
        known: dict[int, int] = {}
        alive = self._alive()
        storages = [storage for reference in self._storages.values() if (storage := reference()) is not None]
        known.update(map(_place, storages))
        for tensor in (*alive, *(saved for _, saved in self._saved(alive))):
            address, size = _memory(tensor)
            if size:
                known[address] = size
        return known

    def _alive(self) -> list[torch.Tensor]:
        return [tensor for reference in self._tensors.values() if (tensor := reference()) is not None]

    def _saved(self, roots: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the tensors that the graphs behind some tensors have saved, each with the first such tensor."""
        seen: set[Any] = set()
        for root in roots:
            stack = [root.grad_fn]
            while stack and len(seen) < MOST_NODES:
                node = stack.pop()
                if node is None or node in seen:
                    continue
                seen.add(node)
                stack.extend(following for following, _ in node.next_functions)
                yield from ((root, one) for one in saved_by(node) if _on(one, self._device))

    @property
    def memory(self) -> ProcessMemory | None:
        """The bytes in use when this object was made, and the part that PyTorch accounts for; None if unknown."""
        if self._in_use is None:
            return None
        used, reserved = self._in_use
        if reserved < 0:
            return ProcessMemory(used, sum(self._known.values()) + sum(self._unseen))
        return ProcessMemory(used, reserved, str(self._device))

    def _add(self, tensor: torch.Tensor, device: torch.device, part: str = "", of: torch.Tensor | None = None) -> None:
        if not _on(tensor, device):
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
            The watcher of the steps. It knows the storages that the steps touched.
        walk : Walk
            A search that has ended. It gives the tensors their names.

        Returns
        -------
        list of OutsideTensor
            The tensors that existed before the first step and that the steps did not touch, and memory that no tensor
            takes.
        set of str
            The names of the variables.
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
        variables = {
            id(value): expression
            for (_, expression), value in walk.owners.items()
            if issubclass(type(value), torch.optim.Optimizer)
        }
        in_graphs = self._in_graphs(names)
        of_modules: dict[int, str] = {}
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
            optimizer = self._optimizer[key]() if key in self._optimizer else None
            twice = optimizer is not None and owner is not None and watcher.known(owner) in watcher.owners.stepped
            if twice and id(optimizer) in variables:
                expression, root = variables[id(optimizer)], "global"
            if not expression and owner is not None:
                of, root, of_module = names.get(storage_key(owner), ("", "", False))
                expression = f"{self._parts[key]} of {of or 'a parameter'}"
                if not of:
                    root = self._parts[key]
            if not expression and key in in_graphs:
                expression, root = in_graphs[key]
            variable = variable_of(expression)
            if not expression:
                of_modules = of_modules or module_variables()
                expression, variable = referred_by(tensor, of_modules, (self._tensors, watcher, walk))
                root = "another object" if expression else ""
            listed[address] = OutsideTensor(
                expression,
                root,
                size,
                tuple(tensor.shape),
                str(tensor.dtype).removeprefix("torch."),
                of_module,
                twice,
                variable,
            )
        touched_memory = {block.address for block in watcher.blocks}
        for address, one in self._without_tensor(names, watcher):
            if address not in touched_memory:
                listed.setdefault(address, one)
        unseen = self._unseen_after(watcher)
        return sorted([*listed.values(), *unseen], key=lambda one: -one.size), touched

    def _in_graphs(self, names: Mapping[int, tuple[str, str, bool]]) -> dict[int, tuple[str, str]]:
        """Map each storage that an autograd graph has saved to a name of the graph, and the root of the name."""
        found: dict[int, tuple[str, str]] = {}
        roots = sorted(self._alive(), key=lambda tensor: storage_key(tensor) not in names)  # those with a name first
        for root, saved in self._saved(roots):
            of, where, _ = names.get(storage_key(root), ("", "", False))
            found.setdefault(storage_key(saved), (f"graph of {of}" if of else "an autograd graph", where))
        return found

    def _without_tensor(
        self, names: Mapping[int, tuple[str, str, bool]], watcher: Watcher
    ) -> Iterator[tuple[int, OutsideTensor]]:
        """Yield address and description of storages that only an autograd graph or a storage object holds."""
        roots = sorted(self._alive(), key=lambda tensor: storage_key(tensor) not in names)
        for root, saved in self._saved(roots):
            address, size = _memory(saved)
            if size and address in self._known and watcher.known(saved) is None:
                expression, where, _ = names.get(storage_key(root), ("", "", False))
                text = f"graph of {expression}" if expression else "an autograd graph"
                kind = str(saved.dtype).removeprefix("torch.")
                yield (
                    address,
                    OutsideTensor(
                        text,
                        where or "another object",
                        size,
                        tuple(saved.shape),
                        kind,
                        False,
                        variable=variable_of(text),
                    ),
                )
        for address, reference in self._storages.items():
            storage = reference()
            if storage is not None and (size := _place(storage)[1]):
                yield address, OutsideTensor("a storage", "another object", size, (), "", False)

    def _unseen_after(self, watcher: Watcher) -> list[OutsideTensor]:
        """Return blocks that have no object of Python, without those that the steps have touched meanwhile."""
        met = [
            block.size
            for block in watcher.blocks
            if block.maker < 0 and block.step <= 0 and block.address not in self._known and block.size
        ]
        if len(self._unseen) == 1 and met:
            rest = self._unseen[0] - sum(map(runtime(self._device).rounded, met))
            return [_nameless(rest)] if rest > 0 else []
        for size in met:
            near = min(self._unseen, key=lambda one: abs(one - size), default=None)
            if near is not None and size <= near < size + _PAGE:
                self._unseen.remove(near)
        return [_nameless(size) for size in self._unseen]


def _nameless(size: int) -> OutsideTensor:
    return OutsideTensor("", NO_OBJECT, size, (), "", False)


def _on(tensor: torch.Tensor, device: torch.device) -> bool:
    """Return whether a tensor has memory of its own on a device."""
    return (
        tensor.layout is torch.strided
        and not issubclass(type(tensor), FakeTensor)
        and tensor.device.type == device.type
    )


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """Return address and bytes of a tensor's storage; zeros if it has no memory of its own."""
    try:
        return _place(tensor.untyped_storage())
    except (RuntimeError, NotImplementedError):  # traced or wrapped tensors
        return 0, 0


def _place(storage: Any) -> tuple[int, int]:
    """Return address and bytes of a storage; zeros if it has no memory."""
    try:
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):  # of a fake tensor
        return 0, 0


def module_variables() -> dict[int, str]:
    """Return the names of the variables of all modules: ``id`` of the value of a variable → name of the variable.

    The name begins with the name of the module, unless the module is ``__main__``. Only values that the garbage
    collector tracks, such as containers and objects, are included, and only names that do not begin with two
    underscores. Modules are read from ``sys.modules``, because the garbage collector does not list referrers that
    existed at a call of ``gc.freeze``.
    """
    found: dict[int, str] = {}
    for module_name, module in list(sys.modules.items()):
        if issubclass(type(module), types.ModuleType):
            of = "" if module_name == "__main__" else f"{module_name}."
            for name, value in list(vars(module).items()):
                if gc.is_tracked(value) and not name.startswith("__"):
                    found.setdefault(id(value), f"{of}{name}")
    return found


def referred_by(value: Any, variables: Mapping[int, str], ours: Iterable[Any] = ()) -> tuple[str, str]:
    """Find what refers to a value, and return two texts.

    If a variable of a module leads to the value, both texts are the name of the variable. Otherwise the first text
    describes the nearest object that refers to the value, for example ``"an object of Cache"``, and the second text is
    empty. Both are empty if nothing refers to the value.

    Parameters
    ----------
    value : object
    variables : dict of int to str
        The result of :func:`module_variables`.
    ours : iterable of object
        Objects of recompviz that do not count.
    """
    skipped = {id(one) for one in ours}
    level: list[Any] = [value]
    nearest = ""
    seen = {id(value)}
    for _ in range(MOST_REFERRERS):
        following: list[Any] = []
        for child in level:
            if id(child) in variables:
                return variables[id(child)], variables[id(child)]
            for parent in gc.get_referrers(child):
                if id(parent) in seen or id(parent) in skipped or parent is level or parent is following:
                    continue
                kind = type(parent)
                if issubclass(kind, types.FrameType) and in_packages(parent.f_code.co_filename):
                    continue
                seen.add(id(parent))
                nearest = nearest or ("a frame" if kind is types.FrameType else f"an object of {kind.__name__}")
                following.append(parent)
                if len(following) > 50:
                    break
        level = following
    return nearest, ""


def by_variable(outside: Iterable[OutsideTensor]) -> Iterator[tuple[str, list[OutsideTensor]]]:
    """Yield pairs (variable, tensors that the variable reaches), the pair with the most bytes first.

    A tensor without a known variable is listed under its expression.
    """
    groups: dict[str, list[OutsideTensor]] = {}
    for one in outside:
        groups.setdefault(one.variable or one.expression, []).append(one)
    yield from sorted(groups.items(), key=lambda group: -sum(one.size for one in group[1]))


def sizes_by_variable(outside: Iterable[OutsideTensor]) -> Mapping[str, int]:
    """Return the bytes of the tensors in each pair of :func:`by_variable`, by variable."""
    return {name: sum(one.size for one in members) for name, members in by_variable(outside)}
