"""The plan of one step while it runs.

Each region takes its row of the point that was chosen when the step started. If the step turns out otherwise (a region
is left out, an unknown one runs, or inputs are larger than predicted), the rest of the step is chosen again for the
memory that is then free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.planning.step_plans import rest_peaks
from recompviz.pytorch.running.step_model import StepModel, growth_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.running.predicted_sizes import PredictedSizes
    from recompviz.pytorch.running.region import Run


class RunningStep:
    """Chooses the plan of each region of a step.

    Parameters
    ----------
    model : StepModel
        With the bytes of this step's predicted sizes.
    point : int
        The point of ``model.plans`` to start with.
    room : int
        Bytes that the step may take.
    sizes : sequence of tuple, optional
        The predicted sizes of each run, where they are symbolic.
    predicted : PredictedSizes, optional
        Gets the sizes of the runs.

    Attributes
    ----------
    unknown : bool
        Whether a region ran that is not in the model.
    missing : int
        Bytes that the last run needs above the room; positive only if steps may leave regions out, because otherwise
        the first run was refused.
    """

    def __init__(
        self,
        model: StepModel,
        point: int,
        room: int,
        sizes: tuple[tuple[Any, ...], ...] | None = None,
        predicted: PredictedSizes | None = None,
    ) -> None:
        self.model, self.point, self.room = model, point, room
        self.unknown, self.missing = False, 0
        self._options = model.options
        self._sizes, self._predicted = sizes, predicted
        self._next = 0  # position in the model of the region that is expected next
        self._held = 0  # bytes that the runs so far save
        self._changed = False  # whether the rest must be chosen again
        self._left_out = 0  # bytes that runs that were left out would have left outside the regions
        self._reserved = 0

    @property
    def growth(self) -> float:
        """The size of the step: the largest ratio of the bytes of a storage to those of the recorded step."""
        return growth_of(self.model.sized, self._sizes) if self._sizes is not None else 1.0

    def mask(self, run: Run) -> NDArray[np.bool_] | None:
        """The keep mask of a run; None if its region is not in the rest of the model."""
        model = self.model
        position = next((i for i in range(self._next, len(model.regions)) if model.regions[i] is run.region), None)
        if position is None:
            self.unknown = True
            return None
        if position > self._next:
            self._changed = True
            if model.outside:
                gained = model.outside[position].forward - model.outside[self._next].forward
                self._left_out += max(0, gained)
        self._next = position + 1
        if self._sizes is not None:
            self._note_sizes(position, run.sizes)
        if self._changed:
            self._choose_rest(position)
        row = model.plans.choices[self.point][position]
        if self._options:
            if model.optional:
                least = model.outside[position].forward - self._left_out
                self.missing = self._held + least + int(self._options[position].forward_peak[row]) - self.room
            self._held += int(self._options[position].saved[row])
        return model.masks[position][row]

    def add(self, size: int) -> None:
        """Count the bytes that a run of an unknown region leaves."""
        self._held += size
        self._reserved = max(0, self._reserved - size)
        self._changed = True

    def reserve(self, size: int) -> None:
        """Leave room for regions that are not in the model."""
        self._reserved = size

    def _note_sizes(self, position: int, sizes: tuple[Any, ...]) -> None:
        assert self._sizes is not None
        if position and self._predicted is not None:
            self._predicted.note(position, self._sizes[0], sizes)
        sized = self.model.sized[position]
        if sized.exceeds(sizes, self._sizes[position]):
            self._sizes = (*self._sizes[:position], sizes, *self._sizes[position + 1 :])
            self._options = (*self._options[:position], sized.at(sizes), *self._options[position + 1 :])
            self._changed = True

    def _choose_rest(self, first: int) -> None:
        """Choose the plans from one region on: the least recomputation that fits, or else the least peak."""
        self._changed = False
        model = self.model
        if not self._options or not model.recorded:
            return
        outside = model.outside_at(self.growth)
        choices = np.array(model.plans.choices, np.int64)
        peaks = self._held - self._left_out + rest_peaks(choices, self._options, outside, first)
        later = range(first, len(model.regions))
        times = sum((self._options[i].overhead[choices[:, i]] for i in later), np.zeros(len(choices)))
        fits = peaks <= self.room - self._reserved
        self.point = int(np.where(fits, times, np.inf).argmin() if fits.any() else peaks.argmin())
