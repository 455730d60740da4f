"""Runs of one training step, each from no gradients, of which one is recorded.

The optimizer's step runs without its hooks and without a scheduler's wrapper. The caller restores the state; see
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
from recompviz.pytorch.internals.autograd import backward_of_step
from recompviz.pytorch.internals.devices import alignment
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.optimizers import plain_optimizer
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.internals.state import WriteCounts, clear_gradients
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.running.program import Mark, profiler_mark
from recompviz.pytorch.tracing.step import Loss, Step
from recompviz.pytorch.tracing.traced_step import Trace

# the first backward pass keeps a tangent longer, and libraries allocate their workspaces on first use
WARM_UP_STEPS = 2
# bytes by which the whole process's allocations may exceed the step's own without a note: CUDA's allocator may reuse a
# block that is larger than requested
SLACK = 2 << 20
TRAINED = "contaminated: other work in this process trained the same model meanwhile; run it alone"

# gives the loss, or the outputs of a model whose loss is outside
Run = Callable[[], Any]


@dataclass
class Reading:
    """What the profiler recorded in one step.

    Attributes
    ----------
    events : list of AllocationEvent
        Allocations and frees in order.
    seconds : float
        Wall-clock time of the step.
    reserved : int or None
        The most bytes the device had reserved; None on the CPU.
    notes : list of str
        What makes the reading doubtful.
    """

    events: list[AllocationEvent]
    seconds: float
    reserved: int | None
    notes: list[str] = field(default_factory=list)


class MeasurementRun:
    """Runs training steps of one module on one device, each without gradients at its start.

    The caller restores the state afterwards.
    """

    def __init__(
        self, module: nn.Module, device: torch.device, optimizer: torch.optim.Optimizer | None, arguments: Any
    ) -> None:
        self.module, self.device, self.arguments = module, device, arguments
        self.optimizer = None if optimizer is None else plain_optimizer(optimizer)

    def one_step(self, run: Run) -> list[tuple[int, int]]:
        """Run a step that is not recorded; returns its :class:`WriteCounts`."""
        counts = WriteCounts(self.module, self.arguments)
        clear_gradients(self.module, self.arguments)
        backward_of_step(run())
        if self.optimizer is not None:
            self.optimizer.step()
        return counts.so_far()

    def recorded_step(self, run: Run, usual: list[tuple[int, int]]) -> Reading:
        """Run a step that is recorded; a note says so if its write counts are not the ``usual`` ones."""
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
        """The range of the schedule's step in which the gradients of outputs arrive."""
        if isinstance(self.module, PlannedModule) and self.module.trace.returns_outputs:
            return profiler_mark(self.module.trace.joint.forward_count)
        return contextlib.nullcontext()

    def static(self) -> dict[Category, int]:
        """Bytes on the device that exist before the step, by category."""
        inputs, kwargs, targets = self.arguments
        found: dict[Category, int] = {}
        seen: set[int] = set()
        rounding = alignment(self.device)
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
                        found[category] = found.get(category, 0) + -(-size // rounding) * rounding
        return found

    def _constants(self) -> list[torch.Tensor]:
        """The tensors that a planned module's trace contains as constants."""
        return self.module.trace.constants if isinstance(self.module, PlannedModule) else []


def runner_of(module: nn.Module, arguments: Any, loss: Loss | None) -> Callable[[Mark | None], Run]:
    """A function that takes a mark (or None) and returns a function that runs the forward pass."""
    inputs, kwargs, targets = arguments
    if isinstance(module, PlannedModule):
        planned = module

        def run(mark: Mark | None) -> Run:
            if mark is None:
                return lambda: planned(*inputs, *targets, **kwargs)
            return planned.marked(mark, *inputs, *targets, **kwargs)

        return run
    step = Step(module, loss)
    return lambda _mark: lambda: step(*arguments)


def overwritten_parameters(module: nn.Module) -> list[torch.Tensor]:
    """The parameters that the forward pass may overwrite, as a momentum encoder does.

    A trace knows them; of any other module these are the parameters that require no gradient.
    """
    if isinstance(module, PlannedModule):
        return overwritten_in(module.trace)
    return [parameter for parameter in module.parameters() if not parameter.requires_grad]


def overwritten_in(trace: Trace) -> list[torch.Tensor]:
    """The parameters that a traced step overwrites."""
    named = dict(trace.step.named_parameters(remove_duplicate=False))
    return [
        named[str(which)]
        for node, (role, which) in trace.folded.placeholders
        if role == "parameter" and node in trace.folded.mutated
    ]


def contamination(deltas: Sequence[int], whole: int | None) -> list[str]:
    """A note if the process's allocations rose further than the step's own allocations and frees explain.

    Parameters
    ----------
    deltas : sequence of int
        The step's own allocations and frees, bytes, in order.
    whole : int or None
        The most by which the allocations of the whole process rose, bytes; None where the allocator does not count.

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
