"""Plans that need no search. An Explorer opens with them.

Planning a graph of hundreds of nodes takes seconds to a minute; these plans take milliseconds. One plan keeps every
value. One puts a checkpoint around each repeated block, and one has the user's own checkpoints. Ten plans divide the
graph into 2, 3, 4, … 128 consecutive segments with about equal bytes, and keep only the values that later segments
read. On a small graph, a plan may have fewer segments. If the graph has at least 128 places after which at most one
earlier value is needed (Chen et al. 2016), segments end only at these places.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.baselines import SEED_METHODS, baseline, cut_prefixes, existing_baselines, prefix_masks
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Numbers of segments.
SEGMENT_COUNTS = (2, 3, 4, 6, 8, 12, 16, 32, 64, 128)


def first_plans(
    graph: Graph, profile: Callable[[Plan], NDArray[np.int64]], shared: NDArray[np.bool_] | None = None
) -> PlanTable:
    """Return the table of the plans that need no search.

    One plan keeps every value. Other plans are the baselines in ``SEED_METHODS``
    (:mod:`recompviz.core.plans.baselines`), as far as the graph has them. Each remaining plan divides the graph into up
    to 128 consecutive segments with about equal bytes, and keeps only the values that later segments read.

    Parameters
    ----------
    graph : Graph
    profile : callable (Plan) → numpy.ndarray of int64
        Returns for each step of the plan's schedule (one step per operator call) the largest number of bytes alive,
        parameters included.
    shared : numpy.ndarray of bool, optional
        As for :meth:`PlanTable.of`.

    Returns
    -------
    PlanTable
        The plans with their peaks, by rising overhead. Its objective is ``"time"``.

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
    if not len(graph):
        return PlanTable.of(graph, "time", [], profile, shared=shared)
    prefixes = _prefixes(graph)
    sizes = [graph.memory_of(mask) for mask in prefixes]
    whole = graph.memory_of(graph.everything)
    plans = []
    for count in SEGMENT_COUNTS:
        ends = sorted({bisect_left(sizes, whole * i / count) for i in range(1, count)} - {len(sizes)})
        plans.append(Plan.from_masks(graph, [*(prefixes[i] for i in ends), graph.everything]))
    plans += existing_baselines(SEED_METHODS, partial(baseline, graph))
    return PlanTable.of(graph, "time", plans, profile, shared=shared)


def _prefixes(graph: Graph) -> list[int]:
    """Return the lower sets at which a segment may end, as bit masks in rising order, without ∅ and V."""
    prefixes = cut_prefixes(graph)
    if len(prefixes) >= SEGMENT_COUNTS[-1]:
        return prefixes
    return prefix_masks(graph)[:-1]
