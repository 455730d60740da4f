"""The methods that are compared, as plans of one trace, in the order of the tables.

They are: keep-all; Chen's algorithm with the segment budget of least simulated peak; approximate and exact plans by the
paper's formula at its least feasible budget, time-centric and memory-centric; a checkpoint around each block; PyTorch's
activation memory budget; and the *live* plan of least peak, found by the search in simulated bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import recompviz as rv
from recompviz.core.exact.solver import Family
from recompviz.core.live.model import profile_function
from recompviz.core.plans.baselines import chen_plans
from recompviz.core.plans.curve import Objective

KEEP_ALL, CHEN, LIVE = "keep-all", "Chen", "live"
CHECKPOINT = "checkpoint per block"
# The values of PyTorch's activation memory budget.
RATIOS = (0.7, 0.5, 0.3, 0.1, 0.0)
FAMILIES: dict[str, Family] = {"approximate": "paper", "exact": "all"}
OBJECTIVES: tuple[Objective, ...] = ("time", "memory")
FORMULA = tuple(f"{family}, {objective}-centric" for family in FAMILIES for objective in OBJECTIVES)
NEIGHBOURS = (CHECKPOINT, *(f"memory budget {ratio:g}" for ratio in RATIOS), CHEN)

Say = Callable[[str], None]


def least_memory_chen(trace: rv.Trace) -> rv.Plan:
    """Return the plan of least simulated peak among the plans of Chen et al. 2016 for all segment budgets."""
    profile = profile_function(trace.graph, trace.joint)
    return min(chen_plans(trace.graph), key=lambda plan: (int(profile(plan).max()), plan.overhead))


def methods(trace: rv.Trace, say: Say) -> dict[str, rv.Plan]:
    """Return the plan of each method. A method without a plan is left out, and ``say`` prints the reason."""
    plans = {KEEP_ALL: rv.Plan.keep_all(trace.graph), CHEN: least_memory_chen(trace)}
    for family, searched in FAMILIES.items():
        try:
            curve = trace.tradeoff(searched)
        except rv.TooManyLowerSets as error:
            say(f"left out: {family}, {error}")
            continue
        for objective in OBJECTIVES:
            plans[f"{family}, {objective}-centric"] = curve.plan(curve.least_budget, objective)
    plans[CHECKPOINT] = trace.baseline("per-module")
    for ratio in RATIOS:
        try:
            plans[f"memory budget {ratio:g}"] = trace.baseline(f"min-cut {ratio:g}")
        except rv.PartitionerError as error:
            say(f"left out: {error}")
    table = trace.plans("live")
    plans[LIVE] = table.plan(table.least_total)
    return plans
