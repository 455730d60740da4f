"""The training losses of the networks: functions of the output and the targets that return a scalar.

The functions capture no tensors. If a loss captured its targets, a traced step would contain them as constants, and
every later batch would train on the same targets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["classification", "denoising", "googlenet_loss", "next_token", "pspnet_loss"]


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of logits [N, classes, ...] and labels [N, ...], as the mean over all labels."""
    return F.cross_entropy(logits, labels)


def googlenet_loss(output: Tensor | tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return GoogLeNet's training loss: main + 0.3 · (first auxiliary + second auxiliary).

    Each term is the :func:`classification` loss of one classifier. If ``output`` is a single tensor, as outside
    training mode, return its classification loss.

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
    """Return PSPNet's training loss: main + 0.4 · auxiliary.

    Each term is the :func:`classification` loss of one classifier. If ``output`` is a single tensor, as outside
    training mode, return its classification loss.

    References
    ----------
    Zhao et al., *Pyramid Scene Parsing Network*, section 3.3.
    """
    if isinstance(output, Tensor):
        return classification(output, labels)
    logits, auxiliary = output
    return classification(logits, labels) + 0.4 * classification(auxiliary, labels)


def next_token(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the cross entropy of logits [N, T, vocabulary] and the next tokens [N, T], as the mean over all tokens."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def denoising(predicted: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of the predicted noise (Ho et al. 2020, equation 14)."""
    return F.mse_loss(predicted, noise)
