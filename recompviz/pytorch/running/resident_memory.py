"""The memory that is in use before a step: parameters, buffers, inputs, gradients and the optimiser's state.

Every tensor is counted once, by its storage. Nothing here keeps a tensor alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.tensors import storage_key

if TYPE_CHECKING:
    from recompviz.pytorch.running.region import Region, Run

_Reference = Callable[[], torch.Tensor | None]


@dataclass(eq=False)
class _OfRegion:
    """The parameters and buffers of one region."""

    parameter_ids: list[int] = field(default_factory=list)
    tensors: list[tuple[_Reference, Category]] = field(default_factory=list)


class ResidentMemory:
    """Counts what is in memory before a step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer, optional
        Its state counts from the start. If not given, the optimiser is found when it first steps a parameter of a
        region.
    optimizer_bytes : int
        Bytes of the optimiser's state, if known.

    Attributes
    ----------
    outside_gradients : int
        Bytes of the gradients, outside the regions, that the last count found.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None = None, optimizer_bytes: int = 0) -> None:
        self.optimizer, self.optimizer_bytes = optimizer, optimizer_bytes
        self.outside_gradients = 0
        self._regions: dict[Region, _OfRegion] = {}
        self._of_model: list[tuple[_Reference, Category]] = []
        self._inputs: list[_Reference] = []
        _counts.add(self)

    def note_model(self, model: nn.Module) -> None:
        """Remember the parameters and buffers of a model; code outside the regions may use some of them."""
        self._of_model = [(weakref.ref(p), Category.PARAMETER) for p in model.parameters()]
        self._of_model += [(weakref.ref(b), Category.BUFFER) for b in model.buffers()]

    def note_inputs(self, values: list[Any]) -> None:
        """Remember the tensors that the model is called with; code outside the regions may read them."""
        self._inputs = [weakref.ref(value) for value in values if isinstance(value, torch.Tensor)]

    def note_run(self, run: Run) -> None:
        """Remember the parameters and buffers of a region that is called."""
        known = self._regions.setdefault(run.region, _OfRegion())
        arguments = run.arguments or []
        ids = [id(arguments[i]) for i in run.region.parameter_positions]
        if ids != known.parameter_ids:
            known.parameter_ids = ids
            known.tensors = [
                (weakref.ref(value), Category.PARAMETER if role == "parameter" else Category.BUFFER)
                for value, (_, (role, _which)) in zip(arguments, run.region.folded.placeholders, strict=False)
                if role in ("parameter", "buffer") and isinstance(value, torch.Tensor)
            ]

    def tensors_of(self, region: Region) -> list[torch.Tensor]:
        """The parameters and buffers of a region that are still alive."""
        known = self._regions.get(region, _OfRegion())
        return [value for reference, _ in known.tensors if (value := reference()) is not None]

    def forget(self, region: Region) -> None:
        """Forget a region that never runs."""
        self._regions.pop(region, None)

    def count(self, run: Run, outside_gradients: int = 0) -> dict[Category, int]:
        """Bytes in use before the step that a run starts, by category.

        Parameters
        ----------
        run : Run
            The first of the step.
        outside_gradients : int
            The least bytes of gradients, outside the regions, to count: they may not be allocated yet.
        """
        tensors: dict[int, tuple[Category, int]] = {}
        rounded = run.region.folded.joint.rounded
        device = run.region.device.type

        def count(tensor: Any, category: Category) -> None:
            strided = isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided
            if strided and tensor.device.type == device:
                tensors.setdefault(storage_key(tensor), (category, rounded(tensor.untyped_storage().nbytes())))

        parameters: list[torch.Tensor] = []
        for known in self._regions.values():
            for reference, category in known.tensors:
                value = reference()
                count(value, category)
                if category is Category.PARAMETER and value is not None:
                    parameters.append(value)
        for value, (_, (role, _which)) in zip(run.arguments or [], run.region.folded.placeholders, strict=False):
            if role not in ("parameter", "tangent"):  # also a state that a model keeps from step to step
                count(value, Category.BUFFER if role == "buffer" else Category.INPUT)
        for reference, category in self._of_model:
            count(reference(), category)
        for reference in self._inputs:
            count(reference(), Category.INPUT)
        optimizers = _optimizers_of(self.optimizer, parameters)
        for parameter in parameters:
            if parameter.is_leaf and parameter.grad is not None:
                count(parameter.grad, Category.PARAMETER_GRADIENT)
        for value in _optimizer_state(optimizers):
            count(value, Category.OPTIMIZER)
        # what code outside the regions trains: its gradients appear while the step runs
        counted = len(tensors)
        for parameter in _parameters_of(optimizers):
            count(parameter, Category.PARAMETER)
            if parameter.grad is not None:
                count(parameter.grad, Category.PARAMETER_GRADIENT)
        later = list(tensors.values())[counted:]
        self.outside_gradients = sum(size for category, size in later if category is Category.PARAMETER_GRADIENT)
        totals: dict[Category, int] = {}
        for category, size in tensors.values():
            totals[category] = totals.get(category, 0) + size
        totals[Category.OPTIMIZER] = max(totals.get(Category.OPTIMIZER, 0), self.optimizer_bytes)
        missing = max(0, outside_gradients - self.outside_gradients)
        totals[Category.PARAMETER_GRADIENT] = totals.get(Category.PARAMETER_GRADIENT, 0) + missing
        return totals


# -------------------------------------------------------------------- optimisers

_counts: weakref.WeakSet[ResidentMemory] = weakref.WeakSet()
_optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()


def _note_optimizer(optimizer: torch.optim.Optimizer, *_arguments: Any) -> None:
    if _counts:
        _optimizers.add(optimizer)


def watch_optimizers() -> None:
    """Note every optimiser that steps, so that the state of those that step a planned model can be counted."""
    global _watching
    if not _watching:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(_note_optimizer)
        _watching = True


_watching = False


def _optimizers_of(given: torch.optim.Optimizer | None, parameters: list[torch.Tensor]) -> list[torch.optim.Optimizer]:
    """The optimisers that step one of these parameters."""
    own = {id(parameter) for parameter in parameters}
    known = {*_optimizers, *([given] if given is not None else [])}
    return [
        optimizer
        for optimizer in known
        if any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])
    ]


def _parameters_of(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


def _optimizer_state(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """The tensors that optimisers hold."""
    states = [state for optimizer in optimizers for state in optimizer.state.values() if isinstance(state, dict)]
    return [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
