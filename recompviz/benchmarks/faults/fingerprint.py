"""A fingerprint of everything that a public function of recompviz must leave as it was.

A fingerprint is a dict from the name of a part to a value that can be compared. This module uses none of the code by
which recompviz restores the state, so that it can check that code.
"""

from __future__ import annotations

import hashlib
import types
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from recompviz.pytorch.internals.process_state import process_state
from recompviz.pytorch.internals.tensors import tensor_hooks

Fingerprint = dict[str, Any]

# objects that are compared by identity only
_OPAQUE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, type, weakref.ref)


def fingerprint(values: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of the process and of the given objects, a dict from name to object."""
    found: Fingerprint = {}
    seen: set[int] = set()
    for name, value in values.items():
        _add(name, value, found, seen)
    return found | process_state()


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Return a text for each part that differs."""
    return [
        f"{name}: {str(before.get(name, 'absent'))[:60]} -> {str(after.get(name, 'absent'))[:60]}"
        for name in {**before, **after}
        if before.get(name, "absent") != after.get(name, "absent")
    ]


def _add(name: str, value: Any, found: Fingerprint, seen: set[int]) -> None:
    if isinstance(value, str | int | float | bool | bytes | None):
        found[name] = (type(value).__name__, value)
        return
    found[name] = id(value)
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        found[name] = _of_tensor(value)
        if value.is_leaf and value.grad is not None:
            found[f"{name}.grad"] = _of_tensor(value.grad)
        found[f"{name}: hooks"] = [id(hook) for hook in tensor_hooks(value)]
    elif isinstance(value, np.ndarray):
        found[name] = (id(value), value.dtype.str, value.shape, value.tobytes())
    elif isinstance(value, torch.Generator):
        found[name] = (id(value), _digest(value.get_state()))
    elif isinstance(value, Mapping):
        found[f"{name}: keys"] = [key if isinstance(key, str | int) else id(key) for key in value]
        for number, (key, entry) in enumerate(value.items()):
            _add(f"{name}[{key if isinstance(key, str | int) else number}]", entry, found, seen)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            _add(f"{name}[{number}]", entry, found, seen)
        found[f"{name}: length"] = len(value)
    elif not isinstance(value, _OPAQUE) and hasattr(value, "__dict__"):
        found[f"{name}: type"] = type(value).__name__
        for key, entry in vars(value).items():
            _add(f"{name}.{key}", entry, found, seen)
        found[f"{name}: attributes"] = list(vars(value)) if isinstance(value, nn.Module) else sorted(vars(value))


def _of_tensor(tensor: torch.Tensor) -> tuple[Any, ...]:
    place = tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
    return id(tensor), type(tensor).__name__, place, tensor.requires_grad, _digest(tensor)


def _digest(tensor: torch.Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.md5(data, usedforsecurity=False).hexdigest()[:12]
