"""U-Net: poolings on the way down, transposed convolutions on the way up, skip connections between equal levels.

This is the network of the original figure. The convolutions have no padding, so an input of 572×572 gives an output of
388×388. Skip connections are cropped to fit. There is dropout at the end of the two lowest levels, and no batch norm.
The values of the skip connections live through most of the forward pass, so this network needs much memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["UNet", "unet"]


def crop(x: Tensor, like: Tensor) -> Tensor:
    """Return the centre of ``x`` [N, C, H, W] with the height and width of ``like``. The result is a view."""
    height, width = like.shape[-2:]
    top = (x.shape[-2] - height) // 2
    left = (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


class DoubleConv(nn.Module):
    """Two 3×3 convolutions without padding, each followed by a ReLU. If ``dropout`` is not 0, a dropout follows."""

    def __init__(self, channels: int, out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3)
        self.conv2 = nn.Conv2d(out, out, 3)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, out, H−4, W−4]."""
        y: Tensor = self.dropout(self.relu(self.conv2(self.relu(self.conv1(x)))))
        return y


class Up(nn.Module):
    """One level up: a transposed convolution, concatenation with the cropped skip connection, two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.relu = nn.ReLU()
        self.conv = DoubleConv(channels, channels // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map [N, channels, H, W] and a skip connection [N, channels/2, ...] to [N, channels/2, 2H−4, 2W−4]."""
        y = self.relu(self.up(x))
        out: Tensor = self.conv(torch.cat([crop(skip, y), y], 1))
        return out


class UNet(nn.Module):
    """A U-Net for images [N, channels, H, W]; see `unet` for the parameters."""

    def __init__(
        self, channels: int = 1, classes: int = 2, width: int = 64, depth: int = 4, dropout: float = 0.5
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList()
        for level, out in enumerate(widths):
            self.down.append(DoubleConv(channels, out, dropout if level >= depth - 1 else 0.0))
            channels = out
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(Up(out) for out in reversed(widths[1:]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W] to smaller logits [N, classes, H', W'], for example 572×572 to 388×388."""
        skips: list[Tensor] = []
        for level, convolve in enumerate(self.down):
            x = convolve(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = up(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits


def unet(channels: int = 1, classes: int = 2, width: int = 64, depth: int = 4, dropout: float = 0.5) -> UNet:
    """Return a U-Net. The defaults give the published network, with 31,030,658 parameters.

    Parameters
    ----------
    channels : int
        Channels of the images.
    classes : int
        Number of logits of each pixel.
    width : int
        Channels of the first level; every further level doubles them.
    depth : int
        Number of poolings.
    dropout : float
        Probability of the dropout at the end of the two lowest levels; 0 for none.

    Returns
    -------
    UNet
        Maps images [N, channels, 572, 572] to logits [N, classes, 388, 388]. Other sizes are possible if the height and
        the width are even before every pooling. With ``depth=4``, the smallest size is 188×188, which gives 4×4.

    References
    ----------
    Ronneberger, Fischer, Brox, *U-Net: Convolutional Networks for Biomedical Image Segmentation*, MICCAI 2015,
    arXiv 1505.04597.

    Examples
    --------
    >>> import torch
    >>> unet(width=4, depth=2)(torch.zeros(1, 1, 44, 44)).shape
    torch.Size([1, 2, 4, 4])
    """
    return UNet(channels, classes, width, depth, dropout)
