"""``step_budgets``: a stepper with one step for each budget, which draws the plan of this budget in four ways."""

from __future__ import annotations

from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.programme import budget_free
from recompviz.core.teaching.small_graphs import graph_of
from recompviz.widgets.lessons.budget_scene import budget_scene
from recompviz.widgets.lessons.stepper import Stepper


def step_budgets(graph: Graph | str) -> Stepper:
    """Show a widget with a slider for the budget. The widget draws the time-centric plan of this budget in four ways.

    The time-centric plan is the plan of least overhead. It is drawn as a point of the trade-off curve, as the live
    memory over a training step, as the graph with the kept and the recomputed values, and as a path through the lattice
    of all lower sets. At the lowest position of the slider, the budget is infeasible, and there is no plan.

    Parameters
    ----------
    graph : Graph or str
        A graph with at least one node and at most 80 lower sets, or the name of a small graph: ``"chain"``,
        ``"diamond"``, ``"residual"``, ``"inception"``, ``"u-net"``, ``"branches"``, ``"uneven chain"``,
        ``"long skip"``, ``"transformer block"``.

    Returns
    -------
    Stepper
        A widget, shown if it is the last value of a notebook cell.

    Raises
    ------
    TooManyLowerSets
        If the graph has more than 80 lower sets.
    TypeError
        If ``graph`` is neither a Graph nor a name.
    ValueError
        If the graph has no node, or if no small graph has this name. Also if the table of the dynamic programme has
        more than 700 cells.

    Examples
    --------
    >>> step_budgets("diamond")
    Stepper(Budget stepper, One budget: Step 3 of 5. Budget 10: the least overhead is 2, at peak 10 ...)
    """
    graph = graph_of(graph)
    if not len(graph):
        raise ValueError("the graph has no node, so it has no budget; give a graph with at least one node")
    stepper = Stepper([budget_scene(budget_free(graph))], "Budget stepper")
    stepper.frame = stepper.scenes[0].still  # a plan first: the least budget is infeasible
    return stepper
