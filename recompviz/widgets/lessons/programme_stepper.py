"""``step_programme``: a stepper that fills the tables of both dynamic programmes cell by cell."""

from __future__ import annotations

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import parse_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.programme import budget_free, per_budget
from recompviz.core.teaching.small_graphs import graph_of
from recompviz.widgets.lessons.notation import SizeFormat
from recompviz.widgets.lessons.programme_scene import programme_scene
from recompviz.widgets.lessons.stepper import Stepper


def step_programme(graph: Graph | str, budget: int | str | None = None) -> Stepper:
    """Show a widget that fills the tables of two dynamic programmes, one cell in each step.

    The first tab fills the table R(L, t), which serves all budgets, and draws the trade-off curve. The second tab fills
    the paper's table opt[L, t] for one budget. Each step shows the candidates for the value of a cell. The last steps
    show the path of each plan through the finished table.

    Parameters
    ----------
    graph : Graph or str
        A graph with at most 80 lower sets, or the name of a small graph: ``"chain"``, ``"diamond"``, ``"residual"``,
        ``"inception"``, ``"u-net"``, ``"branches"``, ``"uneven chain"``, ``"long skip"``,
        ``"transformer block"``.
    budget : int or str, optional
        Budget of the second tab, in bytes or as a size such as ``"3 GiB"``. Only values and their gradients count.
        Default: the peak of the plan in the middle of the time-centric curve.

    Returns
    -------
    Stepper
        A widget, shown if it is the last value of a notebook cell.

    Raises
    ------
    TooManyLowerSets
        If the graph has more than 80 lower sets.
    TypeError
        If ``graph`` is neither a Graph nor a name, or ``budget`` is neither a number nor a string.
    ValueError
        If there is no small graph of this name, if the budget is not a size, or if a table has more than 700 cells.
    InfeasibleBudget
        If no sequence fits the budget. The error has the least feasible budget.

    Examples
    --------
    >>> step_programme("diamond")
    Stepper(DP stepper, All budgets: Step 26 of 32. Walked back: ∅ ⊊ {a, c} ⊊ ... Overhead 1, peak 11.)
    """
    graph = graph_of(graph)
    every = budget_free(graph)
    peaks = [cell.value for cell in every.time_centric]
    chosen = peaks[len(peaks) // 2] if budget is None else parse_bytes(budget)
    if chosen < peaks[-1]:
        raise InfeasibleBudget(chosen, peaks[-1], "formula")
    one = per_budget(graph, chosen)
    scenes = [
        programme_scene(every, "All budgets"),
        programme_scene(one, f"One budget: {SizeFormat.of(graph).full(chosen)}"),
    ]
    return Stepper(scenes, "DP stepper")
