"""``explore``: from a model and one batch to its Explorer, in one call.

It traces the model, and gives the trace's planner and a runner for its plans to the Explorer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from recompviz.core.base.arguments import expect_flag
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
    """Open the Explorer on the training step ``loss(model(*inputs, **kwargs), *targets)``.

    For a compiled model without ``inputs``, open the view of its recorded training step instead.

    Parameters
    ----------
    model : torch.nn.Module
        A model to trace. Or a model compiled by :func:`recompviz.compile`, or by ``torch.compile`` with
        ``backend="recompviz"``, after three training steps. A compiled model is passed without further arguments. The
        view shows the recorded step: its compiled regions, the eager code between them, and the reason of each graph
        break.
    *inputs
        One batch.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : sequence, optional
        Arguments of the loss after the model's output.
    loss : callable or torch.nn.Module, optional
        If left out, the loss is the model's output if that is one number, or the ``loss`` in the output. Any other
        model is traced without its loss; see :func:`recompviz.trace`.
    optimizer : torch.optim.Optimizer, optional
        If given, its state counts as memory, and the training step ends with an optimizer step. This function does not
        step it.
    calibrated : bool
        Whether to measure the workspace and the time of each operator first; see :func:`recompviz.calibrate`. This runs
        the training step a few times under a plan of little memory. A model on the meta device is not run.
    capacity : int or str, optional
        Memory of the device, which the Explorer marks on the budget: a number of bytes, or a string such as
        ``"24 GiB"``. If left out, the memory of the CUDA device; on the CPU nothing is marked.
    baselines : sequence of str
        Baselines shown as points on the trade-off curve; names as for :meth:`recompviz.Trace.baseline`. A baseline that
        the graph does not have is left out.

    Returns
    -------
    Explorer or StepExplorer
        A StepExplorer for a compiled model, otherwise an Explorer. It is shown if it is the last value of a cell.
        ``explorer.plan`` is the selected plan. Setting ``explorer.budget`` (total bytes) selects another plan.
        :func:`recompviz.step_report` returns the content of a StepExplorer as text.

    Raises
    ------
    TraceError
        If the step cannot be traced.
    StepNotRecorded
        If no training step of a compiled model is recorded yet, or the model was compiled without a total. The error
        is a :class:`recompviz.RecompvizError`.
    TypeError
        If a compiled model without inputs was not compiled by recompviz, or was compiled by the backend's name and has
        not run yet.
    ValueError
        If ``capacity`` is not a size, or no baseline has a given name.

    Notes
    -----
    The Explorer of a large graph opens with plans that need no search. It searches for better plans in the background,
    and shows them when the search ends. Reading ``.plan`` or setting ``.budget`` in Python waits for the search.

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

    expect_flag(calibrated, "calibrated")
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
    """Return the Explorer of a trace.

    Parameters
    ----------
    traced : Trace
        If it is estimated, the Explorer has no Run button.
    capacity, baselines
        As for :func:`explore`.
    """
    from recompviz.pytorch.internals.devices.runtimes import runtime

    return Explorer(
        traced.planner,
        None if traced.estimated else TraceRunner(traced),
        baselines=baselines,
        capacity=runtime(traced.device).total_memory() if capacity is None else capacity,
        title=f"{type(traced.model).__name__}, training step",
        device=runtime(traced.device).label(),
        cost_unit=traced.cost_unit,
    )


class TraceRunner:
    """A runner for the plans of a trace: it measures memory, compares gradients and explains the gap to the prediction.

    Parameters
    ----------
    trace : Trace
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def run(self, plan: Plan, progress: Progress) -> RunReport:
        """Run training steps under a plan and report the measurements.

        The steps run on a copy of the model that shares its parameters and has its own gradients and buffers. The
        original model runs instead if the trace has an optimizer or the model cannot be copied; its state is then
        restored.

        Parameters
        ----------
        plan : Plan
        progress : callable (done, total, text)
            Called before each part of the run. It raises :class:`recompviz.Cancelled` to cancel the run.

        Returns
        -------
        RunReport

        Raises
        ------
        RecompvizError
            If the model changed after it was traced, or the run failed because another cell trained the model.
        """
        from recompviz.pytorch.internals.devices.runtimes import runtime
        from recompviz.pytorch.internals.state import beside_other_work
        from recompviz.pytorch.measuring.certificate import certify
        from recompviz.pytorch.measuring.gap_report import explain_gap
        from recompviz.pytorch.measuring.measurement_run import overwritten_in
        from recompviz.pytorch.measuring.meter import measure
        from recompviz.pytorch.running.planned import apply
        from recompviz.pytorch.running.twin import twin, undisturbed

        began = time.perf_counter()
        progress(5, 100, "preparing the plan")
        beside = twin(self.trace)  # Another cell may train the model in the meantime.
        inputs, kwargs, targets = beside.arguments
        planned = apply(beside, plan)
        draws = any(call.random for call in beside.joint.calls)
        with undisturbed(beside), beside_other_work(overwritten_in(beside), draws):
            progress(15, 100, "measuring the planned step")
            measured = measure(planned, *inputs, kwargs=kwargs, targets=targets, optimizer=beside.optimizer)
            progress(60, 100, "comparing gradients with the unplanned step")
            # another cell may use the parameters meanwhile
            certificate = certify(beside, plan, change_parameters=False)
        progress(98, 100, "done")
        return RunReport(
            plan,
            measured,
            runtime(self.trace.device).label(),
            time.perf_counter() - began,
            certificate.ok,
            certificate.text,
            gap=explain_gap(self.trace, plan, measured),
        )
