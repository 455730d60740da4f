"""The archive: the best keep mask of each interval of peaks among all that a random walk simulates.

A walk searches for one budget, but simulates thousands of keep masks with other peaks. Some of them are the best plans
known for other budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.live.candidates import Candidates

# the number of intervals
INTERVALS = 192
# the archive begins this share below the least peak that is known
MARGIN = 0.05


class Archive(NamedTuple):
    """The best keep mask of each interval of peaks.

    Interval i has the peaks of at most ``lowest + i * step`` transient bytes that are in no interval before it.

    Attributes
    ----------
    lowest, step : int
        The largest peak of the first interval, and the length of the others, in transient bytes.
    overheads : numpy.ndarray of float64, shape (#intervals,)
        The overhead that a keep mask must be below to be stored.
    changed : numpy.ndarray of bool, shape (#intervals,)
        Whether a keep mask was stored.
    keep_masks : numpy.ndarray of bool, shape (#intervals, #V)
        The keep masks that were stored.
    """

    lowest: int
    step: int
    overheads: NDArray[np.float64]
    changed: NDArray[np.bool_]
    keep_masks: NDArray[np.bool_]


def no_archive(nodes: int) -> Archive:
    """Return an archive that stores nothing."""
    return Archive(0, 1, np.zeros(0), np.zeros(0, np.bool_), np.zeros((0, nodes), np.bool_))


def archive_of(candidates: Candidates) -> Archive:
    """Return an archive that stores keep masks with less overhead than the candidates with the same peak."""
    front = candidates.front()
    lowest = int(front[-1].peak * (1 - MARGIN))
    step = max(1, (front[0].peak - lowest) // INTERVALS)
    peaks = np.array([candidate.peak for candidate in reversed(front)])
    overheads = np.array([np.inf, *(candidate.overhead for candidate in reversed(front))])
    best = overheads[np.searchsorted(peaks, lowest + step * np.arange(INTERVALS), side="right")]
    nodes = len(candidates.model.graph)
    return Archive(lowest, step, best, np.zeros(INTERVALS, np.bool_), np.zeros((INTERVALS, nodes), np.bool_))
