"""The archive: the best keep mask of each interval of peaks among all that a random walk simulates.

A walk searches for one budget, but simulates thousands of keep masks with other peaks. Some of them are the best plans
known for other budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
