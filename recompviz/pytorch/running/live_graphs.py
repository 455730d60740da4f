"""The autograd graphs of one compiled model that exist: those of the current training step, and those the caller kept.

What such a graph saves is in use when a step starts, also a step of another compiled model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recompviz.pytorch.internals.autograd import backward_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recompviz.pytorch.running.planned_region import PlannedRegion
    from recompviz.pytorch.running.region import Region, Run

# Fewer runs of a model without a total are not searched for those whose graphs are gone.
FEWEST_LEFT = 64


class LiveGraphs:
    """The runs of regions (captured graphs) of one compiled model whose autograd graphs exist.

    Parameters
    ----------
    regions : mapping of Region to PlannedRegion
        The regions of the model. The mapping is read again at each call.

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
        """Remove the runs that ended from the current step, and return whether a backward pass ran.

        If a later run of the same region has finished its backward pass and the graph of a run still exists, the user
        keeps this graph, for example with an output of an evaluation. It then belongs to no step, and its bytes count
        as in use.

        Parameters
        ----------
        recorded : bool
            Whether the current step is recorded.
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
        """Whether autograd graphs of earlier runs exist."""
        return bool(self._alive())

    @property
    def saved(self) -> int:
        """The bytes of the values that these graphs save, without outputs."""
        known = [(self._regions[run.region], run) for run in self._alive() if run.region in self._regions]
        return sum(one.saved(one.region.keep_all if r.mask is None else r.mask, r.sizes) for one, r in known)
