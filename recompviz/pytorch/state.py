"""Nothing a user made is lost: everything a training step changes is put back afterwards."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.pytorch.devices import device_of


def gradient_holders(module: nn.Module, arguments: Any) -> list[torch.Tensor]:
    """The tensors that a step gives a gradient: parameters, and inputs that ask for one."""
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    return [*module.parameters(), *(leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf)]


@contextlib.contextmanager
def state_kept(module: nn.Module, arguments: Any, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    """Put back buffers, overwritten inputs, gradients and the generator; with an optimiser, all it changes too."""
    holders = gradient_holders(module, arguments)
    gradients = [holder.grad for holder in holders]
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    before = [(t, t.detach().clone()) for t in (*module.buffers(), *leaves) if not t.requires_grad]
    if optimizer is not None:
        # an optimiser overwrites the parameters; kept on the host, away from what may be measured
        before += [(p, p.detach().to("cpu", copy=True)) for p in module.parameters()]
        optimizer_state = copy.deepcopy(optimizer.state_dict())
    device = device_of([*module.parameters(), *leaves])
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for tensor, old in before:
                tensor.copy_(old)
        for holder, gradient in zip(holders, gradients, strict=True):
            holder.grad = gradient
        if optimizer is not None:
            optimizer.load_state_dict(optimizer_state)
