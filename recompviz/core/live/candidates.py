"""The keep masks among which a search chooses, and their Pareto front of peak and overhead."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.live.archive import Archive
from recompviz.core.live.model import LiveModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


# the number of intervals of an archive
INTERVALS = 192
# an archive begins this share below the least peak that is known
MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class Candidate:
    """A keep mask with its simulated peak and overhead.

    Attributes
    ----------
    peak : int
        The largest number of transient bytes alive at one time: parameters and other memory allocated before the
        training step are not counted.
    overhead : float
        The sum of T_v over the nodes that the schedule recomputes, in the unit of ``graph.time``.
    keep_mask : numpy.ndarray of bool, shape (#V,)
        For each node, whether its value is kept for the backward pass. False for views.
    """

    peak: int
    overhead: float
    keep_mask: NDArray[np.bool_]


class Candidates:
    """The candidates of one search: the keep masks that were added, with their simulated peaks and overheads.

    A keep mask says for each node whether its value is kept for the backward pass.

    Parameters
    ----------
    model : LiveModel
    pinned : numpy.ndarray of int8, shape (#V,)
        1 for nodes pinned to be kept, −1 for nodes pinned to be recomputed, 0 for the others.
    """

    def __init__(self, model: LiveModel, pinned: NDArray[np.int8]) -> None:
        self.model, self.pinned = model, pinned
        self._found: dict[bytes, Candidate] = {}
        self._front: list[Candidate] = []
        self._has_constants = any(call.follows for call in model.joint.calls)

    def with_pins(self, keep_mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a copy of the keep mask in which pinned nodes have the flags that their pins ask for."""
        return (keep_mask | (self.pinned > 0)) & (self.pinned >= 0)

    def add(self, keep_mask: NDArray[np.bool_]) -> Candidate:
        """Simulate a keep mask and add the result to the candidates.

        Returns
        -------
        Candidate
            Its keep mask has all nodes that the schedule does not recompute, except views, so it may differ from
            ``keep_mask``. If there is a candidate with the same keep mask already, that candidate is returned.
        """
        run = self.model.simulate(np.ascontiguousarray(keep_mask))
        recomputed, peak = run.recomputed, run.peak
        if self._has_constants:  # whether a constant stays depends on the nodes that read it
            run = self.model.simulate(~recomputed)
            peak = run.peak
        # a view is kept with the call that owns its memory, which has a flag of its own: only that flag is moved
        overhead = float(self.model.graph.time[recomputed].sum())
        found = Candidate(peak, overhead, ~recomputed & ~self.model.is_view)
        key = np.packbits(found.keep_mask).tobytes()
        if key not in self._found:
            self._found[key] = found
            self._add_to_front(found)
        return self._found[key]

    def _add_to_front(self, found: Candidate) -> None:
        """Put a new candidate on the Pareto front, and remove those that it dominates; nothing if it is dominated."""
        front = self._front
        cheaper = bisect_right(front, found.overhead, key=lambda candidate: candidate.overhead)
        if cheaper and front[cheaper - 1].peak <= found.peak:
            return
        # It dominates a candidate of equal overhead, and those after it whose peak is not lower.
        begin = bisect_left(front, found.overhead, hi=cheaper, key=lambda candidate: candidate.overhead)
        end = bisect_right(front, -found.peak, lo=cheaper, key=lambda candidate: -candidate.peak)
        front[begin:end] = [found]

    def front(self) -> list[Candidate]:
        """Return the candidates on the Pareto front, in order of rising overhead and falling peak."""
        return list(self._front)

    def archive(self) -> Archive:
        """Return an archive in which no keep mask is stored yet.

        In each interval, it stores only keep masks with less overhead than every candidate whose peak is not above the
        largest peak of the interval.
        """
        front = self.front()
        lowest = int(front[-1].peak * (1 - MARGIN))
        step = max(1, (front[0].peak - lowest) // INTERVALS)
        peaks = np.array([candidate.peak for candidate in reversed(front)])
        overheads = np.array([np.inf, *(candidate.overhead for candidate in reversed(front))])
        best = overheads[np.searchsorted(peaks, lowest + step * np.arange(INTERVALS), side="right")]
        keep_masks = np.zeros((INTERVALS, len(self.model.graph)), np.bool_)
        return Archive(lowest, step, best, np.zeros(INTERVALS, np.bool_), keep_masks)

    def best_within(self, budget: int) -> Candidate:
        """Return the candidate of least overhead whose peak is at most ``budget``, in transient bytes.

        Raises
        ------
        ValueError
            If no candidate fits in the budget.
        """
        first = bisect_left(self._front, -budget, key=lambda candidate: -candidate.peak)
        if first < len(self._front):
            return self._front[first]
        raise ValueError(f"no candidate fits in {budget:,} transient bytes; add one that does, or raise the budget")
