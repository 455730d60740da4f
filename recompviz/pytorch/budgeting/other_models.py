"""The memory of the other compiled models in the process, for the budget of one compiled model.

All models take memory of the same device. When a training step of one model starts, the parameters and outputs of the
other models, and the values that their autograd graphs save, are in memory. If training steps of several models
overlap, the smallest of their totals applies to all. A model that runs without gradients takes memory while it runs.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recompviz.pytorch.budgeting.live_graphs import LiveGraphs
    from recompviz.pytorch.budgeting.recorded_step import OtherRun
    from recompviz.pytorch.budgeting.resident_memory import ResidentMemory
    from recompviz.pytorch.budgeting.step_recorder import StepRecorder
    from recompviz.pytorch.executing.region import Region, Run


class Owner(Protocol):
    """The attributes of a compiled model's budget that the budgets of other compiled models use.

    Attributes
    ----------
    total : int or None
        The memory limit of a training step in bytes; None without a limit.
    memory : ResidentMemory
        Counts the bytes in use before a step.
    graphs : LiveGraphs
        The runs of the model whose autograd graphs exist.
    others : OtherModels
        The other compiled models, as this model knows them.
    recording : StepRecorder or None
        Records the current step; None if the step is not being recorded.
    growth : float
        The size of the current step, relative to the recorded step.
    """

    total: int | None
    memory: ResidentMemory
    graphs: LiveGraphs
    others: OtherModels
    recording: StepRecorder | None

    @property
    def growth(self) -> float:
        """The size of the current step, relative to the recorded step."""

    def check_inference(self, run: Run, peak: int) -> None:
        """Warn, at most once, if a run without a backward pass exceeds the total, together with the memory in use.

        ``run`` is this run, which starts now, and ``peak`` the bytes that it will take.
        """


class Shared(NamedTuple):
    """The limit and the memory of a training step that overlaps with steps of other models.

    Attributes
    ----------
    limit : int
        The smallest total of the models whose steps overlap, in bytes.
    held : int
        Bytes that code outside the regions holds in the other steps, read from recorded steps.
    """

    limit: int
    held: int


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()
# Numbers the runs of regions and the starts of steps in the process.
_moments = itertools.count()


class OtherModels:
    """Tells the budget of one compiled model about the other compiled models in the process.

    Parameters
    ----------
    owner : Owner
        The budget of the model. Only a weak reference to it is stored.

    Attributes
    ----------
    unnamed : int
        Bytes of tensors that the user did not name with ``holds``. These are older tensors that the last recorded step
        read, and tensors that this step left for the step after it.
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
        """Note that a training step of this model starts. Return the limit and the memory that other models impose.

        Parameters
        ----------
        region : Region
            The first region of the step.
        total : int
            The total of this model, in bytes.
        """
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
        """Return the bytes that code outside this model's regions holds when ``region`` of another model starts.

        The bytes are those of a recorded step of this model. If the current step is larger, they are multiplied by its
        size relative to the recorded step.
        """
        owner = self._owner()
        growth = owner.growth if owner is not None else 1.0
        return int(self._before.get(region, 0) * max(1.0, growth))

    def note_recorded(self, runs: Iterable[tuple[Region, OtherRun]]) -> None:
        """Store the bytes that code outside the regions held when other models ran in the recorded step of this model.

        For a region that ran several times, the bytes at its first run are stored.
        """
        for region, run in runs:
            self._before.setdefault(region, run.held)

    def tell_recordings(self, run: Run) -> None:
        """Add a run of this model to the recordings of the other models' steps in which it starts."""
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

        A model counts if one of its graphs ran between the starts of two steps of this model, or ran without gradients
        while an autograd graph of this model existed.
        """
        return [other.memory for other in list(self._met)] if self._met else []

    def trained_beside(self) -> list[Owner]:
        """Return the budgets of the models whose training loops run this model, and the budget of this model.

        Models without a total are left out.
        """
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
    """Count the bytes of the values that the existing autograd graphs of all compiled models save.

    A graph exists, for example, if the user kept outputs of an earlier step. When the step of a GAN's discriminator
    starts, the graph of the generator exists.
    """
    return sum(owner.graphs.saved for owner in list(_owners))
