"""Residual networks: every block adds its input to its result.

The blocks are bottlenecks (1×1, 3×3, 1×1 convolutions). By default, the stride is in the 3×3 convolution ("v1.5"), as
in torchvision. Parameters have the same names as in torchvision, so its published weights can be loaded. With
``original=True``, the stride is in the first 1×1 convolution, as in the publication and in the network that Kusumoto et
al. 2019 measured. No ReLU or addition works in place, so every output is a separate value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Bottleneck", "ResNet", "resnet", "resnet50", "resnet101", "resnet152"]


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut around them. The output has ``4 * width`` channels.

    Parameters
    ----------
    channels : int
        Channels of the input.
    width : int
        Channels of the outputs of the first two convolutions.
    stride : int
        Stride of the block.
    dilation : int
        Dilation of the 3×3 convolution.
    project : bool
        Whether the shortcut is a 1×1 convolution and a batch norm; otherwise it is the input itself.
    original : bool
        Whether the stride is in the first 1×1 convolution instead of the 3×3 convolution.
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int = 1,
        dilation: int = 1,
        project: bool = False,
        original: bool = False,
    ) -> None:
        super().__init__()
        out = width * self.expansion
        first, second = (stride, 1) if original else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, 4·width, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        total: Tensor = self.relu(y + shortcut)
        return total


def stage(
    channels: int, width: int, blocks: int, stride: int = 1, dilation: int = 1, original: bool = False
) -> nn.Sequential:
    """Return ``blocks`` bottlenecks in sequence. The first one has the stride, and a convolution in its shortcut.

    The other arguments are as for :class:`Bottleneck`.
    """
    first = Bottleneck(channels, width, stride, dilation, project=True, original=original)
    rest = [Bottleneck(width * Bottleneck.expansion, width, 1, dilation) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """A residual network of bottlenecks, which maps images [N, 3, H, W] to logits [N, classes].

    See `resnet` for the parameters.
    """

    def __init__(
        self, layers: Sequence[int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000, original: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(width, width, layers[0])
        self.layer2 = stage(width * 4, width * 2, layers[1], stride=2, original=original)
        self.layer3 = stage(width * 8, width * 4, layers[2], stride=2, original=original)
        self.layer4 = stage(width * 16, width * 8, layers[3], stride=2, original=original)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width * 32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resnet(
    layers: Sequence[int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000, original: bool = False
) -> ResNet:
    """Return a residual network of bottlenecks, of any depth and width. The defaults give ResNet-50.

    Parameters
    ----------
    layers : sequence of 4 ints
        Number of blocks of each stage. Every stage after the first halves height and width.
    width : int
        Channels after the first convolution. The last stage has ``32 * width`` channels.
    classes : int
        Number of logits.
    original : bool
        Whether the stride of a block is in its first 1×1 convolution, as in He et al. and in the network that Kusumoto
        et al. 2019 measured. Otherwise it is in the 3×3 convolution ("v1.5", as in torchvision).

    Returns
    -------
    ResNet
        Maps images [N, 3, H, W] (in the publication 224×224) to logits [N, classes].

    References
    ----------
    He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016, arXiv 1512.03385.

    Examples
    --------
    >>> import torch
    >>> resnet(layers=(1, 1, 1, 1), width=8, classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ResNet(layers, width, classes, original)


def resnet50(classes: int = 1000, original: bool = False) -> ResNet:
    """Return ResNet-50, which maps images [N, 3, 224, 224] to logits [N, classes].

    With 1000 classes, it has 25,557,032 parameters. ``original`` puts the stride into the first 1×1 convolution.
    """
    return resnet((3, 4, 6, 3), classes=classes, original=original)


def resnet101(classes: int = 1000, original: bool = False) -> ResNet:
    """Return ResNet-101, which maps images [N, 3, 224, 224] to logits [N, classes].

    With 1000 classes, it has 44,549,160 parameters. ``original`` puts the stride into the first 1×1 convolution.
    """
    return resnet((3, 4, 23, 3), classes=classes, original=original)


def resnet152(classes: int = 1000, original: bool = False) -> ResNet:
    """Return ResNet-152, which maps images [N, 3, 224, 224] to logits [N, classes].

    With 1000 classes, it has 60,192,808 parameters. ``original`` puts the stride into the first 1×1 convolution.
    """
    return resnet((3, 8, 36, 3), classes=classes, original=original)
