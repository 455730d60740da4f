"""The device, the versions of all software, and the settings of the session."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Iterator
from typing import Any

import torch

from recompviz.benchmarks.cuda.cases import Row, Setting
from recompviz.core.base.compiled_code import has_numba

PACKAGES = ("torch", "triton", "numpy", "networkx", "numba", "recompviz")


def environment(setting: Setting) -> Iterator[Row]:
    """Yield rows with the device, the versions of all software, and the settings."""
    used = setting.runtime
    cudnn: Any = torch.backends.cudnn
    if not used.is_available():
        yield {"what": "device", "value": f"no {setting.device} device is available", "ok": False}
        return
    yield {"what": "device", "value": used.label(), "ok": True}
    yield {"what": "memory", "value": used.total_memory(), "ok": True}
    yield {"what": "software", "value": used.software(), "ok": True}
    yield {"what": "Python", "value": platform.python_version(), "ok": True}
    for package in PACKAGES:
        yield {"what": package, "value": _version(package), "ok": True}
    yield {"what": "cuDNN", "value": str(cudnn.version()), "ok": True}
    yield {"what": "C++ compiler", "value": shutil.which("g++") or shutil.which("clang++") or "none", "ok": True}
    for name, value in used.settings().items():
        yield {"what": name, "value": str(value), "ok": True}
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES"):
        yield {"what": name, "value": os.environ.get(name, "not set"), "ok": True}
    yield {"what": "CPU cores", "value": os.cpu_count(), "ok": True}
    watch = used.stopwatch()
    watch.start()
    torch.ones(8, device=setting.device).sum().item()
    watch.stop()
    used.synchronize()
    yield {"what": "first kernel", "value": f"{1000 * watch.seconds():.2f} ms", "ok": True}


def kernels(_setting: Setting) -> Iterator[Row]:
    """Compile the solvers with numba, and yield a row for each solver."""
    if not has_numba():
        yield {"what": "numba", "value": "missing: the solvers run in NumPy, which is slow", "ok": False}
        return
    start = time.perf_counter()
    import recompviz as rv

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4), torch.nn.ReLU())
    trace = rv.trace(model, torch.ones(2, 4), loss=torch.sum)
    for objective in ("time", "memory", "live"):
        table = trace.plans(objective)
        yield {
            "what": f'plans("{objective}")',
            "value": f"{time.perf_counter() - start:.1f} s",
            "ok": len(table.plans) > 0,
        }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed" if importlib.util.find_spec(package) is None else "not installed, found as a folder"
