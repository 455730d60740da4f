"""``calibrate`` measures the workspace and time of each operator of a trace on this device.

The memory that a kernel uses internally (its workspace) cannot be derived from shapes. It is measured once for each
combination of operator, shapes, dtypes and device. The training step runs under a plan. The profiler records the
allocations of each call, usually in one run, and a stopwatch times each call, usually in other runs. The measured
figures are cached on disk, so calibrating another trace with the same operator calls runs no training step.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import TracebackType

import torch

from recompviz.core.base.arguments import expect_flag
from recompviz.core.base.progress import Progress, paced
from recompviz.core.plans.plan_table import PlanObjective
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.budgeting.calibration_cache import CalibrationCache, call_keys
from recompviz.pytorch.budgeting.operator_figures import OperatorFigures, as_traced, calibrated_joint, figures_of_call
from recompviz.pytorch.executing.program import profiler_mark, write_program
from recompviz.pytorch.internals.autograd import autocast_off, below_autograd
from recompviz.pytorch.internals.devices.base import Stopwatch, typical_seconds
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.measuring.distinct_calls import DistinctCalls
from recompviz.pytorch.measuring.eager_forward import EagerDiffers, difference_from_eager
from recompviz.pytorch.measuring.measurement_run import (
    MeasurementRun,
    Reading,
    modules_of,
    overwritten_parameters,
    warm_up_steps,
)
from recompviz.pytorch.running.planned import apply
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.folding import Folded
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace

# A step on the CPU is long if its forward pass takes this many seconds by an estimate. A long step runs once, and its
# equal calls only once.
LONG = 0.2
# the profiler's range around a second run of a call, whose allocations do not count
AGAIN = "rv:again"
# glibc takes blocks from its heap, and keeps them there when they are freed, up to the size of the largest block that
# was ever freed, at most 32 MiB. This is so in a process that has trained. In a new one, each block is new memory.
LARGEST_HEAP_BLOCK = (32 << 20) - (64 << 10)
# seconds between two reports of progress in a long step
TOLD_EVERY = 0.2
# number of timed steps; the median counts
TIMED_STEPS = 3
# the largest number of timed steps on a machine where other programs take the cores
MOST_TIMED_STEPS = 10
# No further timed step begins after this many seconds on such a machine.
DISTURBED_SECONDS = 6.0
# More steps run if calls that were disturbed in all steps take more than this share of the step.
DISTURBED_SHARE = 0.1
# No further timed step begins after this many seconds: noise matters less in long steps.
TIMED_SECONDS = 2.0


def calibrate(trace: Trace, *, fresh: bool = False, progress: Progress | None = None) -> Trace:
    """Measure the workspace and time of each operator call, and return a trace that includes them.

    The training step runs five times, under the plan of ``trace.plans("time")`` with the least simulated peak. It runs
    four times if it takes more than one second, and three times if it takes more than two. A step on the CPU that takes
    about half a second or more, by an estimate, is *long* and usually runs only once. In this one run, only the first
    of equal calls runs, and it is repeated: a call of up to 5 ms runs three times in all, a call of up to 50 ms twice,
    and a longer call once. If the device has no memory for the plan, the step runs under the plan of
    ``trace.plans("live")`` with the least simulated peak. Without ``fresh``, the step does not run if the measurements
    of all its operators are in the cache.

    Where the operating system counts preemptions, a run of a call that other programs disturbed does not count. If too
    many runs were disturbed, calls or steps run a few more times. If every run of a call was disturbed, its time is an
    estimate from processor times.

    The forward pass also runs once in eager PyTorch, to compare the bytes that it saves with the bytes that the
    captured step saves. For a long step, this forward pass runs on tensors without memory where that is possible. If
    the second training step was traced (see :attr:`Trace.after_first`), the forward pass runs twice, and a step that is
    not long runs once more. The state of the model and of the batch is restored.

    Parameters
    ----------
    trace : Trace
    fresh : bool
        Whether to measure all operators again, even if they are in the cache.
    progress : callable (done, total), optional
        Called before each training step, and several times in a long one. Raise :class:`recompviz.Cancelled` in it to
        stop.

    Returns
    -------
    Trace
        A calibrated trace with the same nodes and edges. Its simulations count workspace. ``.joint.seconds`` holds the
        seconds of each call, and the costs ``"time"`` become measured times.

    Raises
    ------
    TraceError
        If the trace is estimated, so that its step cannot run.
    TypeError
        If ``trace`` is not a trace, or ``fresh`` is not a bool.
    ProfilerBusy
        If another profiler runs in this process when the training step has to run.
    torch.OutOfMemoryError
        If the device has no memory for either of the two plans.

    Warns
    -----
    EagerDiffers
        If the captured step saves over 5 % more bytes for the backward pass than the eager step, because the model or a
        library runs other code while it is captured. The message names up to two of the lines, if they are known.
    RuntimeWarning
        If the file of the cache is damaged. It is then ignored.

    Notes
    -----
    The cache is in the folder ``$RECOMPVIZ_CACHE``, by default ``~/.cache/recompviz``. It has one file for each
    combination of device, version of PyTorch, and settings that select kernels; see
    :mod:`recompviz.pytorch.budgeting.calibration_cache`.

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
    long = _is_long(trace)
    if difference := difference_from_eager(trace, long=long):
        warn_user(difference, EagerDiffers)
    cache = CalibrationCache(torch.device(trace.device))
    joint = trace.joint
    key_of_operator = _keys(trace)
    operators, keys = list(key_of_operator), list(key_of_operator.values())
    counts = [len(joint.calls[c].makes) for c in operators]
    figures = None if fresh else cache.find(keys, counts)
    if figures is None:
        key_of = [key_of_operator.get(c, "") for c in range(len(joint.calls))]
        progress = progress or (lambda _done, _total: None)
        given = _given(trace) if long else None
        measure = _measured if given is None else partial(_measured_once, given=given)
        measured = measure(trace, key_of, progress)
        cache.store({key: figures for key, figures in measured.items() if key})  # the arrival of gradients has no key
        figures = cache.find(keys, counts)  # equal calls have equal figures, also the first time
        assert figures is not None
    of_calls = [as_traced(joint, c) for c in range(len(joint.calls))]
    for c, found in zip(operators, figures, strict=True):
        of_calls[c] = found
    return trace.with_joint(calibrated_joint(joint, of_calls))


