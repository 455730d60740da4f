"""Find the plans of one region within a given time, for costs that may be measured milliseconds.

A *region* is a part of a model that runs under its own plan, for example one graph that ``torch.compile`` captured.

The exact solver is fast only for costs that are small integers. It therefore solves the graph with rounded costs. A
search with a time limit then simulates the memory of plans. It starts from the solver's plans, and from plans that
need no search.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.compiled_code import has_numba
from recompviz.core.exact.solver import solve
from recompviz.core.live.live_search import live_plans
from recompviz.core.plans.baselines import SEED_METHODS, baseline, chen_plans, existing_baselines
from recompviz.core.plans.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

# Rounded costs of a whole forward pass; the exact solver's curve has at most as many points.
ROUNDED_TIME = 300
# Larger graphs are seeded without the formula's optima.
MOST_SEEDED_NODES = 3000


def region_masks(
    graph: Graph, joint: JointGraph, seconds: float, seeds: Iterable[NDArray[np.bool_]] = ()
) -> list[NDArray[np.bool_]]:
    """Return the keep masks of a region's plans, without repeats. The first plan keeps every value.

    A keep mask has one bool for each node: whether the plan keeps the node's value for the backward pass.

    Parameters
    ----------
    graph : Graph
        The costs ``graph.time`` may be real numbers.
    joint : JointGraph
        The joint graph on which plans are simulated, for example from :func:`region_in_step`.
    seconds : float
        Processor time of the search by simulation, in seconds. With 0, or without numba, there is no such search.
    seeds : iterable of numpy.ndarray of bool, shape (#V,)
        The keep masks of plans that are already known. The search starts from them too.

    Returns
    -------
    list of numpy.ndarray of bool
        After a search, the plans that it found, by rising overhead and falling simulated peak. Without a search, the
        seeds, baselines, and plans that the exact solver found for rounded costs, in no particular order.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> graph, joint = chain_step(sizes=[4, 4, 4, 4])
    >>> masks = region_masks(graph, joint, seconds=0)
    >>> bool(masks[0].all()), len(masks) > 1
    (True, True)
    """
    keep_all = Plan.keep_all(graph)
    if len(graph) == 0:
        return [keep_all.keep_mask]
    plans = [keep_all, Plan.from_keep_mask(graph, np.zeros(len(graph), np.bool_), "none")]
    plans += [Plan.from_keep_mask(graph, mask, "seed") for mask in seeds]
    plans += [*existing_baselines(SEED_METHODS, partial(baseline, graph)), *chen_plans(graph)]
    if len(graph) <= MOST_SEEDED_NODES:
        rounded = replace(graph, time=_rounded(graph.time))
        curve = solve(rounded, "prefixes")
        plans += [plan.on(graph) for plan in (*curve.plans("time"), *curve.plans("memory"))]
    if seconds > 0 and has_numba():
        plans = [keep_all, *live_plans(graph, joint, plans, seconds=seconds)]
    unique = {plan.keep_mask.tobytes(): plan.keep_mask for plan in plans}
    return list(unique.values())


def _rounded(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return whole numbers in proportion to the costs, with a sum of about ``ROUNDED_TIME``."""
    whole = float(time.sum())
    if whole <= 0:
        return np.ones_like(time)
    return np.maximum(np.round(time / whole * ROUNDED_TIME), time > 0).astype(np.float64)
