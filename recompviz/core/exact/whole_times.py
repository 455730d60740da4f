"""Costs as integers, so that sums of measured times are exact in any order.

Two solvers that add the same costs T_v in different orders must get the same overhead. Otherwise rounding errors would
decide between plans of equal overhead. Each cost is therefore rounded to a multiple of a *quantum*, which is a power of
two. Every sum of quanta is exact in int64 and float64. Rounding changes a cost by less than 2⁻⁴⁹ of T(V). If all costs
are integers with a sum below 2⁵⁰, like the paper's 10 and 1, the quantum is 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 50


def whole_times(time: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Return the costs as integers in quanta (see the module), and the number of quanta per unit of ``time``.

    Examples
    --------
    >>> whole_times(np.array([10.0, 1.0]))
    (array([10,  1]), 1.0)
    >>> quanta, scale = whole_times(np.array([0.1, 0.2, 0.4]))
    >>> quanta / scale
    array([0.1, 0.2, 0.4])
    """
    total = math.fsum(time.tolist())
    if total < 2.0**BITS and bool(np.all(time == np.floor(time))):
        return time.astype(np.int64), 1.0
    scale = 2.0 ** (BITS - math.frexp(total)[1])
    return np.rint(time * scale).astype(np.int64), scale
