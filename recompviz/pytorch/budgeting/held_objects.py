"""The objects that the caller keeps in memory beside a compiled model: other models, copies of parameters, targets.

The bytes in use are counted when a training step starts. The captured graphs show only the tensors that they read, so
the caller has to name the objects that only eager code reads.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import shown
from recompviz.pytorch.internals.optimizers import state_tensors


class HeldObjects:
    """Tensors, modules and optimizers whose bytes count as in use before a training step.

    This object has references to functions, and only weak references to all other objects.

    Parameters
    ----------
    holds : tensor, module, optimizer, function, or a list, tuple, set or dict of these; or None
        A function is called before each step, and returns such objects.

    Raises
    ------
    TypeError
        If an object is none of these.
    """

    def __init__(self, holds: Any = None) -> None:
        self._references: list[weakref.ref[Any]] = []
        self._functions: list[Callable[[], Any]] = []
        self._of_modules: list[tuple[weakref.ref[nn.Module], list[weakref.ref[torch.Tensor]]]] = []
        for value in _leaves(holds):
            if isinstance(value, nn.Module):
                self._of_modules.append((weakref.ref(value), []))
            elif isinstance(value, (torch.Tensor, torch.optim.Optimizer)):
                self._references.append(weakref.ref(value))
            else:
                self._functions.append(value)

    def lasting(self) -> list[torch.Tensor]:
        """Return the tensors that stay from step to step.

        These are the given tensors, the parameters and buffers of the given modules, and the tensors in the states of
        the given optimizers. The parameters and buffers of a module are looked up again only after one of them is gone.
        """
        found: list[torch.Tensor] = []
        for i, (reference, known) in enumerate(self._of_modules):
            tensors = [tensor for one in known if (tensor := one()) is not None]
            module = reference()
            if module is not None and (not known or len(tensors) < len(known)):  # the module has other tensors now
                tensors = _tensors_of(module)
                self._of_modules[i] = reference, [weakref.ref(tensor) for tensor in tensors]
            found += tensors
        for one in self._references:
            found += _tensors_of(one())
        return found

    def of_this_step(self) -> Iterator[torch.Tensor]:
        """Iterate over the gradients of the given modules, and over the tensors of what the given functions return now.

        Call :meth:`lasting` before, because it looks up the parameters of the given modules. A function may return
        tensors, modules and optimizers. The gradients of a returned module count, too.

        Raises
        ------
        TypeError
            If a function returns an object of another kind.
        """
        for _, known in self._of_modules:
            for reference in known:
                tensor = reference()
                if tensor is not None and tensor.is_leaf and tensor.grad is not None:
                    yield tensor.grad
        for function in self._functions:
            for value in _leaves(function()):
                yield from _tensors_of(value)
                if isinstance(value, nn.Module):
                    yield from (p.grad for p in value.parameters() if p.grad is not None)


def _leaves(holds: Any) -> Iterator[Any]:
    """Iterate over the tensors, modules, optimizers and functions in nested containers."""
    if holds is None:
        return
    if isinstance(holds, Mapping):
        holds = list(holds.values())
    if isinstance(holds, (list, tuple, set, frozenset)):
        for value in holds:
            yield from _leaves(value)
    elif isinstance(holds, (torch.Tensor, torch.optim.Optimizer)) or (callable(holds) and not isinstance(holds, type)):
        yield holds
    else:
        raise TypeError(
            f"holds has {shown(holds)}, expected tensors, modules, optimizers, or a function that returns these; write "
            "for example holds=[teacher, teacher_optimizer]"
        )


def _tensors_of(value: Any) -> list[torch.Tensor]:
    """A tensor itself, the parameters and buffers of a module, or the state of an optimizer."""
    if isinstance(value, nn.Module):
        return [*value.parameters(), *value.buffers()]
    if isinstance(value, torch.optim.Optimizer):
        return state_tensors([value])
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
