"""Advice on recomputation: the bytes that a checkpoint or a plan would save, and the time that it would take.

A checkpoint around a module is a plan that recomputes the values inside the module, and keeps the results that other
modules read. Each plan is simulated. In a calibrated trace, the time of a plan is the measured time of the recomputed
operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from recompviz.core.plans.baselines import LOSS
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.findings import Advice
from recompviz.pytorch.tracing.traced_step import Trace, simulate

# largest number of modules in the advice
MOST_NAMED = 4
# smallest share of the peak that a module must save
LEAST_SHARE = 0.01


def checkpoint_advice(traced: Trace) -> list[Advice]:
    """Advise which modules to checkpoint. The module whose checkpoint saves the most bytes comes first.

    Each module is tried alone, if its path has one or two parts, such as ``"encoder.layer1"``, and if it computes at
    least two values. If several modules save the same number of bytes, only one of them is returned: in a calibrated
    trace, the module with the least recomputation time. At most four modules are returned. Each of them saves at least
    1 % of the simulated peak.

    Parameters
    ----------
    traced : Trace
        The traced training step. If the trace is not calibrated, the advice has no times.
    """
    graph = traced.graph
    whole = simulate(traced).peak
    found = []
    for module, members in _modules(traced):
        inside = np.zeros(len(graph), np.bool_)
        inside[members] = True
        kept = ~inside
        for u, v in graph.edges.tolist():
            kept[u] |= inside[u] and not inside[v]
        if kept.all():
            continue
        plan = Plan.from_keep_mask(graph, kept, f"checkpoint {module}")
        peak = simulate(traced, plan).peak
        if whole - peak >= LEAST_SHARE * whole:
            found.append(Advice(f"checkpointing `{module}`", whole - peak, _milliseconds(traced, plan), peak))
    found.sort(key=lambda advice: (-advice.saves, advice.milliseconds or 0))
    distinct: dict[int, Advice] = {}
    for advice in found:
        distinct.setdefault(advice.saves, advice)
    return [*distinct.values()][:MOST_NAMED]


def planner_advice(traced: Trace) -> list[Advice]:
    """Advise up to two plans: one for the least memory budget for which a plan is found, and one for a larger budget.

    The larger budget is half-way between the least budget and the simulated peak without recomputation. Plans that save
    less than 1 % of this peak are left out. The plan with the least recomputation time comes first. If the trace is not
    calibrated, the advice has no times, and the plan with the largest saving comes first.
    """
    table = traced.plans("live")
    whole = simulate(traced).peak
    found: list[Advice] = []
    for total in ((whole + table.least_total) // 2, table.least_total):
        plan = table.plan(total)
        peak = simulate(traced, plan).peak
        if whole - peak >= LEAST_SHARE * whole and all(peak != other.peak for other in found):
            what = f'`rv.fit_in(…, total="{_at_least(peak)}")`'
            found.append(Advice(what, whole - peak, _milliseconds(traced, plan), peak))
    found.sort(key=lambda advice: (advice.milliseconds or 0, -advice.saves))
    best: dict[str, Advice] = {}
    for advice in found:
        best.setdefault(advice.what, advice)
    return [*best.values()]


def _at_least(size: int) -> str:
    """Return a size as text for ``total=``, rounded up to about four digits, so that the plan still fits.

    Examples
    --------
    >>> _at_least(10 << 20), _at_least((10 << 20) + 1)
    ('10 MiB', '10.01 MiB')
    """
    mebi = size / 2**20
    unit = 10.0 ** (math.floor(math.log10(mebi)) - 3) if mebi else 1.0
    return f"{math.ceil(mebi / unit) * unit:.4g} MiB"


def _milliseconds(traced: Trace, plan: Plan) -> float | None:
    """Return the predicted milliseconds of a plan's recomputation; None if the trace is not calibrated."""
    seconds = traced.joint.seconds
    if not seconds:
        return None
    schedule = traced.schedule(plan)
    once = traced.schedule(None)
    return 1000 * (sum(seconds[c] for c in schedule.calls) - sum(seconds[c] for c in once.calls))


def _modules(traced: Trace) -> Iterator[tuple[str, list[int]]]:
    """Yield module paths of one or two parts with the nodes inside, for modules with two nodes or more."""
    members: dict[str, list[int]] = {}
    for v, info in enumerate(traced.graph.info):
        parts = info.module.split(".")
        if not info.module or parts[0] == LOSS:
            continue
        for depth in range(1, min(len(parts), 2) + 1):
            members.setdefault(".".join(parts[:depth]), []).append(v)
    for name, nodes in members.items():
        if len(nodes) > 1:
            yield name, nodes
