"""``shard_step`` and ``replicate_step``: the training step of one rank, predicted and planned before any rank runs.

The step is traced on one device, in one process. Calls that gather parameters, free them and reduce gradients are
inserted where PyTorch runs them. The planner and the simulation are the same as for any trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from recompviz.core.base.arguments import expect, expect_flag, shown
from recompviz.core.base.errors import GraphError
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.eager_form import eager_form
from recompviz.core.ranks.rank_optimizer import with_optimizer_bytes
from recompviz.core.ranks.replicated_step import replicated_step
from recompviz.core.ranks.resharding import GatherTime, ReshardPoint, reshard_front
from recompviz.core.ranks.sharded_step import sharded_step
from recompviz.core.ranks.sharding import Sharding, pin_outside
from recompviz.core.ranks.unit_plan import UnitPlan, expect_unit_plans, keep_mask_of, unit_plans
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.ranks.rank_arguments import expect_amount, expect_count, expect_paths, expect_place
from recompviz.pytorch.ranks.trace_sharding import shapes_of, shard_maker, units_of
from recompviz.pytorch.tracing.optimizer_state import OptimizerBytes, optimizer_bytes
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace


@dataclass(frozen=True, eq=False)
class RankStep:
    """The training step of one rank; frozen. It is made by :func:`shard_step` or :func:`replicate_step`.

    Attributes
    ----------
    trace : Trace
        The training step on one device.
    joint : JointGraph
        The operator calls of the rank under a plan, collectives included. Code outside the units runs in eager PyTorch.
    rank : int
        The number of the rank. The memory of ranks differs only in the state and scratch memory of the optimizer, and
        only if parameters are not divided evenly.
    sharding : Sharding or None
        How parameters are divided; None if each rank has all of them.
    units : tuple of str
        Dotted paths of the units: the modules that can run under a plan. Everything else keeps its values.
    alone : JointGraph or None
        The operator calls under a plan without collectives; None if parameters are not sharded.
    unplanned : JointGraph or None
        The operator calls of the rank if nothing runs under a plan; None if they equal the calls of ``joint``.
    planner : Planner
        Makes and caches the plans of the rank. Budgets are total bytes of the rank.
    """

    trace: Trace
    joint: JointGraph
    rank: int
    sharding: Sharding | None = None
    units: tuple[str, ...] = ()
    alone: JointGraph | None = field(default=None, repr=False)
    unplanned: JointGraph | None = field(default=None, repr=False)
    planner: Planner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.trace.graph, self.joint, device=self.trace.device))

    @property
    def graph(self) -> Graph:
        """The graph of the intermediate values. It is the graph of the trace, so plans of the trace are valid."""
        return self.trace.graph

    @property
    def estimated(self) -> bool:
        """Whether the training step was traced on tensors without memory; see :attr:`Trace.estimated`."""
        return self.trace.estimated

    def simulate(self, plan: Plan | None = None) -> Timeline:
        """Return the predicted memory of the rank over one training step.

        Parameters
        ----------
        plan : Plan, optional
            If None, the step of eager PyTorch: no unit runs under a plan, and every value is kept. On the CPU, dropout
            then keeps a mask in the dtype of its input. A unit under a plan keeps a mask of one byte for each element.

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is not a Plan.
        """
        if plan is None and self.unplanned is not None:
            return simulate_schedule(make_schedule(self.unplanned, [True] * len(self.graph)), self.trace.device)
        return self.planner.simulate(plan)

    def plan(self, total: int | float | str) -> Plan:
        """Return the plan of least recomputation whose peak on this rank fits ``total``; see :meth:`Planner.plan`."""
        return self.planner.plan(total)

    def reshard_curve(self, latency: float, bandwidth: float) -> tuple[ReshardPoint, ...]:
        """Return the Pareto front of time and peak: for each point, the units that stay gathered, and a plan.

        The time of a point is the time of the second all-gathers plus the time of recomputation.

        Parameters
        ----------
        latency : float
            Time of an all-gather of no bytes, in the unit of ``graph.time``: milliseconds, unless the trace has other
            costs.
        bandwidth : float
            Bytes that a rank receives in one unit of time, for example per millisecond.

        Returns
        -------
        tuple of ReshardPoint
            To use a point, call ``fully_shard(block, reshard_after_forward=name not in point.kept)`` for each block,
            and give ``step.unit_plans(point.plan)`` to :func:`recompviz.plan_units`.

        Raises
        ------
        GraphError
            If parameters are not sharded.
        ValueError
            If ``latency`` is negative, ``bandwidth`` is not positive, or one of them is not finite.
        TypeError
            If ``latency`` or ``bandwidth`` is not a number.
        """
        if self.sharding is None or self.alone is None:
            raise GraphError("parameters are replicated, so nothing is gathered; use rv.shard_step")
        then = "measure an all-gather of a small and of a large tensor"
        expect_amount(latency, "latency", f"the time of an all-gather of no bytes ({then})")
        expect_amount(bandwidth, "bandwidth", f"the bytes received in one unit of time ({then})", positive=True)
        plans = [Plan.keep_all(self.graph), *self.planner.plans("live").plans]
        return reshard_front(self.graph, self.alone, self.sharding, plans, GatherTime(latency, bandwidth))

    def unit_plans(self, plan: Plan) -> tuple[UnitPlan, ...]:
        """Divide a plan into one part for each unit. Give the result to :func:`recompviz.plan_units`.

        Raises
        ------
        ValueError
            If the plan recomputes values, and the step has no units that could run under it.
        """
        if not self.units and self.planner.check(plan).overhead > 0:
            raise ValueError(
                'the step has no units, so no module would run under the plan; write rv.replicate_step(trace, units=["'
                'layers.*"]) with paths of your modules, or model.compile(backend="recompviz") for the whole model'
            )
        keep = self.planner.check(plan).keep_mask.tolist()
        return unit_plans(self.graph, keep, self.units, shapes_of(self.trace.model, self.units))

    def whole_plan(self, plans: Sequence[UnitPlan]) -> Plan:
        """Return the plan of this step that is made of the given unit plans. Units without a plan keep every value.

        Values outside the units are kept, too. The unit plans may be made by the step of another rank, for example with
        another batch size.

        Raises
        ------
        PlanMismatch
            If a plan is for no unit of this step, or for other operators or data types.
        """
        return Plan.from_keep_mask(self.graph, keep_mask_of(self.graph, expect_unit_plans(plans), self.units), "units")

    def __repr__(self) -> str:
        how = "replicated" if self.sharding is None else f"{self.sharding.shards} shards"
        if self.sharding is not None and self.sharding.replicas > 1:
            how += f" × {self.sharding.replicas} replicas"
        return f"RankStep(rank {self.rank}, {how}, of {self.trace!r})"


def shard_step(
    trace: Trace,
    shards: int,
    units: Iterable[str],
    *,
    replicas: int = 1,
    reshard: bool | Mapping[str, bool] = True,
    rank: int = 0,
    stored: torch.dtype | None = None,
    reduced: torch.dtype | None = None,
    reduce_workspace: float = 0.0,
) -> RankStep:
    """Return the training step of one rank under ``torch.distributed.fsdp.fully_shard`` (FSDP2).

    Parameters
    ----------
    trace : Trace
        The training step on one device, with the batch of one rank. It may be traced on the meta device.
    shards : int
        The number of ranks among which each parameter is divided.
    units : iterable of str
        Dotted paths of the modules that are given to ``fully_shard`` in addition to the model itself. A ``*`` stands
        for one name of a path, for example in ``["layers.*"]``.
    replicas : int
        The number of groups of ``shards`` ranks. If it is more than 1, gradients are also reduced over the groups, as
        in HSDP.
    reshard : bool or mapping of str to bool
        The argument ``reshard_after_forward`` of the units: one value for all, or a mapping from paths or patterns to
        values. A unit that matches no key of the mapping reshards. The root (the model itself) never reshards, as in
        PyTorch.
    rank : int
        The number of the rank within its group of ``shards`` ranks.
    stored, reduced : torch.dtype, optional
        For mixed precision. ``stored`` is the dtype of the parts of parameters that each rank holds, and of the
        optimizer's state. It is the dtype of the parameters before ``fully_shard``. ``reduced`` is the ``reduce_dtype``
        of the mixed-precision policy. Trace the model with parameters in the ``param_dtype`` of the policy. By default,
        both are the dtype of the traced parameters.
    reduce_workspace : float
        Bytes of workspace that a reduce-scatter needs, as a multiple of its input. They depend on the communication
        library.

    Returns
    -------
    RankStep

    Raises
    ------
    ValueError
        If a path or pattern of ``units`` fits no module, one of ``reshard`` fits no unit, ``reshard`` says that the
        root reshards, or a number is out of range.
    TypeError
        If an argument is of another type, for example ``reshard`` a number of ranks.
    GraphError
        If a unit runs several times in one step.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> step = rv.shard_step(t, 2, ["0"])
    >>> rv.simulate(t).static - step.simulate().static
    144
    """
    expect_trace(trace, "rv.shard_step(trace, 2, units)")
    for name, value in (("shards", shards), ("replicas", replicas)):
        expect_count(value, name, "a number of ranks")
    for name, dtype in (("stored", stored), ("reduced", reduced)):
        if dtype is not None:
            expect(dtype, torch.dtype, name, "a dtype", f"write {name}=torch.float32")
    expect_place(rank, "rank", shards, "shards")
    expect_amount(reduce_workspace, "reduce_workspace", "a multiple of the input of a reduce-scatter")
    sharding = Sharding(units_of(trace, units, reshard, stored, reduced), shards, replicas, reduce_workspace)
    names = tuple(unit.name for unit in sharding.units[1:])
    own = _own_optimizer(trace, shards, rank, stored)
    planned, unplanned = (_with_optimizer(joint, own) for joint in _forms(trace, names))
    without = None if unplanned is planned else sharded_step(unplanned, sharding)
    return RankStep(trace, sharded_step(planned, sharding), rank, sharding, names, planned, without)


def replicate_step(trace: Trace, *, units: Iterable[str] = (), bucket_view: bool = False, rank: int = 0) -> RankStep:
    """Return the training step of one rank under ``torch.nn.parallel.DistributedDataParallel`` (DDP).

    Each rank has all parameters, and buckets in which gradients are reduced. All ranks take the same memory.

    Parameters
    ----------
    trace : Trace
        The training step on one device, with the batch of one rank.
    units : iterable of str
        Dotted paths of the modules that run under a plan, as for :func:`shard_step`. Without units, the whole step runs
        under a plan.
    bucket_view : bool
        The argument ``gradient_as_bucket_view`` of DDP: whether gradients are views of the buckets.
    rank : int
        The number of the rank. It has no effect on the memory, and is only stored in the result.

    Returns
    -------
    RankStep

    Raises
    ------
    ValueError
        If a path or pattern of ``units`` fits no module, or ``rank`` is negative.
    TypeError
        If an argument is of another type.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> rv.replicate_step(t).simulate().static - rv.simulate(t).static
    36
    """
    expect_trace(trace, "rv.replicate_step(trace)")
    expect_flag(bucket_view, "bucket_view")
    expect_count(rank, "rank", "the number of a rank", least=0)
    names = tuple(unit.name for unit in units_of(trace, units)[1:])
    trained = {id(p): p.numel() * p.element_size() for p in trace.model.parameters() if p.requires_grad}
    planned, unplanned = _forms(trace, names) if names else (trace.joint, eager_form(trace.joint, trace.device))
    joint, without = (replicated_step(form, bucket_view, sum(trained.values())) for form in (planned, unplanned))
    return RankStep(trace, joint, rank, units=names, unplanned=None if unplanned is planned else without)


def _forms(trace: Trace, units: Sequence[str]) -> tuple[JointGraph, JointGraph]:
    """Return the calls with units under a plan, and without; the same joint graph twice if they are equal."""
    joint = pin_outside(trace.joint, units)
    planned, unplanned = eager_form(joint, trace.device, units), eager_form(joint, trace.device)
    return planned, planned if planned == unplanned else unplanned


@dataclass(frozen=True, eq=False)
class RankKind:
    """Ranks with equal memory use; made by :func:`rank_kinds`.

    Attributes
    ----------
    ranks : tuple of int
        The numbers of the ranks of this kind, within a group of ``shards`` ranks.
    step : RankStep
        The training step of the first of these ranks.
    """

    ranks: tuple[int, ...]
    step: RankStep


def rank_kinds(trace: Trace, shards: int, units: Iterable[str], **options: Any) -> tuple[RankKind, ...]:
    """Return the kinds of ranks of a sharded training step. The ranks of one kind have equal memory use.

    Gathered parameters, buffers and values have the same bytes on all ranks. If the rows of parameters are not divided
    evenly, the last ranks have fewer rows, and so less optimizer state.

    Parameters
    ----------
    trace, shards, units
        As for :func:`shard_step`.
    **options
        The other arguments of :func:`shard_step`, without ``rank``.

    Raises
    ------
    ValueError, TypeError, GraphError
        As for :func:`shard_step`. Also TypeError if ``rank`` is given.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss,
    ...              optimizer=torch.optim.Adam(model.parameters()))
    >>> [(kind.ranks, kind.step.simulate().peak) for kind in rv.rank_kinds(t, 4, ["0"])]
    [((0,), 1292), ((1, 2), 1236), ((3,), 1092)]
    """
    expect_trace(trace, "rv.rank_kinds(trace, 2, units)")
    if "rank" in options:
        raise TypeError(
            f"rank_kinds got rank={shown(options['rank'])}, but it returns the kinds of all ranks; leave rank out, or "
            "call rv.shard_step for one rank"
        )
    units = expect_paths(units)
    first = shard_step(trace, shards, units, **options)
    assert first.sharding is not None
    parameters = [p for unit in first.sharding.units for p in unit.parameters]
    alike: dict[tuple[int, ...], list[int]] = {}
    for rank in range(shards):
        key = tuple(p.local(shards, rank) for p in parameters) if trace.optimizer is not None else ()
        alike.setdefault(key, []).append(rank)
    stored = options.get("stored")
    return tuple(RankKind(tuple(ranks), _on_rank(first, shards, ranks[0], stored)) for ranks in alike.values())


def _on_rank(first: RankStep, shards: int, rank: int, stored: torch.dtype | None) -> RankStep:
    """Return the step of another rank of a sharded step: only its optimizer differs."""
    if rank == first.rank:
        return first
    taken = _own_optimizer(first.trace, shards, rank, stored)
    assert first.alone is not None
    joint, alone = (_with_optimizer(joint, taken) for joint in (first.joint, first.alone))
    without = None if first.unplanned is None else _with_optimizer(first.unplanned, taken)
    return RankStep(first.trace, joint, rank, first.sharding, first.units, alone, without)


def _with_optimizer(joint: JointGraph, taken: OptimizerBytes | None) -> JointGraph:
    return joint if taken is None else with_optimizer_bytes(joint, taken.state, taken.scratch)


def _own_optimizer(trace: Trace, shards: int, rank: int, stored: torch.dtype | None) -> OptimizerBytes | None:
    """Return the bytes of the optimizer for the shards of a rank; None if the trace has no optimizer."""
    if trace.optimizer is None:
        return None
    named = dict(trace.step.named_parameters(remove_duplicate=False))
    given = [role for _, role in trace.folded.placeholders if role[0] != "tangent"]
    trained = {
        id(named[str(which)])
        for (role, which), gradient in zip(given, trace.folded.gradients, strict=False)
        if role == "parameter" and gradient is not None
    }
    shard = shard_maker(shards, rank, stored)
    device = torch.device(trace.device)
    return optimizer_bytes(trace.optimizer, lambda p: id(p) in trained, device, trace.joint.rounded, shard)
