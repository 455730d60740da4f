"""The definitions of the paper, taken literally: lower sets, boundaries, the peak formula, and lifetimes of values.

Sets are frozensets of node numbers, and every search tries everything. This module does not use recompviz, so that its
results are an independent check of recompviz. A graph is a :class:`Dag`. All functions are meant for graphs of a few
nodes. δ⁺(S) are the nodes that read a node of the set S, and δ⁻(S) the nodes that a node of S reads.

Source: Kusumoto et al. 2019, sections 2 to 4; Chen et al. 2016, Algorithm 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

Nodes = frozenset[int]


class Point(NamedTuple):
    """Overhead T(V ∖ U_k) and formula peak of a lower-set sequence."""

    overhead: float
    peak: int


class Dag:
    """A directed acyclic graph of nodes 0 … n − 1 with sizes M_v and costs T_v.

    Parameters
    ----------
    edges : iterable of (int, int)
        Pairs (u, v) for which node v reads node u.
    memory : sequence of int
        M_v of each node.
    time : sequence of float
        T_v of each node.
    order : sequence of int
        The nodes in the order in which they run.

    Raises
    ------
    ValueError
        If ``order`` is not a topological order of the nodes.
    """

    def __init__(
        self, edges: Iterable[tuple[int, int]], memory: Sequence[int], time: Sequence[float], order: Sequence[int]
    ) -> None:
        self.edges, self.memory, self.time = set(edges), list(memory), list(time)
        self.all: Nodes = frozenset(range(len(memory)))
        self.before = {v: frozenset(a for a, b in self.edges if b == v) for v in self.all}
        self.after = {v: frozenset(b for a, b in self.edges if a == v) for v in self.all}
        self.order = list(order)
        place = {v: i for i, v in enumerate(self.order)}
        if set(place) != self.all or any(place[a] >= place[b] for a, b in self.edges):
            raise ValueError(f"{self.order} is not a topological order")

    def bytes_of(self, nodes: Iterable[int]) -> int:
        """M(S), the sum of the sizes of the nodes S."""
        return sum(self.memory[v] for v in nodes)

    def cost_of(self, nodes: Iterable[int]) -> float:
        """T(S), the sum of the costs of the nodes S."""
        return sum(self.time[v] for v in sorted(nodes))

    @cached_property
    def lower_sets(self) -> list[Nodes]:
        """Every set that no edge enters from outside, smallest first."""
        found = {frozenset[int]()}
        while True:
            larger = {S | {v} for S in found for v in self.all - S if self.before[v] <= S}
            if larger <= found:
                return sorted(found, key=len)
            found |= larger

    def nested(self) -> set[Nodes]:
        """The family of the paper's approximate method: for each v the nodes from which v is reachable, ∅ and V."""
        family = {frozenset[int](), self.all}
        for v in self.all:
            reached = {v}
            while more := {a for a, b in self.edges if b in reached} - reached:
                reached |= more
            family.add(frozenset(reached))
        return family

    def boundary(self, lower: Nodes) -> Nodes:
        """∂(L) = δ⁻(V∖L) ∩ L, the nodes of L that a node outside L reads."""
        return frozenset(a for a, b in self.edges if a in lower and b not in lower)

    def terms_after(self, lower: Nodes) -> int:
        """M(δ⁺(L)∖L) + M(δ⁻(δ⁺(L))∖L), the last two terms of the peak formula."""
        outside = {b for a, b in self.edges if a in lower and b not in lower}
        beside = {a for a, b in self.edges if b in outside and a not in lower}
        return self.bytes_of(outside) + self.bytes_of(beside)

    def kept(self, sequence: Iterable[Nodes]) -> Nodes:
        """U_k, the union of the boundaries of a sequence of lower sets."""
        return frozenset().union(*map(self.boundary, sequence))

    def point(self, sequence: Sequence[Nodes]) -> Point:
        """The overhead and the formula peak of a sequence L_1 ⊊ … ⊊ L_k = V.

        Raises
        ------
        ValueError
            If the sequence is no such sequence of lower sets.
        """
        peak, earlier, previous = 0, frozenset[int](), frozenset[int]()
        for lower in sequence:
            if not previous < lower or any(self.before[v] - lower for v in lower):
                raise ValueError(f"{sequence} is no lower-set sequence")
            peak = max(peak, self.bytes_of(earlier) + 2 * self.bytes_of(lower - previous) + self.terms_after(lower))
            earlier, previous = earlier | self.boundary(lower), lower
        if previous != self.all:
            raise ValueError(f"{sequence} does not end with V")
        return Point(self.cost_of(self.all - earlier), peak)

    # ---------------------------------------------------------------- every sequence

    def sequences(self, family: Collection[Nodes]) -> Iterator[list[Nodes]]:
        """Every sequence L_1 ⊊ … ⊊ L_k = V of sets of a family."""

        def longer(start: list[Nodes], last: Nodes) -> Iterator[list[Nodes]]:
            if last == self.all:
                yield start
            for lower in family:
                if last < lower:
                    yield from longer([*start, lower], lower)

        return longer([], frozenset())

    def points(
        self, family: Iterable[Nodes], keep: Nodes = frozenset(), recompute: Nodes = frozenset(), sign: int = 1
    ) -> set[Point]:
        """Points of lower-set sequences over a family, among them all points that no other point dominates.

        The sequences keep the values ``keep`` and recompute the values ``recompute``. A point dominates another one if
        neither its peak nor ``sign`` times its overhead is larger.
        """
        sets = sorted({*family, frozenset[int](), self.all}, key=len)
        after = {lower: self.terms_after(lower) for lower in sets}
        edge = {lower: self.boundary(lower) for lower in sets}
        begun: dict[Nodes, set[tuple[float, int, int]]] = {lower: set() for lower in sets}
        begun[frozenset()].add((0, 0, 0))
        for i, last in enumerate(sets):
            begun[last] = _undominated(begun[last])
            for lower in sets[i + 1 :]:
                dropped = lower - last - edge[lower]
                if not last < lower or edge[lower] & recompute or dropped & keep:
                    continue
                fixed = 2 * self.bytes_of(lower - last) + after[lower]
                cost, cached = sign * self.cost_of(dropped), self.bytes_of(edge[lower] - last)
                begun[lower] |= {(t + cost, m + cached, max(p, m + fixed)) for t, m, p in begun[last]}
        return {Point(sign * t, p) for t, _, p in begun[self.all]}

    # ---------------------------------------------------------------- lifetimes in the paper's memory model

    def simulated_peak(self, keep: Nodes) -> int:
        """The largest number of bytes alive at one time, if each value is freed after its last use.

        Forward calls run in ``order``, and gradients are computed in the opposite order. Values that are not kept are
        computed again just before the first gradient that needs them.
        """
        steps: list[tuple[set[tuple[str, int]], tuple[str, int]]] = []  # what a call reads, and what it makes
        steps += [({("value", u) for u in self.before[v]}, ("value", v)) for v in self.order]
        again: set[int] = set()

        def instance(u: int) -> tuple[str, int]:
            return ("value", u) if u in keep else ("again", u)

        for v in reversed(self.order):
            needed = {u for w in self.after[v] for u in self.before[w]}
            missing: set[int] = set()
            waiting = set(needed)
            while waiting:
                u = waiting.pop()
                if u not in keep and u not in again and u not in missing:
                    missing.add(u)
                    waiting |= self.before[u]
            for u in self.order:
                if u in missing:
                    steps.append(({instance(w) for w in self.before[u]}, ("again", u)))
            again |= missing
            steps.append(({instance(u) for u in needed} | {("gradient", w) for w in self.after[v]}, ("gradient", v)))
        first = {made: i for i, (_, made) in enumerate(steps)}
        last = dict(first)
        for i, (reads, _) in enumerate(steps):
            last |= dict.fromkeys(reads, i)
        return max(
            (
                sum(self.memory[v] for (kind, v), i in first.items() if i <= now <= last[kind, v])
                for now in range(len(steps))
            ),
            default=0,
        )

    # ---------------------------------------------------------------- Chen et al. 2016

    def chen(self) -> Point:
        """The point with the least peak, then the least overhead, over all segment budgets of Chen's Algorithm 3."""
        prefixes = [frozenset(self.order[:i]) for i in range(1, len(self.order))]
        cuts = [prefix for prefix in prefixes if len(self.boundary(prefix)) <= 1]
        sizes = {self.bytes_of(b) - self.bytes_of(a) for a in [frozenset[int](), *cuts] for b in cuts}
        found = []
        for budget in {0, *(size for size in sizes if size > 0)}:
            sequence: list[Nodes] = []
            start = 0
            for cut in cuts:
                if self.bytes_of(cut) - start > budget:
                    sequence.append(cut)
                    start = self.bytes_of(cut)
            found.append(self.point([*sequence, self.all] if self.all else []))
        return min(found, key=lambda point: (point.peak, point.overhead))

    def checkpointed(self, checkpoint_of: Mapping[int, str]) -> Nodes:
        """The values that are kept if some nodes lie in checkpoints.

        These are the values outside all checkpoints, and the values that are read outside their own checkpoint.
        ``checkpoint_of`` has the name of each node's checkpoint; empty for a node outside all checkpoints.
        """
        outside = {v for v in self.all if not checkpoint_of[v]}
        return frozenset(outside | {a for a, b in self.edges if checkpoint_of[a] != checkpoint_of[b]})


def _undominated(labels: set[tuple[float, int, int]]) -> set[tuple[float, int, int]]:
    found: list[tuple[float, int, int]] = []
    for label in sorted(labels):
        if not any(all(a <= b for a, b in zip(other, label, strict=True)) for other in found):
            found.append(label)
    return set(found)


def front(points: Iterable[Point], sign: int) -> list[Point]:
    """The points that no other point dominates, largest peak first.

    A point dominates another one if its peak is not larger and its overhead is not worse. The better overhead is the
    smaller one for ``sign`` 1, and the larger one for ``sign`` −1.
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (sign * point.overhead, point.peak)):
        if not found or point.peak < found[-1].peak:
            found.append(point)
    return found
