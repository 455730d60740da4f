"""PSPNet: a dilated ResNet, then features of the whole image at four scales, concatenated to every pixel's.

The structure is that of the authors' release, which the paper measured through ChainerCV: a stem of three 3×3
convolutions, ResNet-101 whose last two stages use dilation instead of stride (so features stay at 1/8 of the image), a
pyramid of average poolings that are resized and concatenated, and an auxiliary classifier on the third stage for
training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.networks._resnet import stage

__all__ = ["PSPNet", "pspnet"]


def conv_bn_relu(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (at stride 1), a batch norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Return `x` [N, C, H, W] resized bilinearly to `size`, corner pixels kept at the corners."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """Average the features over grids of several sizes, resize each back and concatenate all to the features."""

    def __init__(self, channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), conv_bn_relu(channels, channels // len(bins), 1))
            for count in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, 2·channels, H, W]."""
        size = x.shape[2:]
        return torch.cat([x, *(resize(level(x), size) for level in self.levels)], 1)


class PSPNet(nn.Module):
    """A PSPNet for images [N, 3, H, W]; see `pspnet`."""

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 23, 3),
        width: int = 64,
        classes: int = 17,
        bins: Sequence[int] = (6, 3, 2, 1),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn_relu(3, width, 3, stride=2),
            conv_bn_relu(width, width, 3),
            conv_bn_relu(width, width * 2, 3),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.layer1 = stage(width * 2, width, layers[0])
        self.layer2 = stage(width * 4, width * 2, layers[1], stride=2)
        self.layer3 = stage(width * 8, width * 4, layers[2], dilation=2)
        self.layer4 = stage(width * 16, width * 8, layers[3], dilation=4)
        self.pyramid = PyramidPooling(width * 32, bins)
        self.head = nn.Sequential(
            conv_bn_relu(width * 64, width * 8, 3),
            nn.Dropout(0.1),
            nn.Conv2d(width * 8, classes, 1),
        )
        self.aux = nn.Sequential(
            conv_bn_relu(width * 16, width * 4, 3),
            nn.Dropout(0.1),
            nn.Conv2d(width * 4, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images to logits [N, classes, H, W]; in training to the logits and the auxiliary classifier's."""
        size = x.shape[2:]
        third = self.layer3(self.layer2(self.layer1(self.stem(x))))
        logits = resize(self.head(self.pyramid(self.layer4(third))), size)
        if not self.training:
            return logits
        return logits, resize(self.aux(third), size)


def pspnet(
    layers: Sequence[int] = (3, 4, 23, 3), width: int = 64, classes: int = 17, bins: Sequence[int] = (6, 3, 2, 1)
) -> PSPNet:
    """Return a PSPNet: 68,070,626 parameters, the auxiliary classifier included.

    Parameters
    ----------
    layers : sequence of 4 ints
        Blocks per stage of the backbone; (3, 4, 23, 3) is ResNet-101.
    width : int
        Channels after the stem's first convolution; the backbone ends with ``32 * width``.
    classes : int
        Number of logits per pixel.
    bins : sequence of ints
        Side lengths of the grids of the pyramid.

    Returns
    -------
    PSPNet
        Maps images [N, 3, H, W] (the paper: 713×713) to logits [N, classes, H, W]; in training, which needs N ≥ 2 for
        the batch norm of the 1×1 grid, to a tuple of two, the auxiliary classifier's after the main one's.

    References
    ----------
    Zhao, Shi, Qi, Wang, Jia, *Pyramid Scene Parsing Network*, CVPR 2017, arXiv 1612.01105.

    Examples
    --------
    >>> import torch
    >>> outputs = pspnet(layers=(1, 1, 1, 1), width=4, classes=5)(torch.zeros(2, 3, 49, 49))
    >>> [tuple(logits.shape) for logits in outputs]
    [(2, 5, 49, 49), (2, 5, 49, 49)]
    """
    return PSPNet(layers, width, classes, bins)
