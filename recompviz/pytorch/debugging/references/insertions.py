"""Read the tensors in a retainer, to detect when a new tensor is stored there.

A retainer is the object that keeps a tensor alive. The caller reads the retainer before each line of the user's code.
If a new tensor appears between two reads, the line that ran in between stored the tensor. Only the newest items are
read, for speed.
"""

from __future__ import annotations

import functools
import gc
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from recompviz.pytorch.debugging.references.children import attributes
from recompviz.pytorch.debugging.references.reference_path import Retainer
from recompviz.pytorch.debugging.references.walk import Walk
from recompviz.pytorch.internals.tensors import version_of

# number of newest items that are read from a container, and number of levels
_ITEMS, _DEPTH = 32, 3


def reader(retainer: Retainer, walk: Walk) -> Callable[[], Any] | None:
    """Return a function that reads a retainer: the object that keeps a tensor alive.

    Returns
    -------
    callable or None
        A function without arguments. If the retainer is a collection or a cache, the function returns that object.
        Otherwise it returns the current value of the variable or attribute. If the walk did not find the retainer, None
        is returned in place of a function.
    """
    if retainer.referrer.kind == "variable":
        namespace = walk.namespaces.get((retainer.root, retainer.slot))
        return functools.partial(namespace.read, retainer.slot) if namespace is not None else None
    owner = walk.owners.get((retainer.root, retainer.referrer.expression))
    if owner is None:
        return None
    if retainer.collection or retainer.referrer.kind == "cache":
        return lambda: owner
    name = retainer.slot.removeprefix(retainer.referrer.expression).removeprefix(".")
    return lambda: _attribute(owner, name)


def _attribute(owner: Any, name: str) -> Any:
    """Return an attribute of an object without calling the object's own methods; None if it does not exist."""
    if issubclass(type(owner), type):
        return vars(owner).get(name)
    found = attributes(owner)
    if name in found:
        return found[name]
    return found.get("_buffers", {}).get(name, vars(type(owner)).get(name))


def contents(read: Callable[[], Any]) -> dict[tuple[int, int], int]:
    """Read the newest tensors in a retainer.

    Parameters
    ----------
    read : callable
        A function from :func:`reader`.

    Returns
    -------
    dict of (id, version) to int
        (``id`` of a tensor, its version) → the bytes of its elements. The version changes when the tensor is modified
        in place. If the retainer cannot be read, the dictionary is empty.
    """
    try:
        return {(id(t), version_of(t)): t.numel() * t.element_size() for t in _tensors_in(read())}
    except Exception:  # methods of the user's objects may raise anything
        return {}


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _variables_of(error: BaseException) -> Iterator[Any]:
    """Yield the variables of the calls that an exception came through, which its traceback holds."""
    trace = BaseException.__dict__["__traceback__"].__get__(error)
    while trace is not None:
        if trace.tb_frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            yield from trace.tb_frame.f_locals.values()
        trace = trace.tb_next


def _tensors_in(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield the tensors in a value, in the newest ``_ITEMS`` items of each container and down to ``_DEPTH`` levels."""
    kind = type(value)
    if issubclass(kind, torch.Tensor):
        yield value
        return
    if depth >= _DEPTH:
        return
    items: Any = ()
    if issubclass(kind, dict):
        items = islice(reversed(dict.values(value)), _ITEMS)
    elif issubclass(kind, list | deque):
        items = islice(kind.__reversed__(value), _ITEMS)
    elif issubclass(kind, tuple):
        items = reversed(value[-_ITEMS:])
    elif issubclass(kind, set | frozenset):
        items = islice(value, _ITEMS)
    elif issubclass(kind, np.ndarray):
        items = (value.base,)
    elif issubclass(kind, nn.Module):
        inside = vars(value)
        held = (inside["_parameters"], inside["_buffers"], inside["_modules"])
        items = [item for values in held for item in islice(reversed(values.values()), _ITEMS)]
    elif issubclass(kind, types.FunctionType):
        items = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
    elif issubclass(kind, BaseException):
        items = _variables_of(value)
    elif issubclass(kind, functools._lru_cache_wrapper):
        items = gc.get_referents(value)
    elif depth and not issubclass(kind, type):
        items = islice(attributes(value).values(), _ITEMS)
    for item in items:
        yield from _tensors_in(item, depth + 1)
