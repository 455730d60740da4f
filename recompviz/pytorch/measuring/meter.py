"""``measure``: what the allocator really did during one training step.

The protocol: two warm-up steps; no gradients at the start; the profiler records every allocation
and free of the device inside the window. A planned module's steps bracket their operators, so its
measured timeline has the same steps as the simulated one, and each block is matched to the storage
that the schedule makes there. Whatever the module and the optimiser changed is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.core.steps.simulation import ARRIVAL, OPTIMIZER_STEP, category_of
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.devices import alignment, device_of
from recompviz.pytorch.internals.profiler import memory_events, named_range
from recompviz.pytorch.internals.state import clear_gradients, gradient_holders, state_kept
from recompviz.pytorch.internals.tensors import storage_key, version_of
from recompviz.pytorch.measuring.memory_window import memory_window
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.running.program import profiler_mark
from recompviz.pytorch.tracing.step import Loss, Step, as_targets

# the first backward pass holds a tangent longer, and libraries allocate their workspaces once
WARM_UP_STEPS = 2
# CUDA's allocator may hand out a larger block than was asked for
SLACK = 2 << 20
TRAINED = "contaminated: other work in this process trained the same model meanwhile; run it alone"

Touched = tuple[int, int]


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
        A planned module, or any model (then run eagerly, as PyTorch does by itself).
    *inputs
        One batch.
    kwargs, targets, loss
        As for :func:`recompviz.trace`; a planned module has its loss in it.
    optimizer : torch.optim.Optimizer, optional
        Where given, its ``step()`` is part of the measured step.

    Returns
    -------
    Timeline
        Total bytes, with the steps of the schedule for a planned module, and the operators in the
        order they ran otherwise.

    Notes
    -----
    Parameters, buffers, gradients, the generator and the optimiser's state are as before afterwards.
    What other threads allocate meanwhile is not counted: the profiler follows the step's own threads. On CUDA the
    allocator's own peak is compared with theirs, and ``notes`` says by how much other work contaminated it (and with
    it ``reserved_peak``, and how much room the step had). They also say so if another thread trained the same model
    meanwhile. Two measurements in one process wait for each other; beside a profiler of your own one is refused.

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
    run = runner_of(module, arguments, loss)
    bench = Bench(module, device, optimizer, arguments)
    with state_kept(module, arguments, optimizer):
        for _ in range(WARM_UP_STEPS):
            touched = bench.one_step(run(None))
        static = bench.static()  # an optimiser makes its state when it first steps
        reading = bench.recorded_step(run(profiler_mark), touched)
    schedule = module.trace.schedule(module.plan) if isinstance(module, PlannedModule) else None
    return _Reader(reading, schedule).timeline(static, str(device))


@dataclass
class Reading:
    """What the profiler saw: (address, bytes, range) in order, and the wall time of the step."""

    events: list[tuple[int, int, str]]
    seconds: float
    reserved: int | None
    notes: list[str] = field(default_factory=list)


Run = Callable[[], torch.Tensor]


def runner_of(module: nn.Module, arguments: Any, loss: Loss | None) -> Callable[[Any], Run]:
    """From a mark (or None) to a function that runs the forward pass and returns the loss."""
    inputs, kwargs, targets = arguments
    if isinstance(module, PlannedModule):
        planned = module

        def run(mark: Any) -> Run:
            if mark is None:
                return lambda: planned(*inputs, *targets, **kwargs)
            return planned.marked(mark, *inputs, *targets, **kwargs)

        return run
    step = Step(module, loss)
    return lambda _mark: lambda: step(*arguments)


class Bench:
    """One module on one device, run step by step from the same starting state."""

    def __init__(
        self, module: nn.Module, device: torch.device, optimizer: torch.optim.Optimizer | None, arguments: Any
    ) -> None:
        self.module, self.device, self.optimizer, self.arguments = module, device, optimizer, arguments

    def one_step(self, run: Run) -> list[Touched]:
        """A step that is not recorded; how it touches what it gives gradients."""
        before = self._versions()
        clear_gradients(self.module, self.arguments)
        torch.autograd.backward(run())
        if self.optimizer is not None:
            self.optimizer.step()
        return self._touched(before)

    def recorded_step(self, run: Run, usually: list[Touched]) -> Reading:
        """A step that is recorded; noted where it touched its parameters other than ``usually``."""
        versions = self._versions()
        clear_gradients(self.module, self.arguments)
        with memory_window(self.device) as window:
            loss = run()  # held to the end of the window, as a training loop holds it
            torch.autograd.backward(loss)
            if self.optimizer is not None:
                with named_range("rv:optimizer"):
                    self.optimizer.step()
        events = list(memory_events(window.profiled, self.device.type))
        notes = contamination([size for _, size, _ in events], window.allocated)
        if self._touched(versions) != usually:
            notes.append(TRAINED)
        return Reading(events, window.seconds, window.reserved, notes)

    def _versions(self) -> list[int]:
        return [version_of(holder) for holder in gradient_holders(self.module, self.arguments)]

    def _touched(self, before: list[int]) -> list[Touched]:
        """For each holder of a gradient: how often it was written to, and how often its gradient was (−1: none)."""
        holders = gradient_holders(self.module, self.arguments)
        return [
            (version_of(holder) - version, -1 if holder.grad is None else version_of(holder.grad))
            for holder, version in zip(holders, before, strict=True)
        ]

    def static(self) -> dict[Category, int]:
        """Bytes there before the step, by category."""
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
        """The tensors that a planned module's trace has as constants."""
        return self.module.trace.folded.constants if isinstance(self.module, PlannedModule) else []


