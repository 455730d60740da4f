"""Repeated runs of one training step. Each run starts without gradients. The caller chooses which runs are recorded.

The optimizer steps without its hooks, and without the function that a learning-rate scheduler puts in place of
``optimizer.step``. The caller restores the state of the model afterwards; see
:mod:`recompviz.pytorch.internals.state`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.units import format_bytes
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.core.steps.joint import Category
from recompviz.pytorch.executing.program import StepMark, profiler_mark
from recompviz.pytorch.internals.autograd import backward_of_step
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.optimizers import plain_optimizer
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.internals.state import WriteCounts, clear_gradients
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.tracing.step import Loss, Step
from recompviz.pytorch.tracing.traced_step import Trace

# the first backward pass keeps a tangent longer, and libraries allocate their workspaces on first use
WARM_UP_STEPS = 2
# bytes by which the whole process's allocations may exceed the step's own without a note: CUDA's allocator may reuse a
# block that is larger than requested
SLACK = 2 << 20
TRAINED = "contaminated: other work in this process trained the same model meanwhile; run it alone"

# gives the loss, or the outputs of a model whose loss is outside
ForwardFunction = Callable[[], Any]


@dataclass
class Reading:
    """The record of one training step by the profiler.

    Attributes
    ----------
    events : list of AllocationEvent
        The allocations and frees of the training step, in order.
    seconds : float
        Wall-clock time of the training step.
    reserved : int or None
        The largest number of bytes that the device's allocator had reserved at one time; None on the CPU.
    notes : list of str
        Reasons why the figures may be wrong, for example other work in the process.
    """

    events: list[AllocationEvent]
    seconds: float
    reserved: int | None
    notes: list[str] = field(default_factory=list)


class MeasurementRun:
    """Runs training steps of one module on one device. Each step starts without gradients.

    The caller restores the state of the model and the optimizer afterwards.

    Parameters
    ----------
    module : torch.nn.Module
    device : torch.device
    optimizer : torch.optim.Optimizer or None
        Its ``step`` runs at the end of each training step, without hooks. None if there is no optimizer.
    arguments : tuple
        A tuple (inputs, keyword arguments, targets).
    """

    def __init__(
        self, module: nn.Module, device: torch.device, optimizer: torch.optim.Optimizer | None, arguments: Any
    ) -> None:
        self.module, self.device, self.arguments = module, device, arguments
        self.optimizer = None if optimizer is None else plain_optimizer(optimizer)

    def one_step(self, run: ForwardFunction) -> list[tuple[int, int]]:
        """Run a training step that is not recorded, and return how often the step wrote to tensors.

        The result is that of :meth:`WriteCounts.so_far`.

        ``run`` is called without arguments. It runs the forward pass, and returns the loss or the outputs.
        """
        counts = WriteCounts(self.module, self.arguments)
        clear_gradients(self.module, self.arguments)
        backward_of_step(run())
        if self.optimizer is not None:
            self.optimizer.step()
        return counts.so_far()

    def recorded_step(self, run: ForwardFunction, usual: list[tuple[int, int]]) -> Reading:
        """Run a training step that the profiler records.

        Parameters
        ----------
        run : callable () → result
            Runs the forward pass, and returns the loss or the outputs.
        usual : list of (int, int)
            The result of :meth:`one_step` for an earlier training step. If the counts of the recorded step differ from
            these, ``notes`` of the result says that other work in this process trained the same model meanwhile.

        Raises
        ------
        ProfilerBusy
            If another profiler runs in this process.
        """
        counts = WriteCounts(self.module, self.arguments)
        clear_gradients(self.module, self.arguments)
        with memory_window(self.device) as window:
            result = run()  # alive until the end of the window, as in a training loop
            backward_of_step(result, self._arrival())
            if self.optimizer is not None:
                with named_range("rv:optimizer"):
                    self.optimizer.step()
        events = [event for event in allocation_events(window.profiled, self.device.type) if event.size]
        notes = contamination([event.size for event in events], window.allocated)
        if counts.so_far() != usual:
            notes.append(TRAINED)
        return Reading(events, window.seconds, window.reserved, notes)

    def _arrival(self) -> contextlib.AbstractContextManager[None]:
        """Return the range of the schedule's step that allocates the gradients of outputs, or a null context."""
        if isinstance(self.module, PlannedModule) and self.module.trace.returns_outputs:
            return profiler_mark(self.module.trace.joint.forward_count)
        return contextlib.nullcontext()

    def static(self) -> dict[Category, int]:
        """Return the bytes of parameters, buffers, inputs, targets and optimizer state on the device, by category.

        Each storage counts once, with its size rounded as the allocator rounds it.
        """
        inputs, kwargs, targets = self.arguments
        found: dict[Category, int] = {}
        seen: set[int] = set()
        rounded = runtime(self.device).rounded
        state = self.optimizer.state_dict()["state"] if self.optimizer is not None else {}
        for category, values in (
            (Category.PARAMETER, list(self.module.parameters())),
            (Category.BUFFER, [*self.module.buffers(), *self._constants()]),
            (Category.INPUT, (inputs, kwargs)),
            (Category.TARGET, targets),
            (Category.OPTIMIZER, state),
        ):
            for leaf in pytree.tree_leaves(values):
                if isinstance(leaf, torch.Tensor) and leaf.device.type == self.device.type:
                    key = storage_key(leaf)
                    size = leaf.untyped_storage().nbytes()
                    if key not in seen:
                        seen.add(key)
                        found[category] = found.get(category, 0) + rounded(size)
        return found

    def _constants(self) -> list[torch.Tensor]:
        """Return the constants of a planned module's trace; none for any other module."""
        return self.module.trace.constants if isinstance(self.module, PlannedModule) else []


