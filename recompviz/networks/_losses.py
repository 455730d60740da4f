"""The training losses of the networks, as plain functions ``loss(output, *targets)`` that return one number.

They capture no tensor: a traced step would contain a captured target as a constant, and every later batch would train
on it. Sums are written so that one operator of the paper is one operator here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["classification", "denoising", "googlenet_loss", "next_token", "pspnet_loss"]


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of logits [N, classes, ...] against labels [N, ...], the mean over all labels."""
    return F.cross_entropy(logits, labels)


def googlenet_loss(output: Tensor | tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return GoogLeNet's loss: main + 0.3 · (first auxiliary + second auxiliary).

    Outside training the network returns the main logits only, and the loss is theirs.

    References
    ----------
    Szegedy et al., *Going Deeper with Convolutions*, section 5.
    """
    if isinstance(output, Tensor):
        return classification(output, labels)
    logits, first, second = output
    auxiliary = classification(first, labels) + classification(second, labels)
    return torch.add(classification(logits, labels), auxiliary, alpha=0.3)  # alpha: one operator, as in the paper


def pspnet_loss(output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return PSPNet's loss: main + 0.4 · auxiliary; outside training the main one's.

    References
    ----------
    Zhao et al., *Pyramid Scene Parsing Network*, section 3.3.
    """
    if isinstance(output, Tensor):
        return classification(output, labels)
    logits, auxiliary = output
    return classification(logits, labels) + 0.4 * classification(auxiliary, labels)


def next_token(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the cross entropy of logits [N, T, vocabulary] against the next tokens [N, T]."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def denoising(predicted: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of the predicted noise (Ho et al. 2020, equation 14)."""
    return F.mse_loss(predicted, noise)
