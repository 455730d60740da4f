"""``calibrate``: the memory and time of each operator of a trace, as measured on this device.

Lifetimes alone predict the memory at every boundary between operators. Memory that a kernel uses internally (workspace)
cannot be derived from shapes, so it is measured, once for each operator, shapes, dtypes and device: the step runs under
a plan, and every call is marked. The same runs time each call. The figures are cached on disk, so that the next trace
with the same operators does not run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType

import torch

from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.internals.devices import synchronize
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.measuring.calibration_cache import CalibrationCache, call_key
from recompviz.pytorch.measuring.eager_forward import EagerDiffers, difference_from_eager
from recompviz.pytorch.measuring.measurement_run import WARM_UP_STEPS, MeasurementRun, Reading, overwritten_in
from recompviz.pytorch.running.operator_figures import OperatorFigures, as_traced, calibrated_joint, figures_of_call
from recompviz.pytorch.running.planned import apply
from recompviz.pytorch.running.program import profiler_mark
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.traced_step import Trace

# number of timed steps; the median counts
TIMED_STEPS = 3


def calibrate(trace: Trace, *, fresh: bool = False) -> Trace:
    """The same trace with each call's workspace and time, as measured on this device.

    Runs the trace's step a few times under the plan with the least formula peak, unless all its operators were measured
    here before. The model's state is restored. The forward pass also runs once in eager, to compare what is saved.

    Parameters
    ----------
    trace : Trace
    fresh : bool
        Measure again, also what is in the cache.

    Returns
    -------
    Trace
        Of the same graph. Simulations count workspace; ``.joint.seconds`` holds each call's time.

    Raises
    ------
    TraceError
        For an estimated trace.

    Warns
    -----
    EagerDiffers
        If the captured step saves over 5 % more for the backward pass than eager, because the model or a library runs
        other code while it is captured. The message names the lines.

    Notes
    -----
    The cache is in ``$RECOMPVIZ_CACHE`` (``~/.cache/recompviz`` if unset), one file for each device, version of PyTorch
    and settings that decide which kernels run; see :mod:`recompviz.pytorch.measuring.calibration_cache`.

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
            "an estimated trace has no memory to run in; trace the model on its device, and calibrate that"
        )
    if difference := difference_from_eager(trace):
        warn_user(difference, EagerDiffers)
    cache = CalibrationCache(torch.device(trace.device))
    joint = trace.joint
    operators = [c for c, call in enumerate(joint.calls) if call.info.op != ARRIVE]
    keys = [call_key(trace.folded.call_node[c]) for c in operators]
    counts = [len(joint.calls[c].makes) for c in operators]
    figures = None if fresh else cache.find(keys, counts)
    if figures is None:
        measured = _measured(trace)
        cache.store({key: measured[c] for key, c in zip(keys, operators, strict=True)})
        figures = cache.find(keys, counts)  # equal calls have equal figures, also the first time
        assert figures is not None
    of_calls = [as_traced(joint, c) for c in range(len(joint.calls))]
    for c, found in zip(operators, figures, strict=True):
        of_calls[c] = found
    return trace.with_joint(calibrated_joint(joint, of_calls))


# -------------------------------------------------------------------- measuring


def _measured(trace: Trace) -> list[OperatorFigures]:
    """Each call's figures, from steps under the plan with the least simulated peak (workspace is not known yet)."""
    table = trace.plans("time")
    plan = table.plans[int(table.total_peaks.argmin())]
    planned = apply(trace, plan)
    inputs, kwargs, targets = trace.arguments
    device = torch.device(trace.device)
    measurement = MeasurementRun(planned, device, None, trace.arguments)
    schedule = trace.schedule(plan)
    clock = _StepClock(device, len(schedule))
    with state_restored(planned, trace.arguments, overwritten=overwritten_in(trace)):
        for _ in range(WARM_UP_STEPS):
            counts = measurement.one_step(lambda: planned(*inputs, *targets, **kwargs))
        reading = measurement.recorded_step(planned.marked(profiler_mark, *inputs, *targets, **kwargs), counts)
        timed = planned.marked(clock.mark, *inputs, *targets, **kwargs)
        for _ in range(TIMED_STEPS):
            measurement.one_step(timed)
    return list(_figures(schedule, reading, clock.seconds()))


def _figures(schedule: Schedule, reading: Reading, seconds: list[float]) -> Iterator[OperatorFigures]:
    """Each call's figures from the events of one recorded step.

    If a call runs twice, the first run counts: the second runs the same kernels on the same shapes.
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
    """(address, bytes) of the events inside each step of the schedule."""
    events: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for event in reading.events:
        if event.scope.startswith("rv:") and event.scope[3:].isdigit():
            events[int(event.scope[3:])].append((event.address, event.size))
    return events


class _StepClock:
    """Times each step of a schedule, with the device synchronised before and after."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device = device
        self.times: list[list[float]] = [[] for _ in range(steps)]

    def mark(self, step: int) -> AbstractContextManager[None]:
        return _TimedStep(self, step)

    def seconds(self) -> list[float]:
        """The median time of each step; 0 for a step in which no operator runs."""
        return [statistics.median(times) if times else 0.0 for times in self.times]


class _TimedStep(AbstractContextManager[None]):
    def __init__(self, clock: _StepClock, step: int) -> None:
        self.clock, self.step = clock, step

    def __enter__(self) -> None:
        synchronize(self.clock.device)
        self.start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        synchronize(self.clock.device)
        self.clock.times[self.step].append(time.perf_counter() - self.start)
