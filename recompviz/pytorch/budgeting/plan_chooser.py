"""Choose the plans of one training step while it runs.

When the step starts, a point of the Pareto front of recomputation and peak is chosen. The point has one plan for each
run of a region (a captured graph). The step may then differ from the prediction: a region may be left out, an unknown
region may run, or inputs may be larger. If so, the plans of the remaining runs are chosen again, for the memory that is
free at that time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.planning.step_plans import rest_peaks
from recompviz.pytorch.budgeting.step_model import StepModel, growth_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.budgeting.predicted_sizes import PredictedSizes
    from recompviz.pytorch.executing.region import Run


class PlanChooser:
    """Chooses the plan of each run of a region (a captured graph) in one training step.

    Parameters
    ----------
    model : StepModel
        The model of the step, with its plans at the predicted sizes of this step.
    point : int
        The index in ``model.plans`` of the point with which the step starts.
    room : int
        The largest number of bytes that the step may add to the memory in use before it.
    sizes : sequence of tuple, optional
        For each run, the predicted dynamic sizes of its inputs. Left out if all sizes are fixed.
    predicted : PredictedSizes, optional
        Updated with the sizes of each run.

    Attributes
    ----------
    unknown : bool
        Whether a run was not found among the remaining runs of the model.
    missing : int
        The bytes that the step has added up to the forward pass of the latest run, minus ``room``. Positive if the step
        does not fit. Always 0 if every step runs all regions of ``model``.
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
        """The predicted size of this step, relative to the step that was measured; see :func:`growth_of`.

        It is 1.0 if all sizes are fixed.
        """
        return growth_of(self.model.sized, self._sizes) if self._sizes is not None else 1.0

    def mask(self, run: Run) -> NDArray[np.bool_] | None:
        """Return for each node whether its value is kept in a run that starts now.

        If the region of the run is not among the remaining runs of the model, None is returned.
        """
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
        """Count the bytes that a run of an unknown region keeps until its backward pass.

        The plans of the remaining runs are then chosen again. ``size`` is the number of bytes.
        """
        self._held += size
        self._reserved = max(0, self._reserved - size)
        self._changed = True

    def reserve(self, size: int) -> None:
        """Keep ``size`` bytes free for regions that the recorded step did not run.

        Bytes that :meth:`add` counts are taken from these bytes first.
        """
        self._reserved = size

    def _note_sizes(self, position: int, sizes: tuple[Any, ...]) -> None:
        """Update the prediction. If the run is larger than predicted, use its bytes and choose the rest again."""
        assert self._sizes is not None
        if position and self._predicted is not None:
            self._predicted.note(position, self._sizes[0], sizes)
        sized = self.model.sized[position]
        if sized.exceeds(sizes, self._sizes[position]):
            self._sizes = (*self._sizes[:position], sizes, *self._sizes[position + 1 :])
            self._options = (*self._options[:position], sized.at(sizes), *self._options[position + 1 :])
            self._changed = True

    def _choose_rest(self, first: int) -> None:
        """Choose the plans of the runs from ``first`` on.

        The combination that recomputes least and fits is chosen; if none fits, the one of least peak.
        """
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
