"""Check the edges that a graph is given, and bring them into one form: sorted pairs of node numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_edges(edges: Any, n: int) -> NDArray[np.int32]:
    """Return edges as a read-only array of shape (#E, 2), sorted and without repetitions.

    An edge is a pair (producer, consumer) of node numbers. Raises GraphError if the edges are not pairs of whole
    numbers, or if a number is not from 0 to ``n`` − 1.

    Examples
    --------
    >>> checked_edges([(1, 2), (0, 1), (1, 2)], 3).tolist()
    [[0, 1], [1, 2]]
    """
    try:
        given = np.asarray(edges)
    except ValueError:  # pairs of different lengths
        given = np.array([None])
    if given.size and (given.dtype.kind not in "iu" or given.size % 2):
        raise GraphError(f"edges are {shown(edges)}, expected pairs of node numbers, shape (#E, 2)")
    given = given.reshape(-1, 2)
    if len(given) and (given.min() < 0 or given.max() >= n):
        bad = given[(given.min(1) < 0) | (given.max(1) >= n)][0]
        raise GraphError(f"edge {tuple(bad.tolist())} names a node outside 0…{n - 1}")
    checked = np.unique(given.astype(np.int32), axis=0) if len(given) else np.zeros((0, 2), np.int32)
    checked.setflags(write=False)
    return checked
