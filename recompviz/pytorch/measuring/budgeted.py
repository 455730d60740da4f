"""``fit_in``: one call from a model to a module that trains within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from recompviz.core.base.units import parse_bytes
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
    """The model's training step within a budget: trace, calibrate, plan and apply in one call, for scripts.

    Runs the step a few times to measure its operators (see :func:`recompviz.calibrate`), under the time-centric plan
    with the least simulated peak.

    Parameters
    ----------
    model, *inputs, kwargs, targets, loss
        As for :func:`recompviz.trace`.
    total : int or str
        Total bytes the step may take, or a string such as ``"10 GiB"``.
    optimizer : torch.optim.Optimizer, optional
        If given, its state and its step are part of the total.

    Returns
    -------
    PlannedModule
        Called with the inputs and targets, it returns the scalar loss. At each call it takes the plan with the least
        recomputation that fits into ``total``.

    Raises
    ------
    InfeasibleBudget
        If no plan fits; its ``least`` is the least total that does.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> x, y = torch.ones(4, 8), torch.zeros(4, 1)
    >>> step = rv.fit_in(model, x, targets=(y,), loss=torch.nn.functional.mse_loss, total="10 kB")
    >>> step(x, y).backward()
    """
    traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
    if not traced.estimated:
        traced = calibrate(traced)
    table = traced.plans("live")
    return PlannedModule(traced, traced.plan(total), table.plans, parse_bytes(total))
