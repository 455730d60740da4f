"""Train a model eagerly and under a total, from the same seeds; compare losses, gradients and the model's tensors."""

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
from recompviz.benchmarks.loops.cases import CASES, ModelCase
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.budgeting.step_model import StepModel
from recompviz.pytorch.internals.dynamo import forget_graphs, graph_breaks
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.running.compiled import budget_of

assert models.__all__  # importing them fills CASES

# Steps before the peak is measured: two warm-up steps, and the one that ends the recording.
UNMEASURED = 3
STEPS = 7
# Models whose steps run different layers need more steps until each layer was recorded.
UNSTEADY = {"layer drop by Python's random": 16, "early exit by a value": 12}


@dataclass
class Trained:
    """The result of training for a few steps.

    Attributes
    ----------
    losses : list of tensor
        One for each training step.
    gradients : list of list of tensor or None
        For each training step, the gradients of all parameters and inputs; None where there is no gradient.
    state : list of tensor
        Parameters, buffers and other tensors of the model after the last training step.
    peaks : list of int
        Measured peaks in total bytes, one for each training step from the fourth on; empty if not measured.
    messages : list of str
        The first line of each distinct warning.
    """

    losses: list[Tensor] = field(default_factory=list)
    gradients: list[list[Tensor | None]] = field(default_factory=list)
    state: list[Tensor] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def train(case: ModelCase, called: Callable[..., Any], steps: int, measured: bool = False) -> Trained:
    """Train for a few steps with SGD and momentum.

    Parameters
    ----------
    case : ModelCase
        The model, its inputs and its loss.
    called : callable
        The model itself, or the compiled model.
    steps : int
        The number of training steps.
    measured : bool
        Whether to measure the peak of each training step from the fourth on, with the profiler.
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
    """Run forward pass, loss and backward pass; return the detached loss."""
    loss = case.loss(called(*inputs))
    loss.backward()
    return loss.detach()


def highest(events: Iterable[AllocationEvent]) -> int:
    """Return the largest number of bytes allocated by these events at one time."""
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
    """Return a model's parameters, and those in an attribute ``found`` that are not registered."""
    return list(dict.fromkeys([*model.parameters(), *getattr(model, "found", [])]))


def all_tensors(model: nn.Module) -> list[Tensor]:
    """Return a model's parameters, buffers and tensors in other attributes, some of them more than once."""
    held = [value for module in model.modules() for value in vars(module).values()]
    return [
        *all_parameters(model), *model.buffers(),
        *(leaf for leaf in pytree.tree_leaves(held) if isinstance(leaf, Tensor)),
    ]  # fmt: skip


def resident(model: nn.Module, optimizer: torch.optim.Optimizer | None, leaves: list[Tensor]) -> int:
    """Return the bytes of a model, its gradients, its optimizer and ``leaves``; a shared storage counts once."""
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
    """Return a sentence for each difference between two results of :func:`train`; empty if all values are equal."""
    found = []
    for step, (a, b) in enumerate(zip(mine.losses, theirs.losses, strict=True)):
        if not same_bits(a, b):
            found.append(f"loss of step {step}: {a} and {b}")
    for step, (many, others) in enumerate(zip(mine.gradients, theirs.gradients, strict=True)):
        wrong = [i for i, (a, b) in enumerate(zip(many, others, strict=True)) if not same_bits(a, b)]
        if wrong:
            found.append(f"{len(wrong)} of {len(many)} gradients of step {step}")
    if len(mine.state) != len(theirs.state):
        found.append("number of tensors in the model")
    elif wrong := [i for i, (a, b) in enumerate(zip(mine.state, theirs.state, strict=True)) if not same_bits(a, b)]:
        found.append(f"{len(wrong)} of {len(mine.state)} tensors of the model after the last step")
    return found


@dataclass
class Row:
    """The result of :func:`compare` for one model. Sizes are total bytes of a training step.

    Attributes
    ----------
    name : str
        The name of the case.
    regions : int
        How many captured graphs with a plan run in a training step.
    breaks : int
        The number of graph breaks.
    share : float
        The bytes that captured graphs keep for the backward pass, as a share of all that are kept for it.
    least : int
        The least total that suffices for every recorded training step; 0 if nothing was planned.
    keep_all : int
        The total that keeps every value.
    total : int
        The total for which the model was compiled.
    peak : int
        The largest measured peak of the training steps under that total.
    overhead : float
        Time of the planned recomputation in the last training step, divided by the time of the forward passes.
    unplanned : str
        Why nothing was planned; empty otherwise.
    wrong : list of str
        Differences from eager PyTorch; empty if there are none.
    messages : list of str
        Warnings of the compiled model that eager PyTorch does not give.
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
        """Whether nothing differs from eager PyTorch, and the peak, if measured, is at most the total."""
        return not self.wrong and self.peak <= self.total


def compare(name: str, position: float = 0.4) -> Row:
    """Train a model eagerly, compiled with every value kept, and compiled for a total; compare the results.

    Parameters
    ----------
    name : str
        A key of ``CASES``.
    position : float
        Where the total lies: 0 for the least total, 1 for the total that keeps every value.

    Returns
    -------
    Row
        If nothing was planned, the model is not trained under a total, and ``unplanned`` gives the reason.
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
    """Return the bytes that captured graphs keep for the backward pass, as a share of all that are kept for it."""
    inside = sum(int(plans.saved.max()) for plans in model.options)
    outside = max(recorded.outside.after_forward for recorded in model.passes)
    return inside / max(inside + outside, 1)


def train_eager(name: str, steps: int) -> Trained:
    """Train a case eagerly; ``name`` is a key of ``CASES``."""
    forget_graphs()
    case = CASES[name]()
    return train(case, case.model, steps)


def compiled_case(name: str, total: int | str) -> tuple[ModelCase, Any, StepBudget]:
    """Return a case, its model compiled for a total, and the ``StepBudget`` of the compiled model."""
    forget_graphs()
    case = CASES[name]()
    compiled = rv.compile(case.model, total=total)
    return case, compiled, budget_of(compiled)
