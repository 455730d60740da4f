"""``apply``: a module that trains like the model, within the memory of a plan.

It is the model's step (forward pass and loss) compiled with the backend ``"recompviz"``. If the graph that is captured
is the traced one, the given plan runs. Dynamo's guards notice every change (shapes, attributes, globals, closures,
hooks, training flags); a call of another kind is captured again and planned for the same total bytes.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.joint import Call, Category
from recompviz.pytorch.internals.aot import own_code
from recompviz.pytorch.internals.dynamo import forget_code
from recompviz.pytorch.internals.export import capture_settings, quiet_capture
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.running.active_budget import active
from recompviz.pytorch.running.backend import active_backend
from recompviz.pytorch.running.operator_figures import OperatorFigures, as_traced, calibrated_joint
from recompviz.pytorch.running.program import Mark, Program, write_program
from recompviz.pytorch.running.region import Region, Run, Stage
from recompviz.pytorch.running.resident_memory import watch_optimizers
from recompviz.pytorch.running.step_budget import StepBudget
from recompviz.pytorch.running.step_model import model_of_region
from recompviz.pytorch.tracing.call_list import ARRIVE, has_arrival
from recompviz.pytorch.tracing.traced_step import Trace, simulate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph


class PlanWarning(UserWarning):
    """A call runs under another plan than the one that was applied."""


class PlannedModule(nn.Module):
    """The model's training step under a plan; made by :func:`apply`.

    ``planned(*inputs, *targets, **kwargs)`` returns the scalar loss; the model's own outputs if the trace has no loss.
    Its parameters, buffers and ``state_dict`` have the model's names.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        Of the trace's graph.
    plans : sequence of Plan, optional
        Plans to choose from at each call, by the memory that is free. If empty, ``plan`` always runs.
    total : int, optional
        Total bytes that no call may exceed.

    Attributes
    ----------
    plan : Plan
    trace : Trace
    step : torch.nn.Module
        The model and its loss as one module.
    total : int or None
    program : Program
        The program of ``plan``; ``program.source`` is its text.
    """

    _budget: PlannedBudget
    _compiled: Callable[..., Any]

    def __init__(self, trace: Trace, plan: Plan, plans: Sequence[Plan] = (), total: int | None = None) -> None:
        super().__init__()
        self._trace, self._plan, self._plans = trace, plan, tuple(plans)
        self._total = total
        self._input_count = len(trace.arguments[0])
        self._share_state()
        self._compile()

    # ---------------------------------------------------------------- what it was made from

    @property
    def plan(self) -> Plan:
        """The plan it was made with."""
        return self._plan

    @property
    def trace(self) -> Trace:
        """The trace it was made from."""
        return self._trace

    @property
    def step(self) -> nn.Module:
        """The model and its loss as one module."""
        return self._trace.step

    @property
    def total(self) -> int | None:
        """The total bytes that no call exceeds; None if only a plan was given."""
        return self._total

    @property
    def program(self) -> Program:
        """The program of ``plan``; ``program.source`` is its text."""
        self._refuse_estimated()
        return write_program(self._trace.folded, self._trace.schedule(self._plan))

    # ---------------------------------------------------------------- running

    def forward(self, *values: Any, **kwargs: Any) -> Any:
        """The scalar loss of one step; the model's own outputs if it was traced without a loss.

        Parameters
        ----------
        *values
            The inputs, then the targets, as many as were traced.
        **kwargs
            Keyword arguments of the model.
        """
        arguments = (values[: self._input_count], kwargs, values[self._input_count :])
        if not torch.is_grad_enabled():
            return self._trace.step(*arguments)
        quiet = contextlib.nullcontext() if self._budget.regions else quiet_capture()
        # after the traced graph, one graph for all other sizes
        settings = capture_settings(varying_sizes=bool(self._budget.traced_regions))
        with settings, quiet, active(self._budget):
            return self._compiled(*arguments)

    def marked(self, mark: Mark, *values: Any, **kwargs: Any) -> Callable[[], Any]:
        """A function that runs the forward pass, and each step of the schedule inside ``mark(step)``; for measuring."""
        self._refuse_estimated()

        def run() -> Any:
            with self._budget.marked(mark):
                return self(*values, **kwargs)

        return run

    def saved_values(self, result: Any) -> list[torch.Tensor] | None:
        """The values that autograd holds for the backward pass of what a step returned, in the order of ``program``.

        None if it does not come from the traced graph, because the model has changed since.
        """
        return self._budget.saved_values(result)

    def _refuse_estimated(self) -> None:
        if self._trace.estimated:
            raise RecompvizError(
                f"this plan is for a trace without memory, estimated for {self._trace.device}: it has no program to "
                "measure or read; trace the model where it runs"
            )

    # ---------------------------------------------------------------- nn.Module behaviour

    def _share_state(self) -> None:
        """Let this module's parameters, buffers and submodules be the model's own."""
        model, loss = self._trace.model, self._trace.step.loss
        for name in _SHARED:
            self.__dict__[name] = getattr(model, name)
        if isinstance(loss, nn.Module):
            self.__dict__["_modules"] = {**model._modules, "loss": loss}
        self.__dict__["training"] = model.training

    def _compile(self) -> None:
        budget = PlannedBudget(self._trace, self._plan, self._plans, self._total)
        watch_optimizers()

        self.__dict__["_budget"] = budget
        self.__dict__["_compiled"] = torch.compile(
            _compiled_once(self._trace.step), backend=active_backend, options={"granularity": self._trace.granularity}
        )

    def train(self, mode: bool = True) -> PlannedModule:
        """Switch the model, and the loss if it is a module, between training and evaluation."""
        super().train(mode)
        self._trace.step.train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PlannedModule:
        """A planned module of a copy of the model, for example for a moving average of its parameters."""
        step = copy.deepcopy(self._trace.step, memo)
        other = PlannedModule(replace_step(self._trace, step), self._plan, self._plans, self._total)
        memo[id(self)] = other
        return other

    def __reduce__(self) -> Any:
        raise TypeError(
            "a planned module holds a compiled program and cannot be pickled; save its state_dict(), and its plan with "
            "planned.plan.to_json()"
        )


# what a planned module and its model have in common
_SHARED = (
    "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


_functions: weakref.WeakKeyDictionary[nn.Module, Callable[..., Any]] = weakref.WeakKeyDictionary()


def _compiled_once(step: nn.Module) -> Callable[..., Any]:
    """The step's ``forward``. All planned modules of a step share its code object, so that Dynamo compiles it once."""
    if step not in _functions:
        function = own_code(step).__func__
        weakref.finalize(step, forget_code, function.__code__)
        _functions[step] = function
    return MethodType(_functions[step], step)