def forget(trace: Trace) -> None:
    """Remove the measurements of a trace's operators from the cache, for example because they have become wrong.

    The next calibration of a trace with one of these operators measures all operators of that trace again.

    Parameters
    ----------
    trace : Trace
    """
    CalibrationCache(torch.device(trace.device)).forget(set(_keys(trace).values()))


def _keys(trace: Trace) -> dict[int, str]:
    """Return the key of each operator call in the cache, by the number of the call. Arrivals of gradients have none."""
    return call_keys(trace.joint.calls, trace.folded.call_node)


# -------------------------------------------------------------------- measuring


def _is_long(trace: Trace) -> bool:
    """Return whether whole training steps on the CPU would take long, by an estimate from arithmetic and bytes."""
    estimated = trace if trace.costs == "time" else trace.with_costs("time")
    return torch.device(trace.device).type == "cpu" and float(estimated.graph.time.sum()) >= 1000 * LONG


def _measured_once(
    trace: Trace, keys: list[str], progress: Progress, given: list[torch.Tensor]
) -> dict[str, OperatorFigures]:
    """Run one step in which equal calls run only once, and return the figures of each key.

    The program runs without autograd, on the inputs that were captured. The first run of an operator on the CPU takes
    the same memory as later ones. Its time counts only if it is long.
    """
    table = trace.planner.first_plans()
    schedule = trace.schedule(table.plans[int(table.total_peaks.argmin())])
    device = torch.device(trace.device)
    calls = DistinctCalls(trace.folded, schedule, keys, partial(named_range, AGAIN), runtime(device).stopwatch)
    report = paced(progress, TOLD_EVERY)

    def mark(step: int) -> AbstractContextManager[None]:
        report(step, len(schedule))  # outside of the time of a call; raises an error to cancel
        return profiler_mark(step)

    program = write_program(trace.folded, schedule, mark, calls)
    torch.empty(LARGEST_HEAP_BLOCK, dtype=torch.uint8)  # is freed at once
    read = [given[i] for i in program.reads_in_backward]
    restored = state_restored([trace.step], trace.arguments, overwritten=overwritten_parameters(trace))
    with restored, memory_window(device) as window, torch.no_grad(), autocast_off(), below_autograd():
        _outputs, saved = program.forward(list(given))
        program.backward(read, saved, _tangents(trace.folded))
    events = _events_by_step(allocation_events(window.profiled, device.type), len(schedule))
    found: dict[str, OperatorFigures] = {}
    for key, step in calls.ran.items():
        c = schedule.calls[step]
        found[key] = figures_of_call(schedule.joint, c, events[step], calls.seconds(key), c in schedule.recomputed)
    return found


