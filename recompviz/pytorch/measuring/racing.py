"""``race`` runs one training step under several methods, and shows their memory over time and the total as a line."""

from __future__ import annotations

from numbers import Integral, Real
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.arguments import expect_number
from recompviz.core.base.errors import GraphError
from recompviz.core.base.units import parse_total
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.race_report import Race, Racer
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.measuring.meter import measure
from recompviz.pytorch.measuring.step_timing import time_turns
from recompviz.pytorch.running.planned import apply
from recompviz.pytorch.tracing.min_cut import PartitionerError
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Eager operators are found by the first letters of their names, among so many calls that follow.
PREFIX, NEAR = 4, 12
# values of activation_memory_budget that are tried for PyTorch's partitioner
RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


def race(trace: Trace, total: int | float | str, *, rounds: int = 7, seconds: float = 60.0) -> Race:
    """Compare eager PyTorch, a checkpoint per block, PyTorch's partitioner and a plan of recompviz under a total.

    The memory of each method is measured in one training step. Then the methods take turns in timed steps. Eager
    PyTorch runs as it is. Each other method runs as a plan that keeps the values which the method keeps, so that all
    plans run the same kernels. Ten values of ``activation_memory_budget`` are tried for PyTorch's partitioner. Among
    the values whose simulated peak fits the total, the one with the least recomputation runs. If none fits, the value
    with the least peak runs.
    A method that cannot plan this step, such as a checkpoint per block for a model without submodules, is left out, and
    a note says why. No method is really limited to the total. A method that takes more memory runs to its end, and the
    picture shows where it would run out of memory.

    Parameters
    ----------
    trace : Trace
        The training step. If the trace was calibrated (:func:`recompviz.calibrate`), the curves are drawn over time. If
        it was estimated without memory, its step cannot run; the curves are then simulated, and times are estimated if
        the costs are in milliseconds.
    total : int, float or str
        The most bytes that the training step may take, or a text such as ``"10 GiB"``.
    rounds : int
        The largest number of timed steps of each method. For eager PyTorch, the median of their times is shown. For any
        other method, the median ratio of its times to those of eager PyTorch is shown, multiplied by eager's median.
    seconds : float
        The time limit of the timed steps, in seconds. No further round of steps starts after it. One round always runs.

    Returns
    -------
    Race
        It shows itself in a notebook. ``race.save("race.svg")`` writes a moving picture, ``race.save("race.html")`` a
        page.

    Raises
    ------
    InfeasibleBudget
        If no plan of recompviz fits the total. The attribute ``least`` of the error is the least total for which a plan
        was found, in bytes.
    ValueError
        If ``rounds`` is less than 1, or ``total`` is not a size.
    TypeError
        If ``trace`` is not a trace, ``total`` is neither a number nor a string, ``rounds`` is not a whole number, or
        ``seconds`` is not a number.
    ProfilerBusy
        If another profiler runs in this process.
    torch.OutOfMemoryError
        If a method does not fit on the device itself.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh()) for _ in range(4)))
    >>> trace = rv.trace(model, torch.ones(512, 64), targets=(torch.ones(512, 64),), loss=torch.nn.functional.mse_loss)
    >>> result = rv.race(trace, trace.plans("live").total_peaks.min(), rounds=1)
    >>> [racer.name for racer in result.racers][::3], result.fits(result.racers[0]), result.fits(result.racers[-1])
    (['eager', 'recompviz'], False, True)
    """
    expect_trace(trace, "race it")
    expect_number(rounds, Integral, "rounds", "the largest number of timed steps of each method")
    expect_number(seconds, Real, "seconds", "the time limit in seconds")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, expected at least 1 timed step of each method")
    limit = parse_total(total)
    notes: list[str] = []
    entered: list[tuple[str, str, Plan]] = [("eager", "keeps every value", trace.baseline("keep-all"))]
    try:
        plan = trace.baseline("per-module")
        entered.append(("checkpoint per block", "around each repeated block", plan))
    except GraphError as error:
        notes.append(f"no checkpoint per block: {error}")
    try:
        plan = _best_cut(trace, limit)
        entered.append(("PyTorch's partitioner", f"activation_memory_budget {plan.kind.split()[-1]}", plan))
    except (PartitionerError, GraphError) as error:
        notes.append(f"no plan of PyTorch's partitioner: {error}")
    entered.append(("recompviz", "the best plan found for the total", trace.plan(limit)))

    runs = not trace.estimated
    device = runtime(trace.device).label() if runs else trace.device
    timelines: list[Timeline]
    steps: Sequence[float | None]
    if runs:
        timelines, steps = _measured(trace, [plan for _, _, plan in entered], rounds, seconds)
        notes.append(f"times are medians of at most {rounds} steps of each method, run in turn")
    else:
        timelines = [simulate(trace, plan) for _, _, plan in entered]
        forward = float(trace.graph.time.sum())
        timed = trace.cost_unit.startswith("ms") and bool(forward)
        steps = [3 * forward + plan.overhead if timed else None for _, _, plan in entered]
        notes.append(
            "the step did not run: memory is simulated; a step takes three forward passes and the recomputation"
        )
    racers = [
        Racer(name, detail, timeline, step, (_eager_shares if runs and not i else _shares)(trace, plan, timeline))
        for i, ((name, detail, plan), timeline, step) in enumerate(zip(entered, timelines, steps, strict=True))
    ]
    if not trace.joint.seconds:
        notes.append("the trace is not calibrated: every operator takes the same width")
    return Race(tuple(racers), limit, type(trace.model).__name__, device, tuple(notes))


