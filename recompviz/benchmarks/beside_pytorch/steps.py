"""Training steps under recompviz's memory limit (``total``) and under PyTorch's activation budget, measured alike.

A training step runs the compiled model, then the loss and the backward pass in eager code. A peak is the bytes of the
parameters, buffers and inputs of the model, plus the largest number of bytes that the step allocates at one time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.beside_pytorch.operator_times import OperatorTimes
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.internals.devices.runtimes import device_of
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.memory_budget import Engine, Partition, compiled_in_memory_budget
from recompviz.pytorch.measuring.measurement_run import TRAINED, MeasurementRun, runner_of
from recompviz.pytorch.running.compiled import budget_of

# More than any step here takes.
UNLIMITED = 1 << 44
# Steps until every step has its plan: one while Dynamo compiles, and the recorded one.
STEPS_BEFORE_PLANS = 2


@dataclass(frozen=True)
class OurStep:
    """A training step of a model compiled by recompviz.

    Attributes
    ----------
    budget : int
        The total given to recompviz, bytes.
    predicted, measured : int
        Predicted and measured peak, total bytes.
    recomputed : float
        Processor time of recomputation, in seconds.
    """

    budget: int
    predicted: int
    measured: int
    recomputed: float


@dataclass(frozen=True)
class Planned:
    """A plan of recompviz for a training step.

    Attributes
    ----------
    peak : int
        Predicted peak, total bytes.
    recomputed : float
        Processor time of recomputation, in seconds.
    """

    peak: int
    recomputed: float


@dataclass(frozen=True)
class TheirStep:
    """A training step under PyTorch's ``activation_memory_budget``.

    Attributes
    ----------
    engine : "operators", "decomposed" or "inductor"
        The compiler settings; see :data:`recompviz.pytorch.internals.memory_budget.Engine`.
    ratio : float
        The value of ``activation_memory_budget``, from 0 to 1.
    measured : int
        Measured peak, total bytes.
    recomputed : float
        Processor time of recomputation, in seconds.
    share : float
        ``recomputed`` as a fraction of the time of the forward pass.
    """

    engine: Engine
    ratio: float
    measured: int
    recomputed: float
    share: float


class MeasuredStep:
    """A compiled model with a batch and a loss, whose training steps can be measured."""

    def __init__(self, example: networks.Example, compiled: nn.Module) -> None:
        arguments: Any = (example.inputs, {}, example.targets)
        self.measurement = MeasurementRun(example.model, device_of(example.inputs), None, arguments)
        self.run = runner_of(compiled, arguments, example.loss)(None)
        self.counts: list[tuple[int, int]] = []

    def warm_up(self, steps: int) -> None:
        """Run training steps without measuring them."""
        for _ in range(steps):
            self.counts = self.measurement.one_step(self.run)

    def peak(self) -> int:
        """Measure one training step that starts without gradients; return its peak in total bytes.

        Raises
        ------
        RuntimeError
            If the measurement is doubtful, for example because other work ran at the same time.
        """
        reading = self.measurement.recorded_step(self.run, self.counts)
        # without a step before there are no write counts to compare with
        if notes := [note for note in reading.notes if self.counts or note != TRAINED]:
            raise RuntimeError(f"the measurement is doubtful: {'; '.join(notes)}")
        rise = max(accumulate((event.size for event in reading.events), initial=0))
        return sum(self.measurement.static().values()) + rise


class OurSteps:
    """A model compiled by :func:`recompviz.compile`, which runs training steps under different totals.

    Attributes
    ----------
    least, keep_all : int
        The least total, and the total that keeps every value, bytes.
    plans : list of Planned
        The plans of the training step, from least recomputation to least peak.
    forward : float
        Processor time of the operators of the forward pass, in seconds.
    seconds : float
        Processor time of the compilation and the first three training steps.
    """

    def __init__(self, example: networks.Example, times: OperatorTimes) -> None:
        forget_graphs()
        start = time.process_time()
        compiled = rv.compile(example.model, total=UNLIMITED)
        self.step = MeasuredStep(example, compiled)
        self.step.warm_up(STEPS_BEFORE_PLANS + 1)
        self.seconds = time.process_time() - start
        self.budget: StepBudget = budget_of(compiled)
        self.least, self.keep_all = self.budget.range_of_totals
        self.planned = self._planned()
        model = self.planned.model
        self.forward = sum(times.total(_forward(region)) for region in model.regions)
        # for each run of a region, the seconds of each of its plans
        self._of_masks = [
            [_recomputed_seconds(region, mask, times) for mask in masks]
            for region, masks in zip(model.regions, model.masks, strict=True)
        ]
        self.recomputed = [
            sum(seconds[row] for seconds, row in zip(self._of_masks, rows, strict=True)) for rows in model.plans.choices
        ]
        there = self.planned.resident
        self.plans = [
            Planned(there + peak, seconds) for peak, seconds in zip(model.plans.peak, self.recomputed, strict=True)
        ]

    def _planned(self) -> Any:
        planned = self.budget.planned
        if planned is None:
            raise RuntimeError(f"no step was planned: {self.budget.text}")
        return planned

    def at(self, total: int) -> OurStep:
        """Measure a training step under a total in bytes."""
        self.budget.total = total
        measured = self.step.peak()
        planned = self._planned()
        predicted = planned.resident + planned.model.plans.peak[planned.point]
        return OurStep(total, predicted, measured, self.recomputed[planned.point])

    def within_peak(self, peak: int) -> Planned | None:
        """Return the plan of least recomputation whose peak is at most ``peak`` total bytes; None if there is none."""
        return min((plan for plan in self.plans if plan.peak <= peak), key=lambda plan: plan.recomputed, default=None)

    def within_time(self, recomputed: float) -> Planned | None:
        """Return the plan of least peak that recomputes for at most ``recomputed`` seconds; None if there is none."""
        fitting = (plan for plan in self.plans if plan.recomputed <= recomputed)
        return min(fitting, key=lambda plan: plan.peak, default=None)


def their_step(example: networks.Example, ratio: float, engine: Engine, times: OperatorTimes) -> TheirStep:
    """Compile a model with PyTorch's ``activation_memory_budget`` and measure its first training step."""
    forget_graphs()
    partitions: list[Partition] = []
    compiled = compiled_in_memory_budget(example.model, ratio, engine, partitions.append)
    step = MeasuredStep(example, compiled)
    peak = step.peak()
    recomputed, forward = (
        sum(times.total(nodes) for nodes in found)
        for found in zip(*((each.recomputed, each.forward) for each in partitions), strict=True)
    )
    return TheirStep(engine, ratio, peak, recomputed, recomputed / forward)


def first_step(example: networks.Example, total: int) -> int | None:
    """Compile a model for a total in bytes. Return the peak of the first step; None if the total is too small."""
    forget_graphs()
    step = MeasuredStep(example, rv.compile(example.model, total=total))
    with contextlib.suppress(rv.InfeasibleBudget):  # the result None says it
        return step.peak()
    return None


def _forward(region: Any) -> Iterable[Node]:
    nodes: tuple[Node, ...] = region.folded.call_node
    return nodes[: region.folded.joint.forward_count]


def _recomputed_seconds(region: Any, mask: np.ndarray[Any, Any], times: OperatorTimes) -> float:
    schedule = make_schedule(region.folded.joint, mask.tolist())
    return times.total(region.folded.call_node[c] for c in schedule.recomputed)
