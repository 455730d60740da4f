"""Train a model eagerly and under a budget, from the same seeds, and compare every gradient and every state."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import recompviz as rv
from recompviz.benchmarks.loops import models
from recompviz.benchmarks.loops.budgets import same
from recompviz.benchmarks.loops.cases import CASES, ModelCase
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.pytorch.internals.dynamo import forget_graphs, graph_breaks
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.running.compiled import budget_of
from recompviz.pytorch.running.step_budget import StepBudget
from recompviz.pytorch.running.step_model import StepModel

assert models.__all__  # importing them fills CASES

# Steps before the peak is measured: two warm-up steps, and the one that ends the recording.
UNMEASURED = 3
STEPS = 7
# Models whose steps run different layers need more steps until each layer was recorded.
UNSTEADY = {"layer drop by Python's random": 16, "early exit by a value": 12}


@dataclass
class Trained:
    """What a few steps of training left behind.

    Attributes
    ----------
    losses : list of tensor
    gradients : list of list of tensor or None
        For each step, of every parameter and of every input.
    state : list of tensor
        Parameters, buffers and other tensors of the model after the last step.
    peaks : list of int
        Measured total bytes of each step from the fourth on: what was there before, and the profiler's peak.
    messages : list of str
        Warnings.
    """

    losses: list[Tensor] = field(default_factory=list)
    gradients: list[list[Tensor | None]] = field(default_factory=list)
    state: list[Tensor] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def train(case: ModelCase, called: Callable[..., Any], steps: int, measured: bool = False) -> Trained:
    """Train for a few steps with SGD.

    Parameters
    ----------
    case : ModelCase
    called : callable
        The model, or what it was compiled to.
    steps : int
    measured : bool
        Whether the profiler measures the peak of each step.
    """
    result = Trained()
    parameters = all_parameters(case.model)
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9) if parameters else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            torch.manual_seed(step)
            random.seed(step)
            inputs = case.inputs(step)
            leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
            if measured and step >= UNMEASURED:
                before = resident(case.model, optimizer, leaves)
                with memory_window(torch.device("cpu")) as window:
                    loss = one_step(case, called, inputs)
                result.peaks.append(before + highest(allocation_events(window.profiled, "cpu", ())))
            else:
                loss = one_step(case, called, inputs)
            result.losses.append(loss.detach().clone())
            del loss
            result.gradients.append([_copied(value.grad) for value in (*parameters, *leaves) if value.is_leaf])
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad()
            del inputs, leaves
    result.state = [value.detach().clone() for value in all_tensors(case.model)]
    result.messages = list(dict.fromkeys(str(w.message).splitlines()[0] for w in caught))
    return result


def one_step(case: ModelCase, called: Callable[..., Any], inputs: tuple[Any, ...]) -> Tensor:
    """Forward, loss and backward."""
    loss = case.loss(called(*inputs))
    loss.backward()
    return loss.detach()


def highest(events: Iterable[AllocationEvent]) -> int:
    """The most bytes allocated at a time, above what was there."""
    now = most = 0
    sizes: dict[int, int] = {}
    for event in events:
        if event.size > 0:
            sizes[event.address] = event.size
            now += event.size
            most = max(most, now)
        else:
            now -= sizes.pop(event.address, 0)
    return most


def all_parameters(model: nn.Module) -> list[Tensor]:
    """The parameters of a model, and those that it hides in Python lists."""
    return list(dict.fromkeys([*model.parameters(), *getattr(model, "found", [])]))


def all_tensors(model: nn.Module) -> list[Tensor]:
    """Every tensor that the modules hold, parameters included."""
    held = [value for module in model.modules() for value in vars(module).values()]
    return [
        *all_parameters(model), *model.buffers(),
        *(leaf for leaf in pytree.tree_leaves(held) if isinstance(leaf, Tensor)),
    ]  # fmt: skip


def resident(model: nn.Module, optimizer: torch.optim.Optimizer | None, leaves: list[Tensor]) -> int:
    """Bytes there before a step: parameters, buffers, gradients, optimizer state and inputs."""
    tensors = [*all_tensors(model), *leaves]
    tensors += [value.grad for value in tensors if value.is_leaf and value.grad is not None]
    if optimizer is not None:
        tensors += [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if _strided(t)}
    return sum(storages.values())


def _strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _copied(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach().clone()


def differences(mine: Trained, theirs: Trained) -> list[str]:
    """What differs between two trainings; empty if every bit is the same."""
    found = []
    for step, (a, b) in enumerate(zip(mine.losses, theirs.losses, strict=True)):
        if not same(a, b):
            found.append(f"loss of step {step}: {a} and {b}")
    for step, (many, others) in enumerate(zip(mine.gradients, theirs.gradients, strict=True)):
        wrong = [i for i, (a, b) in enumerate(zip(many, others, strict=True)) if not same(a, b)]
        if wrong:
            found.append(f"{len(wrong)} of {len(many)} gradients of step {step}")
    if len(mine.state) != len(theirs.state):
        found.append("number of tensors in the model")
    elif wrong := [i for i, (a, b) in enumerate(zip(mine.state, theirs.state, strict=True)) if not same(a, b)]:
        found.append(f"{len(wrong)} of {len(mine.state)} tensors of the model after the last step")
    return found


@dataclass
class Row:
    """How one model trained under a budget.

    Attributes
    ----------
    regions : int
        Runs of planned regions in a step.
    breaks : int
        Graph breaks.
    share : float
        Bytes that the regions would save if they kept all, as a share of these and of what code outside holds.
    total, peak : int
        The budget, and the largest measured peak.
    keep_all, least : int
        Total bytes of the step that keeps all, and the least.
    overhead : float
        Recomputation planned in the last step, as a share of the forward time.
    unplanned : str
        Why nothing was planned, if so.
    wrong, messages : list of str
        What differs from eager, and warnings that eager PyTorch does not give.
    """

    name: str
    regions: int = 0
    breaks: int = 0
    share: float = 0.0
    least: int = 0
    keep_all: int = 0
    total: int = 0
    peak: int = 0
    overhead: float = 0.0
    unplanned: str = ""
    wrong: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the gradients are equal and the peak is within the total."""
        return not self.wrong and self.peak <= self.total


