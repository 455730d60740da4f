"""Predictions at the paper's batch: formula bytes, simulated bytes and overhead of each method.

The step is traced on the meta device for CUDA's allocator, so it needs no memory. Sizes and lifetimes are exact, but
the kernels and their workspace are not known. The figures are therefore *estimated*; :mod:`.measured` compares the same
simulator with real steps.
"""

from __future__ import annotations

from typing import Any

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.paper.methods import KEEP_ALL, LIVE, NEIGHBOURS, Say, methods
from recompviz.core.plans.segmentwise import freed_at_segment_ends
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline

# number of blocks at the peak that are named
NAMED = 6


def predict(name: str, small: bool, say: Say) -> dict[str, Any]:
    """Predict one network and return the data."""
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
    """T of the nodes that the schedule runs twice. A value that no backward call reads is never recomputed."""
    calls = trace.joint.calls
    twice = {v for c in trace.schedule(plan).recomputed for v in (calls[c].node, *calls[c].views) if v >= 0}
    return float(trace.graph.time[sorted(twice)].sum())


def at_equal_peak(trace: rv.Trace, method: str, plan: rv.Plan, peak: int) -> dict[str, Any]:
    """A neighbour, and the least overhead of a live plan that fits in its simulated peak (None if none fits)."""
    table = trace.plans("live")
    ours = table.plan(peak).overhead if peak >= table.least_total else None
    return {"method": method, "simulated": peak, "overhead": really_recomputed(trace, plan), "ours": ours}


def curve(trace: rv.Trace) -> list[list[float]]:
    """The live plans as [overhead, simulated total bytes], by decreasing bytes."""
    table = trace.plans("live")
    points: list[list[float]] = []
    for plan, peak in zip(table.plans, table.total_peaks.tolist(), strict=True):
        if not points or peak < points[-1][1]:
            points.append([float(plan.overhead), peak])
    return points


def at_peak(timeline: Timeline) -> dict[str, Any]:
    """The step of the peak, and the blocks alive there: the sum of each category, and the largest blocks."""
    blocks = timeline.at_peak()
    sums: dict[str, int] = {}
    for block in blocks:
        sums[block.category.label] = sums.get(block.category.label, 0) + block.size
    return {
        "step": timeline.step_labels[timeline.peak_step],
        "by_category": dict(sorted(sums.items(), key=lambda item: -item[1])),
        "largest": [[block.label, block.category.label, block.size] for block in blocks[:NAMED]],
    }
