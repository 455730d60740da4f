"""A trace beside the user's model: the same parameters' bytes, but leaves, gradients and buffers of its own.

A run in the background must not meet a cell that trains the same model: both would write to the same ``.grad``, which
ends the process. The twin takes no memory but for its buffers, its gradients apart, and what another thread does
to the parameters' values is seen by their version, which both share.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.tensors import version_of
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.traced_step import Trace


def twin(trace: Trace) -> Trace:
    """The same trace on leaves of its own; the trace itself where its model cannot be copied.

    With an optimiser it is the trace itself, too: one that steps writes to the parameters.

    Raises
    ------
    RecompvizError
        If the model is no longer as it was traced.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Linear(2, 1)
    >>> beside = twin(rv.trace(model, torch.ones(4, 2), loss=torch.sum))
    >>> beside.model.weight is model.weight, beside.model.weight.data_ptr() == model.weight.data_ptr()
    (False, True)
    """
    difference = trace.signature.difference(Signature.of(trace.step, trace.arguments))
    if difference:
        raise RecompvizError(f"the model is not as it was traced: {difference}; trace it again and run that")
    leaves = [leaf for leaf in pytree.tree_leaves(trace.arguments) if isinstance(leaf, torch.Tensor)]
    wanted = [*trace.step.parameters(), *(leaf for leaf in leaves if leaf.requires_grad)]
    if trace.optimizer is not None or not all(type(one) in (nn.Parameter, torch.Tensor) for one in wanted):
        return trace
    memo: dict[int, Any] = {id(one): _leaf_of(one) for one in wanted}
    memo |= {id(leaf): leaf for leaf in leaves if not leaf.requires_grad}
    try:
        step, arguments = copy.deepcopy((trace.step, trace.arguments), memo)
    except Exception:  # whatever a user's attribute raises when it is copied
        return trace
    return replace(trace, step=step, arguments=arguments, signature=Signature.of(step, arguments))


def _leaf_of(tensor: torch.Tensor) -> torch.Tensor:
    """A leaf on the same storage."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.detach(), tensor.requires_grad)
    return tensor.detach().requires_grad_(tensor.requires_grad)


@contextlib.contextmanager
def undisturbed(trace: Trace) -> Iterator[None]:
    """Say so where a run fails because other work wrote to the parameters meanwhile."""
    versions = [version_of(p) for p in trace.step.parameters()]
    try:
        yield
    except RuntimeError as error:
        if versions == [version_of(p) for p in trace.step.parameters()]:
            raise
        raise RecompvizError(
            "another cell trained this model during the run; run it again when that has ended"
        ) from error
