"""Keep masks that the search has simulated, and their Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.live.model import LiveModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Candidate:
    """A keep mask that was simulated.

    Attributes
    ----------
    peak : int
        Transient peak, bytes.
    overhead : float
        T of the nodes that its schedule recomputes.
    keep_mask : numpy.ndarray of bool, shape (#V,)
    """

    peak: int
    overhead: float
    keep_mask: NDArray[np.bool_]


class Candidates:
    """All candidates of one search.

    Parameters
    ----------
    model : LiveModel
    pinned : numpy.ndarray of int8, shape (#V,)
        1 for nodes that every candidate keeps, −1 for nodes that none keeps, otherwise 0.
    """

    def __init__(self, model: LiveModel, pinned: NDArray[np.int8]) -> None:
        self.model, self.pinned = model, pinned
        self._found: dict[bytes, Candidate] = {}
        self._has_constants = any(call.follows for call in model.joint.calls)

    def with_pins(self, keep_mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The keep mask with the pinned nodes set as they are pinned."""
        return (keep_mask | (self.pinned > 0)) & (self.pinned >= 0)

    def add(self, keep_mask: NDArray[np.bool_]) -> Candidate:
        """Simulate a keep mask and add the result to the candidates.

        Returns
        -------
        Candidate
            Its mask keeps every value that the schedule does not recompute, so it may keep more than ``keep_mask``.
            If a candidate with this mask exists, that one is returned.
        """
        run = self.model.simulate(np.ascontiguousarray(keep_mask))
        recomputed, peak = run.recomputed, run.peak
        if self._has_constants:  # whether a constant stays depends on the nodes that read it
            run = self.model.simulate(~recomputed)
            peak = run.peak
        # a view is kept with the call that owns its memory, which has a flag of its own: only that flag is moved
        overhead = float(self.model.graph.time[recomputed].sum())
        found = Candidate(peak, overhead, ~recomputed & ~self.model.is_view)
        return self._found.setdefault(np.packbits(found.keep_mask).tobytes(), found)

    def front(self) -> list[Candidate]:
        """The Pareto front: overhead rising, peak falling."""
        front: list[Candidate] = []
        for found in sorted(self._found.values(), key=lambda found: (found.overhead, found.peak)):
            if not front or found.peak < front[-1].peak:
                front.append(found)
        return front

    def best_within(self, budget: int) -> Candidate:
        """The candidate of least overhead whose peak is at most the budget, transient bytes."""
        return next(found for found in self.front() if found.peak <= budget)
