"""The backend ``"recompviz"`` of ``torch.compile``, and ``rv.compile``.

A compiled model has the outputs, parameters and ``state_dict`` of the model; the user writes the loss, the optimizer
and the training loop. Dynamo's guards decide whether a captured graph is valid for a call. Code that Dynamo cannot
capture runs eagerly.
"""

from __future__ import annotations

import copy
import functools
import os
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import expect, expect_flag, shown
from recompviz.core.base.units import parse_total
from recompviz.pytorch.budgeting.resident_memory import watch_optimizers
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.budgeting.step_recorder import IN_DISPATCH_MODE, IN_GENERATOR, IN_TRANSFORM
from recompviz.pytorch.executing.active_budget import active
from recompviz.pytorch.executing.backend import active_backend, compile_region
from recompviz.pytorch.internals.aot import make_lazy_parameters
from recompviz.pytorch.internals.autograd import in_function_transform
from recompviz.pytorch.internals.dynamo import DynamoError, allow_more_captures, compile_layers, in_dispatch_mode
from recompviz.pytorch.internals.export import capture_settings, quiet_capture
from recompviz.pytorch.internals.tensors import has_lazy_parameters
from recompviz.pytorch.running.compiled_module import copy_with, keep_names
from recompviz.pytorch.running.uncaptured import note_unplanned
from recompviz.pytorch.tracing.optimizer_state import state_bytes
from recompviz.pytorch.tracing.step import TraceError, expect_optimizer, refuse_foreign

M = TypeVar("M", bound=Callable[..., Any])

# The total that the backend uses where torch.compile was given no options.
TOTAL_VARIABLE = "RECOMPVIZ_TOTAL"
_OPTIONS = ("total",)

_by_total: dict[int | None, StepBudget] = {}


def backend(
    graph: GraphModule, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **others: Any
) -> Callable[..., Any]:
    """Compile a captured graph for ``torch.compile(model, backend="recompviz")``.

    Parameters
    ----------
    graph : torch.fx.GraphModule
        A graph that Dynamo captured.
    inputs : sequence
        The example inputs of the graph.
    options : mapping, optional
        ``{"total": "10 GiB"}``: the most bytes that a training step may take, as in :func:`compile`. Without it, the
        total is read from the environment variable ``RECOMPVIZ_TOTAL``. Without both, every value is kept.
    **others
        Other arguments of ``torch.compile``, such as ``mode``. They are not allowed.

    Returns
    -------
    callable
        The compiled graph.

    Raises
    ------
    TypeError, ValueError
        When the compiled graph is called, if an option or argument is unknown, or the total is not a size. The error is
        raised so late because ``torch.compile`` would wrap an error of the backend itself in another type.

    Warns
    -----
    UnplannedGraph
        If the graph cannot be planned; it then runs eagerly.
    """
    allow_more_captures()
    try:
        budget = budget_for(_total_in(options, others))
    except (TypeError, ValueError) as error:
        return _raises(error)
    watch_optimizers()
    compiled = compile_region(graph, inputs, budget)
    if compiled == graph.forward:
        note_unplanned(inputs)
    return compiled


def _total_in(options: Any, others: Mapping[str, Any]) -> int | float | str | None:
    """The total that ``torch.compile`` was given; else that of the environment variable."""
    right = 'write options={"total": "10 GiB"}'
    if others:
        name, value = next(iter(others.items()))
        raise ValueError(f"{name} is {shown(value)}, but backend 'recompviz' has no {name}; leave it out, or {right}")
    if options is None:
        options = {}
    expect(options, Mapping, "options of backend 'recompviz'", "a dict", right)
    if unknown := [name for name in options if name not in _OPTIONS]:
        known = ", ".join(map(repr, _OPTIONS))
        raise ValueError(f"unknown option {unknown[0]!r} of backend 'recompviz'; known options: {known}; {right}")
    if "total" in options:
        return cast("int | float | str | None", options["total"])
    total = os.environ.get(TOTAL_VARIABLE)
    if total is not None:
        try:
            parse_total(total)
        except ValueError as error:
            raise ValueError(f"the environment variable {TOTAL_VARIABLE} is wrong: {error}; or unset it") from None
    return total


