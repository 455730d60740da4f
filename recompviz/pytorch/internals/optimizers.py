"""Optimizers: the tensors in their state, and a step without the hooks and the scheduler that a user attached.

A learning-rate scheduler replaces ``optimizer.step`` by a function that is bound to the optimizer, and hooks run around
every step. A measurement that steps the optimizer must not call the scheduler's function or the hooks.

Private PyTorch used here: the attributes of ``torch.optim.Optimizer`` whose names end in ``_hooks``, which hold its
hooks. Tried on torch 2.13.0, on the CPU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch.utils import _pytree as pytree

__all__ = ["closure_bytes", "plain_optimizer", "state_tensors"]

# Vectors of the size of all parameters that LBFGS holds outside its state while it calls its closure: gradient,
# direction and two new entries of the history; with a line search also the initial point and the bracket.
LBFGS_VECTORS = {None: 4, "strong_wolfe": 9}


def plain_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return an optimizer of the same class that shares parameters, options and state, without hooks and scheduler.

    Its ``step()`` updates the parameters and the state of the given optimizer. Attributes of the given optimizer that
    hide a method of its class, such as a scheduler's ``step``, are not copied.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([p], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    >>> plain = plain_optimizer(optimizer)
    >>> "step" in vars(optimizer), "step" in vars(plain), plain.state is optimizer.state
    (True, False, True)
    """
    kind = type(optimizer)
    plain: torch.optim.Optimizer = object.__new__(kind)
    for name, value in vars(optimizer).items():
        if name.endswith("_hooks"):
            plain.__dict__[name] = OrderedDict()
        elif not (callable(value) and callable(getattr(kind, name, None))):
            plain.__dict__[name] = value
    return plain


def state_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Return the tensors in the states of optimizers, also tensors inside lists (as in LBFGS)."""
    leaves = pytree.tree_leaves([list(optimizer.state.values()) for optimizer in optimizers])
    return [value for value in leaves if isinstance(value, torch.Tensor)]


def closure_bytes(optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Return the bytes that optimizers hold outside their state while they call a closure; 0 for all but LBFGS.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(10))
    >>> closure_bytes([torch.optim.SGD([weight]), torch.optim.LBFGS([weight])])
    160
    """
    return sum(
        LBFGS_VECTORS[group["line_search_fn"]] * sum(p.nbytes for p in group["params"])
        for optimizer in optimizers
        if isinstance(optimizer, torch.optim.LBFGS)
        for group in optimizer.param_groups
    )
