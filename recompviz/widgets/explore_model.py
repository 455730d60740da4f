"""``explore``: from a model and one batch to its Explorer, in one call.

The one file of the widgets that knows the torch layer: it hands the Explorer what needs torch as callables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recompviz.core.plan import Plan
from recompviz.core.run_report import RunReport
from recompviz.widgets.explorer import Explorer
from recompviz.widgets.runner import Progress

if TYPE_CHECKING:
    from recompviz.pytorch.step import Loss
    from recompviz.pytorch.tracer import Trace


def explore(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    calibrated: bool = True,
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
    calibrated : bool
        Whether to run the step a few times first, in little memory, to learn what its operators take inside; see
        :func:`recompviz.calibrate`. A model on the meta device is not run.

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
    from recompviz.pytorch.calibration import calibrate
    from recompviz.pytorch.tracer import trace

    traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss)
    if calibrated and not traced.estimated:
        traced = calibrate(traced)
    return explorer_of(traced)


def explorer_of(traced: Trace) -> Explorer:
    """The Explorer on a step that was traced."""
    from recompviz.pytorch.tracer import simulate

    return Explorer(
        traced.graph,
        traced.plans("live"),
        lambda plan: simulate(traced, plan),
        more_tables=[traced.plans("time"), traced.plans("memory")],
        run=None if traced.estimated else _run(traced),
        device=device_name(traced.device),
        title=f"{type(traced.model).__name__}, training step",
    )


def device_name(device: str) -> str:
    """A device as people call it, for example ``"CPU"`` or ``"CUDA (NVIDIA H100)"``."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return f"CUDA ({torch.cuda.get_device_name(torch.device(device))})"
    return device.upper()


def _run(trace: Trace) -> Callable[[Plan, Progress, Callable[[], bool]], RunReport]:
    from recompviz.pytorch.certificate import certify
    from recompviz.pytorch.meter import measure
    from recompviz.pytorch.planned import apply

    def run(plan: Plan, progress: Progress, _cancelled: Callable[[], bool]) -> RunReport:
        began = time.perf_counter()
        inputs, kwargs, targets = trace.arguments
        progress(0.05, "writing the plan's program")
        planned = apply(trace, plan)
        progress(0.15, "measuring the planned step")
        measured = measure(planned, *inputs, kwargs=kwargs, targets=targets)
        progress(0.6, "checking gradients against the unplanned step")
        certificate = certify(trace, plan)
        progress(0.98, "done")
        return RunReport(
            plan,
            measured,
            device_name(trace.device),
            time.perf_counter() - began,
            certificate.ok,
            certificate.text,
        )

    return run
