"""The memory in use before a training step: parameters, buffers, inputs, gradients and optimizer state.

Every storage is counted once. The tensors are held by weak references only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recompviz.core.steps.joint import Category
from recompviz.pytorch.budgeting.held_objects import HeldObjects
from recompviz.pytorch.executing.live_outputs import LiveOutput, live_outputs
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.optimizers import closure_bytes, state_tensors
from recompviz.pytorch.internals.sharded_parameters import local_part, sharded_of
from recompviz.pytorch.internals.tensors import address_of, has_lazy_parameters, storage_key

if TYPE_CHECKING:
    from recompviz.pytorch.executing.region import Region, Run

# Fewer bytes that nobody named are left out, for example the loss of the step before.
UNKNOWN_BYTES = 2 << 20

_Reference = Callable[[], torch.Tensor | None]


@dataclass(eq=False)
class _OfRegion:
    """The parameters and buffers of one region in its last run."""

    parameter_ids: list[int] = field(default_factory=list)
    tensors: list[tuple[_Reference, Category]] = field(default_factory=list)


class ResidentMemory:
    """Counts the bytes in use before a training step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer, optional
        An optimizer of the parameters of the regions (captured graphs). Its state counts from the first step on. The
        state of any other optimizer counts after it has stepped a parameter of a region.
    optimizer_bytes : int
        Bytes that the state of ``optimizer`` will have; 0 if they are not known. They count until ``optimizer`` has a
        state. Without ``optimizer``, they count until any optimizer of the regions' parameters has a state.
    holds : tensor, module, optimizer or function, or nested containers of these, optional
        See :class:`recompviz.pytorch.budgeting.held_objects.HeldObjects`.

    Attributes
    ----------
    outside_gradients : int
        Bytes of gradients from the last :meth:`count`. They belong to parameters that an optimizer steps and no region
        has, and to the parameters of other compiled models.
    held_bytes : int
        Bytes in use beside the model, from the last :meth:`count`. These are the bytes of ``holds``, of the outputs in
        ``outputs``, and of other compiled models that train in the same loop, without their gradients. If the device's
        allocator counts its bytes, as on CUDA, all other allocated bytes are added if they exceed 2 MiB.
    outputs : list of LiveOutput
        Outputs of regions that were alive at the last :meth:`count`, of this and other models. An output that counts as
        something else, for example as an input of the step, is left out.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer | None = None, optimizer_bytes: int = 0, holds: Any = None
    ) -> None:
        self.optimizer, self.optimizer_bytes = optimizer, optimizer_bytes
        self.outside_gradients = 0
        self.held_bytes = self._optimizer_steps = 0
        self._stepped = False  # whether an optimizer stepped between the last two training steps
        self.outputs: list[LiveOutput] = []
        self._inside_gradients = 0
        self._counted: _Counter | None = None
        self._held = HeldObjects(holds)
        self._regions: dict[Region, _OfRegion] = {}
        self._of_model: list[tuple[_Reference, Category]] = []
        self._inputs: list[_Reference] = []
        self._references: list[_Reference] = []  # to parameters and buffers, each tensor once
        self._categories: list[Category] = []
        self._stale = True  # whether these lists must be made again
        self._region_parameters: list[int] = []  # positions in the lists
        self._region_parameter_ids: set[int] = set()
        self._signature: tuple[Any, ...] = ()  # of the lasting tensors
        self._lasting: _Counter | None = None
        self._held_lasting: _Counter | None = None
        _counts.add(self)

    def note_model(self, model: nn.Module) -> None:
        """From now on, count the parameters and buffers of a model, because code outside the regions may use them."""
        self._of_model = [known for known in self._of_model if known[0]() is not None]  # of copies of the model
        self._of_model += [(weakref.ref(p), Category.PARAMETER) for p in model.parameters()]
        self._of_model += [(weakref.ref(b), Category.BUFFER) for b in model.buffers()]
        self._stale = True

    def note_inputs(self, values: list[Any]) -> None:
        """From now on, count the tensors with which the model is called, because eager code may read them.

        They replace the tensors of the previous call.
        """
        self._inputs = [weakref.ref(value) for value in values if isinstance(value, torch.Tensor)]

    def note_run(self, run: Run) -> None:
        """From now on, count the parameters and buffers of the region of ``run``. Call it before the plan is chosen."""
        known = self._regions.setdefault(run.region, _OfRegion())
        arguments = run.arguments or []
        ids = [id(arguments[i]) for i in run.region.parameter_positions]
        if ids != known.parameter_ids:
            known.parameter_ids, self._stale = ids, True
            known.tensors = [
                (weakref.ref(value), Category.PARAMETER if role == "parameter" else Category.BUFFER)
                for value, (_, (role, _which)) in zip(arguments, run.region.folded.placeholders, strict=False)
                if role in ("parameter", "buffer") and isinstance(value, torch.Tensor)
            ]
            gathered = [arguments[i] for i in run.region.parameter_positions]
            known.tensors += [(weakref.ref(part), Category.PARAMETER) for part in sharded_of(gathered)]

    def tensors_of(self, region: Region) -> list[torch.Tensor]:
        """Return the parameters and buffers of a region's last run that still exist; empty before its first run."""
        known = self._regions.get(region, _OfRegion())
        return [value for reference, _ in known.tensors if (value := reference()) is not None]

    def parameter_ids(self, region: Region) -> tuple[int, ...]:
        """Return the ``id`` of each parameter in the last run of a region; empty before its first run."""
        known = self._regions.get(region)
        return tuple(known.parameter_ids) if known is not None else ()

    def gradients_to_come(self, region: Region) -> tuple[int, int]:
        """Return the bytes of the gradients of all known parameters, and the part of parameters outside ``region``.

        The known parameters are the trainable parameters of ``region``, and of the models given to :meth:`note_model`.

        Raises
        ------
        KeyError
            If :meth:`note_run` was not called for the region.
        """
        own = {id(tensor) for tensor in self.tensors_of(region)}
        counter = _Counter(region.device.type, region.folded.joint.rounded)
        for reference, category in [*self._regions[region].tensors, *self._of_model]:
            tensor = reference()
            if tensor is not None and category is Category.PARAMETER and tensor.requires_grad:
                counter.add(tensor, Category.PARAMETER if id(tensor) in own else Category.PARAMETER_GRADIENT)
        totals = counter.totals
        return sum(totals.values()), totals.get(Category.PARAMETER_GRADIENT, 0)

    def forget(self, region: Region) -> None:
        """Forget a region that will not run again."""
        self._regions.pop(region, None)
        self._stale = True

    def count(
        self, run: Run, outside_gradients: int = 0, kept: int = 0, others: Sequence[ResidentMemory] = ()
    ) -> dict[Category, int]:
        """Count the bytes in use before a training step.

        Parameters
        ----------
        run : Run
            The first run of the step.
        outside_gradients : int
            A lower limit for the bytes counted for gradients of parameters outside the regions. The step may allocate
            such gradients later.
        kept : int
            Bytes that existing autograd graphs save. The result does not include them, because the caller adds them.
        others : sequence of ResidentMemory
            The memory of other compiled models. Their parameters, buffers, optimizer states, gradients and inputs are
            counted, too.

        Returns
        -------
        dict of Category to int
            Bytes by category. Each storage is rounded as the allocator rounds it. Only tensors on devices of the same
            type as the region's device count.
        """
        self._counted, inside, self.outputs = self._count(run, kept, others)
        totals = self._counted.totals
        self.held_bytes = totals.get(Category.OTHER, 0)
        self.outside_gradients = totals.get(Category.PARAMETER_GRADIENT, 0) - inside
        self._inside_gradients = inside
        if not (self.optimizer.state if self.optimizer is not None else totals.get(Category.OPTIMIZER)):
            # it did not step yet; another optimizer of the model may have a state already
            totals[Category.OPTIMIZER] = totals.get(Category.OPTIMIZER, 0) + self.optimizer_bytes
        missing = max(0, outside_gradients - self.outside_gradients)
        totals[Category.PARAMETER_GRADIENT] = totals.get(Category.PARAMETER_GRADIENT, 0) + missing
        return totals

    def start_step(self) -> None:
        """Note that a training step starts."""
        steps = sum(_steps.get(one, 0) for one in _optimizers_of(self.optimizer, self._region_parameter_ids))
        self._stepped, self._optimizer_steps = steps != self._optimizer_steps, steps

    @property
    def old_gradients(self) -> int:
        """Bytes of the regions' parameter gradients that an optimizer has used already, from the last :meth:`count`.

        They are not needed any more, but many loops free them only after the next forward pass. If no optimizer has
        stepped between the starts of the last two training steps, gradients accumulate, and the result is 0.
        """
        return self._inside_gradients if self._stepped else 0

    def region_parameters(self) -> list[torch.Tensor]:
        """Return the parameters of the regions, without those that no longer exist."""
        return self._values()[1]

    def in_use(self, run: Run, kept: int, others: Sequence[ResidentMemory]) -> int:
        """Return the bytes in use when ``run`` starts, ``kept`` included. The arguments are those of :meth:`count`."""
        now, _, _ = self._count(run, kept, others)
        return sum(now.totals.values()) + kept

    @property
    def most_gradients(self) -> int:
        """An upper bound on the bytes of the gradients of this model and of ``others`` in the last :meth:`count`."""
        own = self._lasting.totals.get(Category.PARAMETER, 0) if self._lasting is not None else 0
        return own + (sum(self._held_lasting.sizes.values()) if self._held_lasting is not None else 0)

    def _count(self, run: Run, kept: int, others: Sequence[ResidentMemory]) -> tuple[_Counter, int, list[LiveOutput]]:
        """Count what is in use: all of it, the bytes of the gradients of the regions' parameters, and live outputs."""
        region = run.region
        rounded, device = region.folded.joint.rounded, region.device.type
        values, parameters = self._values()
        optimizers = _optimizers_of(self.optimizer, self._region_parameter_ids)
        trained = _parameters_of(optimizers)
        held = self._held.lasting()
        for other in others:
            held += other._lasting_tensors()
        signature = device, _addresses(values), _addresses(trained), _addresses(held), _state_counts(optimizers)
        if signature != self._signature:
            lasting = _Counter(device, rounded)
            for value, category in zip(values, self._categories, strict=True):
                lasting.add(value, category)
            for value in state_tensors(optimizers):
                lasting.add(value, Category.OPTIMIZER)
            for value in trained:
                lasting.add(value, Category.PARAMETER)
            if scratch := closure_bytes(optimizers):
                lasting.totals[Category.OPTIMIZER] = lasting.totals.get(Category.OPTIMIZER, 0) + scratch
            self._held_lasting = _Counter(device, rounded, lasting)
            for value in held:
                self._held_lasting.add(value, Category.OTHER)
            self._lasting, self._signature = lasting, signature
        now = _Counter(device, rounded, self._lasting)
        if run.arguments is not None:
            for i, role in region.other_inputs:  # also a state that a model keeps from step to step
                now.add(run.arguments[i], Category.BUFFER if role == "buffer" else Category.INPUT)
        for reference in self._inputs:
            now.add(reference(), Category.INPUT)
        for parameter in parameters:
            if parameter.is_leaf and parameter.grad is not None:
                now.add(parameter.grad, Category.PARAMETER_GRADIENT)
        inside = now.totals.get(Category.PARAMETER_GRADIENT, 0)
        # what code outside the regions trains: its gradients appear while the step runs
        for parameter in trained:
            if parameter.grad is not None:
                now.add(parameter.grad, Category.PARAMETER_GRADIENT)
        for other in others:
            for value in other._gradients():
                now.add(value, Category.PARAMETER_GRADIENT)
        now.add_all(self._held_lasting, Category.OTHER)
        for value in self._held.of_this_step():
            now.add(value, Category.OTHER)
        for other in others:
            for reference in other._inputs:
                now.add(reference(), Category.OTHER)
        totals = now.totals
        outputs = [live for live in live_outputs(device) if not now.has(live.key)]
        if outputs:
            totals[Category.OTHER] = totals.get(Category.OTHER, 0) + sum(live.size for live in outputs)
        allocated = runtime(region.device).allocated()
        if allocated is not None:  # everything in use, also what nobody named
            unknown = allocated - sum(totals.values()) - kept
            unknown = unknown if unknown > UNKNOWN_BYTES else 0
            totals[Category.OTHER] = totals.get(Category.OTHER, 0) + unknown
        return now, inside, outputs

    def addresses(self, run: Run, others: Sequence[ResidentMemory]) -> set[int]:
        """Return the addresses of the storages of all tensors that :meth:`count` finds when ``run`` starts."""
        values, parameters = self._values()
        optimizers = _optimizers_of(self.optimizer, self._region_parameter_ids)
        trained = _parameters_of(optimizers)
        found: list[Any] = [
            *values,
            *(run.arguments or []),
            *self._held.lasting(),
            *self._held.of_this_step(),
            *trained,
        ]
        found += [*state_tensors(optimizers), *(p.grad for p in [*parameters, *trained] if p.is_leaf)]
        for memory in (self, *others):
            found += [reference() for reference in memory._inputs]
        for other in others:
            found += [*other._lasting_tensors(), *other._gradients()]
        living = {address_of(local_part(value)) for value in found if isinstance(value, torch.Tensor)}
        return living | {live.address for live in live_outputs(run.region.device.type)}

    def counted(self, key: int) -> bool:
        """Return whether the last :meth:`count` counted the storage with this key."""
        return (self._counted is not None and self._counted.has(key)) or any(live.key == key for live in self.outputs)

    def _lasting_tensors(self) -> list[torch.Tensor]:
        """The tensors that this model keeps between training steps, without gradients."""
        values, _ = self._values()
        optimizers = _optimizers_of(self.optimizer, self._region_parameter_ids)
        return [value for value in values if value is not None] + state_tensors(optimizers)

    def _gradients(self) -> list[torch.Tensor]:
        """The gradients of the parameters of this model."""
        _, parameters = self._values()
        return [p.grad for p in parameters if p.is_leaf and p.grad is not None]

    def _values(self) -> tuple[list[torch.Tensor | None], list[torch.Tensor]]:
        """All parameters and buffers (None for one that is gone), and the parameters of regions that are alive."""
        if self._stale:
            self._list_references()
        values = [reference() for reference in self._references]
        parameters = [tensor for i in self._region_parameters if (tensor := values[i]) is not None]
        if len(parameters) < len(self._region_parameters):  # another tensor may get the id of one that is gone
            self._list_references()
            return self._values()
        return values, parameters

    def _list_references(self) -> None:
        """Make the lists of references to the parameters and buffers again.

        Tensors that are gone are left out, and so are parameters of lazy layers as long as they have no shape.
        """
        of_regions = [entry for known in self._regions.values() for entry in known.tensors]
        self._stale = has_lazy_parameters(t for reference, _ in self._of_model if (t := reference()) is not None)
        positions: dict[int, int] = {}
        self._references, self._categories = [], []
        for reference, category in (*of_regions, *self._of_model):
            tensor = reference()
            if tensor is not None and id(tensor) not in positions and not has_lazy_parameters([tensor]):
                positions[id(tensor)] = len(self._references)
                self._references.append(reference)
                self._categories.append(category)
        tensors = [reference() for reference, category in of_regions if category is Category.PARAMETER]
        self._region_parameter_ids = {id(tensor) for tensor in tensors if tensor is not None}
        self._region_parameters = [positions[one] for one in self._region_parameter_ids]


