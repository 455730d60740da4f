"""Trace a training step: turn a model and one batch into the graph of the step.

The forward and backward pass are traced together, so the graph contains every value that the backward pass reads.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.tracebacks import without_library_frames
from recompviz.core.steps.joint import Category, Storage
from recompviz.pytorch.internals.aot import CapturedStep, CaptureOff, captured_joint, make_lazy_parameters
from recompviz.pytorch.internals.autograd import forward_only
from recompviz.pytorch.internals.devices.runtimes import any_without_memory, device_of
from recompviz.pytorch.internals.export import BufferSet, joint_graph, result_on_shapes
from recompviz.pytorch.internals.fake_tensors import fake_mode_of, without_storage
from recompviz.pytorch.internals.state import one_at_a_time, state_restored
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.internals.warning_filters import Action, warnings_filtered
from recompviz.pytorch.tracing.costs import Costs, unit_of
from recompviz.pytorch.tracing.eager_loss import error_of_loss, output_on_shapes
from recompviz.pytorch.tracing.folding import Folded, fold
from recompviz.pytorch.tracing.grouping import Granularity, check_granularity
from recompviz.pytorch.tracing.optimizer_state import optimizer_bytes
from recompviz.pytorch.tracing.placeholders import roles_of_inputs
from recompviz.pytorch.tracing.refusals import (
    explanation,
    explanation_of_call,
    is_about,
    is_wrong_call,
    refuse_arrays,
    refuse_computed_constants,
    refuse_data_dependent_shapes,
)
from recompviz.pytorch.tracing.results import forward_output_count, gradients_start
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.step import (
    Arguments,
    Loss,
    Step,
    TraceError,
    expect_optimizer,
    refuse_call,
    refuse_foreign,
    refuse_loss_call,
    step_arguments,
)
from recompviz.pytorch.tracing.traced_step import Trace
from recompviz.pytorch.tracing.user_errors import raise_if_it_must_come_through, raised_by_user

# Dynamo's advice to file an issue; the error of the capture says what cannot be captured
_DYNAMOS_OWN: tuple[Action, str] = ("ignore", "Dynamo does not know how to trace")


def trace_step(
    model: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    targets: Sequence[Any],
    loss: Loss | None,
    granularity: Granularity,
    costs: Costs,
    device: str | None,
    optimizer: torch.optim.Optimizer | None,
) -> Trace:
    """Trace one training step.

    The step does not run, but a forward pass that assigns to attributes or fills containers runs once.

    The parameters and errors are those of :func:`recompviz.trace`. ``costs="measured"`` raises ValueError, because a
    new trace has no measured times.
    """
    if not isinstance(model, nn.Module):
        raise TraceError(f"model is {shown(model)}, expected a torch.nn.Module; give the model first, then one batch")
    if scripted := next((m for m in model.modules() if isinstance(m, torch.jit.ScriptModule)), None):
        raise TraceError(f"{scripted.original_name} is a scripted module; pass the module that it was scripted from")
    if torch.is_inference_mode_enabled():
        raise TraceError("autograd records nothing inside torch.inference_mode(); trace outside of it")
    check_granularity(granularity)
    unit_of(costs)
    step = Step(model, loss)
    arguments = _checked_arguments(step, inputs, kwargs, targets, optimizer)
    signature = Signature.of(step, arguments)
    planned_for = _planned_device(step, arguments, signature, device)
    make = partial(_trace_of, step, arguments, signature, granularity, planned_for, optimizer)
    with one_at_a_time, torch.enable_grad():  # a capture changes settings of the process
        traced = _of_later_steps(make, step, arguments) if planned_for is None else make(None, None)
    traced = traced.with_costs(costs)
    if optimizer is not None:
        traced = with_optimizer(traced, optimizer)
    return traced


def _checked_arguments(
    step: Step,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    targets: Sequence[Any],
    optimizer: torch.optim.Optimizer | None,
) -> Arguments:
    """Return the arguments of a step, and make the parameters of lazy layers. Raise TraceError for wrong arguments."""
    try:
        expect_optimizer(optimizer)
    except TypeError as error:
        raise TraceError(str(error)) from None
    arguments = step_arguments(inputs, kwargs, targets)
    refuse_arrays(arguments)
    refuse_call(step.model, *arguments[:2])
    refuse_loss_call(step.loss, arguments[2])
    with _explained(step, arguments):
        make_lazy_parameters(step, arguments)
    refuse_foreign(optimizer, step, arguments)
    return arguments


def _planned_device(step: Step, arguments: Arguments, signature: Signature, device: str | None) -> torch.device | None:
    """Return the device of an estimated trace, or None if the step has memory. Raise TraceError if it has no gradient.

    ``device`` is the argument of :func:`recompviz.trace`.
    """
    estimated = any_without_memory([*step.parameters(), *step.buffers(), *pytree.tree_leaves(arguments)])
    if device is not None and not estimated:
        raise TraceError(
            f"device={device!r} was given for a model on {signature.device}; it is for a model and inputs on the "
            "meta device only: leave it out"
        )
    if not any(p.requires_grad for p in step.parameters()) and not signature.differentiable_inputs:
        raise TraceError(
            "no parameter has requires_grad=True: there is no backward pass; set it on the parameters that are trained"
        )
    if not estimated:
        return None
    try:
        return torch.device(device or "cpu")
    except (RuntimeError, TypeError) as error:
        raise TraceError(f'device is {shown(device)}, expected the name of a device, for example "cuda"') from error


def _trace_of(
    step: Step,
    arguments: Arguments,
    signature: Signature,
    granularity: Granularity,
    planned_for: torch.device | None,
    optimizer: torch.optim.Optimizer | None,
    captured: CapturedStep | None,
    whole: bool | None,
) -> Trace:
    """Return the trace of a captured step in the current state, without costs.

    ``captured`` is None for an estimated trace. ``whole`` is whether the step returns its scalar loss; None if that is
    not known.
    """
    with _explained(step, arguments):
        fx = _exported(step, arguments) if captured is None else captured.joint
        if whole is None:
            whole = _is_whole(step, arguments, fx)
    before = _positions(arguments[:2])
    targets_at = frozenset(range(before, before + _positions(arguments[2])))
    refuse_data_dependent_shapes(fx)
    count = None if whole else gradients_start(next(iter(reversed(fx.graph.nodes))))
    leaves = pytree.tree_leaves(arguments[:2]) + pytree.tree_leaves(arguments[2])
    role_of = roles_of_inputs(captured.sources, captured.inputs, leaves) if captured is not None else None
    folded = fold(fx, targets_at, granularity, planned_for, count, role_of, leaves=True)
    if captured is not None:
        folded = _with_unused(folded, step, arguments, captured.inputs)
    outside = _outside(captured, step, arguments) if captured is not None else ()
    given = _given(folded, captured) if captured is not None else ()
    traced = Trace(
        step, folded, signature, arguments, granularity, "paper", planned_for, optimizer,
        outside=outside, graph_inputs=given,
    )  # fmt: skip
    refuse_computed_constants(step, traced.constants)
    return traced


@contextlib.contextmanager
def _explained(step: Step, arguments: Arguments) -> Iterator[None]:
    """Raise the errors of a block as TraceError, with the reason, the user's line and the next step.

    Exceptions of the user's own code are raised as they are.
    """
    try:
        with warnings_filtered(_DYNAMOS_OWN):
            yield
    except CaptureOff as error:
        raise TraceError(str(error)) from None
    except RecompvizError:
        raise
    except BufferSet as error:
        raise TraceError(
            f"forward() assigns a new tensor to the buffer {error}, which a plan would leave out; "
            "overwrite the buffer in place: self.name.copy_(…)"
        ) from None
    except Exception as error:  # tracing raises errors of many types
        if (own := raised_by_user(error, step, arguments)) is not None:
            raise without_library_frames(own) from None
        wrong, in_loss = is_wrong_call(error), step.loss is not None and is_about(error, step.loss)
        output = output_on_shapes(step, arguments) if wrong or in_loss else None
        raised = error_of_loss(step, arguments, output) if output is not None else None
        told = explanation_of_call(error, raised, arguments, output) if wrong or raised else explanation(error)
        # the causes would be some hundred lines of PyTorch's own code
        raise TraceError(told) from None


def _of_later_steps(
    make: Callable[[CapturedStep | None, bool | None], Trace], step: Step, arguments: Arguments
) -> Trace:
    """Trace the step that a training loop repeats. It may differ from the first step.

    Many models compute a table in the first forward pass and keep it in an attribute. So if the captured step assigns
    to attributes or fills containers, one forward pass runs eagerly. Then the next step is captured, and the state is
    restored.

    Parameters
    ----------
    make : callable (captured step, whole) → Trace
        Makes a trace of a captured step in the current state; see :func:`_trace_of`.
    step : Step
    arguments : tuple
    """
    captured = _captured(step, arguments)
    if not captured.assigns_state:
        return make(captured, None)
    with state_restored(step, arguments):
        try:
            with forward_only():
                result = step(*arguments)
        except Exception as error:  # the user's own steps report it
            raise_if_it_must_come_through(error)
            return make(captured, None)
        whole = step.loss is not None or bool(arguments[2]) or _is_scalar(result)
        return replace(make(_captured(step, arguments), whole), after_first=True)


def _captured(step: Step, arguments: Arguments) -> CapturedStep:
    with _explained(step, arguments):
        captured = captured_joint(step, arguments)
    if captured is None:
        raise TraceError("the loss does not depend on a parameter that requires a gradient")
    return captured


def _exported(step: Step, arguments: Arguments) -> GraphModule:
    """Return the joint graph of a step without memory; of its second call if the first one assigns a buffer."""
    fake_step, fake_arguments = without_storage(step, arguments)
    try:
        return joint_graph(fake_step, fake_arguments)
    except BufferSet:
        with fake_mode_of([*fake_step.parameters(), *pytree.tree_leaves(fake_arguments)]), torch.no_grad():
            fake_step(*fake_arguments)
        return joint_graph(fake_step, fake_arguments)


def trace_again(old: Trace, arguments: tuple[Any, ...]) -> Trace:
    """Trace the step of an existing trace again with other arguments, for example a smaller batch.

    The new trace is not calibrated. Its cost model is that of the old trace, but ``"time"`` in place of ``"measured"``.
    The errors are those of :func:`trace_step`.

    Parameters
    ----------
    old : Trace
        The existing trace. If it is estimated, the new trace is estimated for the same device.
    arguments : tuple
        The inputs, keyword arguments and targets.
    """
    inputs, kwargs, targets = arguments
    costs: Costs = "time" if old.costs == "measured" else old.costs
    device = old.device if old.estimated else None
    return trace_step(old.model, inputs, kwargs, targets, old.step.loss, old.granularity, costs, device, old.optimizer)


def with_optimizer(trace: Trace, optimizer: torch.optim.Optimizer) -> Trace:
    """Return a trace that also counts the memory of an optimizer: its state, and the scratch memory of its step.

    Only the joint graph of the returned trace differs. Its attribute ``optimizer`` is that of ``trace``.

    Raises
    ------
    TraceError
        If the optimizer cannot step on tensors without memory.
    """
    joint, folded = trace.joint, trace.folded
    given = [
        which
        for (_, (role, which)), gradient in zip(folded.placeholders, folded.gradients, strict=False)
        if role == "parameter" and gradient is not None
    ]
    named = dict(trace.step.named_parameters(remove_duplicate=False))
    with_gradient = {id(named[str(name)]) for name in given if str(name) in named}
    device = torch.device(trace.device)
    taken = optimizer_bytes(optimizer, lambda parameter: id(parameter) in with_gradient, device, joint.rounded)
    state = Storage(taken.state, -1, Category.OPTIMIZER, Category.OPTIMIZER.label)
    storages = (*joint.storages, state) if taken.state else joint.storages
    return trace.with_joint(replace(joint, storages=storages, optimizer_scratch=taken.scratch))


def _with_unused(folded: Folded, step: Step, arguments: Any, used: Sequence[Any]) -> Folded:
    """Add the storages of parameters, buffers, inputs and targets that the training step does not read."""
    seen = {storage_key(value) for value in used if isinstance(value, torch.Tensor)}
    seen |= {storage_key(constant) for constant in folded.constants}
    device = device_of([*step.parameters(), *pytree.tree_leaves(arguments)])
    extra: list[Storage] = []

    def add(value: Any, category: Category, label: str) -> None:
        if isinstance(value, torch.Tensor) and value.device.type == device.type and storage_key(value) not in seen:
            seen.add(storage_key(value))
            extra.append(Storage(value.untyped_storage().nbytes(), -1, category, label))

    for name, parameter in step.named_parameters():
        add(parameter, Category.PARAMETER, name)
    for name, buffer in step.named_buffers():
        add(buffer, Category.BUFFER, name)
    for value in pytree.tree_leaves(arguments[:2]):
        add(value, Category.INPUT, Category.INPUT.label)
    for value in pytree.tree_leaves(arguments[2]):
        add(value, Category.TARGET, Category.TARGET.label)
    joint = replace(folded.joint, storages=(*folded.joint.storages, *extra))
    return replace(folded, joint=joint) if extra else folded


def _given(folded: Folded, captured: CapturedStep) -> tuple[weakref.ref[torch.Tensor], ...]:
    """Return references to the inputs of a graph; none if an input is not a tensor."""
    count = sum(role != "tangent" for _, (role, _which) in folded.placeholders)
    known = len(captured.inputs) == count and all(isinstance(value, torch.Tensor) for value in captured.inputs)
    return tuple(map(weakref.ref, captured.inputs)) if known else ()


def _outside(captured: CapturedStep, step: Step, arguments: Arguments) -> tuple[weakref.ref[torch.Tensor], ...]:
    """Return the tensors that a captured step reads and that belong neither to the step nor to its arguments."""
    own = {id(value) for value in (*step.parameters(), *step.buffers(), *pytree.tree_leaves(arguments))}
    return tuple(
        weakref.ref(value)
        for value, source in zip(captured.inputs, captured.sources, strict=True)
        if isinstance(value, torch.Tensor) and id(value) not in own and not source.startswith("L['self']")
    )


def _is_whole(step: Step, arguments: Any, fx: GraphModule) -> bool:
    """Return whether a training step returns its scalar loss. If not, it returns the model's outputs.

    Raises
    ------
    TraceError
        If the step has a loss function or targets, and returns several tensors instead of one scalar.
    """
    output = next(iter(reversed(fx.graph.nodes)))
    if step.loss is not None or arguments[2]:
        if forward_output_count(output) > 1:
            result_on_shapes(step, arguments)  # raises TraceError unless the step returns one scalar
        return True
    if forward_output_count(output) > 1:  # several outputs, or tensors that the step assigns to attributes
        result = result_on_shapes(step, arguments)
        return _is_scalar(result)
    first = output.args[0][0]
    return not isinstance(first, Node) or first.meta["val"].numel() == 1


def _is_scalar(result: Any) -> bool:
    return isinstance(result, torch.Tensor) and not result.dim()


def _positions(values: Any) -> int:
    return len(pytree.tree_leaves(values))
