"""``trace``, the public function: trace the step, and set the cost of its nodes.

It is in this room because measured costs run the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from recompviz.pytorch.measuring.calibration import calibrate
from recompviz.pytorch.tracing.costs import Costs
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.step import Loss
from recompviz.pytorch.tracing.traced_step import Trace
from recompviz.pytorch.tracing.tracer import trace_step


def trace(
    model: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    granularity: Granularity = "operators",
    costs: Costs = "time",
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
        Arguments of the loss after the model's output.
    loss : callable or torch.nn.Module, optional
        If left out, the model's output is the scalar loss, or has ``.loss``. Any other model without targets is traced
        without its loss: the step returns the model's outputs, which the caller holds until the step ends, and their
        gradients arrive from outside when the backward pass starts. They count with their full size.
    granularity : "operators" or "paper"
        What one node of the graph stands for: one operator call that owns its memory, or one function as the paper
        counts them. With "paper", a layer of ``torch.nn`` is one node however many operators it calls, softmax and
        cross entropy are one node, and a view (a reshape, a crop) is a node. A view owns no memory: to keep it means
        to keep the value that it looks at.
    costs : "time", "paper", "flops", "roofline", "measured" or Roofline
        The cost model of T_v; see :meth:`Trace.with_costs`. The default is time: an estimate, and measured times once
        the trace is calibrated. ``"paper"``: the paper's units. ``"measured"`` runs the step a few times.
    device : str, optional
        For a model and inputs without memory (on the meta device, or fake): the device that the step will run on,
        ``"cpu"`` (the default) or ``"cuda"``. Sizes are rounded as on that device. Such a trace is *estimated*:
        kernels differ between devices, and :func:`recompviz.apply` traces again where the step runs.
    optimizer : torch.optim.Optimizer, optional
        If given, its state counts as static memory and its step ends the training step. It is not stepped: the state
        of one that never stepped follows from its class and options.

    Returns
    -------
    Trace
        The graph of the step, its joint graph, and methods that plan it.

    Raises
    ------
    ValueError
        If there is no such granularity or cost model.
    TraceError
        If the step cannot be traced, its loss is not a scalar, the loss captures a tensor, or no parameter requires a
        gradient.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    Trace(Sequential on cpu: #V=4, #E=3, 11 calls)

    Without a loss the planned model returns its own outputs, and a loss outside calls ``backward``:

    >>> t = rv.trace(model, torch.zeros(4, 8))
    >>> t.returns_outputs, rv.apply(t, t.baseline("keep-all"))(torch.zeros(4, 8)).shape
    (True, torch.Size([4, 1]))

    A model far larger than this machine needs no memory to be planned:

    >>> with torch.device("meta"):
    ...     big, x = torch.nn.Linear(10**6, 10**6), torch.empty(8, 10**6)
    >>> t = rv.trace(big, x, loss=torch.sum, device="cuda")
    >>> t.estimated, rv.simulate(t).static
    (True, 4000036000256)
    """
    unmeasured: Costs = "time" if costs == "measured" else costs
    traced = trace_step(model, inputs, kwargs or {}, targets, loss, granularity, unmeasured, device, optimizer)
    return calibrate(traced).with_costs(costs) if costs == "measured" else traced
