"""CUDA's allocator itself: the workspace of operators alone, a recorded snapshot, and steps that run out of memory."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.beside_pytorch.operator_times import filled
from recompviz.benchmarks.cuda.cases import Case, Row, Setting, cases, example, guarded
from recompviz.benchmarks.cuda.predictions import SMALL, traced
from recompviz.pytorch.internals.devices.peaks import AllocatorPeaks
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.operators import allocating_call
from recompviz.pytorch.internals.profiler import allocation_events

MIB = 1 << 20
SHOWN_OPERATORS = 8
# difference of an operator's workspace alone and in the step: the allocator may use a larger block
MOST_OFF = 2 * MIB
# values of many segments: the allocator reserves 20 MiB at a time
FULL: Case = ("resnet50", 96, False)
LAYERS, NUMBERS = 24, 2 << 20


def workspace(setting: Setting) -> Iterator[Row]:
    """Compare measured and calibrated workspace (memory that an operator allocates while it runs)."""
    yield from guarded(lambda: _library_rows(setting), network="libraries")
    real: list[Case] = [("resnet50", 16, False), ("gpt2", 1, False), SMALL[3]]
    yield from cases(setting, _workspace_rows, SMALL[:1] if setting.rehearsal else real)


def _library_rows(setting: Setting) -> Iterator[Row]:
    """Yield what stays allocated after the first product and the first convolution, which no graph shows."""
    cuda = setting.runtime.module
    calls: dict[str, Callable[[], Any]] = {
        "first product": lambda: torch.ones(64, 64, device=setting.device) @ torch.ones(64, 64, device=setting.device),
        "first convolution": lambda: torch.conv2d(
            torch.ones(2, 8, 32, 32, device=setting.device), torch.ones(8, 8, 3, 3, device=setting.device)
        ),
    }
    for name, call in calls.items():
        before = cuda.memory_allocated()
        call()
        setting.runtime.synchronize()
        yield {"operator": name, "stays": cuda.memory_allocated() - before, "ok": True}


def _workspace_rows(setting: Setting, case: Case) -> Iterator[Row]:
    step = example(case, setting.device)
    trace = rv.calibrate(traced(step), fresh=True)
    calibrated = trace.joint.workspace or (0,) * len(trace.joint.calls)
    largest: dict[str, tuple[int, int, Node]] = {}
    for c, node in enumerate(trace.folded.call_node):
        name = trace.joint.calls[c].info.op
        rows = trace.joint.rounded(calibrated[c]), c, node
        if allocating_call(node) is not None and rows > largest.get(name, (-1, 0, node)):
            largest[name] = rows
    for name, (inside, _, node) in sorted(largest.items(), key=lambda item: -item[1][0])[:SHOWN_OPERATORS]:
        alone, allocated = _alone(node, torch.device(setting.device))
        close = abs(alone - inside) <= max(MOST_OFF, inside // 10)
        yield {"operator": name, "calibrated": inside, "alone": alone, "allocator": allocated, "ok": close}


def _alone(node: Node, device: torch.device) -> tuple[int, int | None]:
    """Run an operator alone. Return the bytes it took besides its results, by the profiler and by the allocator."""
    call = allocating_call(node)
    assert call is not None
    operator, arguments, named = call
    leaves, structure = pytree.tree_flatten((arguments, named))
    values, options = pytree.tree_unflatten([filled(leaf) for leaf in leaves], structure)
    with torch.no_grad():
        for _ in range(2):  # libraries choose their kernels at the first call
            operator(*values, **options)
        peaks = AllocatorPeaks(device)
        peaks.begin()
        result = operator(*values, **options)
        peaks.end()
        del result
        with memory_window(device) as window:
            result = operator(*values, **options)
        del result
    sizes = [event.size for event in allocation_events(window.profiled, device.type)]
    return max(accumulate(sizes), default=0) - sum(sizes), peaks.allocated


def snapshot(setting: Setting) -> Iterator[Row]:
    """Compare the peaks of a recorded snapshot with the allocator's own statistics."""

    def rows(setting: Setting, case: Case) -> Iterator[Row]:
        cuda = setting.runtime.module
        step = example(case, setting.device)
        plain = _eager_step(step)
        plain()
        # C++ stacks need a symbolizer, which may be missing or take minutes
        cuda.memory._record_memory_history(stacks="python", max_entries=200_000)
        cuda.reset_peak_memory_stats()
        plain()
        setting.runtime.synchronize()
        allocated, reserved = cuda.max_memory_allocated(), cuda.max_memory_reserved()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "snapshot.pickle"
            cuda.memory._dump_snapshot(str(path))
            cuda.memory._record_memory_history(enabled=None)
            size = path.stat().st_size
            start = time.perf_counter()
            report = rv.load_snapshot(path)
            seconds = time.perf_counter() - start
        found = report.timeline.reserved_peak
        yield {
            "file bytes": size,
            "seconds": seconds,
            "max_memory_allocated": allocated,
            "peak": report.peak,
            "max_memory_reserved": reserved,
            "reserved": found,
            "findings": len(report.findings),
            "ok": report.peak == allocated and found == reserved,
        }

    real: list[Case] = [("resnet50", 32, False), SMALL[1]]
    yield from cases(setting, rows, [SMALL[0], SMALL[1]] if setting.rehearsal else real)


