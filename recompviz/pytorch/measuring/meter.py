"""``measure``: the allocations and frees of one training step, as the allocator made them.

Two warm-up steps run first. Then one step runs from no gradients, and the profiler records every allocation and free on
the device. The steps of a planned module mark their operators, so that its measured timeline has the same steps as the
simulated one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.devices import device_of
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.measuring.measured_timeline import measured_timeline
from recompviz.pytorch.measuring.measurement_run import (
    WARM_UP_STEPS,
    MeasurementRun,
    overwritten_parameters,
    runner_of,
)
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.running.program import profiler_mark
from recompviz.pytorch.tracing.step import Loss, as_targets


def measure(
    module: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Timeline:
    """Run one training step and record every allocation and free.

    Parameters
    ----------
    module : torch.nn.Module
        A planned module, or any model, which then runs eagerly.
    *inputs
        One batch.
    kwargs, targets, loss
        As for :func:`recompviz.trace`; a planned module contains its loss. Without a loss every output gets a gradient
        of ones with its full size. The gradient of a plain sum is smaller: one number for all elements.
    optimizer : torch.optim.Optimizer, optional
        If given, its step is part of the measured step. It runs without hooks and schedulers.

    Returns
    -------
    Timeline
        Total bytes. Its steps are those of the schedule for a planned module, and otherwise the operators in the order
        they ran.

    Raises
    ------
    ProfilerBusy
        If another profiler runs in this process.

    Notes
    -----
    Parameters, buffers, gradients, the random generator and the optimizer's state are restored afterwards; see
    :mod:`recompviz.pytorch.internals.state`.

    Allocations of other threads are not counted: the profiler follows the step's own threads. On CUDA the allocator's
    own peak is compared with theirs; if it is higher, ``notes`` says by how much other work contaminated it and
    ``reserved_peak``. ``notes`` also says if another thread trained the same model meanwhile. Two measurements in one
    process wait for each other.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> timeline = rv.measure(torch.nn.Linear(8, 1), torch.ones(4, 8), targets=(torch.zeros(4, 1),),
    ...                       loss=torch.nn.functional.mse_loss)
    >>> timeline.kind, timeline.static
    ('measured', 180)
    """
    arguments = (tuple(inputs), dict(kwargs or {}), as_targets(targets))
    device = device_of([*module.parameters(), *pytree.tree_leaves(arguments)])
    run_with = runner_of(module, arguments, loss)
    measurement = MeasurementRun(module, device, optimizer, arguments)
    with state_restored(module, arguments, optimizer, overwritten_parameters(module)):
        for _ in range(WARM_UP_STEPS):
            counts = measurement.one_step(run_with(None))
        static = measurement.static()  # after the warm-up: an optimizer makes its state in its first step
        reading = measurement.recorded_step(run_with(profiler_mark), counts)
    schedule = module.trace.schedule(module.plan) if isinstance(module, PlannedModule) else None
    return measured_timeline(reading, schedule, static, str(device))