def compare(name: str, position: float = 0.4) -> Row:
    """Train one of the models under a total between the least and that of keep-all.

    Parameters
    ----------
    name : str
        One of ``CASES``.
    position : float
        Where the total is: 0 for the least, 1 for keep-all.
    """
    row, steps = Row(name), UNSTEADY.get(name, STEPS)
    eager = train_eager(name, steps)
    case, compiled, budget = compiled_case(name, "1 TiB")
    loose = train(case, compiled, steps)
    row.wrong = [f"keep-all: {text}" for text in differences(loose, eager)]
    row.breaks = graph_breaks()
    row.messages = [m for m in loose.messages if m not in eager.messages]
    if not budget.models:
        row.unplanned = budget.text
        return row
    largest = max(budget.models.values(), key=lambda model: model.plans.peak[0])
    row.regions = len(largest.regions)
    row.share = planned_share(largest)
    row.least, row.keep_all = budget.range_of_totals
    row.total = int(row.least + position * (row.keep_all - row.least))
    case, compiled, budget = compiled_case(name, row.total)
    tight = train(case, compiled, steps, measured=True)
    row.wrong += [f"budget: {text}" for text in differences(tight, eager)]
    row.peak = max(tight.peaks, default=0)
    if (planned := budget.planned) is not None:
        row.overhead = planned.model.plans.overhead[planned.point] / max(planned.model.keep_all, 1e-9)
    return row


def planned_share(model: StepModel) -> float:
    """The share of the activation bytes that regions hold when they keep all."""
    inside = sum(int(plans.saved.max()) for plans in model.options)
    outside = max(recorded.outside.after_forward for recorded in model.passes)
    return inside / max(inside + outside, 1)


def train_eager(name: str, steps: int) -> Trained:
    """The reference."""
    forget_graphs()
    case = CASES[name]()
    return train(case, case.model, steps)


def compiled_case(name: str, total: int | str) -> tuple[ModelCase, Any, StepBudget]:
    """A fresh case, compiled for a total."""
    forget_graphs()
    case = CASES[name]()
    compiled = rv.compile(case.model, total=total)
    return case, compiled, budget_of(compiled)
