"""Use Pareto fronts that are known before a search to make the search faster.

Known fronts come from a smaller family of lower sets or from the other objective. The solver searches only for points
(overhead, peak) that improve on the known fronts. These points lie below the known fronts, in a union of rectangles,
called *cells*. Labels (partial solutions) that cannot end in a cell are dropped. The points found are then merged with
the known fronts. The result is exact, because a dropped label leads to no point that improves on the known fronts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.plans.curve import ParetoFront

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDLESS = 2**62


class KnownCurve:
    """Fronts that are known before a search, and the merge with the points that the search finds.

    Parameters
    ----------
    fronts : sequence of ParetoFront
        Fronts of sequences that the search allows; may be empty. If it is not empty, one of the fronts must have a
        point with the least peak of all allowed sequences.
    quanta : float
        Number of quanta per unit of overhead (cost of recomputation), with a minus sign for the memory-centric
        objective. A quantum is the unit of integer costs (:mod:`recompviz.core.exact.whole_times`). The solver's
        integer t is an overhead times ``quanta``.
    """

    def __init__(self, fronts: Sequence[ParetoFront], quanta: float) -> None:
        self.quanta = quanta
        self.fronts = [front for front in fronts if len(front)]

    def cells(self) -> NDArray[np.int64]:
        """Return the cells in which a point (t, peak) improves on the known fronts.

        Here t is the overhead times ``quanta``. Each row is one cell: (largest t, largest peak in bytes). A point is in
        the cell if neither its t nor its peak is larger. From row to row, the largest t rises and the largest peak
        falls. Without known fronts, one cell contains all points.

        Examples
        --------
        >>> front = ParetoFront(np.array([1.0, 4.0]), np.array([9, 5]), lambda position: [])
        >>> KnownCurve([front], 1.0).cells()[1:].tolist()
        [[3, 8]]
        """
        if not self.fronts:
            return np.array([[ENDLESS, ENDLESS]], dtype=np.int64)
        known = self.joined(ParetoFront(np.zeros(0), np.zeros(0, np.int64), lambda _position: []))
        t = np.rint(known.overheads * self.quanta).astype(np.int64)
        # there is no cell below the last point, whose peak is the least of all
        return np.stack([t - 1, np.concatenate([[ENDLESS], known.peaks[:-1] - 1])], axis=1)

    def joined(self, found: ParetoFront) -> ParetoFront:
        """Return the Pareto front of the points of ``found`` and of the known fronts.

        If ``found`` and a known front have an equal point, the point of ``found`` is taken.
        """
        if not self.fronts:
            return found
        fronts = [found, *self.fronts]
        t = np.concatenate([front.overheads * self.quanta for front in fronts])
        peaks = np.concatenate([front.peaks for front in fronts])
        source = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
        position = np.concatenate([np.arange(len(front)) for front in fronts])
        order = np.lexsort((source, peaks, t))
        falling = peaks[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = falling[1:] < np.minimum.accumulate(falling)[:-1]
        best = order[first]
        overheads = np.concatenate([front.overheads for front in fronts])[best]

        def walk_back(at: int) -> Sequence[int]:
            return fronts[int(source[best[at]])].walk_back(int(position[best[at]]))

        return ParetoFront(overheads, peaks[best], walk_back, max(front.error for front in fronts))
