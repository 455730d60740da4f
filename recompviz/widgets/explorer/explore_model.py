"""``explore``: from a model and one batch to its Explorer, in one call.

It makes the Explorer's planner and runner from a trace. Other Explorer files do not use the torch layer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from recompviz.core.plans.plan import Plan
from recompviz.core.reports.run_report import RunReport
from recompviz.widgets.base.job import Progress
from recompviz.widgets.explorer.explorer import BASELINES, Explorer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from recompviz.pytorch.tracing.step import Loss
    from recompviz.pytorch.tracing.traced_step import Trace
    from recompviz.widgets.explorer.step_explorer import StepExplorer


@overload
def explore(model: Any) -> Any: ...


@overload
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
) -> Explorer: ...


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
) -> Explorer | StepExplorer:
    """Trace the training step ``loss(model(*inputs, **kwargs), *targets)`` and explore its memory.

    Parameters
    ----------
    model : torch.nn.Module
        Or what :func:`recompviz.compile` returned, after three training steps and without ``inputs``: then the recorded
        step is shown, with its regions, the eager code between them, and why each graph break happened.
    *inputs
        One batch.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : sequence, optional
        The loss's arguments after the model's output.
    loss : callable or torch.nn.Module, optional
        If left out, the model's output is the scalar loss, or has ``.loss``.
    optimizer : torch.optim.Optimizer, optional
        If given, its state and its step are part of the memory. It is not stepped.
    calibrated : bool
        Whether to measure the workspace of each operator first; see :func:`recompviz.calibrate`. This runs the step a
        few times in little memory. A model on the meta device is not run.
    capacity : int or str, optional
        Bytes that the device has, marked on the budget. If left out, the memory of the CUDA device.
    baselines : sequence of str
        Baselines shown as points of the curve; names as for :meth:`recompviz.Trace.baseline`.

    Returns
    -------
    Explorer or StepExplorer
        Shown if it is the last value of a cell. ``.plan`` is the selected plan; ``.budget`` (total bytes) selects one.
        A StepExplorer is returned for a compiled model; see :func:`recompviz.step_report` for the same as text.

    Raises
    ------
    TraceError
        If the step cannot be traced.
    StepNotRecorded
        If a compiled model has no recorded step yet.

    Notes
    -----
    The Explorer of a large graph opens with plans that need no search. It searches for better plans in the background
    and then shows those. Reading ``.plan`` or setting ``.budget`` in Python waits for them.

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
    from recompviz.pytorch.running.compiled import is_compiled
    from recompviz.pytorch.running.recorded_report import step_report

    if not inputs and not kwargs and is_compiled(model):
        from recompviz.widgets.explorer.step_explorer import StepExplorer

        return StepExplorer(step_report(model))
    traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
    if calibrated and not traced.estimated:
        traced = calibrate(traced)
    return explorer_of(traced, capacity=capacity, baselines=baselines)


def explorer_of(
    traced: Trace, *, capacity: int | float | str | None = None, baselines: Sequence[str] = BASELINES
) -> Explorer:
    """The Explorer of a trace; see :func:`explore`."""
    from recompviz.pytorch.internals.devices import memory_of

    return Explorer(
        traced.planner,
        None if traced.estimated else TraceRunner(traced),
        baselines=baselines,
        capacity=memory_of(traced.device) if capacity is None else capacity,
        title=f"{type(traced.model).__name__}, training step",
        device=device_name(traced.device),
        cost_unit=traced.cost_unit,
    )


class TraceRunner:
    """Runs plans of a trace on its device: measures the step, checks its gradients and explains the gap.

    Parameters
    ----------
    trace : Trace
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def run(self, plan: Plan, progress: Progress) -> RunReport:
        """Run a plan beside the notebook's other work, on a copy of the model that shares its parameters."""
        from recompviz.pytorch.measuring.certificate import certify
        from recompviz.pytorch.measuring.gap_report import explain_gap
        from recompviz.pytorch.measuring.meter import measure
        from recompviz.pytorch.running.planned import apply
        from recompviz.pytorch.running.twin import twin, undisturbed

        began = time.perf_counter()
        progress(5, 100, "preparing the plan")
        beside = twin(self.trace)  # Another cell may train the model in the meantime.
        inputs, kwargs, targets = beside.arguments
        planned = apply(beside, plan)
        with undisturbed(beside):
            progress(15, 100, "measuring the planned step")
            measured = measure(planned, *inputs, kwargs=kwargs, targets=targets, optimizer=beside.optimizer)
            progress(60, 100, "comparing gradients with the unplanned step")
            # another cell may use the parameters meanwhile
            certificate = certify(beside, plan, change_parameters=False)
        progress(98, 100, "done")
        return RunReport(
            plan,
            measured,
            device_name(self.trace.device),
            time.perf_counter() - began,
            certificate.ok,
            certificate.text,
            gap=explain_gap(self.trace, plan, measured),
        )


def device_name(device: str) -> str:
    """A device's name for people, for example ``"CPU"`` or ``"CUDA (NVIDIA H100)"``."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return f"CUDA ({torch.cuda.get_device_name(torch.device(device))})"
    return device.upper()
