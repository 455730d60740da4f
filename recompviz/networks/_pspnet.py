"""PSPNet, which classifies each pixel: a dilated ResNet, then average poolings of its features at four scales.

The structure is that of the authors' release, which Kusumoto et al. 2019 measured in its ChainerCV version. The stem
has three 3×3 convolutions. The last two stages of the ResNet use dilation instead of stride, so features keep 1/8 of
the image's height and width. The pooled features are resized and concatenated with the features. For training, an
auxiliary classifier reads the third stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.networks._resnet import stage

__all__ = ["PSPNet", "pspnet"]


def conv_bn_relu(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution from ``channels`` to ``out`` channels, a batch norm and a ReLU.

    With stride 1 and an odd ``kernel``, height and width do not change.
    """
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Resize [N, C, H, W] bilinearly to height and width ``size``, with aligned corners."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """Averages of the features over grids of several sizes, resized and concatenated with the features.

    ``bins`` has the side lengths of the grids.
    """

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
    """A PSPNet for images [N, 3, H, W]; see `pspnet` for the parameters."""

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
        """Map images [N, 3, H, W] to logits [N, classes, H, W].

        In training mode, return two tensors of this shape: the logits of the main classifier, then those of the
        auxiliary classifier.
        """
        size = x.shape[2:]
        third = self.layer3(self.layer2(self.layer1(self.stem(x))))
        logits = resize(self.head(self.pyramid(self.layer4(third))), size)
        if not self.training:
            return logits
        return logits, resize(self.aux(third), size)


def pspnet(
    layers: Sequence[int] = (3, 4, 23, 3), width: int = 64, classes: int = 17, bins: Sequence[int] = (6, 3, 2, 1)
) -> PSPNet:
    """Return a PSPNet.

    With the default arguments, it has 68,070,626 parameters, including the auxiliary classifier.

    Parameters
    ----------
    layers : sequence of 4 ints
        Number of blocks of each stage of the ResNet; (3, 4, 23, 3) is ResNet-101.
    width : int
        Channels after the first convolution. The last stage of the ResNet has ``32 * width`` channels.
    classes : int
        Number of logits of each pixel.
    bins : sequence of ints
        Side lengths of the pooling grids; 6 averages over a grid of 6×6 cells. The number of grids must divide
        ``32 * width``.

    Returns
    -------
    PSPNet
        Maps images [N, 3, H, W] (in the publication 713×713) to logits [N, classes, H, W]. In training mode, it returns
        a tuple of two such tensors: the logits of the main classifier, then those of the auxiliary classifier. Training
        needs N ≥ 2, because of the batch norm of the 1×1 grid.

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