class _Counter:
    """Adds up the bytes of tensors by category. Each storage counts once.

    Parameters
    ----------
    device : str
        Type of the device. Tensors on other devices are left out.
    rounded : callable (int) → int
        Returns the bytes that the allocator takes for a size.
    counted : _Counter, optional
        A counter whose totals and storages this one starts with.
    """

    def __init__(self, device: str, rounded: Callable[[int], int], counted: _Counter | None = None) -> None:
        self.device, self.rounded = device, rounded
        self.totals: dict[Category, int] = dict(counted.totals) if counted is not None else {}
        self._before = counted.sizes if counted is not None else {}
        self.sizes: dict[int, int] = {}  # by storage, without those that were counted before

    def add(self, tensor: Any, category: Category) -> None:
        """Count a tensor; anything else is left out."""
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            return
        if tensor.device.type != self.device:
            return
        tensor = local_part(tensor)
        key = storage_key(tensor)
        if key not in self.sizes and key not in self._before:
            size = self.sizes[key] = self.rounded(tensor.untyped_storage().nbytes())
            self.totals[category] = self.totals.get(category, 0) + size

    def has(self, key: int) -> bool:
        """Return whether the storage with this key was counted."""
        return key in self.sizes or key in self._before

    def add_all(self, other: _Counter | None, category: Category) -> None:
        """Count the storages that another counter has added, as one category.

        The other counter must have started with this counter's storages, so that none is counted twice.
        """
        new = {} if other is None else {key: size for key, size in other.sizes.items() if key not in self.sizes}
        self.sizes |= new
        if new:
            self.totals[category] = self.totals.get(category, 0) + sum(new.values())


