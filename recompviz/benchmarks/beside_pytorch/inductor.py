"""Training steps that Inductor runs under memory limits of ``rv.Partitioner``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.beside_pytorch.steps import UNLIMITED
from recompviz.pytorch.internals.dynamo import forget_graphs


@dataclass(frozen=True)
class InductorStep:
    """A training step that Inductor runs.

    Attributes
    ----------
    total : int
        The total given to ``rv.Partitioner``, bytes.
    predicted : int
        The peak predicted when the step was compiled, before any measurement, total bytes.
    measured : int
        Measured peak, total bytes.
    kind : str
        ``"plan"``, or ``"PyTorch"`` if PyTorch's own split is used.
    recomputed : float
        Estimated time of recomputation, in seconds; 0 for PyTorch's own split.
    seconds : float
        Processor time of the compilation and of two training steps, in seconds.
    """

    total: int
    predicted: int
    measured: int
    kind: str
    recomputed: float
    seconds: float


class WithLoss(nn.Module):
    """A module that runs the model of an example, and returns the loss."""

    def __init__(self, example: networks.Example) -> None:
        super().__init__()
        self.model, self.loss, self.count = example.model, example.loss, len(example.inputs)

    def forward(self, *arguments: Tensor) -> Tensor:
        """Return the loss. The arguments are the inputs, then the targets."""
        loss: Tensor = self.loss(self.model(*arguments[: self.count]), *arguments[self.count :])
        return loss


def inductor_steps(example: networks.Example, count: int) -> Iterator[InductorStep]:
    """Yield a training step without a memory limit, then training steps under ``count`` falling limits."""
    model = WithLoss(example)
    arguments = (*example.inputs, *example.targets)
    first = _step(model, arguments, UNLIMITED)
    yield first
    least = _least(model, arguments)
    for total in np.linspace(1.01 * first.measured, 1.01 * least, count).astype(int).tolist():
        yield _step(model, arguments, total)


def _step(model: WithLoss, arguments: tuple[Tensor, ...], total: int) -> InductorStep:
    start = time.process_time()
    forget_graphs()
    model.zero_grad()
    partitioner = rv.Partitioner(total=total)
    compiled = torch.compile(model, options={"custom_partitioner_fn": partitioner})

    def step() -> None:
        compiled(*arguments).backward()
        model.zero_grad()

    step()
    predicted = partitioner.predicted
    assert predicted is not None
    measured = partitioner.calibrate(step)
    (graph,) = partitioner.graphs
    return InductorStep(total, predicted, measured, graph.kind, graph.recomputed / 1000, time.process_time() - start)


def _least(model: WithLoss, arguments: tuple[Tensor, ...]) -> int:
    """Return the least total, in bytes."""
    try:
        _step(model, arguments, 1)
    except Exception as error:  # Dynamo wraps the error
        inner = getattr(error, "inner_exception", error)
        if isinstance(inner, rv.InfeasibleBudget):
            return inner.least
        raise
    raise AssertionError("a training step fits one byte")
