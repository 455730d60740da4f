"""One model under a budget of ours, and under PyTorch's, measured in the same way.

A step runs the compiled model, then the loss and the backward pass in eager code. Peaks are total bytes: parameters,
buffers and inputs of the model, and the most that the allocator's events add to them during the step.
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
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.devices import device_of
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.memory_budget import Engine, Partition, compiled_in_memory_budget
from recompviz.pytorch.measuring.measurement_run import TRAINED, MeasurementRun, runner_of
from recompviz.pytorch.running.compiled import budget_of
from recompviz.pytorch.running.step_budget import StepBudget

# More than any step here takes.
UNLIMITED = 1 << 44
# Steps until every step has its plan: one while Dynamo compiles, and the recorded one.
STEPS_BEFORE_PLANS = 2


@dataclass(frozen=True)
class OurStep:
    """A step of ours.

    Attributes
    ----------
    budget, predicted, measured : int
        Total bytes.
    recomputed : float
        Seconds of the operators that run twice.
    """

    budget: int
    predicted: int
    measured: int
    recomputed: float


@dataclass(frozen=True)
class Planned:
    """A plan of ours.

    Attributes
    ----------
    peak : int
        Total bytes.
    recomputed : float
        Seconds of the operators that run twice.
    """

    peak: int
    recomputed: float


@dataclass(frozen=True)
class TheirStep:
    """A step under PyTorch's ``activation_memory_budget``.

    Attributes
    ----------
    engine : "operators", "decomposed" or "inductor"
    ratio : float
    measured : int
        Total bytes.
    recomputed : float
        Seconds of the operators that run twice.
    share : float
        The same as a part of the forward pass.
    """

    engine: Engine
    ratio: float
    measured: int
    recomputed: float
    share: float


class MeasuredStep:
    """A compiled model with its batch and its loss."""

    def __init__(self, example: networks.Example, compiled: nn.Module) -> None:
        arguments: Any = (example.inputs, {}, example.targets)
        self.measurement = MeasurementRun(example.model, device_of(example.inputs), None, arguments)
        self.run = runner_of(compiled, arguments, example.loss)(None)
        self.counts: list[tuple[int, int]] = []

    def warm_up(self, steps: int) -> None:
        """Run steps that are not measured."""
        for _ in range(steps):
            self.counts = self.measurement.one_step(self.run)

    def peak(self) -> int:
        """The peak of one step that starts without gradients, total bytes."""
        reading = self.measurement.recorded_step(self.run, self.counts)
        # without a step before there are no write counts to compare with
        if notes := [note for note in reading.notes if self.counts or note != TRAINED]:
            raise RuntimeError(f"the measurement is doubtful: {'; '.join(notes)}")
        rise = max(accumulate((event.size for event in reading.events), initial=0))
        there = self.measurement.static()
        there.pop(Category.TARGET, None)  # the labels are given to the loss, not to the compiled model
        return sum(there.values()) + rise


class OurSteps:
    """One model, compiled once by :func:`recompviz.compile`; its total then changes from step to step."""

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
        """Measure a step under a total."""
        self.budget.total = total
        measured = self.step.peak()
        planned = self._planned()
        predicted = planned.resident + planned.model.plans.peak[planned.point]
        return OurStep(total, predicted, measured, self.recomputed[planned.point])

    def within_peak(self, peak: int) -> Planned | None:
        """The plan of least recomputation whose peak is at most this; None if there is none."""
        return min((plan for plan in self.plans if plan.peak <= peak), key=lambda plan: plan.recomputed, default=None)

    def within_time(self, recomputed: float) -> Planned | None:
        """The plan of least peak that recomputes at most these seconds; None if there is none."""
        fitting = (plan for plan in self.plans if plan.recomputed <= recomputed)
        return min(fitting, key=lambda plan: plan.peak, default=None)


def their_step(example: networks.Example, ratio: float, engine: Engine, times: OperatorTimes) -> TheirStep:
    """Compile the model with PyTorch's budget and measure its first step.

    Compilation allocates nothing that lives until the step's peak: later steps have the same peak.
    """
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
    """The peak of the first step under a total, while Dynamo compiles the model; None if it is refused."""
    forget_graphs()
    step = MeasuredStep(example, rv.compile(example.model, total=total))
    with contextlib.suppress(rv.InfeasibleBudget):
        return step.peak()
    return None


def _forward(region: Any) -> Iterable[Node]:
    nodes: tuple[Node, ...] = region.folded.call_node
    return nodes[: region.folded.joint.forward_count]


def _recomputed_seconds(region: Any, mask: np.ndarray[Any, Any], times: OperatorTimes) -> float:
    schedule = make_schedule(region.folded.joint, mask.tolist())
    return times.total(region.folded.call_node[c] for c in schedule.recomputed)
