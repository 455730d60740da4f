"""``stage_step``: one stage of a pipeline, predicted and planned from the trace of one micro-batch of this stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from recompviz.core.base.arguments import expect_flag
from recompviz.core.base.compiled_code import has_numba
from recompviz.core.base.progress import Progress
from recompviz.core.base.units import parse_total
from recompviz.core.graphs.graph import Graph
from recompviz.core.live.minimum_cut import minimum_cut_plans
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.eager_form import eager_form
from recompviz.core.ranks.pipeline import stage_timeline
from recompviz.core.ranks.sharding import pin_outside
from recompviz.core.ranks.stage_place import PipelineKind, StagePlace
from recompviz.core.ranks.stage_steps import StageSteps, stage_steps
from recompviz.core.ranks.unit_plan import UnitPlan, unit_plans
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.node_origin import autograd_node, values_for_loss
from recompviz.pytorch.internals.pipeline_transfers import buffers_on_demand
from recompviz.pytorch.ranks.batch_plans import MOST_PLANS, BatchPlans, Row
from recompviz.pytorch.ranks.rank_arguments import expect_count, expect_place, expect_stage_trace
from recompviz.pytorch.ranks.trace_sharding import shapes_of, units_of
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace


@dataclass(frozen=True, eq=False)
class StageStep:
    """One stage of a pipeline over one batch; frozen. It is made by :func:`stage_step`.

    Attributes
    ----------
    trace : Trace
        The training step of the stage for one micro-batch.
    place : StagePlace
        The place of the stage in the pipeline.
    units : tuple of str
        Dotted paths of the modules that run under a plan. Everything else keeps its values.
    steps : StageSteps
        The operator calls of the stage under a plan, for the first micro-batch, and for any later micro-batch.
    unplanned : StageSteps
        The operator calls of the stage without a plan: eager PyTorch runs all modules.
    planner : Planner
        Makes and caches plans for a training step with one micro-batch. Budgets of the planner are for such a step, not
        for the whole batch.
    """

    trace: Trace
    place: StagePlace
    units: tuple[str, ...]
    steps: StageSteps
    unplanned: StageSteps
    planner: Planner = field(repr=False)
    _cache: dict[str, tuple[Row, ...]] = field(default_factory=dict, init=False, repr=False)

    @property
    def graph(self) -> Graph:
        """The graph of the values of one micro-batch."""
        return self.trace.graph

    def simulate(self, plan: Plan | None = None) -> Timeline:
        """Return the predicted memory of the stage over one batch.

        Without a plan, the stage runs in eager PyTorch. With ``Plan.keep_all``, every value is kept, too, but units
        under a plan free values and pass on gradients in another order. The two peaks may therefore differ a little.

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        ValueError
            If the schedule of the stage is ``"interleaved"``; see :func:`recompviz.pipeline_rank`.
        TypeError
            If ``plan`` is not a Plan.
        """
        self._expect_alone()
        mask = self.planner.check(plan).keep_mask.tolist()
        return stage_timeline(self.steps_of(plan), self.place, mask, self.trace.device)

    def steps_of(self, plan: Plan | None) -> StageSteps:
        """Return the operator calls for one micro-batch, under a plan or without one."""
        return self.unplanned if plan is None else self.steps

    @property
    def batch_plans(self) -> BatchPlans:
        """A new object that finds plans for the stage over a whole batch.

        Raises
        ------
        ValueError
            If the schedule of the stage is ``"interleaved"``; see :func:`recompviz.pipeline_rank`.
        """
        self._expect_alone()

        def peak(masks: Sequence[Sequence[bool]]) -> int:
            return stage_timeline(self.steps, self.place, masks[0], self.trace.device).peak

        return BatchPlans((self.graph,), peak)

    @cached_property
    def curve(self) -> tuple[tuple[float, int, Plan], ...]:
        """The best plans found, by rising overhead and falling peak; cached.

        Each is (overhead of one micro-batch in the unit of ``graph.time``, peak of the batch in total bytes, plan).
        Errors are those of :attr:`batch_plans`.
        """
        return tuple((overhead, peak, plan) for overhead, peak, (plan,) in self.found())

    def found(self, progress: Progress | None = None) -> tuple[Row, ...]:
        """Return the same as :attr:`curve`, but with each plan in a tuple of length 1; cached.

        Parameters
        ----------
        progress : callable (done, total), optional
            Called during the search. An exception that it raises ends the search.
        """
        return self.batch_plans.found(
            self._cache, lambda progress: [(plan,) for plan in self.candidates(progress)], 0.4, progress
        )

    def candidates(self, progress: Progress | None = None) -> tuple[Plan, ...]:
        """Return the plans that a search for one micro-batch finds. :meth:`found` simulates them over a whole batch.

        ``progress(done, total)`` is called during the search.
        """
        plans = list(self.planner.plans("live", progress).plans)
        if len(plans) > MOST_PLANS:
            plans = [plans[int(i)] for i in np.unique(np.linspace(0, len(plans) - 1, MOST_PLANS).astype(int))]
        # the micro-batches in flight count by what each saves, so plans that save least for their time are tried, too
        plans += minimum_cut_plans(self.graph, self.steps.first) if has_numba() else []
        return (*plans, Plan.keep_all(self.graph))

    def plan(self, total: int | float | str) -> Plan:
        """Return the plan that recomputes least among those found whose peak over the batch is at most ``total``.

        The search starts from the first plan of :attr:`curve` whose peak fits. It keeps further values, one after
        another, as long as the peak still fits.

        Parameters
        ----------
        total : int, float or str
            The largest peak that the stage may have, in total bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        InfeasibleBudget
            If no plan of :attr:`curve` fits.
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size, or is 0. Also if the schedule of the stage is ``"interleaved"``.
        """
        return self.batch_plans.within(self.found(), parse_total(total))[0]

    def _expect_alone(self) -> None:
        if self.place.kind == "interleaved":
            raise ValueError("a rank of an interleaved pipeline has several stages; predict it with rv.pipeline_rank")

    def unit_plans(self, plan: Plan) -> tuple[UnitPlan, ...]:
        """Divide a plan into one part for each unit. Give the result to :func:`recompviz.plan_units`."""
        keep = self.planner.check(plan).keep_mask.tolist()
        return unit_plans(self.graph, keep, self.units, shapes_of(self.trace.model, self.units))

    def __repr__(self) -> str:
        at = self.place
        return f"StageStep({at.stage + 1} of {at.stages}, {at.micro_batches} micro-batches, {at.kind}, {self.trace!r})"


def stage_step(
    trace: Trace,
    stage: int,
    stages: int,
    micro_batches: int,
    units: Iterable[str] = (),
    *,
    kind: PipelineKind = "1f1b",
    return_outputs: bool = True,
) -> StageStep:
    """Return one stage of a pipeline of ``torch.distributed.pipelining`` over one batch.

    When buffers are allocated, and how long sent tensors are held, is as in the installed version of PyTorch.

    Parameters
    ----------
    trace : Trace
        The trace of the stage alone, with one micro-batch. Trace the module that is given to ``PipelineStage``. Trace
        the last stage with the loss, and the other stages without it. In each stage except the first, let the input
        require a gradient. If the trace has an optimizer, the optimizer's step runs once for each batch, after the last
        backward pass. Losses count until then, as with ``schedule.step(…, losses=losses)``.
    stage, stages, micro_batches : int
        The number of the stage, counted from 0, the number of stages, and the number of micro-batches.
    units : iterable of str
        Dotted paths of the modules of the stage that run under a plan, as for :func:`recompviz.shard_step`. Without
        units, every value is kept.
    kind : "1f1b", "gpipe" or "interleaved"
        The schedule: ``Schedule1F1B``, ``ScheduleGPipe`` or ``ScheduleInterleaved1F1B``. With ``"interleaved"``, give
        the stages of a rank to :func:`recompviz.pipeline_rank`.
    return_outputs : bool
        The argument of the schedule's ``step`` with the same name. With True, PyTorch's default, the last stage holds
        the outputs of all micro-batches until the next batch, and ``step`` returns one copy of them. The outputs are
        what the loss reads. The copy counts until ``step`` has returned; if the training loop keeps it, add its bytes.
        Most training loops need only the losses: call ``schedule.step(…, losses=losses, return_outputs=False)``, and
        write False here.

    Returns
    -------
    StageStep

    Raises
    ------
    ValueError
        If a number is out of range, if there are fewer micro-batches than stages with ``"1f1b"``, if ``kind`` is
        another text, or if a path fits no module. If the last stage is traced without a loss, or another one with a
        loss, or if no input of a later stage than the first requires a gradient.
    TypeError
        If ``trace`` is not a Trace, ``return_outputs`` is neither True nor False, a number is not a whole number, or
        ``units`` has an object that is not a str.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> stage = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    >>> t = rv.trace(stage, torch.zeros(4, 8))
    >>> [rv.stage_step(t, 0, 4, 8, kind=kind).place.in_flight for kind in ("1f1b", "gpipe")]
    [4, 8]
    """
    expect_trace(trace, "rv.stage_step(trace, 0, 4, 8)")
    expect_count(stages, "stages", "a number of stages")
    expect_place(stage, "stage", stages, "stages")
    expect_count(micro_batches, "micro_batches", "a number of micro-batches")
    expect_stage_trace(trace, stage, stages)
    if kind == "1f1b" and micro_batches < stages:
        raise ValueError(
            f"micro_batches is {micro_batches}, expected at least {stages}, as the schedule needs; divide the batch "
            "into more parts"
        )
    if kind not in ("1f1b", "gpipe", "interleaved"):
        raise ValueError(f"kind is {kind!r}, expected '1f1b', 'gpipe' or 'interleaved'")
    expect_flag(return_outputs, "return_outputs")
    place = StagePlace(stage, stages, micro_batches, kind, return_outputs, buffers_on_demand())
    names = tuple(unit.name for unit in units_of(trace, units)[1:])
    given = [(node, role) for node, role in trace.folded.placeholders if role[0] != "tangent"]
    sent = [
        trace.folded.storage_of[gradient]
        for (_, (role, _which)), gradient in zip(given, trace.folded.gradients, strict=False)
        if role == "input" and gradient is not None
    ]
    nodes = [autograd_node(node) for node in trace.folded.call_node]
    outputs = [node.meta["val"] for node in values_for_loss(trace.folded.fx.graph)]
    sizes = [value.numel() * value.element_size() for value in outputs if isinstance(value, torch.Tensor)]

    def steps_with(units: Sequence[str]) -> StageSteps:
        joint = eager_form(pin_outside(trace.joint, units), trace.device, units)
        return stage_steps(joint, place, units, sent, nodes, sizes)

    steps = steps_with(names)
    unplanned = steps_with(()) if names else steps
    return StageStep(trace, place, names, steps, unplanned, Planner(trace.graph, steps.first, device=trace.device))
