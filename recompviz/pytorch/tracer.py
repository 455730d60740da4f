"""``trace``: from a model and one batch to the graph of its training step.

The step is traced once, forward and backward together, so that the graph knows exactly what the
backward pass needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.errors import RecompvizError
from recompviz.core.joint import Category, Storage
from recompviz.pytorch import private
from recompviz.pytorch.costs import Costs, priced, unit_of
from recompviz.pytorch.devices import without_memory
from recompviz.pytorch.folding import fold
from recompviz.pytorch.grouping import Granularity, check_granularity
from recompviz.pytorch.optimizer_state import optimizer_bytes
from recompviz.pytorch.refusals import explanation, refuse_arrays, refuse_computed_constants
from recompviz.pytorch.signature import Signature
from recompviz.pytorch.step import Loss, Step, TraceError, as_targets
from recompviz.pytorch.traced_step import Trace


def trace(
    model: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    granularity: Granularity = "operators",
    costs: Costs = "paper",
    device: str | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Trace:
    """Trace the training step ``loss(model(*inputs, **kwargs), *targets)``, forward and backward.

    Parameters
    ----------
    model : torch.nn.Module
    *inputs
        One batch; tensors or nested tuples, lists and dicts of them.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : sequence, optional
        What the loss takes after the model's output.
    loss : callable or torch.nn.Module, optional
        Left out: the model's output is the scalar loss, or has ``.loss``.
    granularity : "operators" or "paper"
        What one node of the graph stands for: one operator call that owns its memory, or what the paper counts as
        one. There a layer of ``torch.nn`` is one node however many operators it calls, so are softmax and cross
        entropy together, and a view (a reshape, a crop) is a node of its own. A view owns no memory: to keep it is to
        keep the value it looks at.
    costs : "paper", "flops", "roofline", "measured" or Roofline
        The forward cost T_v; as for :meth:`Trace.with_costs`. ``"measured"`` runs the step a few times.
    device : str, optional
        For a model and inputs without memory (on the meta device, or fake): where it is to run, ``"cpu"`` (the
        default) or ``"cuda"``, whose rounding and name the trace then has. Such a trace is *estimated*: kernels
        differ by device, and :func:`recompviz.apply` traces anew where the step is run.
    optimizer : torch.optim.Optimizer, optional
        Where given, its state counts as static memory and its step ends the training step. It is not stepped: one that
        never was is known by its kind and options.

    Raises
    ------
    ValueError
        If there is no such granularity or cost.
    TraceError
        If the step cannot be traced, its output is no scalar, the loss captures a tensor, or no
        parameter needs a gradient.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    Trace(Sequential on cpu: #V=4, #E=3, 11 calls)

    A model far larger than this machine is planned for without any memory:

    >>> with torch.device("meta"):
    ...     big, x = torch.nn.Linear(10**6, 10**6), torch.empty(8, 10**6)
    >>> t = rv.trace(big, x, loss=torch.sum, device="cuda")
    >>> t.estimated, rv.simulate(t).static
    (True, 4000036000256)
    """
    if not isinstance(model, nn.Module):
        raise TraceError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    if scripted := next((m for m in model.modules() if isinstance(m, torch.jit.ScriptModule)), None):
        raise TraceError(f"{scripted.original_name} is a scripted module; pass the module it was made of")
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
            f"device={device!r} is for a model and inputs on the meta device; this one is on {signature.device}, "
            "and is traced for it"
        )
    if not any(p.requires_grad for p in step.parameters()) and not signature.differentiable_inputs:
        raise TraceError("no parameter has requires_grad=True: there is no backward pass to plan for")
    before = _positions(arguments[:2])
    targets_at = frozenset(range(before, before + _positions(arguments[2])))
    try:
        with torch.enable_grad():
            fx = private.joint_graph(*(private.without_storage(step, arguments) if estimated else (step, arguments)))
    except RecompvizError:
        raise
    except private.BufferSet as error:
        raise TraceError(
            f"forward() sets the buffer {error} to a new tensor, which a plan would leave out; "
            "overwrite the one it has: self.name.copy_(…)"
        ) from error
    except Exception as error:  # what cannot be traced fails in many places of PyTorch, each with a type of its own
        raise TraceError(explanation(error)) from error
    planned_for = torch.device(device or "cpu") if estimated else None
    folded = priced(fold(fx, targets_at, granularity, planned_for), "paper")
    refuse_computed_constants(step, folded.constants)
    traced = Trace(step, folded, signature, arguments, granularity, "paper", planned_for, optimizer)
    if optimizer is not None:
        traced = with_optimizer(traced, optimizer)
    if costs == "measured":
        from recompviz.pytorch.calibration import calibrate

        traced = calibrate(traced)
    return traced.with_costs(costs)


def trace_again(old: Trace, arguments: tuple[Any, ...]) -> Trace:
    """The same step traced for other (inputs, kwargs, targets), for example a smaller batch.

    Measured seconds are of one trace's calls; an estimate in the same unit takes their place.
    """
    inputs, kwargs, targets = arguments
    costs: Costs = "roofline" if old.costs == "measured" else old.costs
    return trace(
        old.model,
        *inputs,
        kwargs=kwargs,
        targets=targets,
        loss=old.step.loss,
        granularity=old.granularity,
        costs=costs,
        optimizer=old.optimizer,
    )


def with_optimizer(trace: Trace, optimizer: torch.optim.Optimizer) -> Trace:
    """The trace with the optimiser's state among what is there before the step, and its step at the end."""
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
