"""The canonical strategy of a lower-set sequence, one action at a time.

A sequence ∅ = L₀ ⊊ L₁ ⊊ … ⊊ L_k = V has the segments V_i = L_i ∖ L_{i−1}. The boundary ∂(L) consists of the nodes of L
with a successor outside L. U_i = ∂(L₁) ∪ … ∪ ∂(L_i) is the cache after segment i. δ⁺(S) are the successors of a set S,
and δ⁻(S) its predecessors.

The forward pass goes through the segments i = 1 … k. It computes V_i, then discards V_i except ∂(L_i). The backward
pass goes through the segments i = k … 1. It recomputes V_i ∖ U_k and runs backward over V_i. It then keeps only
U_{i−1}, the gradients of δ⁺(L_{i−1})∖L_{i−1} and the values of δ⁻(δ⁺(L_{i−1}))∖L_{i−1}. In this model every value has a
gradient of the same size, computed when the backward pass reaches the value. The largest live memory is then the peak
by the paper's formula.

Each state also has the live memory of the same actions with liveness analysis, where every value and gradient is freed
right after its last use.

Source: Kusumoto et al. 2019, section 3 and section 4.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from recompviz.core.base.errors import PlanMismatch
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.formula import SegmentTerms, segment_terms
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import with_everything

Verb = Literal["start", "compute", "keep", "recompute", "backward", "release"]


@dataclass(frozen=True)
class State:
    """The live values and gradients right after one action of a canonical strategy.

    A plan divides the nodes into segments V₁ … V_k. L_i is the union of V₁ … V_i, ∂(L_i) the boundary of L_i, and U_k
    the union of all boundaries. Sets of nodes are bit masks.

    Attributes
    ----------
    verb : "start", "compute", "keep", "recompute", "backward" or "release"
        The action. ``keep`` ends the forward pass of a segment: V_i is discarded except ∂(L_i). ``release`` ends the
        backward pass of a segment.
    node : int
        The node that is computed, recomputed or run backward; −1 if the action applies to a whole segment.
    segment : int
        The number i of the segment, counted from 1; 0 at the start.
    values : int
        The nodes whose value is live.
    gradients : int
        The nodes whose gradient is live.
    cache : int
        The nodes of U_k whose value is live.
    recomputed : int
        The nodes whose live value has been recomputed.
    done : int
        The nodes whose gradient has been computed, whether it is live or not.
    discarded : int
        The nodes whose value or gradient this action discards.
    overhead : float
        The cost T of all recomputations so far.
    live : int
        The size M of the live values and gradients, in bytes.
    live_until_last_use : int
        The live memory during this action (not after it), in bytes, if every value and gradient is freed right after
        the action that uses it last.
    """

    verb: Verb
    node: int
    segment: int
    values: int
    gradients: int
    cache: int
    recomputed: int
    done: int
    discarded: int
    overhead: float
    live: int
    live_until_last_use: int = 0


@dataclass(frozen=True, eq=False)
class Strategy:
    """The canonical strategy of a plan, as the states after each action.

    Attributes
    ----------
    plan : Plan
        A plan that is a lower-set sequence.
    states : tuple of State
        The state at the start, and the state after each action.
    terms : tuple of SegmentTerms
        For each segment, the four terms of the paper's peak formula.
    """

    plan: Plan
    states: tuple[State, ...]
    terms: tuple[SegmentTerms, ...]

    @property
    def peak(self) -> int:
        """The largest live memory in bytes of values and gradients. It equals ``plan.peak``."""
        return max(state.live for state in self.states)

    @property
    def peak_with_liveness(self) -> int:
        """The largest live memory, in bytes, if every value and gradient is freed right after its last use."""
        return max(state.live_until_last_use for state in self.states)


def plan_of(graph: Graph, sequence: Plan | Iterable[Iterable[Name]]) -> Plan:
    """Return the plan of a lower-set sequence. If a plan is given, return this plan.

    The set of all nodes may be left out at the end of a sequence.

    Raises
    ------
    PlanMismatch
        If the plan was made for another graph.
    GraphError
        If a name is not a node.
    ValueError
        If the sequence is not a lower-set sequence.
    TypeError
        If ``sequence`` is neither a Plan nor a sequence of sets.
    """
    if not isinstance(sequence, Plan):
        return Plan.from_masks(graph, with_everything(graph, [graph.mask(L) for L in sequence]))
    if not sequence.graph.same_as(graph):
        raise PlanMismatch("the plan was made for another graph; give plan.graph as the graph, or a plan of this one")
    return sequence


def canonical_strategy(plan: Plan) -> Strategy:
    """Simulate the canonical strategy of a plan and record the state after each action.

    The forward pass computes one segment after the other, and then keeps only the values that later segments read. The
    backward pass recomputes the discarded values of each segment when it reaches the segment.

    Parameters
    ----------
    plan : Plan
        A plan that is a lower-set sequence.

    Returns
    -------
    Strategy

    Raises
    ------
    ValueError
        If the plan is not a lower-set sequence.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> strategy = canonical_strategy(Plan.from_lower_sets(g, [{"a"}, {"a", "b"}]))
    >>> [f"{m.verb} {g.names[m.node]}" if m.node >= 0 else m.verb for m in strategy.states]
    ['start', 'compute a', 'keep', 'compute b', 'keep', 'recompute b', 'backward b', 'release', 'backward a', 'release']
    >>> strategy.peak, strategy.states[-1].overhead
    (3, 1.0)
    """
    if plan.kind != "canonical":
        raise ValueError(f"a {plan.kind!r} plan has no canonical strategy; use the plan of a lower-set sequence")
    graph, masks = plan.graph, (0, *plan.masks)
    kept = graph.mask(plan.keep)
    values = gradients = recomputed = done = 0
    overhead = 0.0
    states = [State("start", -1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0)]

    def record(verb: Verb, node: int, segment: int, discarded: int = 0) -> None:
        live = graph.memory_of(values) + graph.memory_of(gradients)
        states.append(
            State(
                verb, node, segment, values, gradients, values & kept, recomputed, done, discarded, overhead, live
            )
        )  # fmt: skip

    cached = [0]  # U_0 … U_k
    for mask in masks[1:]:
        cached.append(cached[-1] | graph.boundary_mask(mask))
    order = graph.order
    for i in range(1, len(masks)):
        part = masks[i] & ~masks[i - 1]
        for v in order:
            if part >> v & 1:
                values |= 1 << v
                record("compute", v, i)
        discarded = values & ~cached[i]
        values &= cached[i]
        record("keep", -1, i, discarded)
    for i in range(len(masks) - 1, 0, -1):
        part = masks[i] & ~masks[i - 1]
        for v in order:
            if (part & ~kept) >> v & 1:
                recomputed |= ~values & 1 << v
                values |= 1 << v
                overhead += float(graph.time[v])
                record("recompute", v, i)
        for v in reversed(order):
            if part >> v & 1:
                gradients |= 1 << v
                done |= 1 << v
                record("backward", v, i)
        before = masks[i - 1]
        inflow = 0
        for v in bits(before):
            inflow |= graph.successors[v] & ~before
        needed = 0
        for w in bits(inflow):
            needed |= graph.predecessors[w] & ~before
        discarded = values & ~(cached[i - 1] | needed) | gradients & ~inflow
        values &= cached[i - 1] | needed
        gradients &= inflow
        recomputed &= values
        record("release", -1, i, discarded)
    states = _with_liveness(graph, states)
    return Strategy(plan, tuple(states), segment_terms(graph, masks[1:]))


def keep_all_states(graph: Graph) -> tuple[State, ...]:
    """Return the states of a training step that keeps every value, in the memory model of a canonical strategy.

    All values and gradients stay in memory until the end of the step. The largest live memory is therefore 2 M(V),
    twice the size of all values.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    tuple of State
        The state at the start, after each value, after each gradient, and after the release at the end. All values
        count as ``cache``.

    Examples
    --------
    >>> states = keep_all_states(Graph.from_edges([("a", "b")], memory=dict(a=1, b=2)))
    >>> [(state.verb, state.live) for state in states]
    [('start', 0), ('compute', 1), ('compute', 3), ('backward', 5), ('backward', 6), ('release', 0)]
    """
    states = [State("start", -1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0)]
    values = gradients = 0
    for v in graph.order:
        values |= 1 << v
        states.append(State("compute", v, 1, values, 0, values, 0, 0, 0, 0.0, graph.memory_of(values)))
    for v in reversed(graph.order):
        gradients |= 1 << v
        live = graph.memory_of(values) + graph.memory_of(gradients)
        states.append(State("backward", v, 1, values, gradients, values, 0, gradients, 0, 0.0, live))
    states.append(State("release", -1, 1, 0, 0, 0, 0, gradients, values, 0.0, 0))
    return tuple(_with_liveness(graph, states))


def _with_liveness(graph: Graph, states: Sequence[State]) -> list[State]:
    """Return the states with ``live_until_last_use`` filled in.

    A block lives from its computation to the last action that reads it before the strategy discards it. The backward
    action of v reads the gradients of v's successors, and the values of all predecessors of these successors.
    """
    born: dict[tuple[str, int], int] = {}
    spans: list[tuple[int, int, int]] = []  # first and last action, bytes
    last: dict[tuple[str, int], int] = {}

    def read(kind: str, mask: int, at: int) -> None:
        for v in bits(mask):
            last[kind, v] = at

    def end(kind: str, v: int) -> None:
        spans.append((born.pop((kind, v)), last.pop((kind, v)), int(graph.memory[v])))

    for at, state in enumerate(states):
        v = state.node
        if state.verb in ("compute", "recompute"):
            read("value", graph.predecessors[v], at)
            born["value", v] = last["value", v] = at
        elif state.verb == "backward":
            after = graph.successors[v]
            for w in bits(after):
                read("value", graph.predecessors[w], at)
            read("gradient", after, at)
            born["gradient", v] = last["gradient", v] = at
        for kind, alive in (("value", state.values), ("gradient", state.gradients)):
            for w in [w for k, w in born if k == kind and not alive >> w & 1]:
                end(kind, w)
    for kind, v in list(born):
        end(kind, v)
    live = [sum(size for first, until, size in spans if first <= at <= until) for at in range(len(states))]
    return [replace(state, live_until_last_use=size) for state, size in zip(states, live, strict=True)]