def _eager_step(step: networks.Example) -> Callable[[], None]:
    def run() -> None:
        loss: Any = step.loss(step.model(*step.inputs), *step.targets)
        loss.backward()
        step.model.zero_grad()

    return run


def out_of_memory(setting: Setting) -> Iterator[Row]:
    """Check errors and recovery when a training step runs out of memory, eagerly and in ``rv.measure``."""
    step = _scaled_layers() if setting.rehearsal else example(FULL, setting.device)
    yield from guarded(lambda: _full_rows(setting, step), network=step.name)


class _Scaled(nn.Module):
    """A layer whose output is large, but which a CPU computes fast."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean.copy_(x[0].detach().mean())
        return torch.tanh(x * self.scale)


def _scaled_layers() -> networks.Example:
    model = nn.Sequential(*(_Scaled() for _ in range(LAYERS)))
    return networks.Example(model, (torch.randn(NUMBERS),), (), torch.sum, f"{LAYERS} layers of 8 MiB")


def _full_rows(setting: Setting, step: networks.Example) -> Iterator[Row]:
    cuda = setting.runtime.module
    trace = traced(step)
    table = trace.plans("live")
    most = rv.simulate(trace, rv.Plan.keep_all(trace.graph)).peak
    limit = (table.least_total + most) // 2
    fraction = limit / setting.runtime.total_memory()
    buffers = {name: value.clone() for name, value in step.model.named_buffers()}
    del trace
    _release(setting)
    cuda.set_per_process_memory_fraction(fraction)
    try:
        yield {"step": "limit", "bytes": limit, "keep-all": most, "least": table.least_total, "ok": True}
        yield {"step": "eager", **_runs_out(_eager_step(step))}
        step.model.zero_grad()
        _release(setting)
        # the eager step that failed has changed the running statistics
        with torch.no_grad():
            for name, value in step.model.named_buffers():
                value.copy_(buffers[name])
        yield {"step": "rv.measure, keep-all", **_runs_out(lambda: rv.measure(step.model, *step.inputs,
               targets=step.targets, loss=step.loss))}  # fmt: skip
        same = all(torch.equal(value, buffers[name]) for name, value in step.model.named_buffers())
        yield {"step": "buffers after rv.measure", "ok": same}
        _release(setting)
        # room for the copies of inputs that rv.measure restores, and for unused parts of segments
        total = (3 * table.least_total + limit) // 4
        module = rv.fit_in(step.model, *step.inputs, targets=step.targets, loss=step.loss, total=total)
        _release(setting)
        cuda.reset_peak_memory_stats()
        for _ in range(2):
            module(*step.inputs, *step.targets).backward()
            step.model.zero_grad()
        setting.runtime.synchronize()
        reserved = cuda.max_memory_reserved()
        yield {"step": f"fit_in({total})", "allocated": cuda.max_memory_allocated(), "reserved": reserved, "ok": True}
        found = rv.measure(module, *step.inputs, targets=step.targets)
        yield {"step": "rv.measure of the plan", "measured": found.peak, "ok": found.peak <= total and not found.notes}
    finally:
        cuda.set_per_process_memory_fraction(1.0)


def _runs_out(action: Callable[[], object]) -> Row:
    try:
        action()
    except torch.OutOfMemoryError as error:
        return {"error": str(error).splitlines()[0][:100], "ok": True}
    return {"error": "none, although the step does not fit", "ok": False}


def _release(setting: Setting) -> None:
    gc.collect()
    setting.runtime.empty_cache()
