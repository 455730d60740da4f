"""The captions of the strategy stepper: one or two sentences for each action."""

from __future__ import annotations

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.sets import set_text
from recompviz.core.teaching.strategy import Strategy
from recompviz.widgets.lessons.notation import SizeFormat, sub


def freed(strategy: Strategy, i: int) -> tuple[int, int]:
    """Return the values and the gradients that are live in state i − 1 but not in state i, as bit masks."""
    before, after = strategy.states[i - 1], strategy.states[i]
    return before.values & ~after.values, before.gradients & ~after.gradients


def names_of(graph: Graph, values: int, gradients: int) -> str:
    """Return the names of values and gradients as text. Both sets are bit masks of node numbers.

    Examples
    --------
    >>> names_of(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11, 0b10)
    'a, b, ∇b'
    """
    return ", ".join([*(str(graph.names[v]) for v in bits(values)), *(f"∇{graph.names[v]}" for v in bits(gradients))])


def strategy_caption(strategy: Strategy, i: int) -> str:
    """Return one or two sentences about the action that leads to state i of a strategy.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> from recompviz.core.plans.plan import Plan
    >>> from recompviz.core.teaching.strategy import canonical_strategy
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> strategy_caption(canonical_strategy(Plan.from_lower_sets(g, [{"a"}, {"a", "b"}])), 2)
    'Segment 1 is computed. Keep its boundary ∂(L₁) = {a}; there is nothing to discard.'
    """
    plan, state = strategy.plan, strategy.states[i]
    sizes = SizeFormat.of(plan.graph)
    graph, segment, k = plan.graph, state.segment, len(strategy.terms)
    name = graph.names[state.node] if state.node >= 0 else ""
    at_peak = " Live memory is now at the peak." if state.live == strategy.peak else ""
    if state.verb == "start":
        return "Nothing is computed yet: " + " ⊊ ".join(set_text(graph, mask) for mask in (0, *plan.masks)) + "."
    if state.verb == "compute":
        return f"Forward, segment {segment} of {k}: compute {name}.{at_peak}"
    if state.verb == "keep":
        boundary = set_text(graph, graph.boundary_mask(plan.masks[segment - 1]))
        then = f"discard {set_text(graph, state.discarded)}" if state.discarded else "there is nothing to discard"
        return f"Segment {segment} is computed. Keep its boundary ∂(L{sub(segment)}) = {boundary}; {then}.{at_peak}"
    if state.verb == "recompute":
        cost = f"{graph.time[state.node]:g}"
        return f"Backward, segment {segment} of {k}: recompute {name}, at cost {cost}.{at_peak}"
    if state.verb == "backward":
        return f"Backward, segment {segment} of {k}: compute the gradient of {name}.{at_peak}"
    gone = names_of(graph, *freed(strategy, i))
    if segment == 1:
        return (
            f"All gradients are computed; discard {gone}. Overhead {plan.overhead:g}, peak {sizes.full(strategy.peak)}."
        )
    kept = f"the cache U{sub(segment - 1)}"
    if state.gradients:
        kept += f", the gradients of {set_text(graph, state.gradients)}"
    if needed := state.values & ~state.cache:
        kept += f" and the values {set_text(graph, needed)}, which these gradients need"
    return f"Segment {segment} has run backward. Discard {gone or 'nothing'}; keep {kept}."
