"""``apply`` makes a module that trains like the model, within the memory of a plan.

The module is the traced step (model and loss), compiled by ``torch.compile``. If the captured graph is the traced
graph, the given plan runs. Dynamo's guards notice changes of shapes, attributes, globals, closures, hooks and training
flags. A changed step is captured again. If the module has a *total* (a memory limit), the changed step is planned for
this total. Without a total, the changed step keeps the same values as the given plan if possible. If not, it is planned
for about the bytes that the given plan takes.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import nn

from recompviz.core.base.errors import RecompvizError
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.pytorch.budgeting.planned_budget import PlannedBudget
from recompviz.pytorch.budgeting.resident_memory import watch_optimizers
from recompviz.pytorch.executing.active_budget import active
from recompviz.pytorch.executing.backend import active_backend
from recompviz.pytorch.executing.program import Program, StepMark, write_program
from recompviz.pytorch.internals.aot import own_code
from recompviz.pytorch.internals.dynamo import forget_code
from recompviz.pytorch.internals.export import capture_settings, quiet_capture
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace


class PlannedModule(nn.Module):
    """The traced training step under a plan, as a module; made by :func:`apply`.

    ``planned(*inputs, *targets, **kwargs)`` returns the scalar loss, or the model's own outputs if the trace has no
    loss. The module has the model's parameters, buffers and ``state_dict``. If the loss is a module, it also has the
    parameters and buffers of the loss, with the prefix ``loss.``.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        A plan of the trace's graph.
    plans : sequence of Plan, optional
        If given, each call of the traced graph runs the one of these plans that fits ``total`` and recomputes least. If
        left out, ``plan`` runs.
    total : int, optional
        The most bytes that a training step may take, parameters included.

    Attributes
    ----------
    plan : Plan
        The plan that the module was made with.
    trace : Trace
        The trace that the module was made from.
    step : torch.nn.Module
        The model and its loss as one module.
    total : int or None
        The most bytes that a training step may take, parameters included; None without a limit.
    program : Program
        The generated forward and backward function of ``plan``.
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
        """The plan that the module was made with."""
        return self._plan

    @property
    def trace(self) -> Trace:
        """The trace that the module was made from."""
        return self._trace

    @property
    def step(self) -> nn.Module:
        """The model and its loss as one module."""
        return self._trace.step

    @property
    def total(self) -> int | None:
        """The most bytes that a training step may take, parameters included; None without a limit."""
        return self._total

    @property
    def program(self) -> Program:
        """The generated forward and backward function of ``plan``; ``program.source`` is their Python source.

        Raises
        ------
        RecompvizError
            If the trace was estimated without memory.
        """
        self._refuse_estimated()
        return write_program(self._trace.folded, self._trace.schedule(self._plan))

    # ---------------------------------------------------------------- running

    def forward(self, *values: Any, **kwargs: Any) -> Any:
        """Run the forward pass of one training step. If gradients are disabled, the model and its loss run eagerly.

        Parameters
        ----------
        *values
            The inputs, then the targets: as many of each as the traced step has.
        **kwargs
            Keyword arguments of the model.

        Returns
        -------
        torch.Tensor or the model's output
            The scalar loss, or the model's own outputs if the trace has no loss.

        Raises
        ------
        InfeasibleBudget
            If the module has a total and no plan fits. The error is raised before anything is allocated.

        Warns
        -----
        PlanWarning
            If the call differs from the traced step (reported once), or if the trace was estimated.
        """
        arguments = (values[: self._input_count], kwargs, values[self._input_count :])
        if not torch.is_grad_enabled():
            return self._trace.step(*arguments)
        quiet = contextlib.nullcontext() if self._budget.regions else quiet_capture()
        # one graph for all other sizes, after the traced graph or after two of other sizes
        varying = bool(self._budget.traced_regions) or len(self._budget.regions) > 1
        settings = capture_settings(varying_sizes=varying)
        with settings, quiet, active(self._budget):
            result = self._compiled(*arguments)
        self._budget.first_call = False
        return result

    def marked(self, mark: StepMark, *values: Any, **kwargs: Any) -> Callable[[], Any]:
        """Return a function without arguments that runs the forward pass with marks, for a measurement.

        Each operator call of the plan's schedule, in the forward and in the backward pass, runs inside the context
        manager ``mark(number of the call)``. The other arguments are those of :meth:`forward`.

        Raises
        ------
        RecompvizError
            If the trace was estimated without memory.
        """
        self._refuse_estimated()

        def run() -> Any:
            with self._budget.marked(mark):
                return self(*values, **kwargs)

        return run

    def saved_values(self, result: Any) -> list[torch.Tensor] | None:
        """Return the values that autograd keeps for the backward pass of a call, ordered as ``program.saved_storages``.

        Parameters
        ----------
        result : torch.Tensor or any
            The value that the call returned.

        Returns
        -------
        list of torch.Tensor or None
            None if the call did not run the traced graph, because the model or its inputs have changed.
        """
        return self._budget.saved_values(result)

    def _refuse_estimated(self) -> None:
        if self._trace.estimated:
            raise RecompvizError(
                f"the model was traced on tensors without memory (estimated for {self._trace.device}), so the plan has "
                "no program to read; build the model on the device and call rv.trace again"
            )

    # ---------------------------------------------------------------- nn.Module behaviour

    def _share_state(self) -> None:
        """Let this module share the model's parameters, buffers and submodules."""
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
        """Set the model, and the loss if it is a module, to training or evaluation mode."""
        super().train(mode)
        self._trace.step.train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PlannedModule:
        """Return a planned module of a copy of the model, for example for a moving average of its parameters."""
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
        function = own_code(type(step))
        weakref.finalize(step, forget_code, function.__code__)
        _functions[step] = function
    return MethodType(_functions[step], step)


def replace_step(trace: Trace, step: Any) -> Trace:
    """Return a copy of a trace whose attribute ``step`` is the given step, for example a copy of the original step."""
    return replace(trace, step=step)


def apply(trace: Trace, plan: Plan) -> PlannedModule:
    """Return a module that runs the traced training step under a plan.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        A plan of the trace's graph. Several plans of one trace can be applied. Each call returns a new module.

    Returns
    -------
    PlannedModule
        A module to call with the inputs and targets. It returns the scalar loss, or the model's own outputs if the
        trace has no loss. It shares the model's parameters and buffers.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.
    TypeError
        If ``trace`` is not a Trace, or ``plan`` is not a Plan.

    Warns
    -----
    PlanWarning
        When the module is called, if the call differs from the traced step, or if the trace was estimated.

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
    expect_trace(trace, "rv.apply(trace, plan)")
    expect_plan(plan)
    return PlannedModule(trace, trace.check(plan))
