"""A trace: one training step of a PyTorch model as a graph and a joint graph.

It is frozen. Its planner makes plans, and :func:`recompviz.apply` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from recompviz.core.base.progress import Progress
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.steps.joint import JointGraph
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
    """One traced training step; frozen.

    Attributes
    ----------
    step : Step
        The model and its loss as one module.
    folded : Folded
    signature : Signature
        The conditions under which the trace is valid: shapes, dtypes, devices, training flags, attributes.
    arguments : tuple
        The (inputs, kwargs, targets) of the traced step.
    granularity : str
        What one node of the graph is: ``"operators"`` or ``"paper"``.
    costs : str or Roofline
        The cost model of ``graph.time``; see :meth:`with_costs`.
    planned_for : torch.device or None
        For an estimated trace, the device on which the step is to run.
    optimizer : torch.optim.Optimizer or None
        The optimizer whose state and scratch memory are part of the step.
    planner : Planner
        Curves, plan tables, what-ifs and baselines of this step, cached.
    """

    step: Step
    folded: Folded
    signature: Signature
    arguments: tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]] = field(repr=False)
    granularity: Granularity = "operators"
    costs: Costs = "time"
    planned_for: torch.device | None = None
    optimizer: torch.optim.Optimizer | None = None
    planner: Planner = field(default=None, repr=False)  # type: ignore[assignment]  # made below

    def __post_init__(self) -> None:
        """Make a planner, or keep that of the trace this one was copied from if graph and joint graph are the same."""
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
        """G: the intermediate values of the forward pass."""
        return self.folded.graph

    @property
    def joint(self) -> JointGraph:
        """The forward and backward pass as calls and storages."""
        return self.folded.joint

    @property
    def constants(self) -> list[torch.Tensor]:
        """Tensors that the step reads and that are neither parameters, buffers nor arguments: plain attributes."""
        buffers = {name for name, _ in self.step.named_buffers(remove_duplicate=False)}
        names = [str(which) for _, (role, which) in self.folded.placeholders if role == "buffer"]
        found = [_attribute(self.step, name) for name in names if name not in buffers]
        return [*self.folded.constants, *(value for value in found if isinstance(value, torch.Tensor))]

    @property
    def device(self) -> str:
        """The device that the step was traced for, for example ``"cpu"`` or ``"cuda:0"``."""
        return self.signature.device if self.planned_for is None else str(self.planned_for)

    @property
    def returns_outputs(self) -> bool:
        """Whether it was traced without a loss: the step returns the model's outputs.

        Their gradients arrive from outside. The backward pass starts with them in memory, and they count as its inputs.
        """
        return has_arrival(self.joint)

    @property
    def estimated(self) -> bool:
        """Whether it was traced on the meta device: sizes are exact, but kernels may differ between devices."""
        return self.planned_for is not None

    @property
    def cost_unit(self) -> str:
        """The unit of ``graph.time`` and of every overhead, as text."""
        return unit_of(self.costs, bool(self.joint.seconds))

    def with_costs(self, costs: Costs) -> Trace:
        """The same step with another forward cost T_v.

        A plan stays valid; with the other cost it has another overhead, and may not be the best one.

        Parameters
        ----------
        costs : "time", "paper", "flops", "roofline", "measured" or Roofline
            ``"time"``: milliseconds; those that :func:`recompviz.calibrate` measured, and without calibration an
            estimate by a roofline with documented figures of the device. They are rounded to a common unit, less than
            a thousandth of the forward pass, so that the exact curve has few points; the curve is exact for the rounded
            times. ``"paper"``: 10 for a convolution and 1 for any other node. ``"flops"``: floating-point operations by
            PyTorch's formulas; an operator without a formula costs one per element that it returns. ``"roofline"``:
            milliseconds by a roofline that is measured once on the traced device; a
            ``Roofline(flops_per_second, bytes_per_second)`` describes another device. ``"measured"``: the milliseconds
            that :func:`recompviz.calibrate` measured. The last four are not rounded; on a large graph the exact curve
            then has very many points. The cost of a node is the sum over its calls.

        Raises
        ------
        ValueError
            If the name is unknown, or if ``"measured"`` is asked for and the trace is not calibrated.

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
        """The trade-off curve of the graph, cached; see :meth:`recompviz.Planner.tradeoff`."""
        return self.planner.tradeoff(family)

    def plans(self, objective: PlanObjective = "time", progress: Progress | None = None) -> PlanTable:
        """The table of plans found for an objective, with simulated peaks; see :meth:`recompviz.Planner.plans`."""
        return self.planner.plans(objective, progress)

    def plan(self, total: int | float | str, objective: PlanObjective = "live") -> Plan:
        """The plan of least overhead whose simulated total peak fits a budget; see :meth:`recompviz.Planner.plan`.

        Parameters
        ----------
        total : int or str
            Total bytes: parameters, gradients, inputs and intermediate values; or a string such as ``"10 GiB"``.
        objective : "time", "memory" or "live"
            The table to choose from.

        Raises
        ------
        InfeasibleBudget
            If no plan fits. It carries the least feasible total.
        """
        return self.planner.plan(total, objective)

    def baseline(self, name: str) -> Plan:
        """A plan that needs no planner, cached.

        Parameters
        ----------
        name : str
            ``"keep-all"``, ``"per-module"`` (a checkpoint around each repeated block), ``"chen"`` (√n), or
            ``"min-cut R"`` with R from 0 to 1: what PyTorch's own partitioner saves at that activation memory budget.

        Raises
        ------
        ValueError
            If no baseline has this name.
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

    def schedule(self, plan: Plan | None = None) -> Schedule:
        """Every call of the step under a plan in order, and what is freed after each. None keeps everything."""
        return self.planner.schedule(plan)

    def check(self, plan: Plan | None) -> Plan:
        """The plan itself, or keep-all for None; raises PlanMismatch if it is for another graph."""
        return self.planner.check(plan)

    def with_joint(self, joint: JointGraph) -> Trace:
        """The same trace with another joint graph, for example a calibrated one."""
        folded = replace(self.folded, joint=joint)
        other = replace(self, folded=priced(folded, self.costs, torch.device(self.device)))
        other.planner.reuse_curves(self.planner)
        return other


def _min_cut_of(folded: Folded, ratio: str) -> Plan:
    """The baseline ``"min-cut R"`` from the text R."""
    try:
        share = float(ratio)
    except ValueError:
        raise ValueError(f'min-cut ratio {ratio!r}, expected a number from 0 to 1; write "min-cut 0.5"') from None
    return min_cut(folded, share)


def _attribute(module: Any, path: str) -> Any:
    """The value of a dotted path of attributes and keys; None if there is none."""
    for part in path.split("."):
        if isinstance(module, Mapping):
            module = module.get(part)
        elif isinstance(module, (list, tuple)) and part.isdigit():
            module = module[int(part)] if int(part) < len(module) else None
        else:
            module = getattr(module, part, None)
    return module


def simulate(trace: Trace, plan: Plan | None = None) -> Timeline:
    """Predict the memory of one step under a plan from the lifetimes in the joint graph.

    Parameters
    ----------
    trace : Trace
    plan : Plan, optional
        None keeps everything, as PyTorch does by default.

    Returns
    -------
    Timeline
        Total bytes; ``.at_peak()`` lists what is alive at the peak.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> rv.simulate(t).static == 4 * (8 + 1 + 32 + 4)
    True
    """
    return trace.planner.simulate(plan)
