"""Nothing a user made is lost: everything a training step changes is put back afterwards."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.devices import device_of

# steps of two runs, as of two Explorers of one model, would clear each other's gradients and rewind each other's
# generator: whoever runs a step that is put back, or profiles, does so alone among recompviz's own threads
one_at_a_time = threading.RLock()


def gradient_holders(module: nn.Module, arguments: Any) -> list[torch.Tensor]:
    """The tensors that a step gives a gradient: parameters, and inputs that ask for one."""
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    return [*module.parameters(), *(leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf)]


def clear_gradients(module: nn.Module, arguments: Any) -> None:
    """Let go of every gradient that a step gives."""
    for holder in gradient_holders(module, arguments):
        holder.grad = None


@contextlib.contextmanager
def state_kept(module: nn.Module, arguments: Any, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    """Put back buffers, overwritten inputs, gradients and the generator; with an optimiser, all it changes too.

    One at a time in a process: another waits. What the step did not change is not written to, so that other work
    with the same batch finds it as it was.
    """
    with one_at_a_time:
        yield from _kept(module, arguments, optimizer)


def _kept(module: nn.Module, arguments: Any, optimizer: torch.optim.Optimizer | None) -> Iterator[None]:
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
                if not _equal(tensor, old):
                    tensor.copy_(old)
        for holder, gradient in zip(holders, gradients, strict=True):
            holder.grad = gradient
        if optimizer is not None:
            optimizer.load_state_dict(optimizer_state)


def _equal(tensor: torch.Tensor, old: torch.Tensor) -> bool:
    """Whether a tensor is as it was, as far as that can be told: some kinds of tensors cannot be compared."""
    if tensor.device != old.device:
        return False
    try:
        return torch.equal(tensor, old)
    except (RuntimeError, NotImplementedError):
        return False