def _tangents(folded: Folded) -> list[torch.Tensor]:
    """Return gradients of the outputs: ones."""
    fakes = [node.meta["val"] for node, (role, _) in folded.placeholders if role == "tangent"]
    return [torch.ones(fake.shape, dtype=fake.dtype, device=fake.device) for fake in fakes]


def _given(trace: Trace) -> list[torch.Tensor] | None:
    """Return the inputs of the captured graph; None if they are not known or do not exist any more."""
    found = [reference() for reference in trace.graph_inputs]
    alive = [value for value in found if value is not None]
    return alive if found and len(alive) == len(found) else None


def _measured(trace: Trace, keys: list[str], progress: Progress) -> dict[str, OperatorFigures]:
    """Run steps under a plan of little memory, and return the figures of each key.

    The plan is the time-centric one with the least simulated peak. If the device has no memory for it, it is the plan
    with the least simulated peak of all that a search finds.
    """
    with suppress(torch.OutOfMemoryError):  # another plan may fit
        return dict(zip(keys, _measured_under(trace, "time", progress), strict=True))
    # outside of the block, because the error holds the values of the step that failed
    gc.collect()
    runtime(torch.device(trace.device)).empty_cache()
    return dict(zip(keys, _measured_under(trace, "live", progress), strict=True))


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
        for done in range(MOST_TIMED_STEPS):
            progress(warm_up + min(done, TIMED_STEPS - 1), total)
            counts = measurement.one_step(timed)
            elapsed = time.perf_counter() - begin
            enough = done + 1 >= TIMED_STEPS or elapsed > TIMED_SECONDS
            if elapsed > DISTURBED_SECONDS or (enough and not clock.disturbed()):
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
    events = _events_by_step(reading.events, len(schedule))
    found: dict[int, OperatorFigures] = {}
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        if phase is not Phase.RECOMPUTE:
            replayed = c in schedule.recomputed and phase is Phase.FORWARD
            arrives = joint.calls[c].info.op == ARRIVE
            found[c] = as_traced(joint, c) if arrives else figures_of_call(joint, c, events[i], seconds[i], replayed)
    for c in range(len(joint.calls)):
        yield found[c]


def _events_by_step(events: Sequence[AllocationEvent], steps: int) -> list[list[tuple[int, int]]]:
    """Return (address, bytes) of the events inside each step of the schedule."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for event in events:
        if event.scope.startswith("rv:") and event.scope[3:].isdigit():
            found[int(event.scope[3:])].append((event.address, event.size))
    return found


class _StepClock:
    """Times each step of a schedule, without making the device wait between the steps."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device = device
        self.watches: list[list[Stopwatch]] = [[] for _ in range(steps)]

    def mark(self, step: int) -> AbstractContextManager[None]:
        return _TimedStep(self, step)

    def seconds(self) -> list[float]:
        """Return the time of each step of the schedule, in seconds; 0 for a step in which no operator runs."""
        runtime(self.device).synchronize()
        return [typical_seconds(watches) if watches else 0.0 for watches in self.watches]

    def disturbed(self) -> bool:
        """Return whether other programs disturbed every run of calls that take much of the step."""
        disturbed = [all(watch.preempted for watch in watches) for watches in self.watches]
        seconds = self.seconds()
        return sum(itertools.compress(seconds, disturbed)) > DISTURBED_SHARE * sum(seconds)


class _TimedStep(AbstractContextManager[None]):
    def __init__(self, clock: _StepClock, step: int) -> None:
        self.watch = runtime(clock.device).stopwatch()
        clock.watches[step].append(self.watch)

    def __enter__(self) -> None:
        self.watch.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.watch.stop()
