"""``explore``: from a model and one batch to its Explorer, in one call.

The one file of the widgets that knows the torch layer: it hands the Explorer what needs torch as callables.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Name
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.runner import Progress

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from recompviz.core.exact.solver import Family
    from recompviz.pytorch.tracing.step import Loss
    from recompviz.pytorch.tracing.traced_step import Trace

# what is shown beside the curve where nothing else is wished
BASELINES = ("per-module", "chen")


def explore(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    calibrated: bool = True,
    capacity: int | float | str | None = None,
    baselines: Sequence[str] = BASELINES,
) -> Explorer:
    """Trace the training step ``loss(model(*inputs, **kwargs), *targets)`` and explore its memory.

    Parameters
    ----------
    model : torch.nn.Module
    *inputs
        One batch.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : sequence, optional
        What the loss takes after the model's output.
    loss : callable or torch.nn.Module, optional
        Left out: the model's output is the scalar loss, or has ``.loss``.
    optimizer : torch.optim.Optimizer, optional
        Where given, its state and its step are part of the memory; it is not stepped.
    calibrated : bool
        Whether to run the step a few times first, in little memory, to learn what its operators take inside; see
        :func:`recompviz.calibrate`. A model on the meta device is not run.
    capacity : int or str, optional
        Bytes the device has, marked on the budget; left out: what CUDA says of its own.
    baselines : sequence of str
        Shown as points beside the curve; names as for :meth:`recompviz.Trace.baseline`.

    It opens at once, with plans that need no search; the planner's are searched for meanwhile and take their place.
    Reading ``.plan`` or setting ``.budget`` in Python before that waits for them.

    Returns
    -------
    Explorer
        Shown when it is a cell's last value; ``.plan`` is the plan chosen, ``.budget`` (total bytes) sets it.

    Raises
    ------
    TraceError
        If the step cannot be traced.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> explorer = rv.explore(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...                       loss=torch.nn.functional.mse_loss)
    >>> len(explorer.graph)
    4
    """
    from recompviz.pytorch.measuring.calibration import calibrate
    from recompviz.pytorch.measuring.entry import trace

    traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
    if calibrated and not traced.estimated:
        traced = calibrate(traced)
    return explorer_of(traced, capacity=capacity, baselines=baselines)


def explorer_of(
    traced: Trace, *, capacity: int | float | str | None = None, baselines: Sequence[str] = BASELINES
) -> Explorer:
    """The Explorer of a trace; see :func:`explore`."""
    from recompviz.pytorch.internals.devices import memory_of
    from recompviz.pytorch.tracing.traced_step import simulate

    def solve(
        objective: PlanObjective,
        family: str,
        keep: Sequence[Name],
        recompute: Sequence[Name],
        progress: Callable[[int, int], None],
    ) -> PlanTable:
        return traced.planner.what_if(
            objective, cast("Family", family), keep=keep, recompute=recompute, progress=progress
        )

    def tables(progress: Callable[[int, int], None] | None = None) -> list[PlanTable]:
        return [traced.plans("live", progress), traced.plans("time"), traced.plans("memory")]

    at_once = traced.planner.is_quick
    first = tables() if at_once else [traced.planner.first_plans()]
    return Explorer(
        traced.graph,
        first[0],
        lambda plan: simulate(traced, plan),
        more_tables=first[1:],
        later=None if at_once else tables,
        baselines=_plans(traced, baselines),
        solve=solve,
        run=None if traced.estimated else _run(traced),
        device=device_name(traced.device),
        title=f"{type(traced.model).__name__}, training step",
        capacity=memory_of(traced.device) if capacity is None else capacity,
        joint=traced.joint,
    )


def _plans(traced: Trace, names: Sequence[str]) -> list[Plan]:
    """The baselines that this step has; one without repeated blocks has no plan of a checkpoint around each."""
    plans = []
    for name in names:
        with contextlib.suppress(GraphError):
            plans.append(traced.baseline(name))
    return plans


def device_name(device: str) -> str:
    """A device as people call it, for example ``"CPU"`` or ``"CUDA (NVIDIA H100)"``."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return f"CUDA ({torch.cuda.get_device_name(torch.device(device))})"
    return device.upper()


def _run(trace: Trace) -> Callable[[Plan, Progress, Callable[[], bool]], RunReport]:
    from recompviz.pytorch.measuring.certificate import certify
    from recompviz.pytorch.measuring.gap_report import explain_gap
    from recompviz.pytorch.measuring.meter import measure
    from recompviz.pytorch.running.planned import apply
    from recompviz.pytorch.running.twin import twin, undisturbed

    def run(plan: Plan, progress: Progress, _cancelled: Callable[[], bool]) -> RunReport:
        began = time.perf_counter()
        progress(0.05, "writing the plan's program")
        beside = twin(trace)  # a cell may train the model meanwhile
        inputs, kwargs, targets = beside.arguments
        planned = apply(beside, plan)
        with undisturbed(beside):
            progress(0.15, "measuring the planned step")
            measured = measure(planned, *inputs, kwargs=kwargs, targets=targets, optimizer=beside.optimizer)
            progress(0.6, "checking gradients against the unplanned step")
            certificate = certify(beside, plan)
        progress(0.98, "done")
        return RunReport(
            plan,
            measured,
            device_name(trace.device),
            time.perf_counter() - began,
            certificate.ok,
            certificate.text,
            gap=explain_gap(trace, plan, measured),
        )

    return run
