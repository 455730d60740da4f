"""A trace: one training step, and what can be asked of it.

It is frozen; plans are made on its ``graph``, simulated on its joint graph and run by
:func:`recompviz.apply`. What takes long to answer is answered once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn

from recompviz.core.base.compiled import has_numba
from recompviz.core.base.progress import Progress
from recompviz.core.exact.solver import Family, solve
from recompviz.core.graphs.graph import Graph
from recompviz.core.live.model import profile_function
from recompviz.core.live.search import live_plans
from recompviz.core.plans.baselines import baseline, chen_plans
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.tracing.costs import Costs, priced, unit_of
from recompviz.pytorch.tracing.folding import Folded
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.min_cut import min_cut
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.step import Step

T = TypeVar("T")

# the most plans of one table: a slider has no more positions, and thousands of nodes have thousands of optima
MOST_ROWS = 512


@dataclass(frozen=True, eq=False)
class Trace:
    """One traced training step; frozen.

    Attributes
    ----------
    step : Step
        The model and its loss, as one module.
    folded : Folded
    signature : Signature
        What the trace holds for: shapes, dtypes, devices, training flags, attributes.
    arguments : tuple
        (inputs, kwargs, targets) it was traced with.
    granularity : str
        What one node of the graph stands for: ``"operators"`` or ``"paper"``.
    costs : str or Roofline
        What ``graph.time`` is; see :meth:`with_costs`.
    planned_for : torch.device or None
        For an estimated trace, where the step is to run.
    optimizer : torch.optim.Optimizer or None
        Whose state and scratch memory are part of the step.
    """

    step: Step
    folded: Folded
    signature: Signature
    arguments: tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]] = field(repr=False)
    granularity: Granularity = "operators"
    costs: Costs = "paper"
    planned_for: torch.device | None = None
    optimizer: torch.optim.Optimizer | None = None
    _memo: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def model(self) -> nn.Module:
        """The model, the very object that was passed in."""
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
    def device(self) -> str:
        """Where the step was traced for, for example ``"cpu"`` or ``"cuda:0"``."""
        return self.signature.device if self.planned_for is None else str(self.planned_for)

    @property
    def estimated(self) -> bool:
        """Whether it was traced without memory: sizes are exact, but which kernels run differs by device."""
        return self.planned_for is not None

    @property
    def cost_unit(self) -> str:
        """The unit of ``graph.time`` and of every overhead, for people."""
        return unit_of(self.costs)

    def with_costs(self, costs: Costs) -> Trace:
        """The same step with another forward cost T_v; a plan of one is not a plan of the other.

        Parameters
        ----------
        costs : "paper", "flops", "roofline", "measured" or Roofline
            10 for a convolution and 1 for any other node; floating-point operations, by PyTorch's own formulas where
            it has one and else one for each element returned; the milliseconds that arithmetic or memory
            traffic take at least, on the traced device (measured once) or on that of a ``Roofline(flops_per_second,
            bytes_per_second)``; or the milliseconds that :func:`recompviz.calibrate` measured. A node costs what
            its calls cost.

        Raises
        ------
        ValueError
            If there is no such cost, or none was measured.

        Examples
        --------
        >>> import torch, recompviz as rv
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
        >>> t.graph.time.tolist(), t.with_costs("flops").graph.time.tolist()
        ([1.0, 1.0, 1.0, 1.0], [512.0, 32.0, 64.0, 1.0])
        """
        return replace(self, folded=priced(self.folded, costs), costs=costs, _memo={}, _lock=threading.RLock())

    def __repr__(self) -> str:
        return (
            f"Trace({type(self.model).__name__} on {self.device}: #V={len(self.graph)}, #E={len(self.graph.edges)}, "
            f"{len(self.joint.calls)} calls{', estimated' if self.estimated else ''})"
        )

    def tradeoff(self, family: Family = "auto") -> Tradeoff:
        """The trade-off curve of the graph, solved once and kept."""
        return self._once(f"tradeoff {family}", lambda: solve(self.graph, family))

    def plans(self, objective: PlanObjective = "time", progress: Progress | None = None) -> PlanTable:
        """Every distinct plan of an objective with its formula peak and its simulated total peak.

        Thousands of nodes, or costs that are no whole numbers, make curves of many thousand optima, bytes apart; of
        more than 512 those of 512 evenly spaced budgets are taken, the least and the largest among them.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            The formula's time-centric or memory-centric optima, or what a search in simulated total
            bytes finds, which is never worse in these; see :mod:`recompviz.core.live.search`.
        progress : callable (done, total), optional
            Called now and then during that search; raise :class:`recompviz.Cancelled` in it to stop.
        """

        def build() -> PlanTable:
            if objective == "live":
                seeds = [*self.plans("time").plans, *self.plans("memory").plans, *chen_plans(self.graph)]
                plans = live_plans(self.graph, self.joint, seeds, progress) if has_numba() else seeds
            else:
                curve = self.tradeoff()
                plans = curve.plans(objective, MOST_ROWS)
            return PlanTable.of(self.graph, objective, plans, profile_function(self.graph, self.joint))

        return self._once(f"plans {objective}", build)

    def plan(self, total: int | float | str, objective: PlanObjective = "live") -> Plan:
        """The plan of least overhead whose simulated total peak fits a budget.

        Parameters
        ----------
        total : int or str
            Total bytes, what the device will see: parameters, gradients, inputs and intermediate
            values; or a string such as ``"10 GiB"``.
        objective : "time", "memory" or "live"
            Choose among the plans of this table.

        Raises
        ------
        InfeasibleBudget
            If no plan fits; it carries the least total that does.
        """
        return self.plans(objective).plan(total)

    def baseline(self, name: str) -> Plan:
        """What people do without a planner, as a plan of this trace.

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
        kind, _, ratio = name.partition(" ")
        if kind != "min-cut":
            return baseline(self.graph, name)
        try:
            share = float(ratio)
        except ValueError:
            raise ValueError(f'{name!r} names no ratio from 0 to 1; write for example "min-cut 0.5"') from None
        return self._once(f"min-cut {share:g}", lambda: min_cut(self.folded, share))

    def schedule(self, plan: Plan | None = None) -> Schedule:
        """Every call of the step under a plan, in order, and what is freed after each."""
        return make_schedule(self.joint, self.check(plan).keep_mask.tolist())

    def check(self, plan: Plan | None) -> Plan:
        """The plan itself, or keep-all for None; raises PlanMismatch if it is for another graph."""
        if plan is None:
            return Plan.keep_all(self.graph)
        if plan.graph is not self.graph and plan.graph.fingerprint != self.graph.fingerprint:
            return Plan.from_json(self.graph, plan.to_json())
        return plan

    def with_joint(self, joint: JointGraph) -> Trace:
        """The same trace with another account of what its calls take, for example a calibrated one."""
        folded = priced(replace(self.folded, joint=joint), self.costs)
        same = folded.graph.fingerprint == self.graph.fingerprint
        curves = {key: value for key, value in self._memo.items() if same and key.startswith("tradeoff")}
        return replace(self, folded=folded, _memo=curves, _lock=threading.RLock())

    def _once(self, key: str, build: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._memo:
                self._memo[key] = build()
            kept: T = self._memo[key]
            return kept


def simulate(trace: Trace, plan: Plan | None = None) -> Timeline:
    """The memory of one step under a plan, predicted from the lifetimes of the joint graph.

    Parameters
    ----------
    trace : Trace
    plan : Plan, optional
        None keeps everything, as PyTorch does.

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
    return simulate_schedule(trace.schedule(plan), trace.device)
