"""The canonical strategy of a lower-set sequence, one action at a time.

Forward: for i = 1 … k compute V_i, then discard all of V_i but ∂(L_i). Backward: for i = k … 1 recompute V_i ∖ U_k, run
backward over V_i, then keep only U_{i−1}, the gradients of δ⁺(L_{i−1})∖L_{i−1} and the values of
δ⁻(δ⁺(L_{i−1}))∖L_{i−1}. Beside it the same actions with each block freed right after its last use (liveness analysis).

The most memory that is ever live is the peak of the formula, in this model: every value has a gradient of its own size,
computed at the value's own turn.

Source: Kusumoto et al. 2019, section 3 and section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.formula import SegmentTerms, segment_terms
from recompviz.core.plans.plan import Plan

Verb = Literal["start", "compute", "keep", "recompute", "backward", "release"]


@dataclass(frozen=True)
class Moment:
    """The state right after one action; sets as masks, memory in formula bytes.

    Attributes
    ----------
    verb : "start", "compute", "keep", "recompute", "backward" or "release"
        ``keep`` ends a forward segment: all of V_i but ∂(L_i) is discarded. ``release`` ends a backward segment.
    node : int
        The node computed, recomputed or run backward; −1 where the action is about a whole segment.
    segment : int
        i, counted from 1; 0 at the start.
    values, gradients : int
        What is live.
    cache : int
        Those of the live values that are in U_k.
    again : int
        Those of the live values that were computed for the second time.
    done : int
        The nodes whose gradient has been computed.
    discarded : int
        The values and gradients (of these nodes) that this action let go.
    overhead : float
        T of what has been recomputed so far.
    live : int
        M of what is live.
    frugal : int
        M of what would be live if each block were freed right after its last use.
    """

    verb: Verb
    node: int
    segment: int
    values: int
    gradients: int
    cache: int
    again: int
    done: int
    discarded: int
    overhead: float
    live: int
    frugal: int = 0


@dataclass(frozen=True, eq=False)
class Strategy:
    """A plan's canonical strategy.

    Attributes
    ----------
    plan : Plan
    moments : tuple of Moment
    terms : tuple of SegmentTerms
        Of segments 1 … k.
    """

    plan: Plan
    moments: tuple[Moment, ...]
    terms: tuple[SegmentTerms, ...]

    @property
    def peak(self) -> int:
        """The most that is ever live, formula bytes; equals ``plan.peak``."""
        return max(moment.live for moment in self.moments)

    @property
    def frugal_peak(self) -> int:
        """The most that is ever live when each block is freed right after its last use, formula bytes."""
        return max(moment.frugal for moment in self.moments)


def canonical_strategy(plan: Plan) -> Strategy:
    """All moments of the canonical strategy of a plan.

    Raises
    ------
    ValueError
        If the plan is not of a lower-set sequence.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> strategy = canonical_strategy(Plan.from_lower_sets(g, [{"a"}, {"a", "b"}]))
    >>> [f"{m.verb} {g.names[m.node]}" if m.node >= 0 else m.verb for m in strategy.moments]
    ['start', 'compute a', 'keep', 'compute b', 'keep', 'recompute b', 'backward b', 'release', 'backward a', 'release']
    >>> strategy.peak, strategy.moments[-1].overhead
    (3, 1.0)
    """
    if plan.kind != "canonical":
        raise ValueError(f"a {plan.kind!r} plan has no canonical strategy; take one of a lower-set sequence")
    graph, masks = plan.graph, (0, *plan.masks)
    kept = graph.mask(plan.keep)
    values = gradients = again = done = 0
    overhead = 0.0
    moments = [Moment("start", -1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0)]

    def tell(verb: Verb, node: int, segment: int, discarded: int = 0) -> None:
        live = graph.memory_of(values) + graph.memory_of(gradients)
        moments.append(
            Moment(
                verb, node, segment, values, gradients, values & kept, again, done, discarded, overhead, live
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
                tell("compute", v, i)
        let_go = values & ~cached[i]
        values &= cached[i]
        tell("keep", -1, i, let_go)
    for i in range(len(masks) - 1, 0, -1):
        part = masks[i] & ~masks[i - 1]
        for v in order:
            if (part & ~kept) >> v & 1:
                again |= ~values & 1 << v
                values |= 1 << v
                overhead += float(graph.time[v])
                tell("recompute", v, i)
        for v in reversed(order):
            if part >> v & 1:
                gradients |= 1 << v
                done |= 1 << v
                tell("backward", v, i)
        before = masks[i - 1]
        inflow = 0
        for v in bits(before):
            inflow |= graph.successors[v] & ~before
        beside = 0
        for w in bits(inflow):
            beside |= graph.predecessors[w] & ~before
        let_go = values & ~(cached[i - 1] | beside) | gradients & ~inflow
        values &= cached[i - 1] | beside
        gradients &= inflow
        again &= values
        tell("release", -1, i, let_go)
    moments = _with_last_uses(graph, moments)
    return Strategy(plan, tuple(moments), segment_terms(graph, masks[1:]))


def _with_last_uses(graph: Graph, moments: Sequence[Moment]) -> list[Moment]:
    """The moments with ``frugal`` filled in: the same actions, each block freed right after its last use.

    A block is a value between its computation and where the strategy lets it go, or a gradient. The
    backward of v reads the gradients of v's successors and the values of all their predecessors.
    """
    born: dict[tuple[str, int], int] = {}
    spans: list[tuple[int, int, int]] = []  # first and last action, bytes
    last: dict[tuple[str, int], int] = {}

    def read(kind: str, mask: int, at: int) -> None:
        for v in bits(mask):
            last[kind, v] = at

    def end(kind: str, v: int) -> None:
        spans.append((born.pop((kind, v)), last.pop((kind, v)), int(graph.memory[v])))

    for at, moment in enumerate(moments):
        v = moment.node
        if moment.verb in ("compute", "recompute"):
            read("value", graph.predecessors[v], at)
            born["value", v] = last["value", v] = at
        elif moment.verb == "backward":
            after = graph.successors[v]
            for w in bits(after):
                read("value", graph.predecessors[w], at)
            read("gradient", after, at)
            born["gradient", v] = last["gradient", v] = at
        for kind, live in (("value", moment.values), ("gradient", moment.gradients)):
            for w in [w for k, w in born if k == kind and not live >> w & 1]:
                end(kind, w)
    for kind, v in list(born):
        end(kind, v)
    frugal = [sum(size for first, until, size in spans if first <= at <= until) for at in range(len(moments))]
    return [replace(moment, frugal=bytes_) for moment, bytes_ in zip(moments, frugal, strict=True)]
