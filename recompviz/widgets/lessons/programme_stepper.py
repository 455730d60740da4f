"""``step_programme``: fill the tables of both dynamic programmes cell by cell."""

from __future__ import annotations

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import parse_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.programme import budget_free, per_budget
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.widgets.lessons.programme_scene import programme_scene
from recompviz.widgets.lessons.stepper import Stepper


def step_programme(graph: Graph | str, budget: int | str | None = None) -> Stepper:
    """Step through the dynamic programme: each cell with its candidates, then the finished table and the curve.

    The first tab fills R(L, t), which serves every budget. The second tab fills the paper's opt[L, t] for one budget.

    Parameters
    ----------
    graph : Graph or str
        A graph with at most 80 lower sets, or the name of a small graph.
    budget : int or str, optional
        Budget of the second tab, formula bytes. Default: the middle of the time-centric curve.

    Returns
    -------
    Stepper
        A widget for a notebook cell.

    Raises
    ------
    TooManyLowerSets, ValueError
        If the table is too large to step through.
    InfeasibleBudget
        If no sequence fits the budget.

    Examples
    --------
    >>> step_programme("diamond")
    Stepper(DP stepper, All budgets: Step 26 of 32. Walked back: ∅ ⊊ {a, c} ⊊ ... Overhead 1, peak 11.)
    """
    graph = small_graph(graph) if isinstance(graph, str) else graph
    every = budget_free(graph)
    peaks = [cell.value for cell in every.time_centric]
    chosen = peaks[len(peaks) // 2] if budget is None else parse_bytes(budget)
    if chosen < peaks[-1]:
        raise InfeasibleBudget(chosen, peaks[-1], "formula")
    one = per_budget(graph, chosen)
    scenes = [programme_scene(every, "All budgets"), programme_scene(one, f"One budget: {chosen}")]
    return Stepper(scenes, "DP stepper")
