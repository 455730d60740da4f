"""What if: an objective's plans by another solver, or under pins, as a table in total bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from recompviz.core.base.compiled import has_numba
from recompviz.core.exact.solver import Family, solve
from recompviz.core.live.model import profile_function
from recompviz.core.live.search import live_plans
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.pytorch.tracing.traced_step import MOST_ROWS, Trace

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Name


def what_if(
    trace: Trace,
    objective: PlanObjective = "live",
    family: Family = "auto",
    *,
    keep: Iterable[Name] = (),
    recompute: Iterable[Name] = (),
    progress: Progress | None = None,
) -> PlanTable:
    """Every distinct plan of an objective that obeys pins, with its formula peak and its simulated total peak.

    Parameters
    ----------
    trace : Trace
    objective : "time", "memory" or "live"
        As for :meth:`Trace.plans`.
    family : "auto", "all", "paper" or "prefixes"
        Which lower sets the formula's optima may use; as for :func:`recompviz.solve`.
    keep, recompute : iterable of node names
        Values that every plan must keep, and that every plan must recompute.
    progress : callable (done, total), optional
        Called now and then; raise :class:`recompviz.Cancelled` in it to stop.

    Raises
    ------
    ImpossiblePin
        If no plan obeys the pins.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> table = what_if(t, "time", keep=[t.graph.names[0]])
    >>> all(plan.keep_mask[0] for plan in table.plans)
    True
    """
    graph, joint = trace.graph, trace.joint
    keep, recompute = list(keep), list(recompute)
    if objective == "live" and has_numba():
        seeds = [*trace.plans("live").plans, *trace.plans("time").plans, *trace.plans("memory").plans]
        plans = live_plans(graph, joint, seeds, progress, keep=keep, recompute=recompute)
    else:
        aim = "time" if objective == "live" else objective
        plans = solve(graph, family, keep=keep, recompute=recompute, progress=progress).plans(aim, MOST_ROWS)
    if progress is not None:
        progress(1, 1)
    allowed = not recompute  # keep-all is a row of every table that may have it
    return PlanTable.of(graph, objective, plans, profile_function(graph, joint), with_keep_all=allowed)
