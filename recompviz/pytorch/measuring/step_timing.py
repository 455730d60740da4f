"""Time eager and planned training steps. They run in turn, so that other programs on the machine slow all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from recompviz.core.base.progress import Progress
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

PAIRS = 15
# No further pair starts after this time. One pair always runs.
SECONDS = 8.0


class Turns(NamedTuple):
    """The times of the steps of one module, in milliseconds.

    Attributes
    ----------
    wall : tuple of float
        The wall-clock time of each step.
    work : tuple of float
        The time of each step to use for comparisons of modules. On the CPU it is the processor time, because other
        programs on the same cores do not lengthen it. On other devices it is the wall-clock time.
    """

    wall: tuple[float, ...]
    work: tuple[float, ...]


def time_pairs(trace: Trace, planned: PlannedModule, progress: Progress | None = None) -> StepTimes:
    """Run pairs of one eager and one planned training step, and return their times.

    Eager and planned step take turns to be the first of a pair. Before the first pair, each of them runs once to warm
    up. At most 15 pairs run, and fewer if they take over eight seconds together. The state that the steps change is
    restored.

    Parameters
    ----------
    trace : Trace
    planned : PlannedModule
        The traced step under a plan, from :func:`recompviz.apply`.
    progress : callable (done, total), optional
        Called before each training step. Raise :class:`recompviz.Cancelled` in it to stop.
    """
    eager, plan = time_turns(trace, [trace.step, planned], PAIRS, SECONDS, progress)
    extra = planned.plan.overhead if trace.cost_unit.startswith("ms") else None
    predicted = 1000 * sum(trace.joint.seconds) or None
    return StepTimes(eager.wall, plan.wall, extra, predicted, eager.work, plan.work)


def time_turns(
    trace: Trace,
    modules: Sequence[torch.nn.Module],
    rounds: int,
    seconds: float,
    progress: Progress | None = None,
) -> list[Turns]:
    """Run training steps of several modules in turn, and return the times of each one.

    Each round runs one step of every module, and the first module changes from round to round. Before the first
    round, each module runs one step to warm up. The state that the steps change is restored.

    Parameters
    ----------
    trace : Trace
    modules : sequence of torch.nn.Module
        ``trace.step`` for eager steps, and results of :func:`recompviz.apply` for steps under plans.
    rounds : int
        The largest number of rounds, at least 1.
    seconds : float
        No further round starts this many seconds after the first one began. One round always runs.
    progress : callable (done, total), optional
        Called before each training step. Raise :class:`recompviz.Cancelled` in it to stop. ``done / total`` is the
        share of all steps that have run, or the share of ``seconds`` that has passed if this is larger.
    """
    device = runtime(trace.device)

    def step_of(module: torch.nn.Module) -> Callable[[], object]:
        run_with = runner_of(module, trace.arguments)
        measurement = MeasurementRun(module, torch.device(trace.device), trace.optimizer, trace.arguments)
        return lambda: measurement.one_step(run_with(None))

    on_cpu = torch.device(trace.device).type == "cpu"

    def timed(step: Callable[[], object]) -> tuple[float, float]:
        device.synchronize()
        worked, began = time.process_time(), time.perf_counter()
        step()
        device.synchronize()
        wall, work = time.perf_counter() - began, time.process_time() - worked
        return 1000 * wall, 1000 * (work if on_cpu and work else wall)

    total = (rounds + 1) * len(modules)

    def report(done: int, share: float) -> None:
        if progress is not None:
            progress(max(done, min(total - 1, int(total * share))), total)

    steps = [step_of(module) for module in modules]
    every = [each for module in modules for each in modules_of(module)]
    times: list[list[tuple[float, float]]] = []
    with state_restored(every, trace.arguments, trace.optimizer, overwritten_parameters(trace)):
        for i, step in enumerate(steps):
            report(i, 0.0)
            step()
        began = time.perf_counter()
        while len(times) < rounds and (not times or time.perf_counter() - began < seconds):
            turn = len(times) % len(steps)
            found: dict[int, tuple[float, float]] = {}
            for i in (*range(turn, len(steps)), *range(turn)):
                elapsed = time.perf_counter() - began
                report((len(times) + 1) * len(steps) + len(found), elapsed / seconds if seconds > 0 else 1.0)
                found[i] = timed(steps[i])
            times.append([found[i] for i in range(len(steps))])
    return [Turns(*zip(*each, strict=True)) for each in zip(*times, strict=True)]
