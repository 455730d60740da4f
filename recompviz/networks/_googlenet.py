"""GoogLeNet: four parallel branches in every module, and two auxiliary classifiers.

This is the network of 2014: no batch norm, local response normalisation in the stem, convolutions with bias and 5×5
branches. As in the Chainer network that Kusumoto et al. 2019 measured, an inception module applies its last ReLU once,
after the concatenation. Because of the four branches, the graph of the network has many lower sets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GoogLeNet", "googlenet"]

# Channels of each module: 1×1; 3×3 reduced, 3×3; 5×5 reduced, 5×5; after the pooling. Table 1 of the original.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """An inception module: four branches that read the same input, concatenated, then a ReLU.

    The first branch is a 1×1 convolution to ``one`` channels. The second is a 1×1 convolution to ``proj3`` channels,
    then a 3×3 convolution to ``three``. The third is a 1×1 convolution to ``proj5`` channels, then a 5×5 convolution to
    ``five``. The fourth is a max pooling, then a 1×1 convolution to ``pooled`` channels.
    """

    def __init__(self, channels: int, one: int, proj3: int, three: int, proj5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, one, 1)
        self.proj3 = nn.Conv2d(channels, proj3, 1)
        self.conv3 = nn.Conv2d(proj3, three, 3, padding=1)
        self.proj5 = nn.Conv2d(channels, proj5, 1)
        self.conv5 = nn.Conv2d(proj5, five, 5, padding=2)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.projp = nn.Conv2d(channels, pooled, 1)
        self.relu = nn.ReLU()
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, one + three + five + pooled, H, W]."""
        one = self.conv1(x)
        three = self.conv3(self.relu(self.proj3(x)))
        five = self.conv5(self.relu(self.proj5(x)))
        pooled = self.projp(self.pool(x))
        y: Tensor = self.relu(torch.cat([one, three, five, pooled], 1))
        return y


class Auxiliary(nn.Module):
    """An auxiliary classifier in the middle of the network: average pooling, 1×1 convolution, two linear layers.

    The convolution has ``width`` channels. ``side`` is the height and width after the pooling, and ``hidden`` the
    number of features between the linear layers.
    """

    def __init__(self, channels: int, width: int, side: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = nn.Conv2d(channels, width, 1)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(width * side * side, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to logits [N, classes]."""
        x = self.relu(self.conv(self.pool(x)))
        logits: Tensor = self.fc2(self.relu(self.fc1(torch.flatten(x, 1))))
        return logits


class GoogLeNet(nn.Module):
    """A GoogLeNet for images [N, 3, image_size, image_size]; see `googlenet` for the parameters."""

    def __init__(self, classes: int = 1000, narrow: int = 1, image_size: int = 224) -> None:
        if image_size < 79:
            raise ValueError(f"image_size {image_size} is below 79, the least that the auxiliary classifiers can pool")
        super().__init__()
        stem, reduced = 64 // narrow, 192 // narrow
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3)
        self.conv2_reduce = nn.Conv2d(stem, stem, 1)
        self.conv2 = nn.Conv2d(stem, reduced, 3, padding=1)
        self.relu = nn.ReLU()
        self.norm = nn.LocalResponseNorm(5)
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels = reduced
        out: dict[str, int] = {}
        self.inception = nn.ModuleDict()
        for name, widths in MODULES.items():
            module = Inception(channels, *(width // narrow for width in widths))
            self.inception[name] = module
            out[name] = channels = module.out_channels
        side = ((image_size + 1) // 16 - 5) // 3 + 1
        self.aux1 = Auxiliary(out["4a"], 128 // narrow, side, 1024 // narrow, classes)
        self.aux2 = Auxiliary(out["4d"], 128 // narrow, side, 1024 // narrow, classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Map images [N, 3, image_size, image_size] to logits [N, classes].

        In training mode, return three tensors of this shape: the logits of the main classifier, then those of the two
        auxiliary classifiers.
        """
        inception = self.inception
        x = self.norm(self.maxpool(self.relu(self.conv1(x))))
        x = self.relu(self.conv2(self.relu(self.conv2_reduce(x))))
        x = self.maxpool(self.norm(x))
        x = self.maxpool(inception["3b"](inception["3a"](x)))
        early = x = inception["4a"](x)
        late = x = inception["4d"](inception["4c"](inception["4b"](x)))
        x = self.maxpool(inception["4e"](x))
        x = inception["5b"](inception["5a"](x))
        logits: Tensor = self.fc(torch.flatten(self.dropout(self.avgpool(x)), 1))
        if not self.training:
            return logits
        return logits, self.aux1(early), self.aux2(late)


def googlenet(classes: int = 1000, narrow: int = 1, image_size: int = 224) -> GoogLeNet:
    """Return GoogLeNet.

    With the default arguments, it has 13,378,280 parameters, including both auxiliary classifiers.

    Parameters
    ----------
    classes : int
        Number of logits.
    narrow : int
        A divisor from 1 to 16. Every number of channels is divided by ``narrow`` and rounded down. 1 gives the
        published network.
    image_size : int
        Height and width of the images, at least 79. Only the auxiliary classifiers depend on it.

    Returns
    -------
    GoogLeNet
        Maps images [N, 3, image_size, image_size] (in the publication 224×224) to logits [N, classes]. In training
        mode, it returns a tuple of three such tensors: the logits of the main classifier, then those of the auxiliary
        classifiers.

    Raises
    ------
    ValueError
        If ``image_size`` is less than 79.

    References
    ----------
    Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015, arXiv 1409.4842.

    Examples
    --------
    >>> import torch
    >>> outputs = googlenet(classes=10, narrow=16, image_size=80)(torch.zeros(2, 3, 80, 80))
    >>> [tuple(logits.shape) for logits in outputs]
    [(2, 10), (2, 10), (2, 10)]
    """
    return GoogLeNet(classes, narrow, image_size)
