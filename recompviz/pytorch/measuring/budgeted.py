"""``fit_in`` makes a module that trains a model within a memory budget, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from recompviz.core.base.units import parse_total
from recompviz.pytorch.measuring.calibration import calibrate
from recompviz.pytorch.measuring.entry import trace
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.tracing.step import Loss


def fit_in(
    model: nn.Module,
    *inputs: Any,
    total: int | float | str,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> PlannedModule:
    """Make a module whose training step fits into a memory budget: trace, calibrate, plan and apply in one call.

    Calibration usually runs the forward pass once in eager PyTorch. Unless all operators were measured before, it also
    runs the training step one or more times; see :func:`recompviz.calibrate`. A model on the meta device is not
    calibrated.

    Parameters
    ----------
    model, *inputs, kwargs, targets, loss
        As for :func:`recompviz.trace`.
    total : int, float or str
        The most bytes that the training step may take, or a text such as ``"10 GiB"``. Parameters, buffers, inputs,
        targets, gradients and intermediate values count.
    optimizer : torch.optim.Optimizer, optional
        If given, its state and the scratch memory of its step count, too.

    Returns
    -------
    PlannedModule
        A module to call with the inputs and then the targets. It returns the scalar loss, or the model's outputs if
        there is no loss. Each call runs the plan that recomputes least among the plans found that fit into ``total``.

    Raises
    ------
    TypeError, ValueError
        If ``total`` is not a size, or for the reasons given in :func:`recompviz.trace`.
    InfeasibleBudget
        If no plan fits. The attribute ``least`` of the error is the least total for which a plan was found, in bytes.
    ProfilerBusy
        If another profiler runs in this process when the training step is calibrated.
    TraceError
        If the training step cannot be traced.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> x, y = torch.ones(4, 8), torch.zeros(4, 1)
    >>> step = rv.fit_in(model, x, targets=(y,), loss=torch.nn.functional.mse_loss, total="10 kB")
    >>> step(x, y).backward()
    """
    bytes_of_total = parse_total(total)
    traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
    if not traced.estimated:
        traced = calibrate(traced)
    table = traced.plans("live")
    return PlannedModule(traced, traced.plan(total), table.plans, bytes_of_total)
