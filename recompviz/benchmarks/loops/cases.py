"""The registry of models for the benchmark: each case is a model, its inputs at each training step, and its loss."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

BATCH, WIDTH = 128, 64


@dataclass
class ModelCase:
    """A model, its inputs and its loss.

    Attributes
    ----------
    model : torch.nn.Module
        The model, newly made.
    inputs : callable (int) → tuple
        Returns the arguments of the model for the training step with the given number.
    loss : callable (output) → scalar tensor
        Returns the loss of the model's output.
    """

    model: nn.Module
    inputs: Callable[[int], tuple[Any, ...]]
    loss: Callable[[Any], Tensor]


def loss_of(output: Any) -> Tensor:
    """Return the sum of the mean squares of an output's tensors that require a gradient."""
    if dataclasses.is_dataclass(output):
        output = vars(output)
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
    total = leaves[0].float().pow(2).mean()
    for leaf in leaves[1:]:
        total = total + leaf.float().pow(2).mean()
    return total


# name → function that makes the case, from fixed seeds
CASES: dict[str, Callable[[], ModelCase]] = {}


def case(name: str) -> Callable[[Callable[[], Any]], Callable[[], ModelCase]]:
    """Return a decorator that adds a case to ``CASES``.

    The decorated function returns a model, the model's inputs and optionally a loss. The inputs are a tuple, or a
    function from the number of a training step to a tuple.
    """

    def register(build: Callable[[], Any]) -> Callable[[], ModelCase]:
        @functools.wraps(build)
        def made() -> ModelCase:
            torch.manual_seed(0)
            random.seed(0)
            model, inputs, *loss = build()
            give = inputs if callable(inputs) else lambda _step: inputs
            return ModelCase(model, give, *(loss or [loss_of]))

        CASES[name] = made
        return made

    return register


def rows(*shape: int) -> Callable[[int], tuple[Tensor]]:
    """Return a function from the number of a training step to a tuple of one random tensor."""
    return lambda step: (torch.randn(*shape, generator=torch.Generator().manual_seed(step)),)


def tower(width: int = WIDTH, depth: int = 3) -> nn.Sequential:
    """Return ``depth`` blocks, each a linear layer, GELU and layer norm."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)]
    return nn.Sequential(*layers)
