"""``step_strategy``: walk through the canonical strategy of one plan, or of several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
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
    """Step through a canonical strategy, forth and back: what is computed, discarded, recomputed, and what it takes.

    Parameters
    ----------
    graph : Graph or str
        At most 16 nodes, or the name of a small graph.
    sequence : sequence of sets of node names, or Plan, optional
        The lower sets L₁ ⊊ … ⊊ V; V may be left out. Without it the time-centric and the memory-centric plan are shown
        side by side.
    budget : int or str, optional
        For these two: formula bytes; left out, the least budget at which they differ.

    Raises
    ------
    ValueError
        If the sequence is none, or the graph is too large to show.
    InfeasibleBudget
        If no plan fits the budget.

    Examples
    --------
    >>> step_strategy("diamond", [{"a"}, {"a", "b", "c", "d"}])
    Stepper(Strategy stepper, overhead 3, peak 11: Step 17 of 20. ...)
    """
    graph = small_graph(graph) if isinstance(graph, str) else graph
    if not 0 < len(graph) <= MOST_NODES:
        raise ValueError(f"a stepper shows 1 to {MOST_NODES} nodes, this graph has {len(graph)}; take a smaller one")
    if sequence is None:
        return Stepper([both_objectives(graph, budget)], "Strategy stepper")
    if budget is not None:
        raise ValueError("a budget chooses a plan and a sequence is one; give one of the two")
    plan = sequence if isinstance(sequence, Plan) else plan_of(graph, sequence)
    return Stepper([strategy_scene(canonical_strategy(plan), title_of(plan))], "Strategy stepper")


def title_of(plan: Plan) -> str:
    """A plan in a few words."""
    return f"overhead {plan.overhead:g}, peak {plan.peak}"


def plan_of(graph: Graph, sequence: Iterable[Iterable[Name]]) -> Plan:
    """The plan of a sequence; V is added where it is missing."""
    masks = [graph.mask(L) for L in sequence]
    if not masks or masks[-1] != graph.everything:
        masks.append(graph.everything)
    return Plan.from_masks(graph, masks)


def both_objectives(graph: Graph, budget: int | str | None) -> Scene:
    """The time-centric and the memory-centric plan under a budget, side by side."""
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
