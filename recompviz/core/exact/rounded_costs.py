"""Trade-off curves whose plans are optimal up to a small, proven part of the forward pass.

The exact solver's partial solutions are called labels. If costs are not small integers, nearly all sums of costs
differ, and a graph of a hundred nodes can have more labels than fit in memory. Costs are then rounded to a common unit.
The plans that are optimal for the rounded costs are optimal for the given costs up to a proven tolerance; see
:func:`recompviz.core.graphs.costs.rounded_within`. The overheads of the curve are those of the given costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.errors import RecompvizError
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bit_matrix
from recompviz.core.plans.curve import Objective, ParetoFront

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph

# Tolerances that are tried one after another, as parts of T(V).
TOLERANCES = (0.001, 0.004, 0.016, 0.064)
# Costs are fine if the mean cost is more than this many times their common unit.
FINE = 50


class TooManyLabels(RecompvizError, MemoryError):
    """The search over unrounded costs would take too much memory."""


def has_fine_costs(graph: Graph) -> bool:
    """Return whether the costs have no common unit, or a unit that is small compared with the mean cost.

    The sums of such costs may have many values. Integers such as the paper's 10 and 1 are not fine.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from recompviz.core.graphs.graph import Graph
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1], time=[10, 1, 1])
    >>> has_fine_costs(g), has_fine_costs(replace(g, time=[0.7, 0.123, 0.999]))
    (False, True)
    """
    quanta, _ = whole_times(graph.time)
    unit = int(np.gcd.reduce(quanta, initial=0))
    return unit > 0 and int(quanta.sum()) // unit > FINE * len(graph)


def with_given_costs(graph: Graph, front: ParetoFront, objective: Objective, spacing: float) -> ParetoFront:
    """Return the front of the same sequences with the costs of ``graph``.

    Parameters
    ----------
    graph : Graph
    front : ParetoFront
        Found for the same graph with rounded costs.
    objective : "time" or "memory"
        Points that another point beats for the costs of ``graph`` are left out.
    spacing : float
        Of the points whose overheads lie in the same interval of this length, in the unit of the rounded costs, the one
        with the least peak is taken.
    """
    interval = np.floor(front.overheads / spacing)
    chosen = np.flatnonzero(np.append(interval[1:] != interval[:-1], True)) if len(front) else np.zeros(0, np.int64)
    chosen = np.union1d(chosen, np.zeros(min(len(front), 1), np.int64)).astype(np.int64)  # the largest peak, too
    kept_at: dict[int, int] = {}  # the boundary of each lower set, as bit masks
    overheads = np.empty(len(chosen))
    for i, position in enumerate(chosen.tolist()):
        kept = 0
        for lower_set in front.walk_back(position):
            if lower_set not in kept_at:
                kept_at[lower_set] = graph.boundary_mask(lower_set)
            kept |= kept_at[lower_set]
        overheads[i] = graph.time[~bit_matrix([kept], len(graph))[0]].sum()
    # by rising peak, keep each point that improves the overhead
    signed = overheads[::-1] if objective == "time" else -overheads[::-1]
    best = np.ones(len(signed), np.bool_)
    best[1:] = signed[1:] < np.minimum.accumulate(signed)[:-1]
    positions, walk_back = chosen[best[::-1]], front.walk_back
    return ParetoFront(overheads[best[::-1]], front.peaks[positions].copy(), lambda i: walk_back(int(positions[i])))
