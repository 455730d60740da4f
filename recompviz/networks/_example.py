"""Examples: a network with a batch of random inputs and targets, and its training loss, by name.

Each name has two recipes. The first one makes the network in its published size. For the seven networks of Kusumoto et
al. 2019, the sizes of the inputs and of the batch are from the paper, too. The second one makes a small network with
the same operators, which a test can trace and train in about a second.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recompviz.networks._densenet import densenet, densenet161
from recompviz.networks._googlenet import googlenet
from recompviz.networks._gpt2 import gpt2, gpt2_xl
from recompviz.networks._llama import llama, llama_7b, llama_70b
from recompviz.networks._losses import classification, denoising, googlenet_loss, next_token, pspnet_loss
from recompviz.networks._lstm_lm import lstm_lm
from recompviz.networks._pspnet import pspnet
from recompviz.networks._resnet import resnet, resnet50, resnet152
from recompviz.networks._unet import unet
from recompviz.networks._unet_diffusion import unet_diffusion
from recompviz.networks._vgg import vgg, vgg19
from recompviz.networks._vit import vit

__all__ = ["NAMES", "PAPER", "Example", "example"]

Loss = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Example:
    """A model with inputs, targets and a loss; ``loss(model(*inputs), *targets)`` is the scalar to minimise.

    Attributes
    ----------
    model : nn.Module
        In training mode, with freshly initialised parameters.
    inputs, targets : tuple of Tensor
        Random values. The first dimension of each tensor is the batch.
    loss : callable
        A function of the model's output and the targets. It captures no tensors.
    name : str
        The name that :func:`example` was called with.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    loss: Loss
    name: str


@dataclass(frozen=True)
class Field:
    """The shape and the values of one input or target.

    Attributes
    ----------
    shape : tuple of int
        The shape without the batch dimension.
    below : int or None
        The exclusive upper bound of random integers. None for normally distributed floating-point numbers.
    """

    shape: tuple[int, ...]
    below: int | None = None

    def draw(self, batch: int) -> Tensor:
        """Return random values [batch, *shape] on the current device: uniform integers, or normal floats."""
        shape = (batch, *self.shape)
        return torch.randn(shape) if self.below is None else torch.randint(self.below, shape)


@dataclass(frozen=True)
class Recipe:
    """A recipe of an example: how to make its network, and the shapes of its data.

    Attributes
    ----------
    build : callable
        A function without arguments that makes the network.
    loss : callable
        The training loss, as for :class:`Example`.
    batch : int
        The default batch size.
    inputs, targets : tuple of Field
        The shape and the values of each input and target.
    """

    build: Callable[[], nn.Module]
    loss: Loss
    batch: int
    inputs: tuple[Field, ...]
    targets: tuple[Field, ...]


def images(
    build: Callable[[], nn.Module], size: int, batch: int = 2, classes: int = 10, loss: Loss = classification
) -> Recipe:
    """Return the recipe of an image classifier for images [3, size, size]. ``build`` makes the network.

    The targets are labels from 0 to ``classes`` − 1. ``batch`` and ``loss`` are as for :class:`Recipe`.
    """
    return Recipe(build, loss, batch, (Field((3, size, size)),), (Field((), classes),))


def pixels(
    build: Callable[[], nn.Module], channels: int, size: int, out: int, batch: int, classes: int, loss: Loss
) -> Recipe:
    """Return the recipe of a segmentation network. ``build`` makes the network.

    The network maps images [channels, size, size] to logits [classes, out, out]. ``batch`` and ``loss`` are as for
    :class:`Recipe`.
    """
    return Recipe(build, loss, batch, (Field((channels, size, size)),), (Field((out, out), classes),))


def text(build: Callable[[], nn.Module], length: int, vocabulary: int, batch: int = 2) -> Recipe:
    """Return the recipe of a language model for sequences of ``length`` tokens. ``build`` makes the network.

    There are ``vocabulary`` different tokens. ``batch`` is the default batch size.
    """
    return Recipe(build, next_token, batch, (Field((length,), vocabulary),), (Field((length,), vocabulary),))


def diffusion(build: Callable[[], nn.Module], size: int, batch: int = 2) -> Recipe:
    """Return the recipe of a diffusion model for images [3, size, size] and 1000 time steps.

    ``build`` makes the model. ``batch`` is the default batch size.
    """
    image = Field((3, size, size))
    return Recipe(build, denoising, batch, (image, Field((), 1000)), (image,))


