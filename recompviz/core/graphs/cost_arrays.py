"""Check the costs of nodes, convert them to arrays with one number per node, and round measured times."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.arguments import named, shown
from recompviz.core.base.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray


# limits of the sums M(V) and T(V). A peak is at most 5 M(V), which is exact in 64 bits
MOST_BYTES = 2**60
LEAST_TIME, MOST_TIME = 1e-200, 1e200


def by_name(what: str, costs: Mapping[Any, Any] | Sequence[Any], names: Sequence[Hashable]) -> Any:
    """Return costs as a sequence in the order of ``names``.

    ``what`` names the costs in error messages. Raises GraphError if there is not exactly one cost for each name, and
    TypeError if the costs are neither a mapping nor a sequence.
    """
    if not hasattr(costs, "__len__") or not hasattr(costs, "__getitem__"):  # a set has no order
        raise TypeError(f"{what} is {shown(costs)}, expected a mapping from node names, or a sequence of numbers")
    if isinstance(costs, Mapping):
        missing = [name for name in names if name not in costs]
        if missing or len(costs) != len(names):
            extra = [name for name in costs if name not in set(names)]
            raise GraphError(f"{what} must be given for each node: missing {some(missing)}, unknown {some(extra)}")
        return [costs[name] for name in names]
    if len(costs) != len(names):
        raise GraphError(f"{what} has {len(costs)} entries for {len(names)} nodes; give one per node")
    return costs


def checked_costs(what: str, costs: Any, n: int, dtype: np.dtype[Any]) -> Any:
    """Return costs as a read-only array of shape (n,) and type ``dtype``.

    Each cost must be a finite number, not negative. For an integer type, each cost must also be a whole number, and the
    sum at most ``MOST_BYTES``. For a float type, the sum must be 0, or from ``LEAST_TIME`` to ``MOST_TIME``. Raises
    GraphError if ``costs`` has another shape or breaks one of these rules. ``what`` names the costs in the message.
    """
    try:
        given = np.asarray(costs)
    except ValueError:  # sequences of different lengths
        raise GraphError(f"{what} is {shown(costs)} of sequences, expected one number per node") from None
    if given.dtype.kind == "O" and all(isinstance(cost, Integral) for cost in given.flat):  # too large for 64 bits
        given = np.array([float(cost) if abs(cost) < MOST_TIME else 2 * MOST_TIME for cost in given.flat])
    if given.shape != (n,):
        raise GraphError(f"{what} has shape {given.shape}, expected ({n},), one number per node")
    if n and (given.dtype.kind not in "iufb" or not np.all(np.isfinite(given)) or given.min() < 0):
        raise GraphError(f"{what} must be finite numbers ≥ 0, got {some(given.tolist())}")
    total = sum(given.tolist()) if given.dtype.kind in "iub" else _sum(given.tolist())  # whole numbers exactly
    if dtype.kind == "i" and total > MOST_BYTES:
        raise GraphError(f"{what} adds up to {total:.3g} bytes, expected at most 2**60 (1 EiB); give bytes, not bits")
    if dtype.kind == "f" and total and not LEAST_TIME <= total <= MOST_TIME:
        raise GraphError(
            f"{what} adds up to {total:.3g}, expected 0 or {LEAST_TIME:g} to {MOST_TIME:g}; choose another unit"
        )
    array = given.astype(dtype)
    if dtype.kind == "i" and np.any(array != given):
        raise GraphError(f"{what} must be whole bytes, got {some(given[array != given].tolist())}")
    array.setflags(write=False)
    return array


def _sum(costs: list[float]) -> float:
    try:
        return math.fsum(costs)
    except OverflowError:
        return math.inf


def rounded_times(time: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Round times to multiples of a power of two, so that the trade-off curve has fewer points.

    The trade-off curve gives the least extra time for each memory budget. The exact solver's curve has at most one
    point for each distinct sum of times. Multiples of one number have far fewer distinct sums than measured times. Sums
    of multiples of a power of two are exact in floating point.

    Parameters
    ----------
    time : numpy.ndarray of float64
        The times, in any unit; not negative.
    parts : int
        The power of two is the largest one that is at most 1/``parts`` of the sum of all times.

    Returns
    -------
    numpy.ndarray of float64
        The rounded times, in the same unit as ``time``. A time above 0 becomes at least the power of two, and 0 stays
        0. If all times are 0, ``time`` itself.

    Examples
    --------
    >>> rounded_times(np.array([0.3, 0.6, 0.001, 0.0]), parts=10).tolist()
    [0.3125, 0.625, 0.0625, 0.0]
    """
    whole = math.fsum(time.tolist())
    if whole <= 0:
        return time
    unit = 2.0 ** math.floor(math.log2(whole / parts))
    return np.maximum(np.rint(time / unit), time > 0) * unit


def some(values: Iterable[Any], most: int = 6) -> str:
    """Return the first ``most`` values as text for an error message; ``"none"`` if there are no values.

    If there are more values, the text also says how many values there are in total.
    """
    values = list(values)
    text = ", ".join(map(named, values[:most])) or "none"
    return text + (f", … ({len(values)} in total)" if len(values) > most else "")
