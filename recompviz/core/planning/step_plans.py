"""The plans of a training step that runs several planned regions with unplanned code between them.

A *region* is a part of a model that runs under its own plan, for example one graph that ``torch.compile`` captured.
The training step runs the forward passes of its regions in order, and their backward passes in reverse order. While a
region runs, the values that earlier regions saved are alive. The memory of the code between the regions is alive too.
The recomputation of the training step is the sum of its regions' recomputation. Its peak is the largest number of bytes
alive during or between the passes.

The regions are combined one after another, from the last to the first. Each plan of a region is combined with each
point of the Pareto front of the later regions. A point is a pair of recomputation and peak. The peak is counted above
the memory in use before the training step. The computation needs no budget, so the front has the plans for all budgets.
"""

from __future__ import annotations

import operator
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
    """The plans of one region, as arrays with one entry for each plan.

    The bytes do not include memory of the code outside the region, nor bytes that other regions save.

    Attributes
    ----------
    overhead : numpy.ndarray of float64
        The cost of the calls that each plan recomputes, for example in milliseconds.
    forward_peak : numpy.ndarray of int64
        The largest number of bytes alive in the region's forward pass.
    saved : numpy.ndarray of int64
        The bytes that each plan saves from the region's forward pass for its backward pass.
    backward_peak : numpy.ndarray of int64
        The largest number of bytes alive in the region's backward pass, saved bytes included.
    """

    overhead: NDArray[np.float64]
    forward_peak: NDArray[np.int64]
    saved: NDArray[np.int64]
    backward_peak: NDArray[np.int64]

    def peaks(self, outside: Outside, later: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each plan the peak from the region's forward pass to the code after its backward pass, in bytes.

        The peak is the largest number of bytes alive, above the memory in use before the training step. Memory of the
        code outside and of later regions is included. Bytes that earlier regions save are not included.

        Parameters
        ----------
        outside : Outside
            Bytes that the code outside the region holds.
        later : int or numpy.ndarray of int64, shape (#points,)
            The largest number of bytes alive while later regions run, above the memory in use before the training step.
            An array has one entry for each point of the Pareto front of the later regions.

        Returns
        -------
        numpy.ndarray of int64, shape (#plans,) or (#plans, #points)
            With two axes if ``later`` is an array.
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
    """Bytes that the code outside a region holds, above the memory in use before the training step.

    Attributes
    ----------
    forward, backward : int
        Bytes held while the region's forward or backward pass runs.
    after_forward : int
        The largest number of bytes held from the end of the forward pass until the next pass of any region starts.
    after_backward : int
        The largest number of bytes held from the end of the backward pass until the next pass of any region starts; 0
        after the last pass.
    """

    forward: int = 0
    after_forward: int = 0
    backward: int = 0
    after_backward: int = 0


@dataclass(frozen=True, eq=False)
class StepPlans:
    """The Pareto front of recomputation and peak of a training step, by rising recomputation and falling peak; frozen.

    Attributes
    ----------
    overhead : tuple of float
        The recomputation at each point: the sum of the overheads of the regions' plans.
    peak : tuple of int
        The peak at each point, in bytes above the memory in use before the training step.
    choices : tuple of tuple of int
        For each point and each region, the position of the plan in the region's :class:`RegionPlans`.
    """

    overhead: tuple[float, ...]
    peak: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]

    @property
    def least(self) -> int:
        """The least peak of all points, in bytes above the memory in use before the training step."""
        return self.peak[-1]

    def fitting(self, room: int) -> int | None:
        """Return the position of the point of least recomputation whose peak is at most ``room``; None if none fits.

        ``room`` counts bytes above the memory in use before the training step, as :attr:`peak` does.
        """
        # peaks fall, so their negatives rise
        first = bisect_right(self.peak, -room - 1, key=operator.neg)
        return first if first < len(self.peak) else None


def step_plans(regions: Sequence[RegionPlans], outside: Sequence[Outside]) -> StepPlans:
    """Return the Pareto front of recomputation and peak of a training step, from the plans of its regions.

    The regions are added one by one, from the last to the first. Each time, a front of more than 2000 points is thinned
    to 2000 points. The result may then lack points of the exact front, but the peak of each of its points is exact.

    Parameters
    ----------
    regions : sequence of RegionPlans
        One for each region, in the order of the forward passes.
    outside : sequence of Outside
        One for each region, in the same order.

    Raises
    ------
    ValueError
        If ``regions`` and ``outside`` differ in length.

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
    """Compute the peaks of a front again for plans whose bytes have changed, for example because the batch is larger.

    Each point keeps its choice of plans. Points that are no longer on the Pareto front are left out. This function is
    faster than :func:`step_plans`, but tries only the choices of ``front``.

    Parameters
    ----------
    front : StepPlans
        The front before the change. Its overheads are used unchanged.
    regions : sequence of RegionPlans
        The same plans as for ``front``, with their new bytes, in the order of the forward passes.
    outside : sequence of Outside
        One for each region, in the same order.
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
    """Return, for each choice of plans, the peak of the part of a training step that begins with a region.

    A choice has one plan for each region. The part lasts from the forward pass of the region at position ``first``
    until the code after its backward pass has run. Memory that was in use before the training step, and bytes that
    earlier regions save, do not count.

    Parameters
    ----------
    choices : numpy.ndarray of int, shape (#choices, #regions)
        For each choice and each region, the position of the plan in the region's :class:`RegionPlans`.
    regions : sequence of RegionPlans
        One for each region, in the order of the forward passes.
    outside : sequence of Outside
        One for each region, in the same order.
    first : int
        The position of the region with which the part begins, in ``regions``.

    Returns
    -------
    numpy.ndarray of int64, shape (#choices,)
        The peak of each choice, in bytes.
    """
    need = np.zeros(len(choices), np.int64)
    for i in reversed(range(first, len(regions))):
        plans, around, rows = regions[i], outside[i], choices[:, i]
        later = np.maximum(need, around.after_forward)
        forward = around.forward + plans.forward_peak[rows]
        backward = np.maximum(around.backward + plans.backward_peak[rows], around.after_backward)
        need = np.maximum(np.maximum(forward, backward), plans.saved[rows] + later)
    return need
