"""Cases: models that use autograd features in their forward pass, such as ``autograd.grad`` and checkpoints."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


class Physics(nn.Module):
    """A physics-informed network. It returns its loss, which contains derivatives of the output by the input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)
        )

    def forward(self, points: Tensor) -> Tensor:
        points = points.detach().requires_grad_(True)
        u = self.net(points)
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (curve,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
        return (curve[:, 0] + slope[:, 1] - u.squeeze(-1)).pow(2).mean()


@case("physics-informed, inner autograd.grad")
def _() -> Any:
    return (
        Physics(),
        lambda step: (torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(step)),),
        lambda out: out,
    )


class Double(torch.autograd.Function):
    """An autograd function with its own backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0) * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x > 0) * 2 + 0.01 * gradients[0]


class Custom(nn.Module):
    """A model that calls an ``autograd.Function``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(Double.apply(self.first(x)))


@case("autograd.Function")
def _() -> Any:
    return Custom(), rows(BATCH, WIDTH)


class Checkpointed(nn.Module):
    """A model that calls ``torch.utils.checkpoint`` around each block."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.blocks, self.reentrant = nn.ModuleList(tower(depth=2) for _ in range(3)), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


@case("torch.utils.checkpoint inside")
def _() -> Any:
    return Checkpointed(False), rows(BATCH, WIDTH)


@case("torch.utils.checkpoint inside, reentrant")
def _() -> Any:
    return Checkpointed(True), lambda step: (rows(BATCH, WIDTH)(step)[0].requires_grad_(True),)


class Frozen(nn.Module):
    """A model with one part under ``no_grad``, and one part whose parameters do not require gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.fixed, self.head = tower(), tower(), tower()
        self.fixed.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.trunk(x)
        return self.head(self.fixed(self.head(x)))


@case("frozen parts")
def _() -> Any:
    return Frozen(), rows(BATCH, WIDTH)


class StopGradient(nn.Module):
    """A self-supervised model with a detached target on each side, as in SimSiam; returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.predictor = tower(), tower(depth=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = self.net(x), self.net(y)
        p, q = self.predictor(a), self.predictor(b)
        return -(F.cosine_similarity(p, b.detach()).mean() + F.cosine_similarity(q, a.detach()).mean())


@case("detached targets")
def _() -> Any:
    return StopGradient(), lambda step: (*rows(BATCH, WIDTH)(step), *rows(BATCH, WIDTH)(step + 100)), lambda out: out
