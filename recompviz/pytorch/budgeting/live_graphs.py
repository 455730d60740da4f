"""The existing autograd graphs of one compiled model, from the current training step and from before.

A graph from before exists if the user kept it, for example with an output. The values that it saves are in memory when
a training step starts, and count as memory in use, also in the steps of other compiled models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recompviz.pytorch.internals.autograd import backward_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recompviz.pytorch.budgeting.planned_region import PlannedRegion
    from recompviz.pytorch.executing.region import Region, Run

# Fewer runs of a model without a total are not searched for those whose graphs are gone.
FEWEST_LEFT = 64


class LiveGraphs:
    """Records which runs of a compiled model's regions (captured graphs) have autograd graphs that still exist.

    Parameters
    ----------
    regions : mapping of Region to PlannedRegion
        The regions of the model. The mapping itself is stored, so regions may be added later.

    Attributes
    ----------
    of_step : list of Run
        The runs of the current training step.
    """

    def __init__(self, regions: Mapping[Region, PlannedRegion]) -> None:
        self.of_step: list[Run] = []
        self._regions = regions
        self._left: list[Run] = []  # of earlier steps
        self._most_left = FEWEST_LEFT

    def note(self, run: Run) -> None:
        """Add a run to the current step."""
        self.of_step.append(run)

    def note_outside_steps(self, run: Run) -> None:
        """Add a run that belongs to no step, because its model has no total."""
        if len(self._left) >= self._most_left:
            self._left = [other for other in self._left if not other.freed]
            self._most_left = max(FEWEST_LEFT, 2 * len(self._left))
        self._left.append(run)

    def note_ended(self, recorded: bool) -> bool:
        """Remove the runs that have ended from the current step. Return whether a backward pass ran in the step.

        A run has ended when autograd has freed its graph. If a graph still exists although a later run of the same
        region has finished its backward pass, the user keeps this graph, for example with an output. Its run leaves the
        step, too, and its bytes count as memory in use from then on.

        While a backward pass is running, the result is False, and runs are removed only if all have ended and the step
        is not being recorded.

        Parameters
        ----------
        recorded : bool
            Whether the current step is being recorded.
        """
        if backward_runs():
            if not recorded and all(run.freed for run in self.of_step):
                self.of_step = []
            return False
        finished = {run.region: place for place, run in enumerate(self.of_step) if run.ran_backward}
        self._left = [run for run in self._left if not run.freed]
        going_on: list[Run] = []
        for place, run in enumerate(self.of_step):
            if not run.freed:
                (self._left if finished.get(run.region, -1) > place else going_on).append(run)
        self.of_step = going_on
        return bool(finished)

    def _alive(self) -> list[Run]:
        if not self.of_step and not self._left:
            return []
        return [run for run in (*self.of_step, *self._left) if run.token is not None and not run.freed]

    @property
    def exist(self) -> bool:
        """Whether the autograd graph of any run exists."""
        return bool(self._alive())

    @property
    def saved(self) -> int:
        """The bytes of the values that all existing graphs of the model save. Outputs of the model do not count."""
        known = [(self._regions[run.region], run) for run in self._alive() if run.region in self._regions]
        return sum(one.saved(one.region.keep_all if r.mask is None else r.mask, r.sizes) for one, r in known)
