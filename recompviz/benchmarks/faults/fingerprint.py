"""A fingerprint of everything that a public function of recompviz must leave as it was.

A fingerprint is a dict from the name of a part to a value that can be compared. It is written without the code that
restores the state, so that it can check that code.
"""

from __future__ import annotations

import gc
import hashlib
import random
import signal
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._dynamo import config as dynamo_config
from torch._functorch import config as functorch_config
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import fake_tensor_tls
from torch.optim import optimizer as optimizers

from recompviz.pytorch.internals.state import one_at_a_time

Fingerprint = dict[str, Any]

# objects that are compared by identity only
_OPAQUE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, type, weakref.ref)


def fingerprint(values: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of named values, and of the process."""
    found: Fingerprint = {}
    seen: set[int] = set()
    for name, value in values.items():
        _add(name, value, found, seen)
    return found | _process()


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Return the names of the parts that differ, with both values."""
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
        found[f"{name}: hooks"] = [id(hook) for hook in (value._backward_hooks or {}).values()]
    elif isinstance(value, np.ndarray):
        found[name] = (id(value), value.dtype.str, value.shape, value.tobytes())
    elif isinstance(value, torch.Generator):
        found[name] = (id(value), _digest(value.get_state()))
    elif isinstance(value, Mapping):
        found[f"{name}: keys"] = [key if isinstance(key, str | int) else id(key) for key in value]
        for number, (key, entry) in enumerate(value.items()):
            _add(f"{name}[{key if isinstance(key, str | int) else number}]", entry, found, seen)
    elif isinstance(value, Iterable) and isinstance(value, list | tuple):
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


def _process() -> Fingerprint:
    """Return the fingerprint of the state that Python and PyTorch keep for the process and for this thread."""
    hooks: Any = torch.nn.modules.module
    autograd: Any = torch._C._autograd
    return {
        "generator of PyTorch": _digest(torch.get_rng_state()),
        "generator of Python": random.getstate(),
        "generator of NumPy": str(np.random.get_state()),  # noqa: NPY002  the global one
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "MKL-DNN": torch._C._get_mkldnn_enabled(),
        "default dtype": torch.get_default_dtype(),
        "threads of PyTorch": torch.get_num_threads(),
        "profiler": (bool(torch.autograd.profiler._is_profiler_enabled), autograd._profiler_enabled()),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "hooks on saved tensors": autograd._top_saved_tensors_default_hooks(False) is None,
        "hooks on modules": (
            len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks), len(hooks._global_backward_hooks),
        ),
        "hooks before optimizers": len(optimizers._global_optimizer_pre_hooks),
        **_settings("Dynamo", dynamo_config),
        **_settings("AOTAutograd", functorch_config),
        "stance of torch.compile": repr(torch._dynamo.eval_frame._stance),
        "compiling": torch.compiler.is_compiling(),
        "tracing context": TracingContext.try_get() is None,
        "fake tensors": fake_tensor_tls.allow_non_fake_inputs_override,
        "kernels in Python": sum(
            len(getattr(torch.ops.aten, name).default.py_kernels)
            for name in ("upsample_nearest2d", "upsample_bilinear2d", "dropout", "gru", "lstm")
            if hasattr(getattr(torch.ops.aten, name), "default")
        ),
        "dropout": str(torch.ops.aten.dropout.default.py_kernels),
        "warning filters": list(map(str, warnings.filters)),
        "garbage collection": gc.isenabled(),
        "trace function": (sys.gettrace() is None, threading.gettrace() is None),
        "profile function": (sys.getprofile() is None, threading.getprofile() is None),
        "interrupt handler": signal.getsignal(signal.SIGINT),
        "lock": _is_free(one_at_a_time),
    }  # fmt: skip


def _settings(of: str, config: Any) -> dict[str, str]:
    names = [name for name, entry in config._config.items() if not entry.deprecated and not name.startswith("_")]
    return {f"{of}: {name}": repr(getattr(config, name)) for name in names}


def _is_free(lock: Any) -> bool:
    """Return whether another thread can take a lock."""
    taken: list[bool] = []

    def take() -> None:
        if lock.acquire(timeout=5):
            lock.release()
            taken.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(taken)
