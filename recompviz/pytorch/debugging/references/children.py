"""List the objects that an object refers to: items, attributes, variables and hooks.

Each listed object comes with a suffix, such as ``[3]``: if ``log`` is an expression for a list, ``log[3]`` is an
expression for its item. Objects are read without calling methods of the user's classes, for example with
``list.__iter__`` instead of ``iter``. Therefore the search neither fills a lazy collection nor resolves a proxy. Only
``repr`` of a dictionary key, and a ``__dict__`` that a class defines itself, may run the user's code.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import nn

from recompviz.pytorch.internals.tensors import tensor_hooks
from recompviz.pytorch.internals.user_lines import in_packages

# of a longer list or dictionary only the oldest and the newest items are read
MOST_ITEMS = 5_000
# objects of these packages are not searched, except those of `_WALKED`
_NOT_WALKED = (
    "torch.", "numpy.", "_pytest.", "pytest.", "IPython.", "ipykernel.", "recompviz.core.", "recompviz.pytorch."
)  # fmt: skip
_WALKED = ("torch.utils.data.",)  # data loaders and their iterators lead to the user's data sets
_PLAIN = (int, float, complex, str, bytes, types.ModuleType, types.CodeType, types.NoneType)


@dataclass(frozen=True, eq=False)
class Namespace:
    """What stores some variables: the globals of a module, locals of a frame, a closure cell, or a function's defaults.

    Attributes
    ----------
    read : callable
        ``read(name)`` returns the current value of a variable; None if it does not exist.
    """

    read: Callable[[str], Any]


def plain(value: Any) -> bool:
    """Return whether the search skips a value.

    It skips numbers, strings, bytes, None, Python modules, code objects and classes of libraries.
    """
    kind = type(value)
    return issubclass(kind, _PLAIN) or (issubclass(kind, type) and not _own_class(value))


def is_long(value: Any) -> bool:
    """Return whether a collection has more than 5,000 items, so that only a part of its items is read."""
    kind = type(value)
    return issubclass(kind, dict | list | tuple | deque | set | frozenset) and kind.__len__(value) > MOST_ITEMS


def variables(value: Any) -> Iterator[tuple[Any, str, str, Namespace]]:
    """Yield the variables that a Python function reads: closure cells, globals, and defaults of its parameters.

    For any other object, nothing is yielded. Globals that are Python modules are skipped. For a function in an
    installed package, only closure cells are yielded.

    Yields
    ------
    value : object
        The value of the variable.
    name : str
        The name of the variable.
    root : str
        ``closure of f``, ``global`` or ``default of f``.
    namespace : Namespace
        Reads the variable again later.
    """
    if not issubclass(type(value), types.FunctionType):  # isinstance would resolve a proxy, by its ``__class__``
        return
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        yield _contents(cell), name, f"closure of {value.__name__}", Namespace(functools.partial(_read_cell, cell))
    if in_packages(value.__code__.co_filename):
        return  # the globals of a library would lead through all of it
    space = value.__globals__
    for name in value.__code__.co_names:
        if name in space and not issubclass(type(space[name]), types.ModuleType):
            yield space[name], name, "global", Namespace(space.get)
    taken = value.__code__.co_varnames[: value.__code__.co_argcount]
    defaults = dict(zip(reversed(taken), reversed(value.__defaults__ or ()), strict=False))
    defaults |= value.__kwdefaults__ or {}
    for name, default in defaults.items():
        yield default, name, f"default of {value.__name__}", Namespace(defaults.get)


def _read_cell(cell: types.CellType, _name: str) -> Any:
    return _contents(cell)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def children(value: Any) -> Iterator[tuple[Any, str]]:
    """Yield the objects to which an object refers, except the variables of a function.

    Of a collection with more than 5,000 items, only the oldest 500 and the newest 5,000 items are yielded. Of a set,
    any 5,000 items are yielded. An array of NumPy leads to the tensor or array whose memory it shares. For most other
    objects of PyTorch, NumPy and some other libraries, nothing is yielded.

    Yields
    ------
    child : object
    suffix : str
        The text to append to the expression of the parent: ``[3]`` or ``.bank``; empty for an object that has no
        expression of its own, such as the class of an object.
    """
    kind = type(value)
    if issubclass(kind, dict):
        for key, item in _some(dict.items(value), dict.__len__(value)):
            yield item, f"[{_written(key)}]"
            if not issubclass(type(key), _PLAIN):
                yield key, ""
    elif issubclass(kind, list):
        yield from _numbered(list.__iter__(value), list.__len__(value))
    elif issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        for i, (item, step) in enumerate(_numbered(tuple.__iter__(value), tuple.__len__(value))):
            yield item, f".{names[i]}" if names and i < len(names) else step
    elif issubclass(kind, deque):
        yield from _numbered(deque.__iter__(value), deque.__len__(value))
    elif issubclass(kind, set | frozenset):
        yield from ((item, "{…}") for item in islice(kind.__iter__(value), MOST_ITEMS))
    elif issubclass(kind, nn.Module):
        yield from _of_module(value)
    elif issubclass(kind, torch.optim.Optimizer):
        inside = vars(value)
        yield from ((v, f".{n}") for n, v in inside.items() if n not in ("state", "param_groups", "defaults"))
    elif issubclass(kind, types.MethodType):
        yield value.__self__, ""
        yield value.__func__, ""
    elif issubclass(kind, functools.partial):
        yield value.func, ""
        yield from ((item, f".args[{i}]") for i, item in enumerate(value.args))
        yield from ((item, f".keywords[{name!r}]") for name, item in value.keywords.items())
    elif issubclass(kind, functools._lru_cache_wrapper | types.GeneratorType):
        yield from ((item, "") for item in gc.get_referents(value))
    elif issubclass(kind, BaseException):
        yield from _of_exception(value)
    elif issubclass(kind, np.ndarray):
        if value.base is not None:  # the tensor behind `tensor.numpy()`, or the array behind a view
            yield value.base, ".base"
    elif issubclass(kind, type):
        yield from ((v, f".{n}") for n, v in vars(value).items() if not n.startswith("__"))
    elif issubclass(kind, types.FunctionType):
        yield from ((v, f".{n}") for n, v in vars(value).items())
    elif _walked(kind):
        yield from ((item, f".{name}") for name, item in attributes(value).items())
        yield kind, ""


def of_tensor(tensor: torch.Tensor) -> Iterator[tuple[Any, str]]:
    """Yield the attributes and hooks of a tensor, as pairs (object, suffix of the expression).

    The gradient of a leaf tensor is yielded only if the gradient itself has an autograd graph.
    """
    if tensor.is_leaf and tensor.grad is not None and tensor.grad.grad_fn is not None:
        yield tensor.grad, ".grad"
    for name, value in (getattr(tensor, "__dict__", None) or {}).items():
        yield value, f".{name}"
    yield from ((hook, ".register_hook") for hook in tensor_hooks(tensor))


def _numbered(items: Iterator[Any], count: int) -> Iterator[tuple[Any, str]]:
    if count <= MOST_ITEMS:
        yield from ((item, f"[{i}]") for i, item in enumerate(items))
        return
    for i, item in enumerate(items):
        if i < MOST_ITEMS // 10 or i >= count - MOST_ITEMS:
            yield item, f"[{i}]"


def _some(items: Any, count: int) -> Any:
    if count <= MOST_ITEMS:
        return list(items)
    return list(chain(islice(items, MOST_ITEMS // 10), reversed(list(islice(reversed(items), MOST_ITEMS)))))


def _written(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # the key's __repr__ may raise anything
        text = "…"
    return text if len(text) <= 40 and "<" not in text and "tensor(" not in text else f"a {type(key).__name__}"


def _of_module(module: nn.Module) -> Iterator[tuple[Any, str]]:
    inside = vars(module)
    for kind in ("_modules", "_buffers", "_parameters"):
        for name, child in (inside.get(kind) or {}).items():
            yield child, f"[{name}]" if name.isdigit() else f".{name}"
    for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        for hook in (inside.get(kind) or {}).values():
            yield hook, f".{kind.strip('_')}"
    for name, item in inside.items():
        if not name.startswith("_") and name != "training":
            yield item, f"[{name}]" if name.isdigit() else f".{name}"
    yield type(module), ""


def _of_exception(error: BaseException) -> Iterator[tuple[Any, str]]:
    yield from ((value, f".{name}") for name, value in vars(error).items())
    yield from ((value, f".args[{i}]") for i, value in enumerate(error.args))
    for step, inner in ((".__cause__", error.__cause__), (".__context__", error.__context__)):
        if inner is not None:
            yield inner, step
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        own = frame.f_locals is not frame.f_globals  # global variables do not live by the exception
        for name, value in list(frame.f_locals.items()) if own else ():
            yield value, f".__traceback__ ({name} in {frame.f_code.co_name})"
        trace = trace.tb_next


def _walked(kind: Any) -> bool:
    module = (getattr(kind, "__module__", "") or "") + "."
    return module.startswith(_WALKED) or (not module.startswith(_NOT_WALKED) and kind.__module__ != "builtins")


def _own_class(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return _walked(kind) and not (file and in_packages(file))


def attributes(value: Any) -> dict[str, Any]:
    """Return the attributes that an object itself has, by name.

    Attributes in ``__slots__`` are included; attributes of the class are not.
    """
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        found = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            descriptor = kind.__dict__.get(name)
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    found.setdefault(name, descriptor.__get__(value))
                except AttributeError:
                    continue
    return found