def replace_step(trace: Trace, step: Any) -> Trace:
    """The same trace for a copy of its step."""
    return replace(trace, step=step)


def apply(trace: Trace, plan: Plan) -> PlannedModule:
    """The model's training step under a plan, as a module that returns the loss.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        Of ``trace``'s graph. Several plans of one trace can be applied, each as its own module.

    Returns
    -------
    PlannedModule
        Called with the inputs and targets, it returns the scalar loss; the model's own outputs if the trace has no
        loss. It shares the model's parameters and buffers.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> x, y = torch.ones(4, 8), torch.zeros(4, 1)
    >>> t = rv.trace(model, x, targets=(y,), loss=torch.nn.functional.mse_loss)
    >>> planned = rv.apply(t, t.plan("1 MiB"))
    >>> planned(x, y).backward()
    >>> model[0].weight.grad.shape
    torch.Size([8, 8])
    """
    return PlannedModule(trace, trace.check(plan))


@dataclass(eq=False)
class _Marker:
    """Brackets the steps of a run for a measurement."""

    mark_step: Mark
    forward_count: int
    arrives: bool

    def stage_of(self, _stage: Stage) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def mark(self, step: int) -> contextlib.AbstractContextManager[None]:
        # a region's schedule has one step more than that of a whole step: the gradients of its outputs arrive
        return self.mark_step(step if self.arrives else step - (step > self.forward_count))

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Nothing to note."""

    def tangents(self, tangents: list[Any]) -> None:
        """Nothing to note."""


class PlannedBudget(StepBudget):
    """The budget of a planned module: the graph that was traced runs under the plan that was given.

    Parameters
    ----------
    trace : Trace
    plan : Plan
    plans : sequence of Plan
        Plans to choose from by the memory that is free; without any, ``plan`` always runs.
    total : int or None
        Total bytes that no call exceeds. None: a call of another kind keeps the same values if its graph has the same
        shape, and otherwise aims at the bytes that the plan takes.
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
        self._mark: Mark | None = None
        self._warned = False

    def add(self, region: Region) -> None:
        """Recognise the traced graph; any other is planned for the same total."""
        super().add(region)
        # a graph with symbols for sizes is not the traced one, even if this call has its sizes
        joint = None if region.symbols else _same_joint(region, self.graph.edges, self.joint)
        if joint is None:
            if not self._warned:
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
        self.models[region] = model_of_region(known)

    def _consequence(self, region: Region) -> str:
        """How calls of an unknown graph run."""
        if self.strict:
            return f"it is planned again for {self.total:,} total bytes"
        if self._keeps_same(region):
            return (
                "it keeps the same values, and takes more memory if it is larger; for a limit in bytes, use "
                f"rv.fit_in(…, total={self.total})"
            )
        return f"it is planned again for about {self.total:,} total bytes"

    def _keeps_same(self, region: Region) -> bool:
        """Whether the given plan can run in a graph that was not traced."""
        same_edges = region.folded.graph.edges.tolist() == self.graph.edges.tolist()
        return not self.strict and same_edges and region.fits(self.mask)

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """The given plan for the traced graph, unless there are plans to choose from."""
        if run.region not in self.regions:  # another planned module of the same step was compiled first
            self.add(run.region)
        if run.region in self.traced_regions:
            if self._mark is not None:
                run.observer = _Marker(self._mark, self.joint.forward_count, has_arrival(self.joint))
            if not self.plans or self._mark is not None:
                return self.mask
        elif self._keeps_same(run.region):
            return self.mask
        elif self._mark is not None:
            raise RecompvizError(
                "cannot measure this plan on another step than it was traced for; trace the step again"
            )
        return super().choose(run)

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again, or never could."""
        super().remove(region)
        self.traced_regions = [other for other in self.traced_regions if other is not region]

    @contextlib.contextmanager
    def marked(self, mark: Mark) -> Iterator[None]:
        """Bracket the steps of the runs that start inside this block."""
        before, self._mark = self._mark, mark
        try:
            yield
        finally:
            self._mark = before

    def saved_values(self, result: Any) -> list[torch.Tensor] | None:
        """The values that autograd holds for the backward pass of the traced graph's result; None for another."""
        outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        found = (region.saved_values(output) for region in self.traced_regions for output in outputs)
        return next((values for values in found if values is not None), None)


def _identity(call: Call) -> tuple[object, ...]:
    """The properties of a call that must be equal in the traced and the captured graph."""
    return call.info.op, call.info.shape, call.info.dtype, call.node


def _same_joint(region: Region, edges: NDArray[np.int32], joint: JointGraph) -> JointGraph | None:
    """The region's joint graph with what is known of the traced one; None if the region is another graph."""
    own = region.folded.joint
    calls = [c for c, call in enumerate(own.calls) if call.info.op != ARRIVE]
    theirs = [c for c, call in enumerate(joint.calls) if call.info.op != ARRIVE]
    if len(calls) != len(theirs) or not np.array_equal(region.folded.graph.edges, edges):
        return None
    if any(_identity(own.calls[c]) != _identity(joint.calls[d]) for c, d in zip(calls, theirs, strict=True)):
        return None
    figures = [as_traced(own, c) for c in range(len(own.calls))]
    if joint.workspace:
        for c, d in zip(calls, theirs, strict=True):
            sizes = tuple(joint.storages[s].size for s in joint.calls[d].makes)
            if len(sizes) != len(own.calls[c].makes):
                return None
            figures[c] = OperatorFigures(joint.workspace[d], sizes, joint.seconds[d])
        return calibrated_joint(own, figures)
    return own
