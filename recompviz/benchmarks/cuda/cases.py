"""The setting of a part, and helpers that all parts share. A part is a function from a setting to rows of a table."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.side_by_side import training_step
from recompviz.core.plans.plan_table import PlanTable
from recompviz.pytorch.internals.devices.peaks import AllocatorPeaks
from recompviz.pytorch.internals.devices.runtimes import runtime

Row = dict[str, Any]
# what a network is called, its batch size, and whether it is the small variant
Case = tuple[str, int, bool]


@dataclass(frozen=True)
class Setting:
    """The device and the time limit of a part.

    Attributes
    ----------
    device : str
        ``"cuda"``, or ``"cpu"`` in the rehearsal.
    ends : float
        The time at which the part should end, in seconds of ``time.monotonic``.
    left_out : list of str
        The cases that did not run, because the time was over.
    """

    device: str
    ends: float = float("inf")
    left_out: list[str] = field(default_factory=list)

    @property
    def rehearsal(self) -> bool:
        """Whether the part runs on the CPU, as in the rehearsal."""
        return self.device == "cpu"

    @property
    def late(self) -> bool:
        """Whether the time of the part is over."""
        return time.monotonic() > self.ends

    @property
    def runtime(self) -> Any:
        """The object through which recompviz uses the device."""
        return runtime(torch.device(self.device))


def example(case: Case, device: str) -> networks.Example:
    """Return the network of a case with a batch; the random values are the same at each call."""
    name, batch, small = case
    torch.manual_seed(0)
    return networks.example(name, batch, small=small, device=device)


def label(case: Case) -> str:
    """Return the name of a case in the tables."""
    name, batch, small = case
    return f"{name}{' (small)' if small else ''}, batch {batch}"


def guarded(function: Callable[[], Iterator[Row]], **labels: Any) -> Iterator[Row]:
    """Yield the rows of one case, with the labels added to each. If the case fails, yield a row with the error."""
    try:
        for row in function():
            yield {**labels, **row}
    except Exception as error:  # anything may fail on a device that this never ran on
        traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        yield {**labels, "ok": False, "error": f"{type(error).__name__}: {first}"}
    gc.collect()


def cases(
    setting: Setting, function: Callable[[Setting, Case], Iterator[Row]], all_of: Sequence[Case]
) -> Iterator[Row]:
    """Yield the rows that ``function`` yields for each case, until the time limit of ``setting`` has passed.

    The cases after it are named in ``setting.left_out``.
    """
    for case in all_of:
        if setting.late:
            setting.left_out.append(label(case))
            continue
        yield from guarded(functools.partial(function, setting, case), network=label(case))
        setting.runtime.empty_cache()


def chosen(trace: rv.Trace, table: PlanTable) -> dict[str, rv.Plan]:
    """Return the plans ``"keep-all"``, ``"middle"`` (of the range of totals) and ``"least"`` (least total) by name."""
    most = int(table.total_peaks.max())
    middle = table.plans[table.row((table.least_total + most) // 2)]
    return {
        "keep-all": rv.Plan.keep_all(trace.graph),
        "middle": middle,
        "least": table.plans[table.row(table.least_total)],
    }


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """In a ``with`` block, use kernels that give the same bits each time."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    chosen = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(chosen[0], warn_only=chosen[1])
        cudnn.deterministic, cudnn.benchmark = before


def allocator_peaks(module: nn.Module, step: networks.Example, device: str) -> AllocatorPeaks:
    """Run one training step after a warm-up, without the profiler, and return the allocator's peaks."""
    run = training_step(module, step.inputs, step.targets, step.loss)
    runtime(torch.device(device)).empty_cache()
    run()
    for parameter in module.parameters():
        parameter.grad = None
    peaks = AllocatorPeaks(torch.device(device))
    peaks.begin()
    run()
    peaks.end()
    return peaks


def trained(step: networks.Example, call: Callable[..., Any], model: nn.Module, count: int) -> list[float]:
    """Train ``model`` for ``count`` steps by calls of ``call`` (the model or a compiled one), and return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    losses = []
    for _ in range(count):
        loss: Any = step.loss(call(*step.inputs), *step.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def eager_losses(step: networks.Example, count: int) -> list[float]:
    """Return the losses of ``count`` training steps in eager PyTorch, on a copy of the model."""
    model = copy.deepcopy(step.model)
    torch.manual_seed(1)
    return trained(step, model, model, count)


def furthest(found: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest difference of two lists of losses, relative to ``expected``."""
    return max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(found, expected, strict=True))
