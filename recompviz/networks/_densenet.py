"""DenseNet: every layer reads the concatenation of all earlier outputs of its block.

As in the graphs of Kusumoto et al. 2019, each layer concatenates two tensors: the earlier concatenation and the layer's
own output. Every layer makes a new concatenation, so the memory of a block is quadratic in its number of layers.
Parameters have the same names as in torchvision.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["DenseNet", "densenet", "densenet161"]


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1×1 convolution, batch norm, ReLU and 3×3 convolution; the result is appended to the input.

    The 1×1 convolution has ``bottleneck * growth`` channels, and the 3×3 convolution ``growth`` channels.
    """

    def __init__(self, channels: int, growth: int, bottleneck: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, channels + growth, H, W]."""
        y = self.conv1(self.relu1(self.norm1(x)))
        y = self.conv2(self.relu2(self.norm2(y)))
        return torch.cat([x, y], 1)


class DenseNet(nn.Module):
    """A DenseNet-BC, which maps images [N, 3, H, W] to logits [N, classes]; see `densenet` for the parameters."""

    def __init__(
        self,
        layers: Sequence[int] = (6, 12, 36, 24),
        growth: int = 48,
        width: int = 96,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(width),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = width
        for number, count in enumerate(layers, start=1):
            block: OrderedDict[str, nn.Module] = OrderedDict()
            for layer in range(1, count + 1):
                block[f"denselayer{layer}"] = DenseLayer(channels, growth)
                channels += growth
            features[f"denseblock{number}"] = nn.Sequential(block)
            if number < len(layers):
                features[f"transition{number}"] = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm2d(channels),
                        relu=nn.ReLU(),
                        conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                        pool=nn.AvgPool2d(2),
                    )
                )
                channels //= 2
        features[f"norm{len(layers) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, classes]."""
        x = self.avgpool(self.relu(self.features(x)))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def densenet(
    layers: Sequence[int] = (6, 12, 36, 24), growth: int = 48, width: int = 96, classes: int = 1000
) -> DenseNet:
    """Return a DenseNet-BC of any depth and growth. The defaults give DenseNet-161.

    Parameters
    ----------
    layers : sequence of ints
        Number of layers of each dense block. A transition between two blocks halves channels, height and width.
    growth : int
        Channels that each layer appends.
    width : int
        Channels before the first block.
    classes : int
        Number of logits.

    Returns
    -------
    DenseNet
        Maps images [N, 3, H, W] (in the publication 224×224) to logits [N, classes].

    References
    ----------
    Huang, Liu, van der Maaten, Weinberger, *Densely Connected Convolutional Networks*, CVPR 2017, arXiv 1608.06993.

    Examples
    --------
    >>> import torch
    >>> densenet(layers=(2, 2), growth=4, width=8, classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return DenseNet(layers, growth, width, classes)


def densenet161(classes: int = 1000) -> DenseNet:
    """Return DenseNet-161, which maps images [N, 3, 224, 224] to logits [N, classes].

    With 1000 classes, it has 28,681,000 parameters.
    """
    return densenet((6, 12, 36, 24), growth=48, width=96, classes=classes)
