"""What one compiled model knows of the other compiled models in the process, which take memory of the same device.

When a training step starts, the parameters of the others, what their graphs save and their outputs are in use. Models
whose steps overlap share the smallest of their totals. A model that runs without gradients takes memory while it runs.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recompviz.pytorch.running.live_graphs import LiveGraphs
    from recompviz.pytorch.running.recorded_step import OtherRun
    from recompviz.pytorch.running.region import Region, Run
    from recompviz.pytorch.running.resident_memory import ResidentMemory
    from recompviz.pytorch.running.step_recorder import StepRecorder


class Owner(Protocol):
    """One compiled model, as the others see it: its budget.

    Attributes
    ----------
    total : int or None
        The most bytes that its training steps may take.
    memory : ResidentMemory
    graphs : LiveGraphs
    others : OtherModels
    recording : StepRecorder or None
        Records the current step, if it is recorded.
    growth : float
        The size of the current step, relative to the recorded one.
    """

    total: int | None
    memory: ResidentMemory
    graphs: LiveGraphs
    others: OtherModels
    recording: StepRecorder | None

    @property
    def growth(self) -> float:
        """The size of the current step, relative to the recorded one."""

    def check_inference(self, run: Run, peak: int) -> None:
        """Warn once if a graph without a backward pass takes more than the total, together with what is in use."""


class Shared(NamedTuple):
    """What a training step shares with the steps of other models that it overlaps.

    Attributes
    ----------
    limit : int
        The smallest of the totals, in bytes.
    held : int
        Bytes that the code outside the regions of the other steps holds, as recorded.
    """

    limit: int
    held: int


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()
# Numbers the runs of regions and the starts of steps in the process.
_moments = itertools.count()


class OtherModels:
    """What the budget of one compiled model knows of the other compiled models in the process.

    Parameters
    ----------
    owner : Owner
        The budget. It is held by a weak reference.

    Attributes
    ----------
    unnamed : int
        Bytes that the user did not name with ``holds``: those that existed before the last recorded step and that its
        code reads, and those that the step left for the next one.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = weakref.ref(owner)
        self.unnamed = 0
        self._last_use = -1
        self._last_start = next(_moments)
        self._before: weakref.WeakKeyDictionary[Region, int] = weakref.WeakKeyDictionary()
        # models whose graphs exist while this model runs, and models that run inside this model's steps
        self._outer: weakref.WeakSet[Owner] = weakref.WeakSet()
        self._inner: weakref.WeakSet[Owner] = weakref.WeakSet()
        self._met: weakref.WeakSet[Owner] = weakref.WeakSet()  # models that ran between two steps of this one
        _owners.add(owner)

    def _except_owner(self) -> list[Owner]:
        owner = self._owner()
        return [other for other in list(_owners) if other is not owner]

    def note_use(self) -> None:
        """Note that a graph of this model runs now."""
        self._last_use = next(_moments)

    def start_step(self, region: Region, total: int) -> Shared:
        """Note that a training step of this model starts with a region, and return what it shares with other steps."""
        owner, rest = self._owner(), self._except_owner()
        outer = [other for other in rest if other.graphs.exist]
        for other in outer:
            if owner is not None:
                other.others._inner.add(owner)
        if outer or self._outer:
            self._outer = weakref.WeakSet(outer)
        self._meet(rest)
        self._last_start = next(_moments)
        totals = [other.total for other in (*outer, *self._inner) if other.total is not None]
        held = sum(other.others.held_before(region) + other.others.unnamed for other in outer)
        return Shared(min([total, *totals]), held)

    @property
    def inside(self) -> bool:
        """Whether graphs of another model existed when the current step of this model started."""
        return bool(self._outer)

    def held_before(self, region: Region) -> int:
        """Bytes that the code outside the regions holds when another model starts with this region, as recorded."""
        owner = self._owner()
        growth = owner.growth if owner is not None else 1.0
        return int(self._before.get(region, 0) * max(1.0, growth))

    def note_recorded(self, runs: Iterable[tuple[Region, OtherRun]]) -> None:
        """Remember what the code outside the regions held when other models ran in a recorded step."""
        for region, run in runs:
            self._before.setdefault(region, run.held)

    def tell_recordings(self, run: Run) -> None:
        """Note a run of this model in the recordings of the steps in which it starts."""
        if not self._outer:
            return
        for owner in list(self._outer):
            if owner.recording is not None:
                rest = [other for other in self._outer if other is not owner]
                owner.recording.other_runs(run, sum(other.graphs.saved for other in rest))

    def _meet(self, rest: list[Owner]) -> None:
        for other in rest:
            if other.others._last_use > self._last_start:
                self._met.add(other)

    def memories(self) -> list[ResidentMemory]:
        """Return the memory of the other models that train, or run without gradients, in the same loop.

        These are the models that ran since the last step of this one started, or between any earlier two of its steps.
        """
        return [other.memory for other in list(self._met)] if self._met else []

    def trained_beside(self) -> list[Owner]:
        """Return the models with a total in whose training loop this model runs now, itself included."""
        owner = self._owner()
        if owner is None:
            return []
        rest = [other for other in self._except_owner() if other.total is not None]
        for other in rest:
            if other.graphs.exist:
                other.others._met.add(owner)
        own = [owner] if owner.total is not None else []
        return own + [other for other in rest if owner in other.others._met]


def saved_by_all() -> int:
    """Count the bytes that autograd graphs of all compiled models hold.

    These are the graphs of earlier steps, because the user kept their outputs, and the graphs of other models, for
    example of the generator of a GAN when its discriminator starts.
    """
    return sum(owner.graphs.saved for owner in list(_owners))