def _best_cut(trace: Trace, total: int) -> Plan:
    """Return the plan of PyTorch's partitioner that fits with the least overhead, or else the one of the least peak."""
    plans = [trace.baseline(f"min-cut {ratio:g}") for ratio in RATIOS]
    peaks = [simulate(trace, plan).peak for plan in plans]
    best = min(
        range(len(plans)), key=lambda i: (peaks[i] > total, plans[i].overhead if peaks[i] <= total else peaks[i])
    )
    return plans[best]


def _measured(trace: Trace, plans: list[Plan], rounds: int, seconds: float) -> tuple[list[Timeline], list[float]]:
    """Measure the memory and the time of eager PyTorch and of all plans but the first, which stands for eager."""
    inputs, kwargs, targets = trace.arguments
    given: dict[str, Any] = {"kwargs": kwargs, "targets": targets, "optimizer": trace.optimizer}
    planned = [apply(trace, plan) for plan in plans[1:]]
    timelines = [measure(trace.model, *inputs, loss=trace.step.loss, **given)]
    timelines += [measure(module, *inputs, **given) for module in planned]
    times = time_turns(trace, [trace.step, *planned], rounds, seconds)
    eager, first = median(times[0].wall), times[0].work
    return timelines, [eager * median(t / e for t, e in zip(each.work, first, strict=True)) for each in times]


def _shares(trace: Trace, plan: Plan, timeline: Timeline) -> NDArray[np.float64]:
    """Return the share of the step's time that has passed at the end of each step of a timeline.

    The steps of a plan's timeline are those of its schedule, each with its calibrated time. What follows them (the
    optimizer) has the mean time. Without calibration, all steps take the same time.
    """
    count = len(timeline.phases)
    widths = np.ones(count)
    if trace.joint.seconds:
        each = np.array(trace.joint.seconds)[list(trace.schedule(plan).calls)[:count]]
        widths[: len(each)] = each
        widths[len(each) :] = each.mean()
    total = widths.sum()
    return np.cumsum(widths) / total if total else np.linspace(0, 1, count)


def _eager_shares(trace: Trace, plan: Plan, timeline: Timeline) -> NDArray[np.float64]:
    """Return the shares of the steps of eager PyTorch, from those of the plan that keeps every value.

    Eager steps are operators with their own names. A step has the share of the next call of the plan with a similar
    name, if one is near. Other steps lie evenly between their neighbours.
    """
    simulated = simulate(trace, plan)
    shares = _shares(trace, plan, simulated)
    names = [label.rpartition("/")[2].lower() for label in simulated.step_labels]
    places, passed = [-1.0], [0.0]
    at = 0
    for i, label in enumerate(timeline.step_labels):
        operator = label.rpartition("::")[2].lstrip("_")[:PREFIX]
        near = range(at, min(at + NEAR, len(names)))
        found = next((j for j in near if len(operator) == PREFIX and operator in names[j]), None)
        if found is not None:
            places.append(i)
            passed.append(float(shares[found]))
            at = found + 1
    count = len(timeline.phases)
    places.append(count - 1)
    passed.append(1.0)
    return np.interp(np.arange(count), places, passed)
