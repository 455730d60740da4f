"""The archive of a random walk: for each interval of peaks, the best of all keep masks that the walk simulates.

A random walk searches for one budget. On its way it simulates thousands of keep masks with other peaks. Some of them
are the best plans known for other budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Archive(NamedTuple):
    """The best keep mask of each interval of peaks.

    Interval 0 has all peaks up to ``lowest``. Interval i > 0 has the peaks above ``lowest + (i − 1) * step``, up to
    ``lowest + i * step``. Peaks are in transient bytes, which do not include parameters. The best keep mask is the one
    of least overhead.

    Attributes
    ----------
    lowest, step : int
        The largest peak of the first interval, and the length of each other interval, in transient bytes.
    overheads : numpy.ndarray of float64, shape (#intervals,)
        For each interval, the least overhead so far. Only a keep mask of less overhead is stored.
    changed : numpy.ndarray of bool, shape (#intervals,)
        For each interval, whether a keep mask was stored.
    keep_masks : numpy.ndarray of bool, shape (#intervals, #V)
        For each interval, the keep mask that was stored; all False if none was stored.
    """

    lowest: int
    step: int
    overheads: NDArray[np.float64]
    changed: NDArray[np.bool_]
    keep_masks: NDArray[np.bool_]


def no_archive(nodes: int) -> Archive:
    """Return an archive without intervals, which stores nothing, for a graph of ``nodes`` nodes."""
    return Archive(0, 1, np.zeros(0), np.zeros(0, np.bool_), np.zeros((0, nodes), np.bool_))
