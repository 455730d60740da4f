"""Helpers of the benchmarks that run real steps: budgets, timing, and the description of the machine.

Other processes disturb every machine. Steps that are compared run in turn, in one process, round by round, so that a
disturbance affects all of them; the result is the median of each.
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
from recompviz.core.plans.plan_table import PlanTable
from recompviz.pytorch.internals.devices import device_of
from recompviz.pytorch.measuring.measurement_run import MeasurementRun, runner_of
from recompviz.pytorch.tracing.step import Loss


def spread(table: PlanTable, count: int) -> list[tuple[int, int]]:
    """Pairs (budget, row of the table) for rising budgets in total bytes, evenly spread over the feasible range.

    The range goes from the least feasible total to the total of keeping everything. If several budgets give the same
    plan, only the least of them is listed.
    """
    budgets = np.ceil(np.linspace(table.least_total, int(table.total_peaks.max()), count)).astype(int).tolist()
    least: dict[int, int] = {}
    for budget in budgets:
        least.setdefault(table.row(budget), budget)
    return [(budget, row) for row, budget in least.items()]


def training_step(
    module: nn.Module, inputs: tuple[Any, ...], targets: tuple[Any, ...], loss: Loss | None
) -> Callable[[], None]:
    """A function that runs one step, forward and backward, starting without gradients, and waits until it is done."""
    arguments: tuple[Any, ...] = (inputs, {}, targets)
    device = device_of([*module.parameters(), *inputs])
    measurement = MeasurementRun(module, device, None, arguments)
    run = runner_of(module, arguments, loss)(None)

    def step() -> None:
        measurement.one_step(run)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return step


def step_seconds(steps: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median time of each step in seconds.

    Each round runs all steps. The first round only warms up. Each round starts with a different step.
    """
    times: list[list[float]] = [[] for _ in steps]
    for round_ in range(rounds + 1):
        for i in ((round_ + k) % len(steps) for k in range(len(steps))):
            start = time.perf_counter()
            steps[i]()
            if round_:
                times[i].append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def recompute_seconds(trace: rv.Trace, plan: rv.Plan) -> float:
    """Time of a plan's recomputation in seconds, by the calibrated time of each call."""
    return sum(trace.joint.seconds[c] for c in trace.schedule(plan).recomputed)


def device_name(device: str) -> str:
    """A description of the device."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def about(device: str) -> dict[str, str]:
    """Device, versions and date of a measurement."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recompviz": rv.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(path: Path, device: str, **tables: Any) -> None:
    """Write tables as JSON, together with device, versions and date."""
    text = json.dumps({**about(device), **tables}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
