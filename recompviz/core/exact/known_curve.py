"""Upper bounds of a trade-off curve from sequences that are already known.

A smaller family or the other objective gives feasible sequences before the search. The curve lies on or below their
Pareto front. The solver searches only below it: the region is a staircase of rectangular cells, and labels that cannot
end in a cell are dropped. The found points are merged with the known fronts. The result stays exact, because a dropped
label cannot be better than a known point.
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
    """Known fronts of one objective, and the merge with points found below them.

    Parameters
    ----------
    fronts : sequence of ParetoFront
        Of allowed sequences; may be empty. If any is given, their least peak must be the least peak of all allowed
        sequences.
    quanta : float
        Factor from an overhead to the solver's t: quanta per unit, negative for the memory-centric
        objective.
    """

    def __init__(self, fronts: Sequence[ParetoFront], quanta: float) -> None:
        self.quanta = quanta
        self.fronts = [front for front in fronts if len(front)]

    def cells(self) -> NDArray[np.int64]:
        """The cells, as rows (largest t, largest peak), in which a sequence improves on the known fronts.

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
        """The Pareto front of the found and the known points; a found point wins a tie."""
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

        return ParetoFront(overheads, peaks[best], walk_back)
