"""``plan_units`` lets units of a model run under plans, also if the model is sharded (FSDP) or replicated (DDP).

A *unit* is a module that is named in a plan. The backend of ``rv.compile`` compiles the ``forward`` of each unit. The
module itself stays, so the hooks of FSDP or DDP run around ``forward`` as before. Everything outside the units runs as
written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.ranks.unit_plan import UnitPlan, expect_unit_plans, unit_difference
from recompviz.pytorch.executing.active_budget import active
from recompviz.pytorch.executing.backend import active_backend
from recompviz.pytorch.executing.region import Region, Run
from recompviz.pytorch.internals.dynamo import allow_more_captures
from recompviz.pytorch.ranks.trace_sharding import shapes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# an attribute of the function that runs a unit under its plan
_MARK = "_recompviz_planned"


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
        """Do nothing. A region gets its plan when it runs, because units of one class share their regions."""

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again."""
        self._masks.pop(id(region), None)

    def choose(self, run: Run) -> NDArray[np.bool_]:
        """Return for each node of the run's region whether its value is kept for the backward pass.

        Raises
        ------
        PlanMismatch
            If the region has other operators or data types than the plan.
        """
        region = run.region
        if id(region) not in self._masks:
            if difference := unit_difference(self.plan, [(info.op, info.dtype) for info in region.folded.graph.info]):
                raise PlanMismatch(difference)
            self._masks[id(region)] = np.array(self.plan.keep, np.bool_)
        self.runs += 1
        return self._masks[id(region)]

    def note_inference(self, run: Run, peak: int) -> None:
        """Do nothing: a graph without a backward pass has no plan."""


class PlannedUnits:
    """The units of a model that run under plans; made by :func:`plan_units`.

    Attributes
    ----------
    choosers : tuple of UnitChooser
        For each unit, the object that applies its plan.
    """

    def __init__(self, choosers: Sequence[UnitChooser], modules: Sequence[nn.Module]) -> None:
        self.choosers = tuple(choosers)
        # the modules, with the forward that others have set on the object itself
        self._before = [(module, module.__dict__.get("forward")) for module in modules]
        for module, chooser in zip(modules, choosers, strict=True):
            module.__dict__["forward"] = _planned(module.forward, chooser)

    def remove(self) -> None:
        """Let the units run as written again."""
        for module, forward in self._before:
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
        self._before = []


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
        If a plan names a module that the model does not have, or a module whose parameters have other names or shapes
        than in the plan. Also when the model is called, if a unit has other operators or data types than its plan.
    ValueError
        If there are two plans for one module, or a module runs under a plan already.
    TypeError
        If ``model`` is not a module, or ``plans`` are not unit plans.

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
    for i, plan in enumerate(plans):
        if plan.name not in modules:
            raise PlanMismatch(
                f"the model has no module {plan.name!r}, for which there is a plan; give the model that was traced, "
                "not a wrapper around it"
            )
        if any(plan.name == other.name for other in plans[:i]):
            raise ValueError(f"there are two plans for the module {plan.name!r}; give one plan for each module")
        if hasattr(modules[plan.name].__dict__.get("forward"), _MARK):
            raise ValueError(
                f"the module {plan.name!r} runs under a plan already; first call remove() of what plan_units returned"
            )
        _expect_shapes(modules[plan.name], plan)
    allow_more_captures()
    choosers = [UnitChooser(plan) for plan in plans]
    return PlannedUnits(choosers, [modules[plan.name] for plan in plans])


def _planned(forward: Callable[..., Any], chooser: UnitChooser) -> Callable[..., Any]:
    """Return a function that runs a unit's ``forward`` under its plan; as written, if gradients are disabled."""
    compiled: Callable[..., Any] = torch.compile(forward, backend=active_backend, dynamic=False)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        with active(chooser):
            return compiled(*args, **kwargs)

    setattr(run, _MARK, True)
    return run


def _expect_shapes(module: nn.Module, plan: UnitPlan) -> None:
    """Raise PlanMismatch unless the parameters of a module have the shapes of the plan."""
    if not plan.parameters:
        return
    planned, found = dict(plan.parameters), shapes_of(module, [""])[""]
    for path in (*planned, *found):
        if planned.get(path) != found.get(path):
            raise PlanMismatch(
                f"unit {plan.name!r} has {_parameter(path, found)}, and its plan is for a unit with "
                f"{_parameter(path, planned)}; trace the model that you train, and plan again"
            )


def _parameter(path: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"the parameter {path!r} of the shape {shapes[path]}" if path in shapes else f"no parameter {path!r}"
