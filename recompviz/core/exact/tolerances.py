"""When the solver may return plans that are optimal up to a small, proven part of the forward pass.

The exact solver's partial solutions are called labels. With costs that are no small integers, nearly all sums of costs
differ, and a graph of a hundred nodes can have more labels than fit in memory. Labels are then dropped if another label
has no larger peak, and an overhead that is larger by a small error. The errors are counted, so that their bound is
proven; see :mod:`recompviz.core.exact.label_kernels` and :func:`recompviz.core.exact.pair_kernels.pair_sweep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.errors import RecompvizError
from recompviz.core.exact.whole_times import whole_times

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph

# Tolerances that are tried one after another, as parts of T(V).
TOLERANCES = (0.001, 0.004, 0.016, 0.064)
# Costs are fine if the mean cost is more than this many times their common unit.
FINE = 50


class TooManyLabels(RecompvizError, MemoryError):
    """The search would take more memory than the caller allows."""


def has_fine_costs(graph: Graph) -> bool:
    """Return whether the costs have no common unit, or a unit that is small compared with the mean cost.

    The sums of such costs may have many values. Small integers such as 10 and 1 are not fine.

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