def _raises(error: Exception) -> Callable[..., Any]:
    """A function that raises an error."""

    def compiled(*_arguments: Any) -> Any:
        raise error

    return compiled


def budget_for(total: int | float | str | None) -> StepBudget:
    """Return the budget for a total. Models compiled by ``backend="recompviz"`` with one total share their budget.

    The budget chooses the plans of these models. None as ``total`` stands for no limit.

    Raises
    ------
    TypeError, ValueError
        If ``total`` is neither None nor a size.
    """
    size = None if total is None else parse_total(total)
    if size not in _by_total:
        _by_total[size] = StepBudget(size)
    return _by_total[size]


def runs_by_name() -> int:
    """Return the number of runs so far of all regions (captured graphs) compiled by ``backend="recompviz"``.

    Runs before the last call of :func:`forget_budgets` do not count.
    """
    return sum(budget.runs for budget in _by_total.values())


def forget_budgets() -> None:
    """Forget the budgets of models compiled by ``backend="recompviz"``. Models compiled later get new budgets."""
    _by_total.clear()


def compile(
    model: M,
    *,
    total: int | float | str | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    holds: Any = None,
    dynamic: bool | None = None,
    fullgraph: bool = False,
) -> M:
    """Compile a model so that each training step takes at most ``total`` bytes.

    The first two training steps run in little memory, which may still be more than the total. The second step is
    recorded. Each later step recomputes as little as the total allows. Operators take as long as in the recorded step,
    or as :func:`calibrate` has measured if its cache has all of them.

    Parameters
    ----------
    model : torch.nn.Module or callable
        A model, or a function that runs a training step. If it is the result of :func:`compile`, the original model or
        function is compiled again.
    total : int, float or str, optional
        The most bytes that a training step may take, or a string such as ``"10 GiB"``. If left out, every value is
        kept. The total includes parameters, gradients, optimizer state, inputs, and everything that is allocated from
        the start of the model's forward pass to the end of the backward pass. Scratch memory of ``optimizer.step()`` is
        not included, because it runs after the backward pass. On CUDA, the total also includes everything else that is
        allocated when the forward pass starts. On the CPU, from the first planned step on, it also includes the tensors
        that code between the forward pass and the end of the backward pass reads, such as targets, and the tensors that
        a step leaves for the next one, such as the loss. Name anything else with ``holds``, for example a model that is
        not compiled and runs before the forward pass. The memory of other models that recompviz compiled counts without
        ``holds``: their parameters, the values that they save, and their outputs. If compiled models with different
        totals run in one step, the smallest total applies to all of them.
    optimizer : torch.optim.Optimizer, optional
        The optimizer of the model. Its state counts from the first step on. If left out, the optimizer is found when it
        first steps, and its state counts from then on. If several optimizers train the model, name one here and the
        others with ``holds``.
    holds : tensor, module, optimizer, function, or a list, tuple, set or dict of these, optional
        Objects that you keep in memory beside the model while it trains: a teacher, a moving average of the parameters,
        the discriminator of a GAN and its optimizer, a data set. These count: parameters and buffers of modules, their
        gradients, the state of optimizers, and tensors. Each storage counts once. A function is called before each
        step, and must return such objects. Use a function for tensors that are new in each step, such as targets. The
        compiled model keeps the functions alive, but not the other objects. Other models that recompviz compiled need
        not be named.
    dynamic, fullgraph
        As for ``torch.compile``.

    Returns
    -------
    torch.nn.Module or callable
        The compiled model, with the model's outputs, parameters and ``state_dict``. A deep copy shares the budget. A
        pickle holds the model and the total, but no plans.

    Raises
    ------
    TypeError
        If ``model`` is not callable, ``holds`` has an object of another type than those above, or another argument has
        the wrong type.
    ValueError
        If ``total`` is not a size, or ``optimizer`` trains no parameter of the model.
    InfeasibleBudget
        When the compiled model is called and no plan fits the total. The error is raised before the step allocates
        anything, or during the forward pass if steps run different graphs. Its attribute ``least`` is the least
        feasible total. Before a step was recorded, ``least`` is an estimate. A total of this size is enough for most
        models that are captured as one graph. The attribute ``estimated`` says what the estimate leaves out.

    Warns
    -----
    UnplannedGraph
        When the compiled model is called, for each captured graph that cannot be planned and runs eagerly.
    UnplannedStep
        When the compiled model is called, if several steps could not be recorded, so that they run under plans of least
        peak. Also once if a recorded step took more than the total, which the first two steps may do, and once if a
        forward pass without gradients, such as a validation pass, takes more than the total.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> compiled = rv.compile(model, total="1 MiB")
    >>> torch.nn.functional.mse_loss(compiled(torch.ones(4, 8)), torch.zeros(4, 1)).backward()
    >>> model[0].weight.grad.shape
    torch.Size([8, 8])

    With a teacher, and targets that are new in each step:

    >>> teacher = torch.nn.Linear(8, 1)
    >>> student = rv.compile(model, total="1 MiB", holds=[teacher, lambda: target])
    >>> for x in torch.ones(3, 4, 8):
    ...     target = teacher(x).detach()
    ...     torch.nn.functional.mse_loss(student(x), target).backward()
    >>> next(note for note in rv.step_report(student).notes if "beside" in note)
    'beside the model, 52 B are in use before the step'
    """
    model = getattr(model, "_recompviz_original", model)  # of one that was compiled before, for another total
    if not callable(model) or isinstance(model, type):
        raise TypeError(f"model is {shown(model)}, expected a torch.nn.Module or a function; give the model first")
    if isinstance(optimizer, list | tuple):
        raise TypeError(
            f"optimizer is {shown(optimizer)}, expected one torch.optim.Optimizer; "
            "write optimizer=first, holds=[second]"
        )
    expect_optimizer(optimizer)
    if isinstance(model, nn.Module):
        refuse_foreign(optimizer, model)
    if dynamic is not None:
        expect_flag(dynamic, "dynamic")
    expect_flag(fullgraph, "fullgraph")
    return compile_within(model, StepBudget(total, optimizer, _state_bytes(optimizer), holds=holds), dynamic, fullgraph)


