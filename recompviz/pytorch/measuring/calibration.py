"""``calibrate``: what each operator of a trace really takes on this device, in bytes and in seconds.

Lifetimes alone predict memory at every boundary between operators. What happens inside one, its
*workspace*, is its kernel's own affair: it is measured, once per operator, shapes, dtypes and device, by running
the step under a plan with each call bracketed. The same runs give each call's time. What was
learned is kept on disk, so that the next trace with the same operators need not run at all.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.fx import Node

from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.internals.state import state_kept
from recompviz.pytorch.measuring.meter import WARM_UP_STEPS, Bench, Reading
from recompviz.pytorch.running.planned import apply
from recompviz.pytorch.running.program import profiler_mark
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.traced_step import Trace

# steps timed; the median counts
TIMED_STEPS = 3

# what is learned of a call is forgotten when its meaning changes here
FORMAT = 1


@dataclass(frozen=True)
class OperatorFigures:
    """What one call takes on one device.

    Attributes
    ----------
    workspace : int
        The most bytes inside the call above what was there before and its outputs.
    sizes : tuple of int
        Bytes really allocated for each storage it makes.
    seconds : float
        Wall-clock time of the call, the device synchronised around it.
    """

    workspace: int
    sizes: tuple[int, ...]
    seconds: float


def calibrate(trace: Trace, *, fresh: bool = False) -> Trace:
    """The same trace with each call's workspace and time, as measured on this device.

    Runs the trace's step a few times under the leanest of the formula's plans, unless all its
    operators were measured here before. The model's state is put back.

    Parameters
    ----------
    trace : Trace
    fresh : bool
        Measure again even what is known.

    Returns
    -------
    Trace
        Of the same graph. Simulations count workspace; ``.joint.seconds`` holds each call's time.

    Raises
    ------
    TraceError
        For an estimated trace.

    Notes
    -----
    Figures are kept in ``$RECOMPVIZ_CACHE`` (``~/.cache/recompviz`` if unset), one file for each device
    and version of PyTorch.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.ones(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> len(rv.calibrate(t).joint.seconds) == len(t.joint.calls)
    True
    """
    if trace.estimated:
        raise TraceError(
            "an estimated trace has no memory to run in; trace the model where it runs, and calibrate that"
        )
    known = Known(trace.device)
    keys = [_key(node) for node in trace.folded.call_node]
    if fresh or any(key not in known.figures for key in keys):
        figures = _measured(trace)
        known.learn(dict(zip(keys, figures, strict=True)))
    return trace.with_joint(calibrated_joint(trace.joint, [known.figures[key] for key in keys]))


def calibrated_joint(joint: JointGraph, figures: list[OperatorFigures]) -> JointGraph:
    """A joint graph with workspace, times and true sizes, from the figures of each call."""
    storages = list(joint.storages)
    for call, found in zip(joint.calls, figures, strict=True):
        for s, size in zip(call.makes, found.sizes, strict=True):
            storages[s] = replace(storages[s], size=size)
    return replace(
        joint,
        storages=tuple(storages),
        workspace=tuple(found.workspace for found in figures),
        seconds=tuple(found.seconds for found in figures),
    )


# -------------------------------------------------------------------- measuring


def _measured(trace: Trace) -> list[OperatorFigures]:
    """Each call's figures, from a step in as little memory as can be told before any are known."""
    table = trace.plans("time")
    plan = table.plans[int(table.total_peaks.argmin())]
    planned = apply(trace, plan)
    inputs, kwargs, targets = trace.arguments
    device = torch.device(trace.device)
    bench = Bench(planned, device, None, trace.arguments)
    schedule = trace.schedule(plan)
    stopwatch = _Stopwatch(device, len(schedule))
    with state_kept(planned, trace.arguments):
        for _ in range(WARM_UP_STEPS):
            touched = bench.one_step(lambda: planned(*inputs, *targets, **kwargs))
        reading = bench.recorded_step(planned.marked(profiler_mark, *inputs, *targets, **kwargs), touched)
        timed = planned.marked(stopwatch.mark, *inputs, *targets, **kwargs)
        for _ in range(TIMED_STEPS):
            bench.one_step(timed)
    return list(_figures(schedule, reading, stopwatch.seconds()))


def _figures(schedule: Schedule, reading: Reading, seconds: list[float]) -> Iterator[OperatorFigures]:
    """Each call's figures out of the events of one recorded step.

    Of a call that runs twice the first run counts: bytes and kernels are the same the second time, and around a random
    one there is the generator's state besides.
    """
    joint = schedule.joint
    events: list[list[tuple[int, int]]] = [[] for _ in range(len(schedule))]
    for address, size, inside in reading.events:
        if inside.startswith("rv:") and inside[3:].isdigit():
            events[int(inside[3:])].append((address, size))
    found: dict[int, OperatorFigures] = {}
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        if phase is Phase.RECOMPUTE:
            continue
        call = joint.calls[c]
        expected = [joint.storages[s].size for s in call.makes]
        allocations = events[i]
        if call.random and c in schedule.recomputed and phase is Phase.FORWARD:
            allocations = _without(allocations, joint.rng_bytes)
        sizes = _true_sizes(joint, allocations, expected)
        most = max(itertools.accumulate((size for _, size in allocations), initial=0))
        workspace = max(0, most - sum(joint.rounded(size) for size in sizes))
        found[c] = OperatorFigures(workspace, tuple(sizes), seconds[i])
    for c in range(len(joint.calls)):
        yield found[c]


def _true_sizes(joint: JointGraph, allocations: list[tuple[int, int]], expected: list[int]) -> list[int]:
    """Bytes allocated for each output: as expected, or, where a kernel allocates more, what outlives the call."""
    left = [size for address, size in allocations if size > 0 and (address, -size) not in allocations]
    sizes = list(expected)
    unmatched = []
    for k, size in enumerate(expected):
        if joint.rounded(size) in left:
            left.remove(joint.rounded(size))
        else:
            unmatched.append(k)
    for k in sorted(unmatched, key=lambda k: expected[k], reverse=True):
        larger = sorted(size for size in left if size >= expected[k])
        if larger and joint.alignment == 1:
            sizes[k] = larger[0]
            left.remove(larger[0])
    return sizes


def _without(allocations: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The events less one allocation of a size: the generator's state, which the simulation counts by itself."""
    at = next((k for k, event in enumerate(allocations) if event[1] == size), None)
    return allocations if at is None else allocations[:at] + allocations[at + 1 :]


class _Stopwatch:
    """Times each step of a schedule; on CUDA the device is synchronised on both sides."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.synchronise = torch.cuda.synchronize if device.type == "cuda" else None
        self.times: list[list[float]] = [[] for _ in range(steps)]

    def mark(self, step: int) -> AbstractContextManager[None]:
        return _Lap(self, step)

    def seconds(self) -> list[float]:
        return [statistics.median(times) for times in self.times]


class _Lap(AbstractContextManager[None]):
    def __init__(self, watch: _Stopwatch, step: int) -> None:
        self.watch, self.step = watch, step

    def __enter__(self) -> None:
        if self.watch.synchronise is not None:
            self.watch.synchronise()
        self.start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.watch.synchronise is not None:
            self.watch.synchronise()
        self.watch.times[self.step].append(time.perf_counter() - self.start)


# -------------------------------------------------------------------- what is known already


class Known:
    """The figures learned on one device with one version of PyTorch, on disk.

    A file that cannot be read or written is as good as none: calibration then simply measures again.
    """

    def __init__(self, device: str) -> None:
        kind = device.split(":")[0]
        name = f"{torch.get_num_threads()} threads"
        if kind == "cuda":
            name = torch.cuda.get_device_name(torch.device(device))
        digest = hashlib.sha256(f"{FORMAT}|{torch.__version__}|{device}|{name}".encode()).hexdigest()[:16]
        self.path = cache_folder() / f"calibration-{kind}-{digest}.json"
        self.figures: dict[str, OperatorFigures] = {}
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            for key, row in json.loads(self.path.read_text(encoding="utf-8")).items():
                self.figures[key] = OperatorFigures(int(row["workspace"]), tuple(row["sizes"]), float(row["seconds"]))

    def learn(self, figures: dict[str, OperatorFigures]) -> None:
        """Add figures, and keep them."""
        self.figures.update(figures)
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
                json.dump({key: asdict(row) for key, row in self.figures.items()}, file)
            os.replace(file.name, self.path)


def cache_folder() -> Path:
    """Where recompviz keeps what it learned about this machine."""
    return Path(os.environ.get("RECOMPVIZ_CACHE") or Path.home() / ".cache" / "recompviz")


def _key(node: Node) -> str:
    """An operator with its constants and its tensors' shapes, strides and dtypes, as one short name."""
    made = _described(node.meta.get("val"))
    text = f"{node.target}({_described(node.args)}, {_described(node.kwargs)}) -> {made}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _described(value: Any) -> str:
    if isinstance(value, Node):
        return _described(value.meta.get("val"))
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{tuple(value.shape)}{value.stride()}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_described, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_described(item)}" for key, item in value.items()) + "}"
    return repr(value)
