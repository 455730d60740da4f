"""``measure`` records the allocations and frees of one training step at the allocator.

Two training steps warm up. Then one step starts without gradients, and the profiler records every allocation and free
on the device. A planned module marks its operators, so that its measured timeline has the same steps as its simulated
timeline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.progress import Progress, paced
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.executing.program import StepMark, profiler_mark
from recompviz.pytorch.internals.aot import make_lazy_parameters
from recompviz.pytorch.internals.devices.runtimes import any_without_memory, device_of
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.measuring.measured_timeline import measured_timeline
from recompviz.pytorch.measuring.measurement_run import (
    MeasurementRun,
    modules_of,
    overwritten_parameters,
    runner_of,
    warm_up_steps,
)
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.tracing.step import Loss, Step, refuse_call, refuse_foreign, step_arguments

# seconds between two reports of progress in a training step
REPORTED_EVERY = 0.2


def measure(
    module: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    progress: Progress | None = None,
) -> Timeline:
    """Run one training step, and record every allocation and free on the device of the step.

    Before the recorded step, two training steps run to warm up, or three for a planned module whose trace is of the
    second step (see :attr:`Trace.after_first`).

    Parameters
    ----------
    module : torch.nn.Module
        A planned module, or any other module, which runs as it is: eagerly, or compiled if it was compiled.
    *inputs
        One batch.
    kwargs, targets
        As for :func:`recompviz.trace`.
    loss : callable or torch.nn.Module, optional
        As for :func:`recompviz.trace`. It is not used for a planned module, which contains its loss. If a step returns
        outputs instead of a loss, each output gets a gradient of ones with the full size of the output.
    optimizer : torch.optim.Optimizer, optional
        If given, ``optimizer.step()`` is part of the measured step. It runs without hooks and schedulers.
    progress : callable (done, total), optional
        Called before each training step. For a planned module, it is also called several times in each step of the
        warm-up. Raise :class:`recompviz.Cancelled` in it to stop.

    Returns
    -------
    Timeline
        A measured timeline. Its peak includes parameters and optimizer state. For a planned module, it has the steps of
        the plan's schedule. For any other module, each step of the timeline is an operator that allocates or frees
        memory, in the order in which the operators ran; the optimizer's update is one step.

    Raises
    ------
    TypeError
        If ``module`` is not a module; if ``forward`` cannot be called with these inputs; or if ``optimizer``,
        ``kwargs`` or ``targets`` has the wrong type.
    ValueError
        If ``optimizer`` trains neither a parameter of the module nor an input or target.
    RecompvizError
        If the module or the batch is on the meta device.
    ProfilerBusy
        If another profiler runs in this process.
    TraceError
        If ``loss`` cannot be called or uses a tensor that is not its argument, or if a loss function or targets are
        given and the loss is not one scalar.

    Notes
    -----
    The state that the steps change is restored: parameters, buffers, gradients, the optimizer's state, random
    generators and attributes of modules. See :mod:`recompviz.pytorch.internals.state`.

    Only the threads of the training step are recorded. On CUDA, the step's own peak is compared with the allocator's
    peak, which counts the whole process. If the allocator's peak is over 2 MiB higher, ``notes`` of the timeline says
    by how much, and ``reserved_peak`` includes the other work. ``notes`` also says if another thread trained the same
    model meanwhile. A second measurement in the process waits for the first.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> timeline = rv.measure(torch.nn.Linear(8, 1), torch.ones(4, 8), targets=(torch.zeros(4, 1),),
    ...                       loss=torch.nn.functional.mse_loss)
    >>> timeline.kind, timeline.static
    ('measured', 180)
    """
    expect(module, nn.Module, "module", "a planned module or a torch.nn.Module", "measure rv.apply(trace, plan)")
    arguments = step_arguments(inputs, kwargs, targets, optimizer)
    if not isinstance(module, PlannedModule):
        refuse_call(module, *arguments[:2])
    refuse_foreign(optimizer, module, arguments)
    if any_without_memory([*module.parameters(), *pytree.tree_leaves(arguments)]):
        raise RecompvizError(
            "a model or batch on the meta device has no memory to measure; use rv.trace and rv.simulate"
        )
    device = device_of([*module.parameters(), *pytree.tree_leaves(arguments)])
    trained = module if isinstance(module, PlannedModule) else Step(module, loss)
    make_lazy_parameters(trained, arguments)
    run_with = runner_of(trained, arguments)
    measurement = MeasurementRun(trained, device, optimizer, arguments)
    overwritten = overwritten_parameters(module.trace if isinstance(module, PlannedModule) else None)
    with state_restored(modules_of(trained), arguments, optimizer, overwritten):
        warm_up = warm_up_steps(module)
        for done in range(warm_up):
            counts = measurement.one_step(run_with(_reporting(module, progress, done, warm_up + 1)))
        if progress is not None:
            progress(warm_up, warm_up + 1)
        static = measurement.static()  # after the warm-up: an optimizer makes its state in its first step
        reading = measurement.recorded_step(run_with(profiler_mark), counts)
    schedule = module.trace.schedule(module.plan) if isinstance(module, PlannedModule) else None
    return measured_timeline(reading, schedule, static, str(device))


def _reporting(module: nn.Module, progress: Progress | None, done: int, steps: int) -> StepMark | None:
    """Report that a training step begins, and return a mark that reports its progress; None for eager steps."""
    if progress is None:
        return None
    progress(done, steps)
    if not isinstance(module, PlannedModule):
        return None
    calls = len(module.trace.schedule(module.plan))
    report = paced(progress, REPORTED_EVERY)

    def mark(call: int) -> contextlib.AbstractContextManager[None]:
        report(done * calls + call, steps * calls)
        return contextlib.nullcontext()

    return mark
