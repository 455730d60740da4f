"""VGG: a sequence of 3×3 convolutions without branches and without batch norm.

The graph is a path. The outputs of the first convolutions take most of the activation memory, and the first linear
layer has most of the parameters. Parameters have the same names as in torchvision. There is no adaptive pooling before
the classifier, so ``image_size`` determines the size of the first linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["VGG", "vgg", "vgg19"]


class VGG(nn.Module):
    """A VGG network, which maps images [N, 3, image_size, image_size] to logits [N, classes].

    See `vgg` for the parameters.
    """

    def __init__(
        self,
        layers: Sequence[int] = (2, 2, 4, 4, 4),
        width: int = 64,
        hidden: int = 4096,
        classes: int = 1000,
        image_size: int = 224,
    ) -> None:
        if image_size < 2 ** len(layers):
            raise ValueError(
                f"image_size {image_size} is below {2 ** len(layers)}: {len(layers)} poolings leave nothing"
            )
        super().__init__()
        modules: list[nn.Module] = []
        channels = 3
        for number, count in enumerate(layers):
            out = width * min(2**number, 8)
            for _ in range(count):
                modules += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
                channels = out
            modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules)
        side = image_size // 2 ** len(layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, image_size, image_size] to logits [N, classes]."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


def vgg(
    layers: Sequence[int] = (2, 2, 4, 4, 4),
    width: int = 64,
    hidden: int = 4096,
    classes: int = 1000,
    image_size: int = 224,
) -> VGG:
    """Return a VGG network of any depth and width. The defaults give VGG-19.

    Parameters
    ----------
    layers : sequence of ints
        Number of convolutions of each stage. A 2×2 max pooling ends each stage.
    width : int
        Channels of the first stage. They double from stage to stage, up to ``8 * width``.
    hidden : int
        Width of the two hidden linear layers.
    classes : int
        Number of logits.
    image_size : int
        Height and width of the images, at least ``2 ** len(layers)``.

    Returns
    -------
    VGG
        Maps images [N, 3, image_size, image_size] to logits [N, classes].

    Raises
    ------
    ValueError
        If ``image_size`` is too small.

    References
    ----------
    Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, ICLR 2015,
    arXiv 1409.1556.

    Examples
    --------
    >>> import torch
    >>> vgg(layers=(1, 1), width=4, hidden=8, classes=10, image_size=16)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """
    return VGG(layers, width, hidden, classes, image_size)


def vgg19(classes: int = 1000) -> VGG:
    """Return VGG-19, which maps images [N, 3, 224, 224] to logits [N, classes].

    With 1000 classes, it has 143,667,240 parameters.
    """
    return vgg((2, 2, 4, 4, 4), classes=classes)
