"""Cases: models whose parameters or buffers are shared, normalized, overwritten or replaced."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


class Tied(nn.Module):
    """A model whose embedding and output layer share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.tower = nn.Embedding(50, WIDTH), tower()
        self.head = nn.Linear(WIDTH, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.tower(self.embedding(tokens)))


@case("tied weights")
def _() -> Any:
    return Tied(), (torch.randint(0, 50, (BATCH,)),)


class SharedBlock(nn.Module):
    """A model that runs one block four times."""

    def __init__(self) -> None:
        super().__init__()
        self.block = tower(depth=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + self.block(x)
        return x


@case("one block used four times")
def _() -> Any:
    return SharedBlock(), rows(BATCH, WIDTH)


class NormMomentumNone(nn.Module):
    """A model with a batch norm that keeps cumulative averages (``momentum=None``)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH, momentum=None), nn.ReLU(inplace=True),
            nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@case("batch norm with momentum=None")
def _() -> Any:
    return NormMomentumNone(), rows(BATCH, WIDTH)


class InPlace(nn.Module):
    """A model that overwrites values, slices and its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.5)
        h = self.first(x)
        h[:, :8] = 0
        h[:, 8:16].add_(1)
        h = F.gelu(h).add_(x)
        return self.second(h)


@case("in-place operators, input overwritten")
def _() -> Any:
    return InPlace(), rows(BATCH, WIDTH)


class NormedEmbedding(nn.Module):
    """An embedding with ``max_norm``: its forward pass overwrites the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.tower = nn.Embedding(50, WIDTH, max_norm=1.0), tower()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tower(self.embedding(tokens))


@case("embedding with max_norm")
def _() -> Any:
    return NormedEmbedding(), (torch.randint(0, 50, (BATCH,)),)


class Spectral(nn.Module):
    """A model with a layer under spectral norm and a layer under weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH))
        self.second = nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))
        self.tower = tower()

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(self.second(F.gelu(self.first(x))))


@case("spectral norm and weight norm")
def _() -> Any:
    return Spectral(), rows(BATCH, WIDTH)


class Counting(nn.Module):
    """A model that overwrites one buffer in place, and assigns a new tensor to another buffer."""

    count: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        h = self.tower(x + self.mean)
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h * self.count


@case("buffers overwritten and replaced")
def _() -> Any:
    return Counting(), rows(BATCH, WIDTH)
