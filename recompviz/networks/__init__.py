"""Networks to try plans on: the seven networks of Kusumoto et al. 2019 and others, as plain PyTorch modules.

Each function with the name of a network returns an ``nn.Module``. :func:`example` returns a network with inputs,
targets and training loss, in its published size or small. Importing this package is cheap: a file is imported when a
name from it is first used. The file names start with an underscore, because a submodule called ``unet`` would hide the
function ``unet``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._densenet import densenet, densenet161
    from ._example import NAMES, PAPER, Example, example
    from ._googlenet import googlenet
    from ._gpt2 import gpt2, gpt2_xl
    from ._llama import llama, llama_7b, llama_70b
    from ._losses import classification, denoising, googlenet_loss, next_token, pspnet_loss
    from ._lstm_lm import lstm_lm
    from ._pspnet import pspnet
    from ._resnet import resnet, resnet50, resnet101, resnet152
    from ._unet import unet
    from ._unet_diffusion import unet_diffusion
    from ._vgg import vgg, vgg19
    from ._vit import vit

__all__ = [
    "NAMES",
    "PAPER",
    "Example",
    "classification",
    "denoising",
    "densenet",
    "densenet161",
    "example",
    "googlenet",
    "googlenet_loss",
    "gpt2",
    "gpt2_xl",
    "llama",
    "llama_7b",
    "llama_70b",
    "lstm_lm",
    "next_token",
    "pspnet",
    "pspnet_loss",
    "resnet",
    "resnet50",
    "resnet101",
    "resnet152",
    "unet",
    "unet_diffusion",
    "vgg",
    "vgg19",
    "vit",
]

_HOME = {
    "_densenet": ("densenet", "densenet161"),
    "_example": ("NAMES", "PAPER", "Example", "example"),
    "_googlenet": ("googlenet",),
    "_gpt2": ("gpt2", "gpt2_xl"),
    "_llama": ("llama", "llama_7b", "llama_70b"),
    "_losses": ("classification", "denoising", "googlenet_loss", "next_token", "pspnet_loss"),
    "_lstm_lm": ("lstm_lm",),
    "_pspnet": ("pspnet",),
    "_resnet": ("resnet", "resnet50", "resnet101", "resnet152"),
    "_unet": ("unet",),
    "_unet_diffusion": ("unet_diffusion",),
    "_vgg": ("vgg", "vgg19"),
    "_vit": ("vit",),
}
_FILE = {name: file for file, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _FILE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_FILE[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
