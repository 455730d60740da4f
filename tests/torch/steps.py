"""Small training steps of many shapes: what a trace, a plan and a measurement must survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz import networks


@dataclass
class Case:
    """One training step."""

    model: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss: Callable[..., Any] | None = None

    def trace(self) -> rv.Trace:
        return rv.trace(self.model, *self.inputs, kwargs=self.kwargs, targets=self.targets, loss=self.loss)


class TiedTransformer(nn.Module):
    """Dropout, attention, layer norms, and an embedding tied to the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.dropout = nn.Dropout(0.2)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.dropout(self.embedding(tokens)))).transpose(1, 2)


class InPlaceAndFrozen(nn.Module):
    """In-place operators, frozen parameters, a keyword tensor, a keyword number, a dictionary output."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, scale: int) -> dict[str, torch.Tensor]:
        h = torch.relu_(self.frozen(self.learned(x))).clamp(max=3) * mask / scale
        return {"loss": h.pow(2).mean(), "logits": h}


class CountingBuffer(nn.Module):
    """Reads a buffer, and overwrites it afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("count", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sin(self.linear(x) + self.count)
        self.count.add_(1)
        return torch.cos(y + self.count).sum()


class Attention(nn.Module):
    """sdpa with dropout, and an input that wants a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.view(2, 8, 2, 8).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1).sum()


def conv_net() -> nn.Sequential:
    """Group norm, dropout of both kinds, layer norm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.GELU(),
        nn.Dropout2d(0.3),
        nn.Conv2d(8, 8, 3),
        nn.LayerNorm([8, 6, 6]),
        nn.SiLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(288, 3),
    )


def batch_norm_net() -> nn.Sequential:
    """Convolutions, batch norm, in-place ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def residual_net() -> nn.Sequential:
    """The stem and the head of a ResNet, and two of its four stages: the other two are the same at other sizes."""
    full = networks.resnet(layers=(1, 1, 1, 1), width=8, classes=10)
    stem = (full.conv1, full.bn1, full.relu, full.maxpool)
    return nn.Sequential(*stem, full.layer1, full.layer2, full.avgpool, nn.Flatten(), nn.Linear(64, 10))


def make(name: str) -> Case:
    """The case of a name, freshly made from the same seed."""
    torch.manual_seed(0)
    labels = torch.tensor([0, 1])
    if name == "tied transformer with dropout":
        return Case(
            TiedTransformer(), (torch.randint(0, 50, (2, 7)),), (torch.randint(0, 50, (2, 7)),), loss=F.cross_entropy
        )
    if name == "in-place, frozen, keywords, dictionary":
        return Case(InPlaceAndFrozen(), (torch.randn(3, 4),), kwargs={"mask": torch.ones(4), "scale": 3})
    if name == "buffer overwritten after use":
        return Case(CountingBuffer(), (torch.randn(3, 4),))
    if name == "attention with input gradient":
        return Case(Attention(), (torch.randn(2, 8, 16, requires_grad=True),))
    if name == "convolutions with dropout":
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
        return Case(conv_net(), (torch.randn(2, 3, 8, 8),), (labels,), loss=loss)
    if name == "batch norm":
        return Case(batch_norm_net(), (torch.randn(2, 3, 12, 12),), (labels,), loss=F.cross_entropy)
    if name == "channels last":
        layout = torch.channels_last
        x = torch.randn(2, 3, 12, 12).to(memory_format=layout)
        return Case(batch_norm_net().to(memory_format=layout), (x,), (labels,), loss=F.cross_entropy)
    if name == "small residual network":
        return Case(residual_net(), (torch.randn(2, 3, 32, 32),), (labels,), loss=F.cross_entropy)
    raise KeyError(name)


CASES = (
    "tied transformer with dropout",
    "in-place, frozen, keywords, dictionary",
    "buffer overwritten after use",
    "attention with input gradient",
    "convolutions with dropout",
    "batch norm",
    "channels last",
    "small residual network",
)
# in a test of a few seconds for each: the cases of more than two seconds are slow
MARKED_CASES = tuple(
    pytest.param(name, marks=pytest.mark.slow)
    if name in ("small residual network", "tied transformer with dropout")
    else name
    for name in CASES
)
