"""``step_strategy``: a stepper through the canonical strategy of one plan, or of two plans side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.small_graphs import graph_of
from recompviz.core.teaching.strategy import canonical_strategy, plan_of
from recompviz.widgets.lessons.notation import SizeFormat
from recompviz.widgets.lessons.scene import Scene, beside
from recompviz.widgets.lessons.stepper import Stepper
from recompviz.widgets.lessons.strategy_scene import strategy_scene

MOST_NODES = 16


def step_strategy(
    graph: Graph | str,
    sequence: Iterable[Iterable[Name]] | Plan | None = None,
    *,
    budget: int | str | None = None,
    predict: bool = False,
) -> Stepper:
    """Show a widget that steps through the training step of a plan, one computation or deletion at a time.

    The actions are those of the paper's canonical strategy. Each step shows the live values and gradients, the live
    memory, and the terms of the peak formula.

    Parameters
    ----------
    graph : Graph or str
        A graph of 1 to 16 nodes, or the name of a small graph: ``"chain"``, ``"diamond"``, ``"residual"``,
        ``"inception"``, ``"u-net"``, ``"branches"``, ``"uneven chain"``, ``"long skip"``,
        ``"transformer block"``.
    sequence : sequence of sets of node names, or Plan, optional
        The lower sets L₁ ⊊ … ⊊ V. V, the set of all nodes, may be left out. Default: the widget shows two plans of
        ``budget`` side by side, the time-centric and the memory-centric one.
    budget : int or str, optional
        Budget in bytes, or as a size such as ``"3 GiB"``. Only values and their gradients count. Not allowed with
        ``sequence``. Default: a budget at which the two plans have different overheads. The least peak of a
        memory-centric plan with this property is used, or the least feasible budget if there is none.
    predict : bool
        Whether the reader is asked before each step how much memory will be live, or what will be freed. The reader
        can switch this off and on. Without ``sequence``, no questions are asked.

    Returns
    -------
    Stepper
        A widget, shown if it is the last value of a notebook cell.

    Raises
    ------
    ValueError
        If ``sequence`` is not a lower-set sequence, ``budget`` is not a size, or both are given. Also if the graph is
        empty or has more than 16 nodes, or if there is no small graph of this name.
    TypeError
        If ``graph`` is neither a Graph nor a name, ``sequence`` is neither a Plan nor a sequence of sets, or ``budget``
        is neither a number nor a string.
    PlanMismatch
        If ``sequence`` is a plan of another graph.
    InfeasibleBudget
        If no plan fits the budget. The error has the least feasible budget.

    Examples
    --------
    >>> step_strategy("diamond", [{"a"}, {"a", "b", "c", "d"}])
    Stepper(Strategy stepper, 3 segments, overhead 3: Step 17 of 20. ...)
    """
    graph = graph_of(graph)
    if not 0 < len(graph) <= MOST_NODES:
        raise ValueError(f"a stepper shows 1 to {MOST_NODES} nodes, this graph has {len(graph)}; use a smaller graph")
    if sequence is None:
        return Stepper([both_objectives(graph, budget)], "Strategy stepper")
    if budget is not None:
        raise ValueError(
            "got both a sequence and a budget; give the sequence alone, or the budget alone to show its two optima"
        )
    plan = plan_of(graph, sequence)
    count = len(plan.masks)
    title = f"{count} segment{'' if count == 1 else 's'}, overhead {plan.overhead:g}"
    return Stepper([strategy_scene(canonical_strategy(plan), title)], "Strategy stepper", predict=predict)


def both_objectives(graph: Graph, budget: int | str | None) -> Scene:
    """Return a scene that shows the time-centric and the memory-centric plan of a budget side by side.

    Parameters
    ----------
    graph : Graph
    budget : int, str or None
        As for :func:`step_strategy`, which also lists the errors.
    """
    curve = solve(graph, "all")
    if budget is None:
        peaks: Sequence[int] = sorted({int(p) for p in curve.memory_centric.peaks})
        differ = [p for p in peaks if curve.plan(p).overhead != curve.plan(p, "memory").overhead]
        budget = differ[0] if differ else peaks[0]
    scenes = [
        strategy_scene(canonical_strategy(curve.plan(budget, "time")), "Time-centric", stacked=True),
        strategy_scene(canonical_strategy(curve.plan(budget, "memory")), "Memory-centric", stacked=True),
    ]
    shown = budget if isinstance(budget, str) else SizeFormat.of(graph).full(budget)
    return beside(scenes, f"Time-centric and memory-centric under budget {shown}")
