"""A trace: one training step of a PyTorch model as a graph and a joint graph.

The planner of a trace makes plans, and :func:`recompviz.apply` runs them.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.base.arguments import expect
from recompviz.core.base.progress import Progress
from recompviz.core.base.units import parse_total
from recompviz.core.bounds.bound_curve import BoundCurve
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.reserved_prediction import with_reserved, with_reserved_on_cuda
from recompviz.core.steps.schedule import Schedule
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.tracing.call_list import has_arrival
from recompviz.pytorch.tracing.costs import Costs, priced, unit_of
from recompviz.pytorch.tracing.folding import Folded
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.min_cut import min_cut
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.step import Step


@dataclass(frozen=True, eq=False)
class Trace:
    """One traced training step; frozen. It is made by :func:`recompviz.trace`.

    Attributes
    ----------
    step : Step
        The model and its loss as one module.
    folded : Folded
        The graph and the joint graph, with the fx nodes that they were made from.
    signature : Signature
        The shapes, dtypes, devices, training flags and attributes for which the trace is valid.
    arguments : tuple
        The (inputs, kwargs, targets) of the traced step.
    granularity : str
        ``"operators"`` if each node of the graph is one operator call, ``"paper"`` if it is one function as the paper
        counts them; see :func:`recompviz.trace`.
    costs : str or Roofline
        The cost model of ``graph.time``; see :meth:`with_costs`.
    planned_for : torch.device or None
        The device on which the step of an estimated trace is to run. None for a trace that is not estimated.
    optimizer : torch.optim.Optimizer or None
        The optimizer whose state and scratch memory are part of the step.
    after_first : bool
        Whether the second step of the model was traced, because the step assigns to attributes or fills containers. The
        first step, which for example fills a cache, may have another graph.
    outside : tuple of weakref.ref
        References to the tensors that the step reads and that are neither its arguments nor attributes of its modules,
        for example tensors in a global cache.
    graph_inputs : tuple of weakref.ref
        References to the tensors that were the inputs of the captured graph, in the order of the placeholders of
        ``folded``. Gradients of outputs are left out. Empty for an estimated trace, and for a graph with an input that
        is not a tensor.
    planner : Planner
        Makes and caches the curves, plan tables, what-ifs and baselines of this step.
    """

    step: Step
    folded: Folded
    signature: Signature
    arguments: tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]] = field(repr=False)
    granularity: Granularity = "operators"
    costs: Costs = "time"
    planned_for: torch.device | None = None
    optimizer: torch.optim.Optimizer | None = None
    after_first: bool = False
    outside: tuple[weakref.ref[torch.Tensor], ...] = field(default=(), repr=False)
    graph_inputs: tuple[weakref.ref[torch.Tensor], ...] = field(default=(), repr=False)
    planner: Planner = field(default=None, repr=False)  # type: ignore[assignment]  # made below

    def __post_init__(self) -> None:
        """Make a planner. A given planner is kept if it has the same graph, joint graph and device."""
        made = self.planner
        if made is None or made.graph is not self.graph or made.joint is not self.joint or made.device != self.device:
            baselines = {"min-cut": partial(_min_cut_of, self.folded)}
            made = Planner(self.graph, self.joint, baselines=baselines, device=self.device)
            object.__setattr__(self, "planner", made)

    @property
    def model(self) -> nn.Module:
        """The model object that was traced."""
        return self.step.model

    @property
    def graph(self) -> Graph:
        """The graph G = (V, E) of the intermediate values of the forward pass."""
        return self.folded.graph

    @property
    def joint(self) -> JointGraph:
        """The joint graph: the operator calls of the forward and backward pass, and the storages that they use."""
        return self.folded.joint

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors that the step reads, except parameters, buffers and arguments; for example plain attributes."""
        buffers = {name for name, _ in self.step.named_buffers(remove_duplicate=False)}
        names = [str(which) for _, (role, which) in self.folded.placeholders if role == "buffer"]
        found = [_attribute(self.step, name) for name in names if name not in buffers]
        found += [reference() for reference in self.outside]
        return [*self.folded.constants, *(value for value in found if isinstance(value, torch.Tensor))]

    @property
    def device(self) -> str:
        """The device that the training step was traced for, for example ``"cpu"`` or ``"cuda:0"``."""
        return self.signature.device if self.planned_for is None else str(self.planned_for)

    @property
    def returns_outputs(self) -> bool:
        """Whether the training step was traced without a loss, so that it returns the model's outputs.

        The gradients of the outputs then come from outside the step. They are in memory when the backward pass starts,
        and have the category ``GRADIENT``.
        """
        # in a whole step, the gradients of tensors that it assigns to attributes arrive
        return has_arrival(self.joint) and not self.joint.tangent_bytes

    @property
    def estimated(self) -> bool:
        """Whether the training step was traced on tensors without memory (on the meta device, or fake).

        On the real device, PyTorch may run other kernels, which need other memory.
        """
        return self.planned_for is not None

    @property
    def cost_unit(self) -> str:
        """The unit of ``graph.time`` and of every overhead, for example ``"ms (estimated)"`` or ``"FLOP"``."""
        return unit_of(self.costs, bool(self.joint.seconds))

    def with_costs(self, costs: Costs) -> Trace:
        """Return a trace of the same step with the forward costs T_v of another cost model.

        Plans of this trace are valid for the new trace, with another overhead.

        Parameters
        ----------
        costs : "time", "paper", "flops", "roofline", "measured" or Roofline
            The cost model. The cost of a node is the sum over its calls.

            - ``"time"``: milliseconds. They are measured if the trace is calibrated (:func:`recompviz.calibrate`), and
              otherwise estimated by a roofline with documented figures of the device. They are rounded to multiples
              of a common unit, at most a thousandth of the forward pass, so that the exact curve has few points.
            - ``"paper"``: 10 for a convolution and 1 for any other node.
            - ``"flops"``: floating-point operations by PyTorch's formulas. An operator without a formula costs 1 for
              each element that it returns.
            - ``"roofline"``: milliseconds, estimated by a roofline that is measured once on the device of the trace.
            - ``Roofline(flops_per_second, bytes_per_second)``: milliseconds, estimated by the given roofline.
            - ``"measured"``: the milliseconds of a calibrated trace, not rounded.

            Only ``"time"`` is rounded. With unrounded costs, the exact curve of a large graph has very many points.

        Returns
        -------
        Trace
            A new trace; this one does not change.

        Raises
        ------
        ValueError
            If there is no such cost model, if ``costs`` is ``"measured"`` and the trace is not calibrated, or if
            ``costs`` is ``"roofline"`` and the device is not in this machine.

        Examples
        --------
        >>> import torch, recompviz as rv
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
        >>> t.cost_unit, rv.calibrate(t).cost_unit
        ('ms (estimated)', 'ms (measured)')
        >>> t.with_costs("paper").graph.time.tolist(), t.with_costs("flops").graph.time.tolist()
        ([1.0, 1.0, 1.0, 1.0], [512.0, 32.0, 64.0, 1.0])
        """
        return replace(self, folded=priced(self.folded, costs, torch.device(self.device)), costs=costs)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a trace holds a model and its graph and cannot be pickled; save its plans with plan.to_json(), trace the "
            "model again and read them with recompviz.Plan.from_json(trace.graph, text)"
        )

    def __repr__(self) -> str:
        outside = ", gradients of the outputs from outside" if self.returns_outputs else ""
        checkpoints = len({info.checkpoint for info in self.graph.info} - {""})
        if checkpoints:
            outside += f", {checkpoints} checkpoints of the model left to the planner"
        return (
            f"Trace({type(self.model).__name__} on {self.device}: #V={len(self.graph)}, #E={len(self.graph.edges)}, "
            f"{len(self.joint.calls)} calls{outside}{', estimated' if self.estimated else ''})"
        )

    def tradeoff(self, family: Family = "auto") -> Tradeoff:
        """Return the trade-off curve of the graph: for each budget, the plan of least overhead. It is cached.

        Budgets count *formula bytes*: intermediate values and their gradients, as in the paper's peak formula.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that plans may use; see :func:`recompviz.solve`.

        Returns
        -------
        Tradeoff

        Raises
        ------
        ValueError
            If the family is unknown.
        TooManyLowerSets
            If ``family`` is ``"all"`` and the graph has too many lower sets.
        """
        return self.planner.tradeoff(family)

    def plans(self, objective: PlanObjective = "time", progress: Progress | None = None) -> PlanTable:
        """Return a table of plans with their overheads and simulated peaks. It is cached.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            ``"time"``: the plans that recompute least under each budget for the peak by the paper's formula.
            ``"memory"``: the plans that recompute most under each such budget. They often have a lower simulated peak.
            ``"live"``: the plans that a search by simulation of the whole training step finds.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop.

        Returns
        -------
        PlanTable
            See :meth:`recompviz.Planner.plans`.

        Raises
        ------
        ValueError
            If the objective is unknown.
        """
        return self.planner.plans(objective, progress)

    def plan(self, total: int | float | str, objective: PlanObjective = "live") -> Plan:
        """Return the plan that recomputes least among those with a simulated peak of at most ``total``.

        The plan is taken from the table that :meth:`plans` returns. With ``objective="memory"``, the plan that
        recomputes most and fits is returned.

        Parameters
        ----------
        total : int, float or str
            The most bytes that the training step may take, or a text such as ``"10 GiB"``. Parameters, buffers, inputs,
            targets, gradients, intermediate values and the state of a traced optimizer count.
        objective : "time", "memory" or "live"
            The table from which the plan is chosen; see :meth:`plans`.

        Returns
        -------
        Plan

        Raises
        ------
        InfeasibleBudget
            If no plan of the table fits. The attribute ``least`` of the error is the least total for which the table
            has a plan, in bytes.
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If the objective is unknown, or ``total`` is not a size.
        """
        return self.planner.plan(total, objective)

    def baseline(self, name: str) -> Plan:
        """Return a baseline: a plan made by a common method, without a search. It is cached.

        Parameters
        ----------
        name : str
            - ``"keep-all"``, ``"per-module"``, ``"chen"`` or ``"as-written"``; see :func:`recompviz.baseline`.
            - ``"min-cut R"`` with R from 0 to 1: the values that PyTorch's partitioner saves at
              ``activation_memory_budget = R``.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If no baseline has this name, or R is not a number from 0 to 1.
        GraphError
            If the graph has no such plan, for example ``"as-written"`` for a model without checkpoints.
        PartitionerError
            If PyTorch's partitioner fails on this step.

        Examples
        --------
        >>> import torch, recompviz as rv
        >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
        ...              loss=torch.nn.functional.mse_loss)
        >>> t.baseline("min-cut 0.5").kind
        'min-cut 0.5'
        """
        return self.planner.baseline(name)

    def bounds(self, once: bool = False) -> BoundCurve:
        """Return lower bounds on recomputation for all budgets. They are cached.

        ``once`` and the errors are explained in :meth:`recompviz.Planner.bounds`. Every plan of this trace has its own
        bound: ``plan.bound`` and ``plan.gap``.
        """
        return self.planner.bounds(once)

    def optimality_gap(self, plan: Plan, once: bool = False) -> float:
        """Return an upper bound on how far a plan's overhead is above the least possible overhead for the plan's peak.

        The bound is a share of the cost of a forward pass. ``once`` and the errors are explained in
        :meth:`recompviz.Planner.optimality_gap`.
        """
        return self.planner.optimality_gap(plan, once)

    def schedule(self, plan: Plan | None = None) -> Schedule:
        """Return the operator calls of the training step under a plan, and the storages that are freed after each call.

        Parameters
        ----------
        plan : Plan, optional
            If left out, every value is kept.

        Returns
        -------
        Schedule

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is not a Plan.
        """
        return self.planner.schedule(plan)

    def check(self, plan: Plan | None) -> Plan:
        """Check that a plan is for this trace's graph, and return it with the costs of this graph.

        None stands for the plan that keeps every value.

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is neither a Plan nor None.
        """
        return self.planner.check(plan)

    def with_joint(self, joint: JointGraph) -> Trace:
        """Return a trace of the same step with another joint graph, for example a calibrated one.

        The costs T_v are computed again, because a calibrated joint graph has measured times."""
        folded = replace(self.folded, joint=joint)
        other = replace(self, folded=priced(folded, self.costs, torch.device(self.device)))
        other.planner.reuse_curves(self.planner)
        return other


