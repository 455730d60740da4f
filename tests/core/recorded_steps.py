"""Made-up reports of recorded steps: chains of random sizes as regions, with random bytes outside them."""

from __future__ import annotations

import numpy as np

from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import Outside, RegionPlans, step_plans
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.reports.training_step import GraphBreak, Island, StepRegion, StepReport
from recompviz.core.steps.examples import chain_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

ROUTED = GraphBreak(
    SourceLine("/code/moe.py", 17, "out[mask] = expert(x[mask])", "forward"), "the shape depends on data"
)
PRINTED = GraphBreak(
    SourceLine("/code/moe.py", 31, "print(h.norm())", "forward"), "print is not traced", ("Remove it",)
)


def report_of(seed: int, regions: int = 3, resident: int = 1000) -> StepReport:
    """A report with a graph break after each region but the last."""
    draw = np.random.default_rng(seed)
    found, options, around = [], [], []
    for i in range(regions):
        graph, joint = chain_step(sizes=[int(size) for size in draw.integers(1, 40, size=5)])
        masks = region_masks(graph, joint, seconds=0)
        rows = []
        for mask in masks:
            schedule = make_schedule(joint, mask.tolist())
            peak = simulate_schedule(schedule).transient_peak
            saved = int(sum(joint.allocated[s] for s in schedule.saved))
            rows.append((float(graph.time[~mask].sum()), peak, saved, peak))
        columns = list(zip(*rows, strict=True))
        plans = RegionPlans(np.array(columns[0]), *(np.array(column, np.int64) for column in columns[1:]))
        outside = Outside(*(int(size) for size in draw.integers(0, 60, size=4)))
        line = SourceLine("/code/moe.py", 10 + i, "h = self.block(h)", "forward")
        found.append(StepRegion(f"blocks.{i}", line, graph, joint, masks, plans, outside))
        options.append(plans)
        around.append(outside)
    islands = [Island(0, 0, None)]
    islands += [Island(8, 16, None, (ROUTED,) if i % 2 == 0 else (ROUTED, PRINTED)) for i in range(regions - 1)]
    islands.append(Island(4, 12, SourceLine("/code/train.py", 5, "loss.backward()", "main")))
    front = step_plans(options, around)
    time = float(sum(region.graph.time.sum() for region in found))
    total = resident + front.peak[0]
    return StepReport("Net", "CPU", total, resident, tuple(found), tuple(islands), front, 0, time, 3 * time)
