"""``explain_gap``: the difference between a plan's formula and its measured memory, as steps that add up."""

from __future__ import annotations

from recompviz.core.plans.gap import Gap, gap_of
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.tracing.traced_step import Trace


def explain_gap(trace: Trace, plan: Plan, measured: Timeline | None = None) -> Gap:
    """The gap from the paper's formula to the simulated peak of a plan, and to the measured peak if it is given.

    Parameters
    ----------
    trace : Trace
        If it is calibrated (:func:`recompviz.calibrate`), workspace is a step of the gap.
    plan : Plan
    measured : Timeline, optional
        From :func:`recompviz.measure` for this plan; if left out, the gap ends at the simulated peak.

    Returns
    -------
    Gap
        ``.steps`` with bytes, reasons and details; ``.text``; ``.figure()``.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> [step.name for step in rv.explain_gap(t, t.plan("1 MiB")).steps]
    ['formula', 'static', 'liveness', 'rounding', 'workspace']
    """
    return gap_of(trace.joint, trace.check(plan), measured)
