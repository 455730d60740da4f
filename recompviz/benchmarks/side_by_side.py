"""Helpers of the benchmarks that measure training steps: budgets, timing, and a description of the machine.

The methods that are compared run in one process, in turn, round by round, so that other work on the machine disturbs
all of them alike. The result is the median time of each.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import recompviz as rv
from recompviz.core.base.files import write_file
from recompviz.core.plans.plan_table import PlanTable
from recompviz.pytorch.internals.devices.runtimes import device_of, runtime
from recompviz.pytorch.measuring.measurement_run import MeasurementRun, runner_of
from recompviz.pytorch.tracing.step import Loss


def spread(table: PlanTable, count: int) -> list[tuple[int, int]]:
    """Return pairs (budget in total bytes, row of its plan in the table), by rising budget; each row once.

    The budgets are ``count`` evenly spaced totals, without those that give the plan of a smaller one.
    """
    budgets = np.ceil(np.linspace(table.least_total, int(table.total_peaks.max()), count)).astype(int).tolist()
    least: dict[int, int] = {}
    for budget in budgets:
        least.setdefault(table.row(budget), budget)
    return [(budget, row) for row, budget in least.items()]


def training_step(
    module: nn.Module, inputs: tuple[Any, ...], targets: tuple[Any, ...], loss: Loss | None
) -> Callable[[], None]:
    """Return a function that runs a training step, and returns when the device has finished.

    Parameters
    ----------
    module : torch.nn.Module
    inputs, targets : tuple
        The arguments of the module, and the further arguments of the loss.
    loss : callable or None
        The loss. None if the module returns the loss itself.
    """
    arguments: tuple[Any, ...] = (inputs, {}, targets)
    device = device_of([*module.parameters(), *inputs])
    measurement = MeasurementRun(module, device, None, arguments)
    run = runner_of(module, arguments, loss)(None)

    def step() -> None:
        measurement.one_step(run)
        runtime(device).synchronize()

    return step


def step_seconds(steps: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Return the median wall-clock time of each training step, in seconds, over ``rounds`` rounds."""
    times: list[list[float]] = [[] for _ in steps]
    for round_ in range(rounds + 1):
        for i in ((round_ + k) % len(steps) for k in range(len(steps))):
            start = time.perf_counter()
            steps[i]()
            if round_:
                times[i].append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def recompute_seconds(trace: rv.Trace, plan: rv.Plan) -> float:
    """Return the time of a plan's recomputation in seconds, from the calibrated times of the operator calls."""
    return sum(trace.joint.seconds[c] for c in trace.schedule(plan).recomputed)


def device_name(device: str) -> str:
    """Return a description of a device, such as its name."""
    used = runtime(device)
    if used.software():
        return f"{used.name()}, {used.software()}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def about(device: str) -> dict[str, str]:
    """Return device, versions and time as a dictionary."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recompviz": rv.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(path: Path, device: str, **tables: Any) -> None:
    """Write a JSON file with the entries of :func:`about`, and ``tables`` by name."""
    text = json.dumps({**about(device), **tables}, indent=1, ensure_ascii=False)
    write_file(path, text + "\n")
