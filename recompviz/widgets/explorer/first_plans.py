"""Plans to open an Explorer with, at once; the planner's own follow when they are found.

Planning hundreds of nodes takes seconds to a minute; a person who only wants to look should not wait for it. What
needs no search is there in a moment: keep everything, a checkpoint around each repeated block, and sequences of a
few to many lower sets of equal size, cut where a single value passes if there are such places (as Chen et al. 2016
do). They are plans like any other, and simulated as such.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.baselines import cut_prefixes, per_module
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# up to here planning takes a moment, and the picture waits for it
SMALL = 40
# into so many segments
PARTS = (2, 3, 4, 6, 8, 12, 16, 32, 64, 128)


def first_plans(graph: Graph, profile: Callable[[Plan], NDArray[np.int64]]) -> PlanTable:
    """A plan table without a search.

    Parameters
    ----------
    graph : Graph
    profile : callable (Plan) → array of int
        Total bytes of each step, as for :meth:`recompviz.core.plans.plan_table.PlanTable.of`.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> graph, joint = residual_step((2, 2))
    >>> simulate = lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist()))
    >>> table = first_plans(graph, lambda plan: simulate(plan).profile)
    >>> bool(table.plans[0].keep_mask.all()), len(table) > 3
    (True, True)
    """
    prefixes = cut_prefixes(graph)
    if len(prefixes) < PARTS[-1]:
        prefixes = []
        for v in graph.order[:-1]:
            prefixes.append((prefixes[-1] if prefixes else 0) | 1 << v)
    sizes = [graph.memory_of(mask) for mask in prefixes]
    whole = graph.memory_of(graph.everything)
    plans = []
    for parts in PARTS:
        ends = sorted({bisect_left(sizes, whole * i / parts) for i in range(1, parts)} - {len(sizes)})
        plans.append(Plan.from_masks(graph, [*(prefixes[i] for i in ends), graph.everything]))
    with contextlib.suppress(GraphError):
        plans.append(per_module(graph))
    return PlanTable.of(graph, "time", plans, profile)