def contamination(deltas: Sequence[int], whole: int | None) -> list[str]:
    """What to note if the allocator rose further than the step's own allocations and frees explain.

    Parameters
    ----------
    deltas : sequence of int
        The step's own, bytes, in order.
    whole : int or None
        By how much the whole process's allocations rose at most, bytes; None where the allocator does not tell.

    Examples
    --------
    >>> contamination([5 << 20, -(5 << 20)], 5 << 20)
    []
    >>> contamination([5 << 20, -(5 << 20)], 9 << 20)
    ['contaminated: other work in this process held up to 4.00 MiB on the device meanwhile; run it alone']
    """
    beside = 0 if whole is None else whole - max(accumulate(deltas), default=0)
    if beside <= SLACK:
        return []
    held = format_bytes(beside)
    return [f"contaminated: other work in this process held up to {held} on the device meanwhile; run it alone"]


class _Reader:
    """Turns what the profiler saw into a timeline, with the schedule's steps where there is one."""

    def __init__(self, reading: Reading, schedule: Schedule | None) -> None:
        self.reading, self.schedule = reading, schedule
        self.labels: list[str] = [s.label for s in schedule.joint.storages] if schedule else []
        self.label_number: dict[str, int] = {}
        self.step_labels = [schedule.joint.calls[c].info.key for c in schedule.calls] if schedule else []
        self.phases = [int(phase) for phase in schedule.phases] if schedule else []
        self.open_blocks: dict[int, tuple[int, int, int]] = {}  # address → (storage, category, bytes)
        self.waiting: dict[int, list[tuple[int, int, int]]] = {}

    def timeline(self, static: dict[Category, int], device: str) -> Timeline:
        rows: list[tuple[int, int, int, int]] = []
        step = -1
        last_range = ""
        for address, size, inside in self.reading.events:
            step = self._step(step, inside, last_range)
            last_range = inside
            if size > 0:
                storage, category = self._match(step, size, inside)
                self.open_blocks[address] = storage, category, size
                rows.append((step, storage, category, size))
            elif address in self.open_blocks:
                storage, category, born = self.open_blocks.pop(address)
                rows.append((step, storage, category, -born))
        return Timeline.of_events(
            rows,
            self.step_labels,
            self.phases,
            storage_labels=tuple(self.labels),
            static_bytes=static,
            kind="measured",
            device=device,
            reserved_peak=self.reading.reserved,
            seconds=self.reading.seconds,
            notes=tuple(self.reading.notes),
        )

    def _step(self, step: int, inside: str, last_range: str) -> int:
        """The step an event belongs to: the bracket's, or one a run of the same operator's events."""
        if self.schedule is not None:
            if inside.startswith("rv:") and inside != "rv:optimizer":
                return int(inside[3:])
            if step >= len(self.schedule) - 1:  # after the last bracket: gradients arrive, the optimiser steps
                return self._extra(inside)
            # outside the brackets, before the backward pass: the gradient that autograd starts from
            return max(step, self.schedule.joint.forward_count - 1)
        if inside == last_range and step >= 0:
            return step
        self.step_labels.append(inside or "between operators")
        self.phases.append(Phase.OPTIMIZER if inside == "rv:optimizer" else self._eager_phase(inside))
        return len(self.phases) - 1

    def _eager_phase(self, inside: str) -> int:
        backward = "backward" in inside.lower() or Phase.BACKWARD in self.phases
        return Phase.BACKWARD if backward else Phase.FORWARD

    def _extra(self, inside: str) -> int:
        phase = Phase.OPTIMIZER if inside == "rv:optimizer" else Phase.ACCUMULATE
        if self.phases[-1] != phase:
            self.step_labels.append(OPTIMIZER_STEP if phase is Phase.OPTIMIZER else ARRIVAL)
            self.phases.append(phase)
        return len(self.phases) - 1

    def _match(self, step: int, size: int, inside: str) -> tuple[int, int]:
        """(storage, category) of a new block: the schedule's of that size in that step, or workspace."""
        if self.schedule is None:
            return self._label(inside or "unattributed"), Category.OTHER
        if step >= len(self.schedule):
            optimizer = self.phases[step] == Phase.OPTIMIZER
            category = Category.OPTIMIZER if optimizer else Category.PARAMETER_GRADIENT
            return self._label(self.step_labels[step]), category
        if step not in self.waiting:
            self.waiting[step] = self._made_in(step)
        for i, (storage, made_as, expected) in enumerate(self.waiting[step]):
            # CUDA's allocator may hand out a block larger than asked, but never a smaller one
            slack = 0 if self.schedule.joint.alignment == 1 else size // 2
            if expected <= size <= self.schedule.joint.rounded(expected) + slack:
                self.waiting[step].pop(i)
                return storage, made_as
        return self._label("workspace"), Category.WORKSPACE

    def _made_in(self, step: int) -> list[tuple[int, int, int]]:
        assert self.schedule is not None
        joint, phase = self.schedule.joint, self.schedule.phases[step]
        made = joint.calls[self.schedule.calls[step]].makes
        return [(s, category_of(self.schedule, s, phase), joint.storages[s].size) for s in made]

    def _label(self, text: str) -> int:
        if text not in self.label_number:
            self.label_number[text] = len(self.labels)
            self.labels.append(text)
        return self.label_number[text]
