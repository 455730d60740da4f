"""What benchmarks that run real steps share: which budgets to try, steps timed side by side, and on what machine.

A machine is never quiet. Steps that are to be compared are therefore run in turn, in one process, round by
round, and the median of each counts: what disturbs one disturbs all.
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
from recompviz.pytorch.measuring.meter import Bench, runner_of
from recompviz.pytorch.tracing.step import Loss


def spread(table: PlanTable, count: int) -> list[tuple[int, int]]:
    """(budget, row) for budgets evenly spread over the feasible range, total bytes, rising.

    The range goes from the least feasible total to that of keeping everything. Of budgets that give the
    same plan only the least is listed.
    """
    budgets = np.ceil(np.linspace(table.least_total, int(table.total_peaks.max()), count)).astype(int).tolist()
    least: dict[int, int] = {}
    for budget in budgets:
        least.setdefault(table.row(budget), budget)
    return [(budget, row) for row, budget in least.items()]


def training_step(
    module: nn.Module, inputs: tuple[Any, ...], targets: tuple[Any, ...], loss: Loss | None
) -> Callable[[], None]:
    """A function that runs one step, forward and backward, from no gradients, and returns when it is done."""
    arguments: tuple[Any, ...] = (inputs, {}, targets)
    device = device_of([*module.parameters(), *inputs])
    bench = Bench(module, device, None, arguments)
    run = runner_of(module, arguments, loss)(None)

    def step() -> None:
        bench.one_step(run)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return step


def step_seconds(steps: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """The median seconds of each step; each round runs all of them, the first round only warms up.

    Rounds start with another step each, so that no step always follows the same one.
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
    """What a plan's recomputation takes by the calibrated time of each call."""
    return sum(trace.joint.seconds[c] for c in trace.schedule(plan).recomputed)


def device_name(device: str) -> str:
    """The device in words."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def about(device: str) -> dict[str, str]:
    """On what and when figures were taken."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recompviz": rv.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(path: Path, device: str, **tables: Any) -> None:
    """Write tables as data, with on what and when they were taken."""
    text = json.dumps({**about(device), **tables}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
