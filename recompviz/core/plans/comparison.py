"""Compare two plans of one graph.

A comparison lists the nodes that only one of the plans recomputes. It has the changes of three numbers: the overhead
(the cost of the recomputation), the peak by the paper's formula, and the bytes of the kept values. If a timeline of
each plan is given, simulated or measured, the comparison also has the change of the training step's peak, and the
blocks that are alive at only one of the two peaks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.errors import PlanMismatch
from recompviz.core.base.units import format_bytes
from recompviz.core.plans.plan import Plan, expect_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recompviz.core.graphs.graph import Name
    from recompviz.core.steps.timeline import Alive, Timeline

# number of nodes or blocks named in a text; the others are counted
MOST_NAMED = 5


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The changes from plan ``a`` to plan ``b``, made by :func:`compare`; frozen. ``print`` shows them as text.

    Attributes
    ----------
    a, b : Plan
        Two plans of the same graph.
    timelines : (Timeline, Timeline) or None
        The training step under ``a`` and under ``b``, simulated or measured.
    """

    a: Plan
    b: Plan
    timelines: tuple[Timeline, Timeline] | None = None

    # ---------------------------------------------------------------- in formula bytes

    @property
    def now_recomputed(self) -> tuple[Name, ...]:
        """The names of the nodes that ``a`` keeps and ``b`` recomputes, largest value first."""
        return self._by_size(self.a.keep_mask & ~self.b.keep_mask)

    @property
    def now_kept(self) -> tuple[Name, ...]:
        """The names of the nodes that ``a`` recomputes and ``b`` keeps, largest value first."""
        return self._by_size(self.b.keep_mask & ~self.a.keep_mask)

    @property
    def overhead_change(self) -> float:
        """The overhead (cost of recomputation) of ``b`` minus the overhead of ``a``, in the unit of ``graph.time``."""
        return self.b.overhead - self.a.overhead

    @property
    def peak_change(self) -> int:
        """:attr:`Plan.peak` of ``b`` minus :attr:`Plan.peak` of ``a``, in bytes."""
        return self.b.peak - self.a.peak

    @property
    def kept_change(self) -> int:
        """The size of the values that ``b`` keeps minus the size of the values that ``a`` keeps, in bytes."""
        memory = self.a.graph.memory
        return int(memory[self.b.keep_mask].sum()) - int(memory[self.a.keep_mask].sum())

    @property
    def segments_change(self) -> int:
        """The number of segments (:attr:`Plan.segments`) of ``b`` minus the number of segments of ``a``."""
        return int(self.b.segment.max(initial=0)) - int(self.a.segment.max(initial=0))

    # ---------------------------------------------------------------- in total bytes

    @property
    def total_change(self) -> int | None:
        """The peak of the training step under ``b`` minus the peak under ``a``, in bytes; None without timelines."""
        return self.timelines and self.timelines[1].peak - self.timelines[0].peak

    @cached_property
    def only_at_peak_of_a(self) -> tuple[Alive, ...]:
        """The blocks alive at the peak of the training step under ``a`` but not under ``b``, largest first.

        Blocks of the same label and size count as the same block. Memory that is allocated before the step, such as
        parameters, is left out. Empty without timelines.
        """
        return self._only(0)

    @cached_property
    def only_at_peak_of_b(self) -> tuple[Alive, ...]:
        """The blocks alive at the peak of the training step under ``b`` but not under ``a``, largest first.

        Blocks of the same label and size count as the same block. Memory that is allocated before the step, such as
        parameters, is left out. Empty without timelines.
        """
        return self._only(1)

    # ---------------------------------------------------------------- text and table

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each node that one plan keeps and the other recomputes, largest value first.

        Returns
        -------
        list of dict
            With the keys ``node`` (name), ``bytes`` (M_v), ``time`` (T_v), and ``a`` and ``b``: ``"kept"`` or
            ``"recomputed"``.

        Examples
        --------
        >>> from recompviz.core.graphs.graph import Graph
        >>> g = Graph.from_edges([("a", "b")], memory={"a": 4, "b": 2})
        >>> compare(Plan.keep_all(g), Plan.from_lower_sets(g, [{"a"}, {"a", "b"}])).rows()
        [{'node': 'b', 'bytes': 2, 'time': 1.0, 'a': 'kept', 'b': 'recomputed'}]
        """
        graph, word = self.a.graph, ("recomputed", "kept")
        return [
            {
                "node": graph.names[v],
                "bytes": int(graph.memory[v]),
                "time": float(graph.time[v]),
                "a": word[int(self.a.keep_mask[v])],
                "b": word[int(self.b.keep_mask[v])],
            }
            for v in self._order(self.a.keep_mask != self.b.keep_mask)
        ]

    @property
    def text(self) -> str:
        """The comparison as text of several lines."""
        count = int((self.a.keep_mask != self.b.keep_mask).sum())
        lines = [
            f"{self.a.kind} → {self.b.kind}: {count} of {len(self.a.graph)} nodes moved",
            f"overhead     {self.a.overhead:g} → {self.b.overhead:g} ({self.overhead_change:+g})",
            f"formula peak {_from_to(self.a.peak, self.b.peak)}",
            f"kept values  {_change(self.kept_change)}; segments {self.segments_change:+d}",
        ]
        for what, moved in (("now recomputed", self.now_recomputed), ("now kept", self.now_kept)):
            if moved:
                lines.append(f"{what}: {_some([str(name) for name in moved])}")
        if self.timelines:
            before, after = self.timelines
            lines.append(f"total peak   {_from_to(before.peak, after.peak)} ({before.kind} and {after.kind})")
            for what, blocks in (("before", self.only_at_peak_of_a), ("after", self.only_at_peak_of_b)):
                if blocks:
                    named = [f"{block.label} ({block.category.label}, {format_bytes(block.size)})" for block in blocks]
                    lines.append(f"alive only at the peak {what}: {_some(named)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text

    # ---------------------------------------------------------------- inside

    def _order(self, chosen: Any) -> list[int]:
        return sorted(np.flatnonzero(chosen).tolist(), key=lambda v: -int(self.a.graph.memory[v]))

    def _by_size(self, chosen: Any) -> tuple[Name, ...]:
        return tuple(self.a.graph.names[v] for v in self._order(chosen))

    def _only(self, which: int) -> tuple[Alive, ...]:
        """Return the blocks alive at one peak only. Blocks of the same label and size count as equal."""
        if self.timelines is None:
            return ()
        here, there = (self.timelines[i].at_peak() for i in (which, 1 - which))
        others = Counter((block.label, block.size) for block in there)
        found = []
        for block in here:
            key = block.label, block.size
            if others[key]:
                others[key] -= 1
            else:
                found.append(block)
        return tuple(found)


def compare(a: Plan, b: Plan, *, timelines: tuple[Timeline, Timeline] | None = None) -> Comparison:
    """Compare two plans of one graph.

    Parameters
    ----------
    a, b : Plan
    timelines : (Timeline, Timeline), optional
        The training step under ``a`` and under ``b``, for example ``(rv.simulate(trace, a), rv.simulate(trace, b))``
        with the ``trace`` of a model (:func:`recompviz.trace`). Without timelines, the comparison has neither the
        change of the training step's peak nor the blocks that are alive at only one of the two peaks.

    Returns
    -------
    Comparison
        The changes from ``a`` to ``b``; ``print`` shows them as text. If the graphs of the plans have different costs
        (``graph.time``), the overheads (cost of recomputation) of both plans are computed with the costs of ``a``'s
        graph.

    Raises
    ------
    PlanMismatch
        If the graphs of the plans have different fingerprints.
    TypeError
        If ``a`` or ``b`` is not a Plan.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([("a", "b"), ("b", "c")], memory={"a": 4, "b": 2, "c": 1})
    >>> compare(Plan.keep_all(g), Plan.from_lower_sets(g, [{"a"}, {"a", "b", "c"}]))
    keep-all → canonical: 2 of 3 nodes moved
    overhead     0 → 2 (+2)
    formula peak 14 B → 10 B (-4 B)
    kept values  -3 B; segments +1
    now recomputed: b, c
    """
    expect_plan(a)
    expect_plan(b)
    if a.graph.fingerprint != b.graph.fingerprint:
        raise PlanMismatch(
            f"the plans are for different graphs, {a.graph.fingerprint[:12]}… and {b.graph.fingerprint[:12]}…; "
            "compare plans of one trace, or carry one over with plan.on(graph)"
        )
    if not b.graph.same_as(a.graph):
        b = b.on(a.graph)
    return Comparison(a, b, timelines)


def _change(count: int) -> str:
    return ("+" if count >= 0 else "") + format_bytes(count)


def _from_to(before: int, after: int) -> str:
    return f"{format_bytes(before)} → {format_bytes(after)} ({_change(after - before)})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", … ({more} more)" if more > 0 else "")
