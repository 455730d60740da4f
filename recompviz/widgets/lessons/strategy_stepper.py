"""``step_strategy``: step through the canonical strategy of one plan, or of two plans side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import with_everything
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.core.teaching.strategy import canonical_strategy
from recompviz.widgets.lessons.scene import Scene, beside
from recompviz.widgets.lessons.stepper import Stepper
from recompviz.widgets.lessons.strategy_scene import strategy_scene

MOST_NODES = 16


def step_strategy(
    graph: Graph | str,
    sequence: Iterable[Iterable[Name]] | Plan | None = None,
    *,
    budget: int | str | None = None,
) -> Stepper:
    """Step through a canonical strategy: what each action computes or discards, and the memory that is live.

    Parameters
    ----------
    graph : Graph or str
        A graph of at most 16 nodes, or the name of a small graph.
    sequence : sequence of sets of node names, or Plan, optional
        The lower sets L₁ ⊊ … ⊊ V; V may be left out. Default: the time-centric and the memory-centric plan, side by
        side.
    budget : int or str, optional
        Budget of these two plans, formula bytes. Default: the least budget at which their overheads differ.

    Returns
    -------
    Stepper
        A widget for a notebook cell.

    Raises
    ------
    ValueError
        If the sequence is not a lower-set sequence, the graph is too large to show, or both a sequence and a budget
        are given.
    InfeasibleBudget
        If no plan fits the budget.

    Examples
    --------
    >>> step_strategy("diamond", [{"a"}, {"a", "b", "c", "d"}])
    Stepper(Strategy stepper, overhead 3, peak 11: Step 17 of 20. ...)
    """
    graph = small_graph(graph) if isinstance(graph, str) else graph
    if not 0 < len(graph) <= MOST_NODES:
        raise ValueError(f"a stepper shows 1 to {MOST_NODES} nodes, this graph has {len(graph)}; use a smaller graph")
    if sequence is None:
        return Stepper([both_objectives(graph, budget)], "Strategy stepper")
    if budget is not None:
        raise ValueError(
            "got both a sequence and a budget; give the sequence alone, or the budget alone to show its two optima"
        )
    plan = sequence
    if not isinstance(plan, Plan):
        plan = Plan.from_masks(graph, with_everything(graph, [graph.mask(L) for L in plan]))
    title = f"overhead {plan.overhead:g}, peak {plan.peak}"
    return Stepper([strategy_scene(canonical_strategy(plan), title)], "Strategy stepper")


def both_objectives(graph: Graph, budget: int | str | None) -> Scene:
    """Show the time-centric and the memory-centric plan under a budget side by side."""
    curve = solve(graph, "all")
    if budget is None:
        peaks: Sequence[int] = sorted({int(p) for p in curve.memory_centric.peaks})
        differ = [p for p in peaks if curve.plan(p).overhead != curve.plan(p, "memory").overhead]
        budget = differ[0] if differ else peaks[0]
    scenes = [
        strategy_scene(canonical_strategy(curve.plan(budget, "time")), "Time-centric"),
        strategy_scene(canonical_strategy(curve.plan(budget, "memory")), "Memory-centric"),
    ]
    return beside(scenes, f"Time-centric and memory-centric under budget {budget}")
