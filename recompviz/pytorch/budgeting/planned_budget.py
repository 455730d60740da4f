"""The budget of a planned module. It recognises the traced graph, and chooses the given plan for this graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.joint import Call, Category
from recompviz.pytorch.budgeting.operator_figures import OperatorFigures, as_traced, calibrated_joint
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.budgeting.step_model import model_of_region
from recompviz.pytorch.executing.program import StepMark
from recompviz.pytorch.executing.region import Region, Run, Stage
from recompviz.pytorch.internals.undone import undone
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.tracing.call_list import ARRIVE, has_arrival
from recompviz.pytorch.tracing.traced_step import Trace, simulate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph


class PlanWarning(UserWarning):
    """A call of a planned module differs from the traced step, or its plan was made for an estimated trace."""


@dataclass(eq=False)
class _Marker:
    """Marks each step of the schedule in one run, for a measurement."""

    mark_step: StepMark
    forward_count: int
    arrives: bool

    def stage_of(self, _stage: Stage) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def mark(self, step: int) -> contextlib.AbstractContextManager[None]:
        # a region's schedule has one step more than that of a whole step: the gradients of its outputs arrive
        return self.mark_step(step if self.arrives else step - (step > self.forward_count))

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Ignore the outputs."""

    def tangents(self, tangents: list[Any]) -> None:
        """Ignore the gradients of the outputs."""


