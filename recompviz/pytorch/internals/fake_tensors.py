"""Fake tensors: tensors that have a shape and no memory.

Private PyTorch used here: ``torch._subclasses.fake_tensor`` (``FakeTensor``, ``FakeTensorMode``, ``fake_tensor_tls``,
``unset_fake_temporarily``), the tables of its ``meta_converter``, ``ShapeEnv.suppress_guards``,
``_expr`` of symbolic sizes, and ``torch.utils._sympy.printers.PythonPrinter``.
Tried on torch 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, fake_tensor_tls, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._sympy.printers import PythonPrinter

from recompviz.pytorch.internals.tensors import StorageWeakRef, storage_key, weak_storage
from recompviz.pytorch.internals.undone import undone

__all__ = [
    "FakeTensor",
    "FakeTensorMode",
    "example_sizes",
    "fake_mode_of",
    "real_constants_allowed",
    "real_storages",
    "real_tensors",
    "size_as_text",
    "without_storage",
]


def without_storage(step: torch.nn.Module, arguments: Any) -> tuple[torch.nn.Module, Any]:
    """Return copies of a training step (a module) and its arguments in which every tensor is a fake tensor on the CPU.

    Tensors that are fake already are used as they are.
    """
    leaves, spec = pytree.tree_flatten(arguments)
    tensors = [value for value in (*step.parameters(), *step.buffers(), *leaves) if isinstance(value, torch.Tensor)]
    mode = _mode_of(tensors) or FakeTensorMode()
    memo: dict[int, Any] = {}
    for value in tensors:
        if id(value) not in memo:
            memo[id(value)] = value if isinstance(value, FakeTensor) else _fake_copy(value, mode)
    with _FakeCopies(mode):
        copied = copy.deepcopy(step, memo)
    return copied, pytree.tree_unflatten([memo.get(id(leaf), leaf) for leaf in leaves], spec)


def _fake_copy(value: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    with mode:
        fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cpu")
        if isinstance(value, torch.nn.Parameter):
            return torch.nn.Parameter(fake, value.requires_grad)
        return fake.requires_grad_(value.requires_grad)


class _FakeCopies(TorchFunctionMode):
    """In a ``with`` block, ``copy.deepcopy`` of a tensor, also of one that is not a leaf, makes a fake tensor."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is not torch.Tensor.__deepcopy__ or isinstance(args[0], FakeTensor):
            return func(*args, **(kwargs or {}))
        value, memo = args
        if id(value) not in memo:
            memo[id(value)] = _fake_copy(value, self.mode)
        return memo[id(value)]


def _mode_of(values: Iterable[Any]) -> FakeTensorMode | None:
    """The mode of the first fake tensor among ``values``; None if there is none."""
    return next((value.fake_mode for value in values if isinstance(value, FakeTensor)), None)


@contextlib.contextmanager
def fake_mode_of(values: Iterable[Any]) -> Iterator[None]:
    """In a ``with`` block, make new tensors in the fake mode of the first fake tensor among ``values``.

    Operators accept real tensors beside fake ones. Without a fake tensor among ``values``, nothing changes.
    """
    mode = _mode_of(values)
    if mode is None:
        yield
        return
    with undone(partial(setattr, mode, "allow_non_fake_inputs", mode.allow_non_fake_inputs)), mode:
        mode.allow_non_fake_inputs = True
        yield


@contextlib.contextmanager
def example_sizes(values: Iterable[Any]) -> Iterator[None]:
    """In a ``with`` block, read symbolic sizes of fake tensors as the example inputs' sizes, without adding guards."""
    mode = _mode_of(values)
    shapes = mode.shape_env if mode is not None else None
    with shapes.suppress_guards() if shapes is not None else contextlib.nullcontext():
        yield


def size_as_text(size: torch.SymInt, inputs: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Return a symbolic size as a Python expression of named sizes, and the names in the expression.

    ``inputs`` has values by name. A value that is a single symbol gives the symbol its name; other values are not used.
    If the size depends on a symbol without a name, the expression is None, and the list of names is empty.
    """
    names = {
        expression: name
        for name, value in inputs.items()
        if isinstance(value, torch.SymInt) and (expression := value.node._expr).is_Symbol
    }
    wanted = size.node._expr  # node.expr may be the number of the example
    if not wanted.free_symbols <= names.keys():
        return None, []
    used = {symbol: symbol.func(names[symbol], integer=True) for symbol in wanted.free_symbols}
    return f"({PythonPrinter().doprint(wanted.xreplace(used))})", [names[symbol] for symbol in used]


@contextlib.contextmanager
def real_constants_allowed() -> Iterator[None]:
    """In a ``with`` block, allow a trace to contain other real tensors than parameters, buffers and inputs: constants.

    PyTorch 2.13 and later allow this by default.
    """
    name = "allow_non_fake_inputs_override"
    with undone(partial(setattr, fake_tensor_tls, name, getattr(fake_tensor_tls, name))):
        if torch.__version__ < "2.13":
            setattr(fake_tensor_tls, name, True)
        yield


def real_tensors() -> contextlib.AbstractContextManager[Any]:
    """In a ``with`` block, make real tensors even while PyTorch traces with fake tensors."""
    return unset_fake_temporarily()


def real_storages(values: Iterable[Any]) -> dict[int, StorageWeakRef]:
    """Return the real storages behind all fake tensors of one compilation.

    Parameters
    ----------
    values : iterable
        Any values. The first fake tensor among them identifies the compilation.

    Returns
    -------
    dict
        Key of a fake storage (:func:`storage_key`) → weak reference to the real storage. A fake storage whose real
        tensor is not known is left out. Empty if there is no fake tensor among the values.

    Examples
    --------
    >>> mode, real = FakeTensorMode(), torch.ones(3)
    >>> fake = mode.from_tensor(real)
    >>> real_storages([fake]) == {storage_key(fake): weak_storage(real)}
    True
    """
    mode = _mode_of(values)
    if mode is None:
        return {}
    try:
        converter = mode.fake_tensor_converter.meta_converter
        numbers: list[tuple[torch.Tensor, int]] = list(converter.describer.lookup_tensor.items())
        fakes: Any = dict(converter.tensor_memo)
    except AttributeError:  # another version of PyTorch
        return {}
    found = {}
    for real, number in numbers:
        fake, reference = fakes.get(number), weak_storage(real)
        if reference is not None and isinstance(fake, torch.Tensor) and fake.layout is torch.strided:
            found[storage_key(fake)] = reference
    return found
