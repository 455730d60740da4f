"""``calibrate`` measures the workspace and time of each operator of a trace on this device.

The memory that a kernel uses internally (its workspace) cannot be derived from shapes. It is measured once for each
combination of operator, shapes, dtypes and device. The training step runs under a plan, and the profiler records each
call. Further runs time each call. The measured figures are cached on disk, so calibrating another trace with the same
operators runs no training step.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from types import TracebackType

import torch

from recompviz.core.base.arguments import expect_flag
from recompviz.core.base.progress import Progress
from recompviz.core.plans.plan_table import PlanObjective
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.internals.devices.base import Stopwatch
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.measuring.calibration_cache import CalibrationCache, call_key
from recompviz.pytorch.measuring.eager_forward import EagerDiffers, difference_from_eager
from recompviz.pytorch.measuring.measurement_run import (
    MeasurementRun,
    Reading,
    modules_of,
    overwritten_parameters,
    warm_up_steps,
)
from recompviz.pytorch.running.operator_figures import OperatorFigures, as_traced, calibrated_joint, figures_of_call
from recompviz.pytorch.running.planned import apply
from recompviz.pytorch.running.program import profiler_mark
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace

# number of timed steps; the median counts
TIMED_STEPS = 3
# No further timed step begins after this many seconds: noise matters less in long steps.
TIMED_SECONDS = 2.0


def calibrate(trace: Trace, *, fresh: bool = False, progress: Progress | None = None) -> Trace:
    """Measure the workspace and time of each operator call, and return a trace that includes them.

    The training step runs five times, under the time-centric plan with the least simulated peak; it runs only three or
    four times if it takes a second or more. If the device has no memory for this plan, it runs under the plan with the
    least simulated peak that a search finds. The step does not run if the figures of all its operators are in the
    cache. The forward pass also runs once in eager PyTorch, to compare the bytes that it saves with those of the
    captured step. If the second step was traced (see :attr:`Trace.after_first`), the training step runs once more, and
    the forward pass twice. The state of the model and of the batch is restored.

    Parameters
    ----------
    trace : Trace
    fresh : bool
        Whether to measure all operators again, even if they are in the cache.
    progress : callable (done, total), optional
        Called before each training step. Raise :class:`recompviz.Cancelled` in it to stop.

    Returns
    -------
    Trace
        A calibrated trace with the same nodes and edges. Its simulations count workspace. ``.joint.seconds`` holds the
        seconds of each call, and the costs ``"time"`` become measured times.

    Raises
    ------
    TraceError
        If the trace is estimated, so that its step cannot run.
    ProfilerBusy
        If another profiler runs in this process.

    Warns
    -----
    EagerDiffers
        If the captured step saves over 5 % more bytes for the backward pass than the eager step, because the model or a
        library runs other code while it is captured. The message names the lines.

    Notes
    -----
    The cache is in the folder ``$RECOMPVIZ_CACHE``, by default ``~/.cache/recompviz``. It has one file for each
    combination of device, version of PyTorch, and settings that select kernels; see
    :mod:`recompviz.pytorch.measuring.calibration_cache`.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.ones(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> len(rv.calibrate(t).joint.seconds) == len(t.joint.calls)
    True
    """
    expect_trace(trace, "rv.calibrate(rv.trace(model, x, …))")
    expect_flag(fresh, "fresh")
    if trace.estimated:
        raise TraceError(
            "an estimated trace has no memory to run in; trace the model on its device, and calibrate that"
        )
    if difference := difference_from_eager(trace):
        warn_user(difference, EagerDiffers)
    cache = CalibrationCache(torch.device(trace.device))
    joint = trace.joint
    operators = [c for c, call in enumerate(joint.calls) if call.info.op != ARRIVE]
    counts = [len(joint.calls[c].makes) for c in operators]
    keys = [call_key(trace.folded.call_node[c], count) for c, count in zip(operators, counts, strict=True)]
    figures = None if fresh else cache.find(keys, counts)
    if figures is None:
        measured = _measured(trace, progress or (lambda _done, _total: None))
        cache.store({key: measured[c] for key, c in zip(keys, operators, strict=True)})
        figures = cache.find(keys, counts)  # equal calls have equal figures, also the first time
        assert figures is not None
    of_calls = [as_traced(joint, c) for c in range(len(joint.calls))]
    for c, found in zip(operators, figures, strict=True):
        of_calls[c] = found
    return trace.with_joint(calibrated_joint(joint, of_calls))


# -------------------------------------------------------------------- measuring


def _measured(trace: Trace, progress: Progress) -> list[OperatorFigures]:
    """Run steps under a plan of little memory, and return the figures of each call.

    The plan is the time-centric one with the least simulated peak. If the device has no memory for it, it is the plan
    with the least simulated peak of all that a search finds.
    """
    with suppress(torch.OutOfMemoryError):
        return _measured_under(trace, "time", progress)
    # outside of the block, because the error holds the values of the step that failed
    gc.collect()
    runtime(torch.device(trace.device)).empty_cache()
    return _measured_under(trace, "live", progress)


def _measured_under(trace: Trace, objective: PlanObjective, progress: Progress) -> list[OperatorFigures]:
    table = trace.plans(objective)
    plan = table.plans[int(table.total_peaks.argmin())]
    planned = apply(trace, plan)
    inputs, kwargs, targets = trace.arguments
    device = torch.device(trace.device)
    measurement = MeasurementRun(planned, device, None, trace.arguments)
    schedule = trace.schedule(plan)
    clock = _StepClock(device, len(schedule))
    with state_restored(modules_of(planned), trace.arguments, overwritten=overwritten_parameters(trace)):
        warm_up = warm_up_steps(planned) - 1  # the first timed step warms up, too
        total = warm_up + TIMED_STEPS + 1
        for done in range(warm_up):
            progress(done, total)
            measurement.one_step(lambda: planned(*inputs, *targets, **kwargs))
        timed = planned.marked(clock.mark, *inputs, *targets, **kwargs)
        begin = time.perf_counter()
        for done in range(warm_up, warm_up + TIMED_STEPS):
            progress(done, total)
            counts = measurement.one_step(timed)
            if time.perf_counter() - begin > TIMED_SECONDS:
                break
        progress(total - 1, total)
        reading = measurement.recorded_step(planned.marked(profiler_mark, *inputs, *targets, **kwargs), counts)
    return list(_figures(schedule, reading, clock.seconds()))


def _figures(schedule: Schedule, reading: Reading, seconds: list[float]) -> Iterator[OperatorFigures]:
    """Return the figures of each call from the events of one recorded step.

    If a call runs twice, the first run counts. The second run has the same kernels and shapes.

    Parameters
    ----------
    schedule : Schedule
    reading : Reading
        The recorded events.
    seconds : list of float
        The seconds of each step of the schedule.
    """
    joint = schedule.joint
    events = _events_by_step(reading, len(schedule))
    found: dict[int, OperatorFigures] = {}
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        if phase is not Phase.RECOMPUTE:
            replayed = c in schedule.recomputed and phase is Phase.FORWARD
            arrives = joint.calls[c].info.op == ARRIVE
            found[c] = as_traced(joint, c) if arrives else figures_of_call(joint, c, events[i], seconds[i], replayed)
    for c in range(len(joint.calls)):
        yield found[c]


def _events_by_step(reading: Reading, steps: int) -> list[list[tuple[int, int]]]:
    """Return (address, bytes) of the events inside each step of the schedule."""
    events: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for event in reading.events:
        if event.scope.startswith("rv:") and event.scope[3:].isdigit():
            events[int(event.scope[3:])].append((event.address, event.size))
    return events


class _StepClock:
    """Times each step of a schedule, without making the device wait between the steps."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device = device
        self.watches: list[list[Stopwatch]] = [[] for _ in range(steps)]

    def mark(self, step: int) -> AbstractContextManager[None]:
        return _TimedStep(self, step)

    def seconds(self) -> list[float]:
        """Return the median time of each step of the schedule, in seconds; 0 for a step in which no operator runs."""
        runtime(self.device).synchronize()
        return [statistics.median(w.seconds() for w in watches) if watches else 0.0 for watches in self.watches]


class _TimedStep(AbstractContextManager[None]):
    def __init__(self, clock: _StepClock, step: int) -> None:
        self.watch = runtime(clock.device).stopwatch()
        clock.watches[step].append(self.watch)

    def __enter__(self) -> None:
        self.watch.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.watch.stop()
