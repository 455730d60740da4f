"""The models and the strategies of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recompviz.networks import gpt2, llama, vit
from recompviz.networks._losses import classification, next_token

# name of the strategy → the number of shards and of replicas of a group of processes
STRATEGIES: dict[str, Callable[[int], tuple[int, int]]] = {
    "ddp": lambda world: (1, world),
    "ddp, bucket views": lambda world: (1, world),
    "fsdp2": lambda world: (world, 1),
    "fsdp2, no resharding": lambda world: (world, 1),
    "fsdp2, last half gathered": lambda world: (world, 1),
    "fsdp2, every second gathered": lambda world: (world, 1),
    "fsdp2, bfloat16": lambda world: (world, 1),
    "hsdp": lambda world: (world // 2, 2),
}


def reshards(strategy: str, layers: int) -> list[bool]:
    """Return for each of ``layers`` blocks whether it frees its gathered parameters after its forward pass."""
    if "no resharding" in strategy:
        return [False] * layers
    if "last half" in strategy:
        return [i < layers - layers // 2 for i in range(layers)]
    if "every second" in strategy:
        return [i % 2 == 0 for i in range(layers)]
    return [True] * layers


@dataclass(frozen=True, eq=False)
class RankCase:
    """A model with one batch, its loss, and its units: the modules that FSDP2 shards one by one and that have plans.

    Attributes
    ----------
    model : torch.nn.Module
    inputs, targets : tuple of Tensor
    loss : callable (output, *targets) → scalar
    units : tuple of str
        Patterns of the units' dotted paths, such as ``"h.*"``. In each pattern, the path before the first ``*`` is the
        path of the module that has the blocks.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    loss: Callable[..., Tensor]
    units: tuple[str, ...]

    @property
    def blocks(self) -> str:
        """The dotted path of the module that has the blocks, such as ``"h"``."""
        return self.units[0].partition(".*")[0]

    def block_units(self, block: int | str) -> tuple[str, ...]:
        """Return the dotted paths of the units of a block; for ``"*"``, patterns for the units of all blocks."""
        return tuple(f"{self.blocks}.{block}{unit.partition('.*')[2]}" for unit in self.units)


def case(name: str, layers: int, seed: int = 0) -> RankCase:
    """Return the case with a name such as ``"gpt2"`` or ``"llama"``, with ``layers`` blocks.

    The model is the same on all ranks. The batch depends on ``seed``.
    """
    torch.manual_seed(0)
    if name == "vit":
        model: nn.Module = vit(layers, 96, 4, patch=8, image_size=64, classes=10)
        torch.manual_seed(1 + seed)
        images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, 10, (8,))
        return RankCase(model, (images,), (labels,), classification, ("blocks.*",))
    if name in ("gpt2", "gpt2, dropout", "gpt2-parts"):
        model = gpt2(layers, 96, 4, vocabulary=400, context=64, dropout=0.1 if "dropout" in name else 0.0)
        units: tuple[str, ...] = ("h.*.attn", "h.*.mlp") if name == "gpt2-parts" else ("h.*",)
    elif name == "llama":
        model = llama(layers, 96, 4, groups=2, hidden=256, vocabulary=401, context=64)
        units = ("layers.*",)
    else:
        raise ValueError(f"no model {name!r}; there are gpt2, 'gpt2, dropout', gpt2-parts, llama and vit")
    torch.manual_seed(1 + seed)
    tokens, after = torch.randint(0, 400, (8, 64)), torch.randint(0, 400, (8, 64))
    return RankCase(model, (tokens,), (after,), next_token, units)
