"""Times of eager and planned training steps, measured in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class StepTimes:
    """Wall-clock times of pairs of one eager and one planned training step, in milliseconds; frozen.

    Attributes
    ----------
    eager, planned : tuple of float
        The time of each eager and of each planned step. The steps at the same position are a pair.
    predicted_extra : float or None
        The predicted extra time of the planned step. None if the costs are not times.

    Examples
    --------
    >>> times = StepTimes((10.0, 12.0, 11.0), (12.0, 14.4, 13.2), 1.5)
    >>> times.eager_step, round(times.planned_step, 2), round(times.extra, 3), times.predicted_step
    (11.0, 13.2, 0.2, 12.5)
    """

    eager: tuple[float, ...]
    planned: tuple[float, ...]
    predicted_extra: float | None = None

    @property
    def eager_step(self) -> float:
        """The median time of the eager steps."""
        return median(self.eager)

    @property
    def extra(self) -> float:
        """The extra time of the planned steps as a share of the eager time: the median over the pairs."""
        return median(plan / eager - 1 for eager, plan in zip(self.eager, self.planned, strict=True))

    @property
    def planned_step(self) -> float:
        """The time of the planned step: ``eager_step * (1 + extra)``.

        The share ``extra`` is taken within pairs, because the two steps of a pair ran under about the same load.
        """
        return self.eager_step * (1 + self.extra)

    @property
    def predicted_step(self) -> float | None:
        """The measured time of the eager step plus the predicted extra time. None if the costs are not times."""
        return None if self.predicted_extra is None else self.eager_step + self.predicted_extra
