"""The state of the process that functions of recompviz must leave as it was: generators, flags, hooks and settings.

Private PyTorch used here: switches and counts of ``torch._C``, the global hooks of modules and optimizers, the settings
of Dynamo and AOTAutograd with ``_config``, ``TracingContext``, ``fake_tensor_tls``, the stance of ``torch.compile`` and
``OpOverload.py_kernels``. Tried on torch 2.13.0, on the CPU.
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch._dynamo import config as dynamo_config
from torch._functorch import config as functorch_config
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import fake_tensor_tls
from torch.optim import optimizer as optimizers

from recompviz.pytorch.internals.state import one_at_a_time

__all__ = ["process_state"]


def process_state() -> dict[str, Any]:
    """Return the state of the process and of this thread, as values that can be compared, by name."""
    hooks: Any = torch.nn.modules.module
    autograd: Any = torch._C._autograd
    return {
        "generator of PyTorch": str(torch.get_rng_state().tolist()),
        "generator of Python": random.getstate(),
        "generator of NumPy": str(np.random.get_state()),  # noqa: NPY002 (the global one)
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
        "methods of modules": (id(torch.nn.Module.__call__), id(torch.nn.Module.__getattr__)),
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
