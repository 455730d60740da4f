"""Cases: models with hooks, hidden parameters, logged numbers, and layers of special kinds."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


class NoParameters(nn.Module):
    """A model without parameters, whose input needs a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(torch.sin(x).exp().cumsum(-1)).softmax(-1)


@case("no parameters")
def _() -> Any:
    return NoParameters(), lambda step: (rows(BATCH, WIDTH)(step)[0].requires_grad_(True),)


class Listed(nn.Module):
    """A model with unregistered parameters, in a Python list and in a closure."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.hidden = tower(), [nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(WIDTH))]
        scale = nn.Parameter(torch.ones(WIDTH))
        self.scaled = lambda x: x * scale
        self.found = [*self.hidden, scale]

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(self.tower(x) + self.hidden[0]) * self.hidden[1]


@case("parameters in a list and in a closure")
def _() -> Any:
    return Listed(), rows(BATCH, WIDTH)


class Logged(nn.Module):
    """A model that counts its calls and keeps a number that it reads from a tensor with ``item``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()
        self.last, self.calls = 0.0, 0

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.calls += 1
        self.last = h.detach().mean().item()
        return self.second(h)


@case("logs a number in the middle")
def _() -> Any:
    return Logged(), rows(BATCH, WIDTH)


class Hooked(nn.Module):
    """A model with a forward hook, a forward pre-hook and a tensor hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()
        self.first.register_forward_hook(lambda _m, _i, out: out * 1.5)
        self.second.register_forward_pre_hook(lambda _m, inputs: (inputs[0] + 1,))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if h.requires_grad:
            h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
        return self.second(h)


@case("hooks on layers and tensors")
def _() -> Any:
    return Hooked(), rows(BATCH, WIDTH)


def _halved(_module: nn.Module, inner: Any, _outer: Any) -> tuple[Tensor]:
    return (inner[0] * 0.5,)


class BackwardHooked(nn.Module):
    """A model with a full backward hook on a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()
        self.second.register_full_backward_hook(_halved)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@case("full backward hook")
def _() -> Any:
    return BackwardHooked(), rows(BATCH, WIDTH)


class Generated(nn.Module):
    """A model that splits its input with a generator method, and collects outputs in a dictionary of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({"even": tower(), "odd": tower()})

    def parts(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        for number, part in enumerate(x.split(48)):
            yield ("odd" if number % 2 else "even"), part

    def forward(self, x: Tensor) -> Tensor:
        found: dict[str, list[Tensor]] = collections.defaultdict(list)
        for name, part in self.parts(x):
            found[name].append(self.blocks[name](part))
        return torch.cat([torch.cat(found[name]) for name in sorted(found)])


@case("generators and dictionaries of lists")
def _() -> Any:
    return Generated(), rows(BATCH, WIDTH)


class Attending(nn.Module):
    """A transformer layer and attention, with dropout and a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.1, batch_first=True)
        self.attention = nn.MultiheadAttention(WIDTH, 4, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h = self.layer(x, src_mask=mask)
        return h + self.attention(h, h, h, attn_mask=mask)[0]


@case("attention with dropout and a mask")
def _() -> Any:
    return Attending(), rows(4, 24, WIDTH)


class Complex(nn.Module):
    """A model with complex values and a complex parameter, in a Fourier layer."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.weight = tower(), nn.Parameter(torch.randn(WIDTH // 2 + 1, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(torch.fft.irfft(torch.fft.rfft(self.tower(x)) * self.weight, n=WIDTH))


@case("complex values")
def _() -> Any:
    return Complex(), rows(BATCH, WIDTH)


class Channels(nn.Module):
    """A model with convolutions in channels-last layout, a transposed convolution, and two resizes."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.up, self.head = nn.ConvTranspose2d(16, 16, 2, 2), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.down(x.contiguous(memory_format=torch.channels_last))))
        h = F.interpolate(self.up(h), scale_factor=0.5, mode="bilinear")
        return self.head(F.interpolate(h, size=x.shape[-2:], mode="nearest"))


@case("channels last and resizes")
def _() -> Any:
    return Channels(), rows(2, 3, 32, 32)


class Changing(nn.Module):
    """A model in which the batch size decides how many blocks run."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.depth = nn.ModuleList(tower(depth=1) for _ in range(4)), 4

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks[: 2 + len(x) % 3]:
            x = x + block(x)
        return x


@case("batch size decides the depth")
def _() -> Any:
    return Changing(), lambda step: rows(BATCH - step % 3, WIDTH)(step)
