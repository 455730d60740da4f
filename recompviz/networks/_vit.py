"""Vision Transformer: the image as a sequence of patches, then a sequence of equal encoder blocks.

It has scaled dot-product attention, layer norms before attention and MLP, a class token and learned positions. All
blocks have the same shapes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ViT", "vit"]


class Attention(nn.Module):
    """Multi-head self-attention for N sequences of T tokens with ``width`` features: a class token, then patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        n, t, width = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, t, width))
        return out


class Block(nn.Module):
    """Attention, then an MLP. Each reads a layer norm of its input, and its result is added to the input."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, hidden)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        y: Tensor = x + self.dropout(self.fc2(self.gelu(self.fc1(self.norm2(x)))))
        return y


class ViT(nn.Module):
    """A Vision Transformer, which maps images [N, 3, image_size, image_size] to logits [N, classes].

    See `vit` for the parameters.
    """

    def __init__(
        self,
        layers: int = 12,
        width: int = 768,
        heads: int = 12,
        patch: int = 16,
        image_size: int = 224,
        classes: int = 1000,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, (image_size // patch) ** 2 + 1, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, image_size, image_size] to logits [N, classes]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


def vit(
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    patch: int = 16,
    image_size: int = 224,
    classes: int = 1000,
    dropout: float = 0.0,
) -> ViT:
    """Return a Vision Transformer. The defaults give ViT-B/16, with 86,567,656 parameters.

    Parameters
    ----------
    layers : int
        Number of encoder blocks.
    width : int
        Number of features of each patch.
    heads : int
        Number of attention heads; it divides ``width``.
    patch : int
        Height and width of a patch in pixels.
    image_size : int
        Height and width of the images in pixels.
    classes : int
        Number of logits.
    dropout : float
        Probability of the dropout after each attention and each MLP; 0 for none.

    Returns
    -------
    ViT
        Maps images [N, 3, image_size, image_size] to logits [N, classes].

    References
    ----------
    Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021, arXiv 2010.11929.

    Examples
    --------
    >>> import torch
    >>> vit(layers=2, width=16, heads=2, patch=8, image_size=16, classes=10)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """
    return ViT(layers, width, heads, patch, image_size, classes, dropout)