def runner_of(
    module: nn.Module, arguments: Any, loss: Loss | None = None
) -> Callable[[StepMark | None], ForwardFunction]:
    """Return a function that makes functions for the forward pass of a training step.

    The returned function ``with_mark(mark)`` returns a function ``run()``. ``run()`` runs the forward pass, and returns
    the loss or the outputs.

    ``mark`` is None, or a function that takes the number of a schedule step and returns a context manager. A planned
    module runs each step of its schedule inside ``mark(step)``. Any other module does not use the mark.

    Parameters
    ----------
    module : torch.nn.Module
        A planned module, a :class:`Step`, or a model.
    arguments : tuple
        A tuple (inputs, keyword arguments, targets).
    loss : callable or torch.nn.Module, optional
        The loss function of a model. It is not used for a planned module and for a :class:`Step`.
    """
    inputs, kwargs, targets = arguments
    if isinstance(module, PlannedModule):
        planned = module

        def run(mark: StepMark | None) -> ForwardFunction:
            if mark is None:
                return lambda: planned(*inputs, *targets, **kwargs)
            return planned.marked(mark, *inputs, *targets, **kwargs)

        return run
    step = module if isinstance(module, Step) else Step(module, loss)
    return lambda _mark: lambda: step(*arguments)


def modules_of(module: nn.Module) -> list[nn.Module]:
    """Return the modules whose state a training step can change.

    These are the module itself and, for a planned module, the traced step (model and loss).
    """
    return [module, module.step] if isinstance(module, PlannedModule) else [module]


def warm_up_steps(module: nn.Module) -> int:
    """Return the number of training steps that run, to warm up, before a step is recorded."""
    return WARM_UP_STEPS + (isinstance(module, PlannedModule) and module.trace.after_first)


def overwritten_parameters(trace: Trace | None) -> list[torch.Tensor] | None:
    """Return the parameters that a training step may overwrite; None if they are not known.

    They are not known if there is no trace. They are also not known if the trace is of the second training step
    (:attr:`Trace.after_first`), because the first step may overwrite other parameters.
    """
    return None if trace is None or trace.after_first else overwritten_in(trace)


def overwritten_in(trace: Trace) -> list[torch.Tensor]:
    """Return the parameters that a traced training step overwrites."""
    named = dict(trace.step.named_parameters(remove_duplicate=False))
    return [
        named[str(which)]
        for node, (role, which) in trace.folded.placeholders
        if role == "parameter" and node in trace.folded.mutated
    ]


def contamination(deltas: Sequence[int], whole: int | None) -> list[str]:
    """Return a list with one note if the memory of the process rose by over 2 MiB more than the step's own memory.

    Otherwise, or if ``whole`` is None, the list is empty.

    Parameters
    ----------
    deltas : sequence of int
        The allocations (positive) and frees (negative) of the training step, in bytes, in order.
    whole : int or None
        The largest number of bytes by which the allocated memory of the whole process rose during the training step;
        None if it is not known.

    Examples
    --------
    >>> contamination([5 << 20, -(5 << 20)], 5 << 20)
    []
    >>> contamination([5 << 20, -(5 << 20)], 9 << 20)
    ['contaminated: other work in this process held up to 4.00 MiB on the device meanwhile; run it alone']
    """
    excess = 0 if whole is None else whole - max(accumulate(deltas), default=0)
    if excess <= SLACK:
        return []
    held = format_bytes(excess)
    return [f"contaminated: other work in this process held up to {held} on the device meanwhile; run it alone"]
