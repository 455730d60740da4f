"""A diffusion U-Net: residual blocks that read the time step, attention at some scales, and skip connections.

This is the network of denoising diffusion models, with group norm and SiLU. Every residual block adds a sinusoidal
embedding of the time step. A skip connection leads from each block on the way down to a block on the way up. The output
of a block on the way down therefore stays in memory until the block on the way up reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DiffusionUNet", "unet_diffusion"]


def sinusoids(steps: Tensor, width: int) -> Tensor:
    """Return sines, then cosines, of the time steps [N] at ``width / 2`` frequencies, as one tensor [N, width].

    ``width`` is even and at least 4.
    """
    half = width // 2
    rates = torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half, device=steps.device))
    angles = steps[:, None].float() * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


class Residual(nn.Module):
    """A residual block: group norm, SiLU and convolution, two times.

    The embedded time step is added after the first convolution. The input is added after the second one, through a 1×1
    convolution if ``channels`` and ``out`` differ.
    """

    def __init__(self, channels: int, out: int, embedding: int, dropout: float, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.step = nn.Linear(embedding, out)
        self.norm2 = nn.GroupNorm(groups, out, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Map [N, channels, H, W] and an embedded time step [N, embedding] to [N, out, H, W]."""
        y = self.conv1(F.silu(self.norm1(x))) + self.step(step)[:, :, None, None]
        y = self.conv2(self.dropout(F.silu(self.norm2(y))))
        out: Tensor = self.shortcut(x) + y
        return out


class Attention(nn.Module):
    """Self-attention with one head between all pixels; the result is added to the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to a tensor of the same shape."""
        q, k, v = self.qkv(self.norm(x).flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, -1)
        y = self.proj(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        out: Tensor = x + y.transpose(1, 2).reshape(x.shape)
        return out


class Level(nn.Module):
    """A residual block, followed by self-attention if ``attention`` is True."""

    def __init__(self, channels: int, out: int, embedding: int, dropout: float, groups: int, attention: bool) -> None:
        super().__init__()
        self.residual = Residual(channels, out, embedding, dropout, groups)
        self.attention = Attention(out, groups) if attention else nn.Identity()

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Map [N, channels, H, W] and an embedded time step [N, embedding] to [N, out, H, W]."""
        y: Tensor = self.attention(self.residual(x, step))
        return y


class Upsample(nn.Module):
    """Twice the height and width: every pixel is repeated 2×2, and a 3×3 convolution follows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, channels, 2H, 2W]."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class DiffusionUNet(nn.Module):
    """A diffusion U-Net for images [N, channels, H, W] and time steps [N]; see `unet_diffusion` for the parameters."""

    def __init__(
        self,
        channels: int = 3,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1,),
        dropout: float = 0.1,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.width = width
        embedding = 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        now, skips = width, [width]
        self.down = nn.ModuleList()
        for scale, factor in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(Level(now, width * factor, embedding, dropout, groups, scale in attention))
                now = width * factor
                skips.append(now)
            if scale < len(multipliers) - 1:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
        self.middle = nn.ModuleList(
            [
                Level(now, now, embedding, dropout, groups, attention=True),
                Level(now, now, embedding, dropout, groups, attention=False),
            ]
        )
        self.up = nn.ModuleList()
        for scale, factor in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.up.append(Level(now + skips.pop(), width * factor, embedding, dropout, groups, scale in attention))
                now = width * factor
            if scale > 0:
                self.up.append(Upsample(now))
        self.head = nn.Sequential(
            nn.GroupNorm(groups, now, eps=1e-6), nn.SiLU(), nn.Conv2d(now, channels, 3, padding=1)
        )

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        """Map noisy images [N, channels, H, W] and time steps [N] to the predicted noise [N, channels, H, W]."""
        step = self.embed(sinusoids(steps, self.width))
        x = self.stem(x)
        skips = [x]
        for module in self.down:
            x = module(x, step) if isinstance(module, Level) else module(x)
            skips.append(x)
        for module in self.middle:
            x = module(x, step)
        for module in self.up:
            x = module(torch.cat([x, skips.pop()], 1), step) if isinstance(module, Level) else module(x)
        noise: Tensor = self.head(x)
        return noise


def unet_diffusion(
    channels: int = 3,
    width: int = 128,
    multipliers: Sequence[int] = (1, 2, 2, 2),
    blocks: int = 2,
    attention: Sequence[int] = (1,),
    dropout: float = 0.1,
    groups: int = 32,
) -> DiffusionUNet:
    """Return a diffusion U-Net. The defaults give the network of DDPM for 32×32 images, with 35,746,307 parameters.

    Parameters
    ----------
    channels : int
        Channels of the images.
    width : int
        Channels of the finest scale; a multiple of ``groups``.
    multipliers : sequence of ints
        Channels of each scale as multiples of ``width``, the finest scale first. Each further scale halves height and
        width.
    blocks : int
        Number of residual blocks of each scale on the way down. On the way up, each scale has one more.
    attention : sequence of ints
        The scales with attention, as positions in ``multipliers``; 0 is the finest scale. The middle of the network
        always has attention.
    dropout : float
        Probability of the dropout in every residual block.
    groups : int
        Number of groups of every group norm.

    Returns
    -------
    DiffusionUNet
        Maps images [N, channels, H, W] and time steps [N] to the predicted noise [N, channels, H, W]. H and W must be
        multiples of ``2 ** (len(multipliers) - 1)``.

    References
    ----------
    Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, arXiv 2006.11239.

    Examples
    --------
    >>> import torch
    >>> net = unet_diffusion(width=8, multipliers=(1, 2), blocks=1, groups=4)
    >>> net(torch.zeros(2, 3, 8, 8), torch.tensor([0, 999])).shape
    torch.Size([2, 3, 8, 8])
    """
    return DiffusionUNet(channels, width, multipliers, blocks, attention, dropout, groups)
