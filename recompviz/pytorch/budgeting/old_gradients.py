"""Gradients of the previous step that are alive when a training step starts, and whether the step frees them.

Many loops call ``zero_grad()`` between the forward and the backward pass. The gradients of the previous step then take
memory only in the forward pass. If the recorded step shows this, the plans of later steps depend on it. A few gradients
are then watched, to notice if a step does not free them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from recompviz.pytorch.executing.live_outputs import LiveOutput
from recompviz.pytorch.internals.tensors import address_of, weak_storage

if TYPE_CHECKING:
    from recompviz.pytorch.budgeting.resident_memory import ResidentMemory
    from recompviz.pytorch.executing.region import Region

# the number of gradients that are watched
WATCHED = 3

_Reference = Callable[[], torch.Tensor | None]


class OldGradients:
    """Notes whether recorded and planned steps free the gradients of the previous step.

    Parameters
    ----------
    memory : ResidentMemory
        Knows the parameters of the regions (captured graphs).

    Attributes
    ----------
    stay : bool
        Whether a planned step did not free gradients of the kind that the recorded step had freed.
    """

    def __init__(self, memory: ResidentMemory) -> None:
        self.stay = False
        self._memory = memory
        self._recorded: list[_Reference] = []  # the parameters whose gradients are alive when the recorded step starts
        self._freed: dict[Region, list[_Reference]] = {}  # some whose gradients the recorded step has freed
        self._watched: list[LiveOutput] = []

    def record(self, first: Region) -> list[LiveOutput]:
        """Return weak references to the existing gradients of the regions' parameters.

        Call it at the start of a step that will be recorded. ``first`` is the first region of the step.
        """
        found = [(parameter, _live(parameter, first)) for parameter in self._memory.region_parameters()]
        self._recorded = [weakref.ref(parameter) for parameter, live in found if live is not None]
        return [live for _, live in found if live is not None]

    def note_recorded(self, first: Region, freed: Sequence[bool]) -> None:
        """Note which gradients a recorded step has freed before its first backward pass.

        Parameters
        ----------
        first : Region
            The first region of the step.
        freed : sequence of bool
            For each gradient that :meth:`record` returned, whether it was freed before the first backward pass.
        """
        found = [reference for reference, gone in zip(self._recorded, freed, strict=False) if gone]
        self._freed[first] = found[:WATCHED]

    def watch(self, first: Region) -> None:
        """Watch some gradients that the planned step which starts now should free.

        ``first`` is the first region of the step.
        """
        parameters = [reference() for reference in self._freed.get(first, [])]
        lives = [_live(parameter, first) for parameter in parameters if parameter is not None]
        self._watched = [live for live in lives if live is not None]

    def were_kept(self) -> bool:
        """Return whether a gradient from the last call of :meth:`watch` still exists; True in at most one call."""
        kept, self._watched = any(live.alive for live in self._watched), []
        if not kept or self.stay:
            return False
        self.stay = True
        return True

    def forget(self, first: Region) -> None:
        """Forget the gradients that recorded steps with this first region have freed."""
        self._freed.pop(first, None)


def _live(parameter: torch.Tensor, region: Region) -> LiveOutput | None:
    gradient = parameter.grad if parameter.is_leaf else None
    if gradient is None or (reference := weak_storage(gradient)) is None:
        return None
    size = region.folded.joint.rounded(gradient.untyped_storage().nbytes())
    return LiveOutput(reference, size, gradient.device.type, address_of(gradient))
