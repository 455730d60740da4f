"""Divide the blocks of a model among the stages of a pipeline, so that the slowest stage takes the least time.

All stages wait for the slowest one. A stage that is short of memory recomputes more, and takes more time. With fewer
blocks, it can be as fast as the other stages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def best_split(blocks: int, costs: Sequence[Mapping[int, float]]) -> tuple[int, ...] | None:
    """Return the number of blocks of each stage for which the slowest stage takes the least time.

    Parameters
    ----------
    blocks : int
        The number of blocks of the model.
    costs : sequence of mapping of int to float
        For each stage, a mapping from a number of blocks to the time that the stage takes with them. The time is
        infinite or missing if the stage does not fit its memory with this number of blocks.

    Returns
    -------
    tuple of int or None
        The number of blocks of each stage; None if no division fits.

    Examples
    --------
    The first stage recomputes, so it gets fewer blocks:

    >>> slow, fast = {1: 4.0, 2: 8.0, 3: 12.0}, {1: 2.0, 2: 4.0, 3: 6.0}
    >>> best_split(4, [slow, fast])
    (1, 3)
    """
    # for each number of blocks of the stages so far: the largest cost, the sum, and the division
    best: dict[int, tuple[float, float, tuple[int, ...]]] = {0: (0.0, 0.0, ())}
    for stage in costs:
        found: dict[int, tuple[float, float, tuple[int, ...]]] = {}
        for used, (largest, total, split) in best.items():
            for count, cost in stage.items():
                row = max(largest, cost), total + cost, (*split, count)
                if used + count <= blocks and cost < math.inf and row < found.get(used + count, (math.inf, 0.0, ())):
                    found[used + count] = row
        best = found
    return best[blocks][2] if blocks in best else None
