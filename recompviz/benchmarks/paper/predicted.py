"""Predict the peak and the overhead of each method at the paper's batch size, by the formula and by simulation.

The training step is traced on the meta device, for CUDA's allocator, so it needs no GPU memory. Sizes and lifetimes are
exact, but the workspace of kernels is not known: the figures are *estimated*. :mod:`.measured` compares the same
simulation with measured training steps.
"""

from __future__ import annotations

from typing import Any

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.paper.methods import KEEP_ALL, LIVE, NEIGHBOURS, Say, methods
from recompviz.core.plans.segmentwise import freed_at_segment_ends
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline

# Number of blocks at the peak that are named.
NAMED = 6


def predict(name: str, small: bool, say: Say) -> dict[str, Any]:
    """Predict one network and return the data, as stored in ``results/data``.

    Parameters
    ----------
    name : str
        Name in :mod:`recompviz.networks`.
    small : bool
        Whether to use the small variant.
    say : callable
        Prints progress.
    """
    step = networks.example(name, small=small, device="meta")
    trace = rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, device="cuda", costs="paper")
    say(f"traced: {trace.graph}")
    plans = methods(trace, say)
    timelines = {method: rv.simulate(trace, plan) for method, plan in plans.items()}
    live = trace.plans("live")
    rows = []
    for method, plan in plans.items():
        schedule = trace.schedule(plan)
        late = simulate_schedule(freed_at_segment_ends(schedule, plan), trace.device)
        rows.append(
            {
                "method": method,
                "formula": plan.peak,
                "without_liveness": late.peak,
                "simulated": timelines[method].peak,
                "overhead": really_recomputed(trace, plan),
            }
        )
    return {
        "batch": len(step.inputs[0]),
        "device": f"{trace.device}, estimated",
        "nodes": len(trace.graph),
        "edges": len(trace.graph.edges),
        "lower_sets": trace.tradeoff("all").lower_set_count,
        "forward_units": float(trace.graph.time.sum()),
        "static": timelines[KEEP_ALL].static,
        "rows": rows,
        "at_equal_peak": [
            at_equal_peak(trace, method, plans[method], timelines[method].peak)
            for method in NEIGHBOURS
            if method in plans
        ],
        "curve": curve(trace),
        "live_plans": len(live),
        "at_peak": {method: at_peak(timelines[method]) for method in (KEEP_ALL, LIVE)},
    }


def really_recomputed(trace: rv.Trace, plan: rv.Plan) -> float:
    """Return the sum of the costs of the nodes that the schedule of a plan runs twice."""
    calls = trace.joint.calls
    twice = {v for c in trace.schedule(plan).recomputed for v in (calls[c].node, *calls[c].views) if v >= 0}
    return float(trace.graph.time[sorted(twice)].sum())


def at_equal_peak(trace: rv.Trace, method: str, plan: rv.Plan, peak: int) -> dict[str, Any]:
    """Return the overhead of a method, and the least overhead of recompviz for the same peak.

    Parameters
    ----------
    trace : Trace
    method : str
        Name of the method.
    plan : Plan
        The plan of the method.
    peak : int
        The simulated peak of ``plan``, total bytes.

    Returns
    -------
    dict
        ``method``, ``simulated`` (the peak), ``overhead`` (of the method), and ``ours`` (the least overhead of
        recompviz; None if no plan fits).
    """
    table = trace.plans("live")
    ours = table.plan(peak).overhead if peak >= table.least_total else None
    return {"method": method, "simulated": peak, "overhead": really_recomputed(trace, plan), "ours": ours}


def curve(trace: rv.Trace) -> list[list[float]]:
    """Return the live plans as pairs [overhead, simulated peak in total bytes], by falling peak and rising overhead."""
    table = trace.plans("live")
    points: list[list[float]] = []
    for plan, peak in zip(table.plans, table.total_peaks.tolist(), strict=True):
        if not points or peak < points[-1][1]:
            points.append([float(plan.overhead), peak])
    return points


def at_peak(timeline: Timeline) -> dict[str, Any]:
    """Return what is alive at the peak: the operator call, the bytes of each category, and the largest blocks."""
    blocks = timeline.at_peak()
    sums: dict[str, int] = {}
    for block in blocks:
        sums[block.category.label] = sums.get(block.category.label, 0) + block.size
    return {
        "step": timeline.step_labels[timeline.peak_step],
        "by_category": dict(sorted(sums.items(), key=lambda item: -item[1])),
        "largest": [[block.label, block.category.label, block.size] for block in blocks[:NAMED]],
    }