def _min_cut_of(folded: Folded, ratio: str) -> Plan:
    """Return the baseline ``"min-cut R"`` for the text R."""
    try:
        share = float(ratio)
    except ValueError:
        raise ValueError(f'min-cut ratio {ratio!r}, expected a number from 0 to 1; write "min-cut 0.5"') from None
    return min_cut(folded, share)


def _attribute(module: Any, path: str) -> Any:
    """Return the value at a dotted path of attributes, keys and positions; None if there is none."""
    for part in path.split("."):
        if isinstance(module, Mapping):
            module = module.get(part, module.get(int(part)) if part.isdigit() else None)
        elif isinstance(module, (list, tuple)) and part.isdigit():
            module = module[int(part)] if int(part) < len(module) else None
        else:
            module = getattr(module, part, None)
    return module


def simulate(
    trace: Trace,
    plan: Plan | None = None,
    *,
    allocator: AllocatorSettings | str | None = None,
    device_memory: int | float | str | None = None,
) -> Timeline:
    """Predict the memory of one training step under a plan, without running the step.

    Parameters
    ----------
    trace : Trace
    plan : Plan, optional
        If left out, every value is kept, as PyTorch does by default.
    allocator : AllocatorSettings or str, optional
        Settings of PyTorch's caching allocator, or a text such as ``"expandable_segments:True"``. If given, the memory
        that the allocator reserves on the device is predicted, too. If left out, reserved memory is predicted only for
        a trace on CUDA, or if ``device_memory`` is given; the settings are then read from the environment variable
        ``PYTORCH_ALLOC_CONF``.
    device_memory : int, float or str, optional
        The bytes that the allocator can reserve on the device, or a string such as ``"24 GiB"``. If left out, there is
        no limit.

    Returns
    -------
    Timeline
        A simulated timeline. ``.peak`` is the peak in bytes, parameters included, and ``.at_peak()`` lists the blocks
        alive at the peak. ``.reserved`` has the predicted reserved memory. Workspace inside operators counts only if
        the trace is calibrated.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.
    TypeError, ValueError
        If ``allocator`` or ``device_memory`` is not valid. Also TypeError if ``trace`` is not a Trace, or ``plan`` is
        not a Plan.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> rv.simulate(t).static == 4 * (8 + 1 + 32 + 4)
    True
    >>> rv.simulate(t, allocator="expandable_segments:True").reserved_peak >> 20
    2
    """
    expect_trace(trace, "rv.simulate(trace, plan)")
    timeline = trace.planner.simulate(plan)
    if allocator is None and device_memory is None:
        return with_reserved_on_cuda(timeline, trace.joint)
    limit = None if device_memory is None else parse_total(device_memory, "device_memory")
    if allocator is None:
        allocator = AllocatorSettings.from_environment()
    elif isinstance(allocator, str):
        allocator = AllocatorSettings.parse(allocator)
    expect(
        allocator,
        AllocatorSettings,
        "allocator",
        "an AllocatorSettings or a str",
        'write for example "expandable_segments:True"',
    )
    return with_reserved(timeline, trace.joint, allocator, limit)


def expect_trace(trace: Any, then: str) -> None:
    """Raise TypeError unless an argument is a trace. The message recommends to write the code in ``then``."""
    expect(trace, Trace, "trace", "a Trace from rv.trace(model, x, …)", f"write {then}")
