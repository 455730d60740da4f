"""``plan_units`` lets units of a model run under plans, also if the model is sharded (FSDP) or replicated (DDP).

A *unit* is a module that is named in a plan. The backend of ``rv.compile`` compiles the ``forward`` of each unit. The
module itself stays, so the hooks of FSDP or DDP run around ``forward`` as before. Everything outside the units runs as
written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.ranks.unit_plan import UnitPlan, expect_unit_plans
from recompviz.pytorch.internals.dynamo import allow_more_captures
from recompviz.pytorch.running.active_budget import active
from recompviz.pytorch.running.backend import active_backend
from recompviz.pytorch.running.region import Region, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


class UnitChooser:
    """Lets the regions (captured graphs) of one unit run under the plan of the unit.

    Parameters
    ----------
    plan : UnitPlan
        The plan of the unit.

    Attributes
    ----------
    runs : int
        The number of runs of regions under the plan so far.
    """

    def __init__(self, plan: UnitPlan) -> None:
        self.plan = plan
        self.runs = 0
        self._masks: dict[int, NDArray[np.bool_]] = {}

    def add(self, region: Region) -> None:
        """Do nothing: units of one class share their regions."""

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again."""
        self._masks.pop(id(region), None)

    def choose(self, run: Run) -> NDArray[np.bool_]:
        """Return for each node of the run's region whether its value is kept for the backward pass.

        Raises
        ------
        PlanMismatch
            If the region has other operators than the plan.
        """
        region = run.region
        if id(region) not in self._masks:
            operators = tuple(info.op for info in region.folded.graph.info)
            if operators != self.plan.operators:
                raise PlanMismatch(self._difference(operators))
            self._masks[id(region)] = np.array(self.plan.keep, np.bool_)
        self.runs += 1
        return self._masks[id(region)]

    def note_inference(self, run: Run, peak: int) -> None:
        """Do nothing: a graph without a backward pass has no plan."""

    def _difference(self, operators: Sequence[str]) -> str:
        planned = self.plan.operators
        first = next(
            (i for i, (a, b) in enumerate(zip(operators, planned, strict=False)) if a != b),
            min(len(operators), len(planned)),
        )
        runs = operators[first] if first < len(operators) else "nothing more"
        expects = planned[first] if first < len(planned) else "nothing more"
        return (
            f"unit {self.plan.name!r} runs {runs} as operator {first + 1}, where its plan has {expects}; trace the "
            "model as it is trained (same shapes, dtypes and training mode), and let the unit be captured as one graph"
        )


class PlannedUnits:
    """The units of a model that run under plans; made by :func:`plan_units`.

    Attributes
    ----------
    choosers : tuple of UnitChooser
        For each unit, the object that applies its plan.
    """

    def __init__(self, choosers: Sequence[UnitChooser], modules: Sequence[nn.Module]) -> None:
        self.choosers = tuple(choosers)
        self._modules = tuple(modules)

    def remove(self) -> None:
        """Let the units run as written again."""
        for module in self._modules:
            module.__dict__.pop("forward", None)


def plan_units(model: nn.Module, plans: Sequence[UnitPlan]) -> PlannedUnits:
    """Let units of a model run under their plans. The model is changed in place.

    Call it on every rank with the same plans, before or after ``fully_shard`` or DDP wrap the model.

    Parameters
    ----------
    model : torch.nn.Module
        The model whose units are named in the plans.
    plans : sequence of UnitPlan
        The plans of the units, made by :meth:`RankStep.unit_plans`.

    Returns
    -------
    PlannedUnits
        Its method ``remove`` undoes the change.

    Raises
    ------
    PlanMismatch
        If a plan names a module that the model does not have. Also when the model is called, if a unit has other
        operators than its plan.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
    >>> x, y = torch.zeros(4, 8), torch.zeros(4, 1)
    >>> step = rv.replicate_step(rv.trace(model, x, targets=(y,), loss=torch.nn.functional.mse_loss), units=["0"])
    >>> units = rv.plan_units(model, step.unit_plans(step.plan("1 MiB")))
    >>> model(x).sum().backward()
    >>> units.choosers[0].runs
    1
    """
    expect(model, nn.Module, "model", "a torch.nn.Module", "give the model first, then the plans")
    plans = expect_unit_plans(plans)
    modules = dict(model.named_modules())
    for plan in plans:
        if plan.name not in modules:
            raise PlanMismatch(
                f"the model has no module {plan.name!r}, for which there is a plan; give the model that was traced, "
                "not a wrapper around it"
            )
    allow_more_captures()
    choosers = [UnitChooser(plan) for plan in plans]
    for plan, chooser in zip(plans, choosers, strict=True):
        module = modules[plan.name]
        module.__dict__["forward"] = _planned(module.forward, chooser)
    return PlannedUnits(choosers, [modules[plan.name] for plan in plans])


def _planned(forward: Callable[..., Any], chooser: UnitChooser) -> Callable[..., Any]:
    """Return a function that runs a unit's ``forward`` under its plan; as written, if gradients are disabled."""
    compiled: Callable[..., Any] = torch.compile(forward, backend=active_backend, dynamic=False)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        with active(chooser):
            return compiled(*args, **kwargs)

    return run