# (network of the paper with its batch size, small network)
_SEVEN: dict[str, tuple[Recipe, Recipe]] = {
    "pspnet": (
        pixels(pspnet, 3, 713, 713, 2, 17, pspnet_loss),
        pixels(lambda: pspnet((1, 1, 2, 1), width=4, classes=5), 3, 49, 49, 2, 5, pspnet_loss),
    ),
    "unet": (
        pixels(unet, 1, 572, 388, 8, 2, classification),
        pixels(lambda: unet(width=4), 1, 188, 4, 2, 2, classification),
    ),
    "resnet50": (
        images(resnet50, 224, 96, 1000),
        images(lambda: resnet((1, 2, 2, 1), width=8, classes=10), 64),
    ),
    "resnet152": (
        images(resnet152, 224, 48, 1000),
        images(lambda: resnet((1, 2, 4, 1), width=8, classes=10), 64),
    ),
    "vgg19": (
        images(vgg19, 224, 64, 1000),
        images(lambda: vgg(width=4, hidden=16, classes=10, image_size=32), 32),
    ),
    "densenet161": (
        images(densenet161, 224, 32, 1000),
        images(lambda: densenet((2, 3, 4, 2), growth=4, width=8, classes=10), 64),
    ),
    "googlenet": (
        images(googlenet, 224, 256, 1000, googlenet_loss),
        images(lambda: googlenet(10, narrow=8, image_size=80), 80, loss=googlenet_loss),
    ),
}
_FURTHER: dict[str, tuple[Recipe, Recipe]] = {
    "vit": (
        images(vit, 224, 32, 1000),
        images(lambda: vit(2, 16, 2, patch=8, image_size=32, classes=10), 32),
    ),
    "gpt2": (
        text(gpt2, 1024, 50257, 4),
        text(lambda: gpt2(2, 16, 2, vocabulary=50, context=8), 8, 50),
    ),
    "gpt2_xl": (
        text(gpt2_xl, 1024, 50257, 1),
        text(lambda: gpt2(4, 16, 2, vocabulary=50, context=8), 8, 50),
    ),
    "llama_7b": (
        text(llama_7b, 4096, 32000, 1),
        text(lambda: llama(2, 16, 4, hidden=24, vocabulary=50, context=8), 8, 50),
    ),
    "llama_70b": (
        text(llama_70b, 4096, 32000, 1),
        text(lambda: llama(2, 16, 4, groups=2, hidden=24, vocabulary=50, context=8), 8, 50),
    ),
    "lstm_lm": (
        text(lstm_lm, 35, 10000, 20),
        text(lambda: lstm_lm(vocabulary=50, width=8), 5, 50),
    ),
    "unet_diffusion": (
        diffusion(unet_diffusion, 32, 128),
        diffusion(lambda: unet_diffusion(width=8, multipliers=(1, 2), blocks=1, groups=4), 8),
    ),
}
_RECIPES = {**_SEVEN, **_FURTHER}

PAPER: tuple[str, ...] = tuple(_SEVEN)
"""Names of the paper's seven networks, in the order of its table."""

NAMES: tuple[str, ...] = tuple(_RECIPES)
"""All names that `example` accepts."""


def example(
    name: str, batch: int | None = None, small: bool = False, device: torch.device | str | None = None
) -> Example:
    """Return a network with random inputs and targets, and its training loss.

    Parameters
    ----------
    name : str
        One of `NAMES`. The tuple `PAPER` has the names of the seven networks of Kusumoto et al. 2019.
    batch : int, optional
        The batch size. If None, the batch size is 2 for a small network. For a full-size network, it is the batch size
        of Kusumoto et al. 2019, or a fixed number for networks that they did not measure.
    small : bool
        Whether to make the network and its inputs small enough for a test, with the same operators. U-Net, VGG19,
        GoogLeNet and the LSTM keep all their layers; the others have fewer layers.
    device : torch.device or str, optional
        Device of the network and its data. If None, PyTorch's current device. ``"meta"`` takes no memory.

    Returns
    -------
    Example
        ``loss(model(*inputs), *targets)`` is a scalar. Call ``torch.manual_seed`` before for reproducible values.

    Raises
    ------
    ValueError
        If there is no such name.

    Examples
    --------
    >>> step = example("pspnet", device="meta")
    >>> [tuple(x.shape) for x in (*step.inputs, *step.targets)]
    [(2, 3, 713, 713), (2, 713, 713)]
    >>> step = example("resnet50", small=True)
    >>> step.loss(step.model(*step.inputs), *step.targets).shape
    torch.Size([])
    """
    if name not in _RECIPES:
        raise ValueError(f"no network {name!r}; there are {', '.join(NAMES)}")
    recipe = _RECIPES[name][small]
    batch = recipe.batch if batch is None else batch
    with nullcontext() if device is None else torch.device(device):
        return Example(
            model=recipe.build(),
            inputs=tuple(field.draw(batch) for field in recipe.inputs),
            targets=tuple(field.draw(batch) for field in recipe.targets),
            loss=recipe.loss,
            name=name,
        )