class PlannedBudget(StepBudget):
    """The budget of a planned module: the traced graph runs under the given plan, and other graphs are planned anew.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        The plan of the traced graph.
    plans : sequence of Plan
        Plans to choose from. Each call of the traced graph runs the plan that recomputes least among those that fit
        ``total``. If empty, ``plan`` runs.
    total : int or None
        The memory limit of a training step in bytes, parameters included. If None, a graph that was not traced keeps
        the same values if it has the same edges as the traced graph and enough slots for these values (see
        :meth:`Region.fits`). Any other graph is planned for about the bytes that ``plan`` takes, and may take more.
    """

    def __init__(self, trace: Trace, plan: Plan, plans: Sequence[Plan], total: int | None) -> None:
        optimizer_bytes = trace.joint.static.get(Category.OPTIMIZER, 0)
        aim = simulate(trace, plan).peak if total is None else total
        super().__init__(aim, trace.optimizer, optimizer_bytes, strict=total is not None)
        self.graph, self.joint = trace.graph, trace.joint
        self.mask = plan.keep_mask
        self.estimated = trace.estimated
        self.plans = [other.keep_mask for other in plans]
        self.traced_regions: list[Region] = []
        self._mark: StepMark | None = None
        self._warned = False
        # the first call of a step that for example fills a cache
        self.first_call = trace.after_first

    def add(self, region: Region) -> None:
        """Register a region: a graph that was just captured.

        Warn if this is the traced graph and the trace was estimated. Warn once if a captured graph is not the traced
        graph. There is no such warning in the first call of a step whose second call was traced
        (:attr:`Trace.after_first`).

        Warns
        -----
        PlanWarning
            In both cases.
        """
        super().add(region)
        # a graph with symbols for sizes is not the traced one, even if this call has its sizes
        joint = None if region.folded.symbolic_sizes else _same_joint(region, self.graph.edges, self.joint)
        if joint is None:
            if not self._warned and not self.first_call:
                self._warned = True
                warn_user(
                    "recompviz: a call differs from the traced one (shape, dtype, attribute or branch); "
                    f"{self._consequence(region)} (reported once)",
                    PlanWarning,
                )
            return
        if self.estimated:
            warn_user(
                "recompviz: the plan was estimated on a trace without memory; sizes of its kernels may differ here",
                PlanWarning,
            )
        self.traced_regions.append(region)
        known = self.regions[region]
        known.joint, known.time = joint, self.graph.time
        known.masks = [mask for mask in self.plans or [self.mask] if region.fits(mask)]
        self.models.use(model_of_region(known))

    def _consequence(self, region: Region) -> str:
        """The part of the warning that says how a graph that was not traced runs."""
        if self.strict:
            return f"it is planned again for {self.total:,} total bytes"
        if self._keeps_same(region):
            return (
                "it keeps the same values, and takes more memory if it is larger; for a limit in bytes, use "
                f"rv.fit_in(…, total={self.total})"
            )
        return f"it is planned again for about {self.total:,} total bytes"

    def _keeps_same(self, region: Region) -> bool:
        """Return whether the given plan runs in a graph that was not traced.

        It does so if there is no total, the edges are equal, and the saved values fit into the slots.
        """
        same_edges = region.folded.graph.edges.tolist() == self.graph.edges.tolist()
        return not self.strict and same_edges and region.fits(self.mask)

    def _other_sizes(self, region: Region) -> bool:
        """Return whether a region is the traced graph for other sizes, so that the given plan can run in it."""
        return region.fits(self.mask) and _same_calls(region, self.graph.edges, self.joint, sizes=False) is not None

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """Return for each node whether its value is kept in a run that starts now.

        The given plan runs in the traced graph, unless the budget has several plans to choose from. Without a total, it
        also runs in another graph that has the same edges and enough slots (see :meth:`Region.fits`). While a run is
        measured, the given plan always runs in the traced graph, and in the same graph with other sizes.

        Raises
        ------
        InfeasibleBudget
            If there is a total and no plan fits.
        RecompvizError
            If the run is measured, and the given plan cannot run in the captured graph.
        """
        if run.region not in self.regions:  # another planned module of the same step was compiled first
            self.add(run.region)
        traced = run.region in self.traced_regions
        if self._mark is not None and (traced or self._other_sizes(run.region)):
            run.observer = _Marker(self._mark, self.joint.forward_count, has_arrival(self.joint))
            return self.mask
        if traced:
            if not self.plans:
                return self.mask
        elif self._keeps_same(run.region):
            return self.mask
        elif self._mark is not None:
            raise RecompvizError(
                "cannot measure this plan on a step with other operators than it was traced for; trace the step again"
            )
        return super().choose(run)

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again, or that could not be compiled."""
        super().remove(region)
        self.traced_regions = [other for other in self.traced_regions if other is not region]

    @contextlib.contextmanager
    def marked(self, mark: StepMark) -> Iterator[None]:
        """Run each step of the schedule inside ``mark(step)``, in runs of the traced graph that start in the block.

        Runs of this graph with other sizes are marked, too.
        """
        with undone(partial(setattr, self, "_mark", self._mark)):
            self._mark = mark
            yield

    def saved_values(self, result: Any) -> list[torch.Tensor] | None:
        """Return the values that autograd holds for the backward pass of ``result``, the return value of a call.

        If the call did not run the traced graph, None is returned.

        Raises
        ------
        RuntimeError
            If autograd has freed these values, for example in the backward pass of ``result``.
        """
        outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        found = (region.saved_values(output) for region in self.traced_regions for output in outputs)
        return next((values for values in found if values is not None), None)


def _identity(call: Call, sizes: bool) -> tuple[object, ...]:
    """The properties of a call that must be equal in the traced and the captured graph."""
    return call.info.op, call.info.shape if sizes else len(call.info.shape), call.info.dtype, call.node


def _same_calls(
    region: Region, edges: NDArray[np.int32], joint: JointGraph, *, sizes: bool
) -> tuple[list[int], list[int]] | None:
    """The operator calls of a region's joint graph, and those of the traced one; None if the two graphs differ.

    With ``sizes=False``, the sizes of values may differ.
    """
    own = region.folded.joint
    calls = [c for c, call in enumerate(own.calls) if call.info.op != ARRIVE]
    theirs = [c for c, call in enumerate(joint.calls) if call.info.op != ARRIVE]
    if len(calls) != len(theirs) or not np.array_equal(region.folded.graph.edges, edges):
        return None
    pairs = zip(calls, theirs, strict=True)
    if any(_identity(own.calls[c], sizes) != _identity(joint.calls[d], sizes) for c, d in pairs):
        return None
    return calls, theirs


def _same_joint(region: Region, edges: NDArray[np.int32], joint: JointGraph) -> JointGraph | None:
    """The region's joint graph with the measured figures of the traced one; None if the two graphs differ."""
    same = _same_calls(region, edges, joint, sizes=True)
    if same is None:
        return None
    own, (calls, theirs) = region.folded.joint, same
    figures = [as_traced(own, c) for c in range(len(own.calls))]
    if joint.workspace:
        for c, d in zip(calls, theirs, strict=True):
            sizes = tuple(joint.storages[s].size for s in joint.calls[d].makes)
            if len(sizes) != len(own.calls[c].makes):
                return None
            figures[c] = OperatorFigures(joint.workspace[d], sizes, joint.seconds[d])
        return calibrated_joint(own, figures)
    return own
