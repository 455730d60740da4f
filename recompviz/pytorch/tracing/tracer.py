"""Traces a training step: from a model and one batch to the graph of the step.

Forward and backward pass are traced together, so that the graph has every value that the backward pass reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.core.steps.joint import Category, Storage
from recompviz.pytorch.internals.devices import without_memory
from recompviz.pytorch.internals.export import BufferSet, joint_graph
from recompviz.pytorch.internals.fake_tensors import without_storage
from recompviz.pytorch.tracing.costs import Costs, priced, unit_of
from recompviz.pytorch.tracing.folding import fold
from recompviz.pytorch.tracing.grouping import Granularity, check_granularity
from recompviz.pytorch.tracing.optimizer_state import optimizer_bytes
from recompviz.pytorch.tracing.refusals import explanation, refuse_arrays, refuse_computed_constants
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.step import Loss, Step, TraceError, as_targets
from recompviz.pytorch.tracing.traced_step import Trace


def trace_step(
    model: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    targets: Sequence[Any],
    loss: Loss | None,
    granularity: Granularity,
    costs: Costs,
    device: str | None,
    optimizer: torch.optim.Optimizer | None,
) -> Trace:
    """Trace one training step; the parameters are those of :func:`recompviz.trace`, without ``"measured"`` costs."""
    if not isinstance(model, nn.Module):
        raise TraceError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    if scripted := next((m for m in model.modules() if isinstance(m, torch.jit.ScriptModule)), None):
        raise TraceError(f"{scripted.original_name} is a scripted module; pass the module that it was scripted from")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise TraceError(
            f"optimizer is {optimizer!r}, expected one made over the model's parameters, for example "
            "torch.optim.Adam(model.parameters())"
        )
    check_granularity(granularity)
    unit_of(costs)
    step = Step(model, loss)
    arguments = (tuple(inputs), dict(kwargs or {}), as_targets(targets))
    refuse_arrays(arguments)
    signature = Signature.of(step, arguments)
    estimated = without_memory([*step.parameters(), *step.buffers(), *pytree.tree_leaves(arguments)])
    if device is not None and not estimated:
        raise TraceError(
            f"device={device!r} was given for a model on {signature.device}; it is for a model and inputs on the "
            "meta device only: leave it out"
        )
    if not any(p.requires_grad for p in step.parameters()) and not signature.differentiable_inputs:
        raise TraceError(
            "no parameter has requires_grad=True: there is no backward pass; set it on the parameters that are trained"
        )
    before = _positions(arguments[:2])
    targets_at = frozenset(range(before, before + _positions(arguments[2])))
    try:
        with torch.enable_grad():
            fx = joint_graph(*(without_storage(step, arguments) if estimated else (step, arguments)))
    except RecompvizError:
        raise
    except BufferSet as error:
        raise TraceError(
            f"forward() assigns a new tensor to the buffer {error}, which a plan would leave out; "
            "overwrite the buffer in place: self.name.copy_(…)"
        ) from error
    except Exception as error:  # tracing raises errors of many types
        raise TraceError(explanation(error)) from error
    planned_for = torch.device(device or "cpu") if estimated else None
    folded = priced(fold(fx, targets_at, granularity, planned_for), "paper")
    refuse_computed_constants(step, folded.constants)
    traced = Trace(step, folded, signature, arguments, granularity, "paper", planned_for, optimizer)
    if optimizer is not None:
        traced = with_optimizer(traced, optimizer)
    return traced.with_costs(costs)


def trace_again(old: Trace, arguments: tuple[Any, ...]) -> Trace:
    """The same step traced for other (inputs, kwargs, targets), for example a smaller batch.

    Measured costs belong to the calls of the old trace; a roofline estimate in the same unit replaces them.
    """
    inputs, kwargs, targets = arguments
    costs: Costs = "roofline" if old.costs == "measured" else old.costs
    return trace_step(old.model, inputs, kwargs, targets, old.step.loss, old.granularity, costs, None, old.optimizer)


def with_optimizer(trace: Trace, optimizer: torch.optim.Optimizer) -> Trace:
    """The trace with the optimiser's state in the static memory, and the optimiser's step at the end."""
    joint, folded = trace.joint, trace.folded
    given = [
        which
        for (_, (role, which)), gradient in zip(folded.placeholders, folded.gradients, strict=False)
        if role == "parameter" and gradient is not None
    ]
    named = dict(trace.step.named_parameters(remove_duplicate=False))
    with_gradient = {id(named[str(name)]) for name in given}
    device = torch.device(trace.device)
    taken = optimizer_bytes(optimizer, lambda parameter: id(parameter) in with_gradient, device, joint.rounded)
    state = Storage(taken.state, -1, Category.OPTIMIZER, Category.OPTIMIZER.label)
    storages = (*joint.storages, state) if taken.state else joint.storages
    return trace.with_joint(replace(joint, storages=storages, optimizer_scratch=taken.scratch))


def _positions(values: Any) -> int:
    return len(pytree.tree_leaves(values))
