"""One budget for a step that runs several planned regions with unplanned code between them.

A step runs the forward passes of its regions in order, and their backward passes in reverse. While a region runs, what
earlier regions saved is alive, and so is what the code between the regions holds. The total recomputation of a step is
the sum over its regions; its peak is the largest of all moments. From the last region back to the first, the Pareto
front of (recomputation, peak above what was there before) is combined with each plan of the region. No budget appears
in this recursion, so one front answers every budget.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The most points of a front that are kept while regions are combined.
MOST_POINTS = 2000


@dataclass(frozen=True, eq=False)
class RegionPlans:
    """The plans of one region, as arrays with one row for each plan.

    Attributes
    ----------
    overhead : numpy.ndarray
        The recomputation of each plan, in the unit of the costs.
    forward_peak : numpy.ndarray of int
        The most bytes that the forward pass takes, above what is alive outside the region.
    saved : numpy.ndarray of int
        Bytes that stay alive from the forward to the backward pass because the plan saves them.
    backward_peak : numpy.ndarray of int
        The most bytes that the backward pass takes, with what is saved, above what is alive outside.
    """

    overhead: NDArray[np.float64]
    forward_peak: NDArray[np.int64]
    saved: NDArray[np.int64]
    backward_peak: NDArray[np.int64]

    def peaks(self, outside: Outside, later: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """The most bytes above what was alive before the step, from the forward to the end of the backward pass.

        Parameters
        ----------
        outside : Outside
        later : int or numpy.ndarray of int, shape (#points,)
            The most bytes that later regions take.

        Returns
        -------
        numpy.ndarray of int, shape (#plans,) or (#plans, #points)
        """
        forward = outside.forward + self.forward_peak
        backward = np.maximum(outside.backward + self.backward_peak, outside.after_backward)
        alone, between = np.maximum(forward, backward), np.maximum(later, outside.after_forward)
        if between.ndim:
            alone, saved = alone[:, None], self.saved[:, None]
            return np.maximum(alone, saved + between[None, :])
        return np.maximum(alone, self.saved + between)


@dataclass(frozen=True)
class Outside:
    """Bytes that code outside a region holds, above what was alive before the step.

    Attributes
    ----------
    forward, backward : int
        While the region's forward or backward pass runs.
    after_forward, after_backward : int
        The most between this pass and the next pass of any region.
    """

    forward: int = 0
    after_forward: int = 0
    backward: int = 0
    after_backward: int = 0


@dataclass(frozen=True, eq=False)
class StepPlans:
    """The Pareto front of a step: rising recomputation, falling peak.

    Attributes
    ----------
    overhead : tuple of float
    peak : tuple of int
        Bytes above what was alive before the step.
    choices : tuple of tuple of int
        For each point, the row of each region's plan.
    """

    overhead: tuple[float, ...]
    peak: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]

    @property
    def least(self) -> int:
        """The least peak, bytes above what was alive before the step."""
        return self.peak[-1]

    def fitting(self, room: int) -> int | None:
        """The point of least recomputation whose peak is at most ``room`` bytes; None if there is none."""
        # peaks fall, so their negatives rise
        first = bisect_right([-peak for peak in self.peak], -room - 1)
        return first if first < len(self.peak) else None


def step_plans(regions: Sequence[RegionPlans], outside: Sequence[Outside]) -> StepPlans:
    """Combine the plans of the regions of one step.

    Parameters
    ----------
    regions, outside : sequence
        One for each region, in the order of the forward passes.

    Examples
    --------
    Two regions that save 4 or 0 bytes. Each recomputes 1 unit if it saves nothing:

    >>> plans = RegionPlans(np.array([0.0, 1.0]), np.array([4, 4]), np.array([4, 0]), np.array([5, 5]))
    >>> front = step_plans([plans, plans], [Outside(), Outside()])
    >>> front.overhead, front.peak, front.choices
    ((0.0, 1.0), (9, 5), ((0, 0), (1, 0)))
    """
    overhead, need = np.zeros(1), np.zeros(1, np.int64)
    chosen: list[tuple[int, ...]] = [()]
    for plans, around in zip(reversed(regions), reversed(outside), strict=True):
        peaks = plans.peaks(around, need)
        times = plans.overhead[:, None] + overhead[None, :]
        order = np.lexsort((peaks.ravel(), times.ravel()))
        best = np.minimum.accumulate(peaks.ravel()[order])
        first = np.append(True, best[1:] < best[:-1])
        points = order[first]
        if len(points) > MOST_POINTS:
            points = points[np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int))]
        rows, tails = np.unravel_index(points, peaks.shape)
        overhead, need = times[rows, tails], peaks[rows, tails]
        chosen = [(int(row), *chosen[tail]) for row, tail in zip(rows, tails, strict=True)]
    return StepPlans(tuple(overhead.tolist()), tuple(need.tolist()), tuple(chosen))


def same_choices(front: StepPlans, regions: Sequence[RegionPlans], outside: Sequence[Outside]) -> StepPlans:
    """The points of a front for other bytes of the same plans, without those that another point makes useless.

    Faster than :func:`step_plans`; some points of the true front may be missing.

    Parameters
    ----------
    front : StepPlans
    regions, outside : sequence
        One for each region, in the order of the forward passes.
    """
    choices = np.array(front.choices, np.int64).reshape(len(front.choices), len(regions))
    peaks = rest_peaks(choices, regions, outside, 0)
    best = np.minimum.accumulate(peaks)
    points = np.flatnonzero(np.append(True, best[1:] < best[:-1])).tolist()
    return StepPlans(
        tuple(front.overhead[point] for point in points),
        tuple(peaks[points].tolist()),
        tuple(front.choices[point] for point in points),
    )


def rest_peaks(
    choices: NDArray[np.int64], regions: Sequence[RegionPlans], outside: Sequence[Outside], first: int
) -> NDArray[np.int64]:
    """The peaks of a step from one of its regions on, above what earlier regions saved.

    Parameters
    ----------
    choices : numpy.ndarray of int, shape (points, regions)
        Rows of the regions' plans.
    regions, outside : sequence
    first : int
        The region to start with.
    """
    need = np.zeros(len(choices), np.int64)
    for i in reversed(range(first, len(regions))):
        plans, around, rows = regions[i], outside[i], choices[:, i]
        later = np.maximum(need, around.after_forward)
        forward = around.forward + plans.forward_peak[rows]
        backward = np.maximum(around.backward + plans.backward_peak[rows], around.after_backward)
        need = np.maximum(np.maximum(forward, backward), plans.saved[rows] + later)
    return need
