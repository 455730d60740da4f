"""``time_pairs`` times eager and planned training steps in pairs, so that other load on the machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from recompviz.core.reports.step_times import StepTimes
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.measuring.measurement_run import (
    MeasurementRun,
    modules_of,
    overwritten_parameters,
    runner_of,
)
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.tracing.traced_step import Trace

PAIRS = 7
# No further pair starts after this time. One pair always runs.
SECONDS = 3.0


def time_pairs(trace: Trace, planned: PlannedModule, progress: Callable[[int, int], None] | None = None) -> StepTimes:
    """Run pairs of one eager and one planned training step, and return their wall-clock times.

    The order alternates. Before the first pair, each kind of step runs once to warm up. At most seven pairs run, and
    fewer if they take over three seconds together. The state that the steps change is restored.

    Parameters
    ----------
    trace : Trace
    planned : PlannedModule
        The traced step under a plan, from :func:`recompviz.apply`.
    progress : callable (done, total), optional
        Called before each pair. If it raises an error, the function stops with this error.
    """
    device = runtime(trace.device)

    def step_of(module: torch.nn.Module) -> tuple[MeasurementRun, Callable[[], object]]:
        run_with = runner_of(module, trace.arguments)
        measurement = MeasurementRun(module, torch.device(trace.device), trace.optimizer, trace.arguments)
        return measurement, lambda: measurement.one_step(run_with(None))

    def timed(step: Callable[[], object]) -> float:
        device.synchronize()
        began = time.perf_counter()
        step()
        device.synchronize()
        return 1000 * (time.perf_counter() - began)

    steps = [step_of(trace.step)[1], step_of(planned)[1]]
    times: list[tuple[float, float]] = []
    with state_restored(modules_of(planned), trace.arguments, trace.optimizer, overwritten_parameters(trace)):
        for step in steps:
            step()
        began = time.perf_counter()
        while len(times) < PAIRS and (not times or time.perf_counter() - began < SECONDS):
            if progress is not None:
                progress(len(times), PAIRS)
            order = (0, 1) if len(times) % 2 == 0 else (1, 0)
            found = {i: timed(steps[i]) for i in order}
            times.append((found[0], found[1]))
    extra = planned.plan.overhead if trace.cost_unit.startswith("ms") else None
    eager, plan = zip(*times, strict=True)
    return StepTimes(eager, plan, extra)