def _state_bytes(optimizer: torch.optim.Optimizer | None) -> int:
    """Bytes that the state of an optimizer will have; 0 without one, or if its state cannot be counted yet."""
    if optimizer is None or has_lazy_parameters(p for group in optimizer.param_groups for p in group["params"]):
        return 0
    try:
        return state_bytes(optimizer)
    except TraceError:
        return 0


def compile_within(model: M, budget: StepBudget, dynamic: bool | None = None, fullgraph: bool = False) -> M:
    """Compile a model, or a function that runs a training step, for a given budget. See :func:`compile`."""
    watch_optimizers()
    allow_more_captures()
    compiled: Any = torch.compile(model, backend=active_backend, dynamic=dynamic, fullgraph=fullgraph)
    if not isinstance(model, nn.Module):
        compiled = _planned_by(budget, compiled, model)
        compiled._recompviz_budget, compiled._recompviz_original = budget, model
        return cast(M, compiled)
    budget.note_model(model)
    if has_lazy_parameters([*model.parameters(), *model.buffers()]):
        compiled.forward = _after_lazy_layers(weakref.ref(model), compiled.forward)
    compile_layers(model, active_backend, dynamic)
    compiled.forward = _planned_by(budget, compiled.forward, model)
    object.__setattr__(compiled, "_recompviz_budget", budget)
    object.__setattr__(compiled, "_recompviz_original", model)
    keep_names(compiled)

    own = id(compiled)  # a reference to the compiled model would be a cycle

    def copied(memo: dict[int, Any]) -> Any:
        memo[own] = compile_within(copy.deepcopy(model, memo), budget, dynamic, fullgraph)
        return memo[own]

    copy_with(compiled, copied, lambda: (_compiled_again, (model, budget.total, dynamic, fullgraph)))
    return cast(M, compiled)


