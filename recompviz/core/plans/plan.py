"""A plan: the values of a graph that are kept for the backward pass. The other values are recomputed.

A canonical plan is a lower-set sequence L₁ ⊊ … ⊊ L_k = V. It keeps U_k, the union of the boundaries ∂(L₁) … ∂(L_k). A
plan may also keep any other set of values. Examples are the baseline that keeps every value, and the plans found by a
search that simulates memory. A plan is valid only for graphs with the fingerprint of its own graph.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recompviz import __version__
from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.formula import SegmentTerms, segment_terms
from recompviz.core.plans.plan_text import FORMAT, read_plan_text
from recompviz.core.plans.segment_arrays import (
    keep_mask_of_segments,
    peaks_by_segment,
    segments_of,
    segments_of_keep_mask,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


class Bounds(Protocol):
    """The bounds of one training step (:class:`recompviz.core.bounds.step_bounds.StepBounds`)."""

    def bound(self, plan: Plan) -> float:
        """Return a lower bound on the recomputation of every plan whose simulated peak is not above that of ``plan``.

        The bound is in the unit of ``graph.time``.
        """


@dataclass(frozen=True, eq=False)
class Plan:
    """Which values of a graph are kept and which are recomputed; frozen.

    A *lower set* is a set of nodes that no edge enters from outside. The *boundary* ∂(L) of a lower set L has the nodes
    of L with a successor outside L. V is the set of all nodes. A lower-set sequence L₁ ⊊ … ⊊ L_k = V divides the nodes
    into segments V_i = L_i ∖ L_{i−1}. A *canonical* plan keeps U_k, the union of the boundaries ∂(L₁) … ∂(L_k). Other
    plans keep any set of values.

    :meth:`recompviz.Planner.plan` chooses a plan for a budget. :meth:`from_lower_sets`, :meth:`from_keep_mask` and
    :meth:`keep_all` make a plan that the caller describes.

    Attributes
    ----------
    graph : Graph
        The graph whose values the plan keeps or recomputes.
    segment : numpy.ndarray of int32, shape (#V,)
        For each node the number of its segment: i for a node of V_i, counted from 1.
    keep_mask : numpy.ndarray of bool, shape (#V,)
        For each node, whether its value is kept from the forward to the backward pass.
    overhead : float
        The sum of the costs T_v of all nodes that are not kept, in the unit of ``graph.time``.
    peak : int
        The peak by the formula of Kusumoto et al. 2019, in bytes of intermediate values and their gradients (*formula
        bytes*). Parameters are not counted; see :class:`SegmentTerms`.
    kind : str
        The method that made the plan: ``"canonical"`` for a lower-set sequence, given or optimal; ``"live"`` for a
        search that simulates memory; the name of a baseline; or another name.
    """

    graph: Graph
    segment: NDArray[np.int32]
    keep_mask: NDArray[np.bool_]
    overhead: float
    peak: int
    kind: str = "canonical"
    _bounds: Bounds | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.segment.setflags(write=False)
        self.keep_mask.setflags(write=False)

    @classmethod
    def from_masks(cls, graph: Graph, sequence: Sequence[int], kind: str = "canonical") -> Plan:
        """Return the plan of a lower-set sequence L₁ ⊊ … ⊊ L_k = V, given as bit masks.

        The plan keeps the values of U_k, the union of the boundaries ∂(L₁) … ∂(L_k).

        Parameters
        ----------
        graph : Graph
        sequence : sequence of int
            The lower sets in rising order, without ∅. Bit v of a mask stands for node v.
        kind : str
            The method that made the plan; see :class:`Plan`.

        Raises
        ------
        ValueError
            If a set is not a lower set, the sets do not grow, or the last set does not contain all nodes. Also if a
            mask has a bit that stands for no node.
        TypeError
            If ``sequence`` is not a sequence, or a set is not an int.
        """
        return cls.from_segments(graph, segments_of(graph, sequence), kind)

    @classmethod
    def from_segments(cls, graph: Graph, segment: NDArray[np.int32], kind: str = "canonical") -> Plan:
        """Return the plan of a lower-set sequence, given as the segment number of each node.

        The segment numbers are not checked; :meth:`from_masks` checks a sequence.

        Parameters
        ----------
        graph : Graph
        segment : numpy.ndarray of int32, shape (#V,)
            Segment numbers from 1 to k. The number of a node is not less than the numbers of its predecessors.
        kind : str
            The method that made the plan; see :class:`Plan`.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> plan = Plan.from_segments(g, np.array([1, 2, 2], np.int32))
        >>> sorted(plan.keep), plan.overhead, plan.peak
        ([0], 2.0, 5)
        """
        keep_mask = keep_mask_of_segments(graph, segment)
        overhead = float(graph.time[~keep_mask].sum())
        peak = int(peaks_by_segment(graph, segment).max(initial=0))
        return cls(graph, segment, keep_mask, overhead, peak, kind)

    @classmethod
    def from_lower_sets(cls, graph: Graph, sequence: Iterable[Iterable[Name]]) -> Plan:
        """Return the plan of a lower-set sequence L₁ ⊊ … ⊊ L_k = V, given as sets of node names.

        The plan keeps the values of U_k, the union of the boundaries ∂(L₁) … ∂(L_k).

        Parameters
        ----------
        graph : Graph
        sequence : iterable of iterables of node names
            The lower sets in rising order, without ∅.

        Raises
        ------
        ValueError
            If a set is not a lower set, the sets do not grow, or the last set does not contain all nodes.
        GraphError
            If a name is not a node.
        TypeError
            If ``sequence`` or one of its sets is not iterable.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> plan = Plan.from_lower_sets(g, [{0}, {0, 1, 2}])
        >>> sorted(plan.keep), plan.overhead, plan.peak
        ([0], 2.0, 5)
        """
        return cls.from_masks(graph, [graph.mask(L) for L in sequence])

    @classmethod
    def keep_all(cls, graph: Graph) -> Plan:
        """Return the plan that keeps every value and recomputes nothing.

        The plan has one segment. Its :attr:`peak` is the bytes of all values and their gradients.

        Examples
        --------
        >>> Plan.keep_all(Graph.from_edges([(0, 1)], memory=[3, 2])).peak
        10
        """
        n = len(graph)
        peak = 2 * int(graph.memory.sum())
        return cls(graph, np.ones(n, np.int32), np.ones(n, np.bool_), 0.0, peak, "keep-all")

    @classmethod
    def from_keep_mask(cls, graph: Graph, keep: Iterable[Name] | NDArray[np.bool_], kind: str) -> Plan:
        """Return a plan that keeps a given set of values. The set need not be a union of boundaries of lower sets.

        A segment of the plan ends after a prefix of ``graph.order`` if every value of the prefix that a later node
        reads is kept. The peak by the paper's formula is computed for these segments. The term *cache* of the formula
        (:class:`SegmentTerms`) counts all kept values of earlier segments.

        Parameters
        ----------
        graph : Graph
        keep : iterable of node names, or array or list of bool, shape (#V,)
            The names of the kept nodes, or a keep mask: for each node, whether its value is kept.
        kind : str
            The method that chose the values, for example ``"min-cut"``; not ``"canonical"``.

        Raises
        ------
        ValueError
            If the keep mask does not have one entry for each node, or ``kind`` is ``"canonical"``.
        TypeError
            If ``keep`` is an array of another type than bool, or is not iterable.
        GraphError
            If a name is not a node.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2), (2, 3)], memory=[1, 1, 1, 1])
        >>> plan = Plan.from_keep_mask(g, [0, 1], "by hand")
        >>> [sorted(L) for L in plan.segments], plan.overhead
        ([[0], [1], [2, 3]], 2.0)
        """
        if kind == "canonical":
            raise ValueError('kind "canonical" is for lower-set sequences; use Plan.from_lower_sets, or another kind')
        if not isinstance(keep, np.ndarray):
            keep = list(keep)
            # True and False equal the names 1 and 0
            if keep and all(isinstance(flag, (bool, np.bool_)) for flag in keep):
                keep = np.array(keep, np.bool_)
        if not isinstance(keep, np.ndarray):
            wanted = graph.mask(keep)
            keep = np.array([wanted >> v & 1 for v in range(len(graph))], dtype=np.bool_)
        if keep.shape != (len(graph),):
            raise ValueError(f"the keep mask has shape {keep.shape}, expected ({len(graph)},), one flag per node")
        if keep.dtype != np.bool_:
            raise TypeError(f"the keep mask has dtype {keep.dtype}, expected bool; pass node names as a list")
        keep_mask = keep.astype(np.bool_)
        segment = segments_of_keep_mask(graph, keep_mask)
        peak = int(peaks_by_segment(graph, segment, keep_mask).max(initial=0))
        return cls(graph, segment, keep_mask, float(graph.time[~keep_mask].sum()), peak, kind)

    @classmethod
    def from_kept(cls, graph: Graph, kept: Iterable[Name] | NDArray[np.bool_], kind: str) -> Plan:
        """Deprecated name of :meth:`from_keep_mask`."""
        warnings.warn("Plan.from_kept is deprecated; use Plan.from_keep_mask", DeprecationWarning, stacklevel=2)
        return cls.from_keep_mask(graph, kept, kind)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Deprecated name of :attr:`keep_mask`."""
        warnings.warn("Plan.kept is deprecated; use Plan.keep_mask", DeprecationWarning, stacklevel=2)
        return self.keep_mask

    def __repr__(self) -> str:
        k = int(self.segment.max(initial=0))
        return (
            f"Plan({self.kind}, segments={k}, kept={int(self.keep_mask.sum())}/{len(self.keep_mask)}, "
            f"overhead={self.overhead:g}, peak={self.peak:,} formula bytes)"
        )

    @cached_property
    def bound(self) -> float | None:
        """A proven lower bound on recomputation within the simulated peak of this plan, in the unit of ``graph.time``.

        No strategy that keeps the order of the operator calls recomputes less within this peak, even if it recomputes
        values several times. The first bound of a training step takes from a second to a few minutes, each further one
        up to 10 seconds; see :meth:`recompviz.Planner.bounds`. Without scipy, bounds are weaker.

        None if the plan was not returned by a :class:`recompviz.Planner` or a trace (:func:`recompviz.trace`): a plan
        alone does not have the training step. A copy of a plan has the bound only if the bound was computed before the
        plan was copied.

        Examples
        --------
        >>> import recompviz as rv
        >>> graph = rv.Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], memory={"a": 4, "b": 8, "c": 2, "d": 1})
        >>> plan = rv.Planner(graph).plan(20)
        >>> plan.overhead, round(plan.bound, 3), round(plan.gap, 3)
        (1.0, 1.0, 0.0)
        """
        return None if self._bounds is None else self._bounds.bound(self)

    @property
    def gap(self) -> float | None:
        """An upper bound on how far the overhead exceeds the optimum, as a share of the cost T(V) of a forward pass.

        It is (overhead − :attr:`bound`) / T(V), not below 0. A gap of 0.04 means: within the simulated peak of this
        plan, no strategy recomputes less by more than 4 % of the cost of a forward pass. None if :attr:`bound` is None.
        """
        if self.bound is None:
            return None
        forward = float(self.graph.time.sum())
        return max(0.0, self.overhead - self.bound) / forward if forward else 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the bounds out of copies and pickles: they hold the training step. A computed bound stays."""
        return {**vars(self), "_bounds": None}

    def use_bounds(self, bounds: Bounds) -> Plan:
        """Give the plan the bounds of its training step, unless the plan already has bounds. Return the plan."""
        if self._bounds is None:
            object.__setattr__(self, "_bounds", bounds)
        return self

    @cached_property
    def masks(self) -> tuple[int, ...]:
        """The lower sets L₁ ⊊ … ⊊ L_k = V as bit masks. L_i is the union of the segments V₁ … V_i."""
        return _lower_sets(self.segment)

    @property
    def lower_sets(self) -> tuple[frozenset[Name], ...]:
        """The lower sets L₁ ⊊ … ⊊ L_k = V as sets of node names. L_i is the union of the segments V₁ … V_i."""
        return tuple(self.graph.set_of(mask) for mask in self.masks)

    @property
    def segments(self) -> tuple[frozenset[Name], ...]:
        """The segments V₁ … V_k as sets of node names."""
        members: list[list[Name]] = [[] for _ in range(int(self.segment.max(initial=0)))]
        for name, i in zip(self.graph.names, self.segment.tolist(), strict=True):
            members[i - 1].append(name)
        return tuple(map(frozenset, members))

    @property
    def keep(self) -> frozenset[Name]:
        """The names of the nodes whose value is kept for the backward pass."""
        return frozenset(self.graph.names[v] for v in np.flatnonzero(self.keep_mask).tolist())

    @property
    def recompute(self) -> frozenset[Name]:
        """The names of the nodes whose value is not kept for the backward pass."""
        return frozenset(self.graph.names[v] for v in np.flatnonzero(~self.keep_mask).tolist())

    @property
    def terms(self) -> tuple[SegmentTerms, ...]:
        """The four terms of the peak formula (:class:`SegmentTerms`) for each segment, in bytes.

        For a canonical plan, the largest of the segments' totals is :attr:`peak`. Another plan may have a larger
        :attr:`peak`, because it may keep values outside the boundaries of its lower sets. ``SegmentTerms.cache`` does
        not count these values.
        """
        return segment_terms(self.graph, self.masks)

    def on(self, graph: Graph) -> Plan:
        """Return this plan for a graph with other sizes M_v or costs T_v: the plan that keeps the same node numbers.

        Parameters
        ----------
        graph : Graph
            A graph with the same nodes and edges, for example traced with a smaller batch.

        Returns
        -------
        Plan
            Its overhead and peak are computed from the costs and sizes of ``graph``.

        Raises
        ------
        ValueError
            If the lower sets of the plan are not lower sets of ``graph``, or the last one does not contain all its
            nodes. The plan that keeps all nodes can be used for any graph.
        """
        if self.kind == "keep-all":
            return Plan.keep_all(graph)
        plan = Plan.from_masks(graph, self.masks, self.kind)
        return plan if np.array_equal(plan.keep_mask, self.keep_mask) else self.with_keep_mask(graph, self.keep_mask)

    def with_keep_mask(self, graph: Graph, keep_mask: NDArray[np.bool_]) -> Plan:
        """Return a plan of the same kind that keeps other values. If this plan is canonical, the kind is ``"live"``.

        Parameters
        ----------
        graph : Graph
        keep_mask : array of bool, shape (#V,)
            For each node, whether its value is kept.

        Raises
        ------
        ValueError
            If ``keep_mask`` does not have one entry for each node.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> plan = Plan.from_lower_sets(g, [[0], [0, 1, 2]])
        >>> plan.with_keep_mask(g, np.array([True, True, False])).kind
        'live'
        """
        return Plan.from_keep_mask(graph, keep_mask, "live" if self.kind == "canonical" else self.kind)

    # ---------------------------------------------------------------- as JSON

    def to_json(self) -> str:
        """Return the plan as JSON text, which :meth:`from_json` reads.

        The text has the version of recompviz, the fingerprint of the graph, the kind, the keep mask and the segment of
        each node. It does not have the graph.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1)], memory=[1, 1])
        >>> Plan.from_json(g, Plan.keep_all(g).to_json()).kind
        'keep-all'
        """
        return json.dumps(
            {
                "format": FORMAT,
                "version": __version__,
                "fingerprint": self.graph.fingerprint,
                "kind": self.kind,
                "keep": "".join("1" if kept else "0" for kept in self.keep_mask.tolist()),
                "segment": self.segment.tolist(),
            }
        )

    @classmethod
    def from_json(cls, graph: Graph, text: str) -> Plan:
        """Read a plan from the text of :meth:`to_json`.

        Parameters
        ----------
        graph : Graph
            The graph of the plan, or a graph with the same fingerprint (:attr:`Graph.fingerprint`).
        text : str
            JSON.

        Returns
        -------
        Plan
            Its overhead is computed from the costs of ``graph``.

        Raises
        ------
        PlanMismatch
            If the text is not a plan, or the plan was made for a graph with another fingerprint. If the format
            or the fingerprint differs and another version of recompviz wrote the text, the message says so. The
            attributes ``key`` and ``expected`` of the error name the wrong key and what its value should be.
        TypeError
            If ``graph`` is not a Graph.
        """
        expect(graph, Graph, "graph", "a Graph", "the arguments are the graph and the text, in this order")
        found = read_plan_text(text, graph.fingerprint, len(graph))
        if found.kind == "keep-all":
            if not found.keep_mask.all():
                raise PlanMismatch(
                    'the plan has kind = "keep-all" and a 0 in keep, expected 1 for each node; the text was edited, '
                    "write it again with plan.to_json()",
                    "keep",
                    "1 for each node",
                )
            return cls.keep_all(graph)
        try:
            plan = cls.from_masks(graph, _lower_sets(found.segment), found.kind)
        except ValueError as error:
            raise PlanMismatch(
                f"the segments are not a lower-set sequence ({error}); the text was edited, write it again "
                "with plan.to_json()",
                "segment",
                "a lower-set sequence",
            ) from error
        if not np.array_equal(found.keep_mask, plan.keep_mask):
            if found.kind != "canonical":
                return cls.from_keep_mask(graph, found.keep_mask, found.kind)
            raise PlanMismatch(
                "the keep mask is not the union of the boundaries of the segments; the text was edited, write it again "
                "with plan.to_json()",
                "keep",
                "the union of the boundaries of the segments",
            )
        return plan


def _lower_sets(segment: NDArray[np.int32]) -> tuple[int, ...]:
    """Return L_1 … L_k as bit masks. L_i is the union of the segments V_1 … V_i."""
    last = np.arange(1, int(segment.max(initial=0)) + 1)
    rows = np.packbits(segment <= last[:, None], axis=1, bitorder="little")
    return tuple(int.from_bytes(row.tobytes(), "little") for row in rows)


def expect_plan(plan: Any) -> None:
    """Raise TypeError unless ``plan`` is a Plan."""
    expect(plan, Plan, "plan", "a Plan", 'make one with trace.plan("10 GiB"), or trace.baseline("keep-all")')
