"""The cases of the benchmark: a model, its inputs at each step, and its loss, made from a fixed seed."""

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
    """A model and how it is trained.

    Attributes
    ----------
    model : torch.nn.Module
    inputs : callable (step number) → tuple
        The arguments of one step.
    loss : callable (output) → scalar tensor
    """

    model: nn.Module
    inputs: Callable[[int], tuple[Any, ...]]
    loss: Callable[[Any], Tensor]


def loss_of(output: Any) -> Tensor:
    """The mean square of every floating-point tensor in an output that needs a gradient, summed."""
    if dataclasses.is_dataclass(output):
        output = vars(output)
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
    total = leaves[0].float().pow(2).mean()
    for leaf in leaves[1:]:
        total = total + leaf.float().pow(2).mean()
    return total


CASES: dict[str, Callable[[], ModelCase]] = {}


def case(name: str) -> Callable[[Callable[[], Any]], Callable[[], ModelCase]]:
    """Register a function that returns a model and its inputs, and possibly a loss."""

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
    """New random rows at every step, the same for the same step."""
    return lambda step: (torch.randn(*shape, generator=torch.Generator().manual_seed(step)),)


def tower(width: int = WIDTH, depth: int = 3) -> nn.Sequential:
    """Linear layers with GELU and layer norm."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)]
    return nn.Sequential(*layers)
