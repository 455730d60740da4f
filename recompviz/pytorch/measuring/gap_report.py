"""``explain_gap`` lists the causes of the gap between a plan's peak by the paper's formula and its measured peak."""

from __future__ import annotations

from recompviz.core.base.arguments import expect
from recompviz.core.plans.gap import Gap, gap_of
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace


def explain_gap(trace: Trace, plan: Plan, measured: Timeline | None = None) -> Gap:
    """Split the difference between a plan's peak by the paper's formula and its measured peak into causes.

    The gap is a list of causes, each with a change in bytes. The changes add up from the peak by the formula to the
    simulated peak, then to the measured peak, and on CUDA to the bytes that the allocator reserved.

    Parameters
    ----------
    trace : Trace
        Workspace inside operators counts only if the trace is calibrated (:func:`recompviz.calibrate`). Otherwise the
        cause ``"workspace"`` has a change of 0 bytes.
    plan : Plan
    measured : Timeline, optional
        The result of :func:`recompviz.measure` for this plan. If it is omitted, the gap ends at the simulated peak.

    Returns
    -------
    Gap
        ``.steps`` lists the causes with their bytes, ``.text`` is a table of them, and ``.figure()`` a chart.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> [step.name for step in rv.explain_gap(t, t.plan("1 MiB")).steps]
    ['formula', 'static', 'liveness', 'rounding', 'workspace']
    """
    expect_trace(trace, "rv.explain_gap(trace, plan)")
    expect_plan(plan)
    if measured is not None:
        expect(measured, Timeline, "measured", "a Timeline", "pass rv.measure(rv.apply(trace, plan), x, …)")
    return gap_of(trace.joint, trace.check(plan), measured)
