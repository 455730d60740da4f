"""``trace`` traces a training step, and sets the costs of the nodes of its graph."""

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
    """Trace the forward and backward pass of the training step ``loss(model(*inputs, **kwargs), *targets)``.

    Usually nothing runs. There are three exceptions. With ``costs="measured"``, the training step runs several times.
    If the forward pass assigns to attributes or fills containers, for example with a table that the model computes
    once, the forward pass runs once in eager PyTorch; then the following training step is traced, and the state of the
    model is restored. If the step cannot be traced, the loss may be called once on zeros, to get the error that it
    raises in eager PyTorch. Lazy layers (``torch.nn.LazyLinear``) get the parameters that a first forward pass would
    make.

    Parameters
    ----------
    model : torch.nn.Module
    *inputs
        One batch: tensors, or nested tuples, lists and dicts of tensors.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : tuple, list or torch.Tensor, optional
        Arguments of the loss after the model's output. A single tensor is one target.
    loss : callable or torch.nn.Module, optional
        A function of the model's output and the targets that returns a scalar. If left out, the loss is the ``loss`` in
        the model's output, or the output itself if it has no ``loss``. If the loss found in this way is not one number,
        and there are no targets, the model is traced without a loss. The traced step then returns the model's outputs,
        and the caller provides the gradients of the outputs for the backward pass. Simulated memory includes the
        outputs and their gradients.
    granularity : "operators" or "paper"
        The meaning of a node of the graph. With ``"operators"``, a node is one operator call that allocates memory.
        With ``"paper"``, a node is one function as in the paper. A layer of ``torch.nn`` is one node, softmax and cross
        entropy are one node, and a view (a reshape, a crop) is a node. A plan that keeps a view keeps the value whose
        memory the view shares.
    costs : "time", "paper", "flops", "roofline", "measured" or Roofline
        The cost model of the forward costs T_v; see :meth:`Trace.with_costs`. The default is estimated milliseconds.
        :func:`recompviz.calibrate` replaces them by measured times. ``"measured"`` also calibrates the trace, which
        runs the training step several times.
    device : str, optional
        The device on which the training step will run, ``"cpu"`` (the default) or ``"cuda"``. Give it only for a model
        and inputs without memory (on the meta device, or fake). Sizes are rounded as on this device. Such a trace is
        *estimated*, because kernels differ between devices. :func:`recompviz.apply` traces the step again on the device
        on which it runs.
    optimizer : torch.optim.Optimizer, optional
        If given, the optimizer's state counts as static memory, also if the optimizer has not made the state yet. The
        optimizer's step is then the last part of the training step. The optimizer is not changed.

    Returns
    -------
    Trace
        The graph of the training step, its joint graph, and methods that plan it.

    Raises
    ------
    TypeError
        If ``forward`` cannot be called with these inputs, or the loss with these targets, or ``kwargs`` or ``targets``
        has the wrong type.
    ValueError
        If there is no such granularity or cost model, if ``optimizer`` trains neither a parameter of the model or the
        loss nor an input or target, or if ``costs="roofline"`` and the device is not in this machine.
    ProfilerBusy
        If ``costs="measured"`` and another profiler runs in this process.
    TraceError
        If the training step cannot be traced. For example, a target has a wrong shape, the loss is not a scalar or uses
        a tensor that is not its argument, or nothing requires a gradient. The error is also raised if ``model``,
        ``loss`` or ``optimizer`` has the wrong type, if an input is an array and not a tensor, if ``device`` is
        given for a model with memory or is no device of PyTorch, or if ``costs="measured"`` is given for a model
        without memory.
    Exception
        An exception that the code of the model or the loss itself raises is raised unchanged.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    Trace(Sequential on cpu: #V=4, #E=3, 11 calls)

    Without a loss, a planned module returns the model's outputs. The caller computes a loss and calls ``backward``:

    >>> t = rv.trace(model, torch.zeros(4, 8))
    >>> t.returns_outputs, rv.apply(t, t.baseline("keep-all"))(torch.zeros(4, 8)).shape
    (True, torch.Size([4, 1]))

    A model on the meta device is traced without memory, however large it is:

    >>> with torch.device("meta"):
    ...     big, x = torch.nn.Linear(10**6, 10**6), torch.empty(8, 10**6)
    >>> t = rv.trace(big, x, loss=torch.sum, device="cuda")
    >>> t.estimated, rv.simulate(t).static
    (True, 4000036000256)
    """
    unmeasured: Costs = "time" if costs == "measured" else costs
    traced = trace_step(model, inputs, kwargs, targets, loss, granularity, unmeasured, device, optimizer)
    return calibrate(traced).with_costs(costs) if costs == "measured" else traced