def _addresses(tensors: Sequence[torch.Tensor | None]) -> list[int]:
    """The addresses of the tensors' data. An address changes when its tensor gets another storage."""
    try:
        return list(map(torch.Tensor.data_ptr, tensors))  # type: ignore[arg-type]  # None raises TypeError
    except (RuntimeError, TypeError):  # some have no storage, or are gone
        given = [t if t is None else local_part(t) for t in tensors]
        return [storage_key(t) if t is not None and t.layout is torch.strided else 0 for t in given]


# -------------------------------------------------------------------- optimizers

_counts: weakref.WeakSet[ResidentMemory] = weakref.WeakSet()
_optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
_steps: weakref.WeakKeyDictionary[torch.optim.Optimizer, int] = weakref.WeakKeyDictionary()


def _note_optimizer(optimizer: torch.optim.Optimizer, *_arguments: Any) -> None:
    if _counts:
        _optimizers.add(optimizer)
        _steps[optimizer] = _steps.get(optimizer, 0) + 1


def watch_optimizers() -> None:
    """Remember each optimizer that steps while there is a :class:`ResidentMemory`, which can then count its state."""
    global _watching
    if not _watching:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(_note_optimizer)
        _watching = True


_watching = False


def _optimizers_of(given: torch.optim.Optimizer | None, parameter_ids: set[int]) -> list[torch.optim.Optimizer]:
    """The known optimizers that step one of these parameters; ``given`` is known, too."""
    known = list(_optimizers) if given is None else list({*_optimizers, given})
    return [
        optimizer
        for optimizer in known
        if any(id(parameter) in parameter_ids for group in optimizer.param_groups for parameter in group["params"])
    ]


def _parameters_of(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


def _state_counts(optimizers: list[torch.optim.Optimizer]) -> list[int]:
    """Lengths of the optimizers' states and of the lists in them. They change when a state gets another tensor."""
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    lists = [len(value) for state in states for value in state.values() if type(value) is list]
    return [*map(len, states), *lists]
