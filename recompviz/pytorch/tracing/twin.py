"""A copy of a trace for background runs, called a twin.

A twin shares the memory of the model's parameters, but has its own gradients and its own copies of the buffers. Without
a twin, a background run would write to the ``.grad`` of the model, and disturb a notebook cell that trains the model.
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
    """Copy a trace for a background run.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    Trace
        A trace of a copied step. The copied parameters share the memory of the original parameters and have their own
        ``.grad``. The result is ``trace`` itself if it has an optimizer, because the optimizer writes to the original
        parameters. The result is also ``trace`` if the model cannot be copied, or if a parameter, or an input that
        requires a gradient, has a type other than ``nn.Parameter`` and ``torch.Tensor``.

    Raises
    ------
    RecompvizError
        If the model changed after it was traced.

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
        raise RecompvizError(
            f"the model changed after it was traced: {difference}; trace it again and run the new trace"
        )
    leaves = [leaf for leaf in pytree.tree_leaves(trace.arguments) if isinstance(leaf, torch.Tensor)]
    wanted = [*trace.step.parameters(), *(leaf for leaf in leaves if leaf.requires_grad)]
    if trace.optimizer is not None or not all(type(one) in (nn.Parameter, torch.Tensor) for one in wanted):
        return trace
    memo: dict[int, Any] = {id(one): _leaf_of(one) for one in wanted}
    memo |= {id(leaf): leaf for leaf in leaves if not leaf.requires_grad}
    try:
        step, arguments = copy.deepcopy((trace.step, trace.arguments), memo)
    except Exception:  # copying a user's attribute may raise any error
        return trace
    return replace(trace, step=step, arguments=arguments, signature=Signature.of(step, arguments))


def _leaf_of(tensor: torch.Tensor) -> torch.Tensor:
    """A leaf tensor on the same storage, with its own gradient."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.detach(), tensor.requires_grad)
    return tensor.detach().requires_grad_(tensor.requires_grad)


@contextlib.contextmanager
def undisturbed(trace: Trace) -> Iterator[None]:
    """Replace a RuntimeError of a ``with`` block by an error that explains it, if a parameter was changed meanwhile.

    Raises
    ------
    RecompvizError
        In place of the RuntimeError, if a parameter was changed while the block ran. Other errors are not replaced.
    """
    versions = [version_of(p) for p in trace.step.parameters()]
    try:
        yield
    except RuntimeError as error:
        if versions == [version_of(p) for p in trace.step.parameters()]:
            raise
        raise RecompvizError(
            "another cell trained this model during the run; run it again when that cell has finished"
        ) from error