def _compiled_again(model: nn.Module, total: int | None, dynamic: bool | None, fullgraph: bool) -> nn.Module:
    """Compile a model that was unpickled."""
    return compile(model, total=total, dynamic=dynamic, fullgraph=fullgraph)


def _planned_by(budget: StepBudget, compiled: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a compiled function so that a budget chooses the plans of its regions.

    Inside a dispatch mode, the function that was compiled runs in its place.
    """

    @functools.wraps(compiled)
    def planned(*arguments: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():  # inside another compiled function
            return compiled(*arguments, **named)
        if in_function_transform():
            budget.warn_of_mode(IN_TRANSFORM)
        if in_dispatch_mode():
            budget.warn_of_mode(IN_DISPATCH_MODE)
            return original(*arguments, **named)
        budget.note_inputs(pytree.tree_leaves((arguments, named)))
        with active(budget):
            result = compiled(*arguments, **named)
        if isinstance(result, Generator):
            budget.warn_of_mode(IN_GENERATOR)
        return result

    return planned


def _after_lazy_layers(model: weakref.ref[nn.Module], forward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the forward pass of a compiled model, so that the first call makes the parameters of lazy layers before it.

    When Dynamo captures a graph for varying sizes, PyTorch cannot make a parameter that has one of these sizes.
    """
    done = False

    @functools.wraps(forward)
    def made(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        found = model()
        if not done and found is not None and not torch.compiler.is_compiling():
            lazy = isinstance(found, LazyModuleMixin)
            done = make_lazy_parameters(nn.Sequential(found) if lazy else found, arguments, named)
        if done:
            return forward(*arguments, **named)
        try:
            with capture_settings(), quiet_capture():  # with fixed sizes, unless dynamic is True
                return forward(*arguments, **named)
        except DynamoError as error:
            if "SymInt" not in str(error):
                raise
            raise TraceError(
                "a lazy layer (such as torch.nn.LazyLinear) has no parameters yet, and they cannot be made while a "
                "graph for varying sizes is captured; run the model once in eager mode before rv.compile: "
                "with torch.no_grad(): model(*inputs)"
            ) from error

    return made


def budget_of(compiled: Any) -> StepBudget:
    """Return the budget of a compiled model.

    Parameters
    ----------
    compiled : torch.nn.Module or callable
        The result of :func:`recompviz.compile`, or a model that was compiled by
        ``torch.compile(model, backend="recompviz")`` and has run under a plan. The model that was given to
        ``torch.compile`` is accepted, too.

    Returns
    -------
    StepBudget

    Raises
    ------
    TypeError
        If ``compiled`` is any other object, or was compiled by ``backend="recompviz"`` and has not run under a plan
        yet.
    """
    found = getattr(compiled, "_recompviz_budget", None)
    if isinstance(found, StepBudget):
        return found
    own = {id(parameter) for parameter in compiled.parameters()} if isinstance(compiled, nn.Module) else set()
    for budget in _by_total.values():
        if any(id(tensor) in own for region in budget.regions for tensor in budget.memory.tensors_of(region)):
            return budget
    raise TypeError(
        f"{type(compiled).__name__} was not made by recompviz.compile, and no planned region has its parameters; "
        "compile it with recompviz.compile, or train it first"
    )


def is_compiled(model: Any) -> bool:
    """Return whether a model was compiled: :func:`budget_of` finds its budget, or ``torch.compile`` made it.

    A function counts as compiled only if it was compiled by :func:`recompviz.compile`.
    """
    try:
        budget_of(model)
    except TypeError:
        return hasattr(model, "_orig_mod")
    return True
