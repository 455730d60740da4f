"""Costs of nodes: given costs are checked and become arrays with one number per node; real times are rounded."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def by_name(what: str, costs: Mapping[Any, Any] | Sequence[Any], names: Sequence[Hashable]) -> Any:
    """Costs as an array, in the order of the names; ``what`` is the argument's name, for errors."""
    if isinstance(costs, Mapping):
        missing = [name for name in names if name not in costs]
        if missing or len(costs) != len(names):
            extra = [name for name in costs if name not in set(names)]
            raise GraphError(f"{what} must be given for each node: missing {some(missing)}, unknown {some(extra)}")
        return np.array([costs[name] for name in names])
    if len(costs) != len(names):
        raise GraphError(f"{what} has {len(costs)} entries for {len(names)} nodes; give one per node")
    return np.array(costs)


def checked_costs(what: str, costs: Any, n: int, dtype: np.dtype[Any]) -> Any:
    """Costs as a read-only array with one number per node."""
    given = np.asarray(costs)
    if given.shape != (n,):
        raise GraphError(f"{what} has shape {given.shape}, expected ({n},), one number per node")
    if n and (given.dtype.kind not in "iufb" or not np.all(np.isfinite(given)) or given.min() < 0):
        raise GraphError(f"{what} must be finite numbers ≥ 0, got {some(given.tolist())}")
    array = given.astype(dtype)
    if dtype.kind == "i" and np.any(array != given):
        raise GraphError(f"{what} must be whole bytes, got {some(given[array != given].tolist())}")
    array.setflags(write=False)
    return array


def rounded_times(time: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Times as multiples of one power of two, so that few sums of them differ.

    The exact solver's curve has at most one point for each sum of times. Real numbers have far more different sums than
    multiples of a common unit. Sums of multiples of a power of two are exact in floating point.

    Parameters
    ----------
    time : numpy.ndarray of float64
    parts : int
        The unit is between 1/(2·parts) and 1/parts of the sum. Times above 0 are at least one unit.

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
    """The first few values as a text, for an error message."""
    values = list(values)
    text = ", ".join(map(repr, values[:most])) or "none"
    return text + (f", … ({len(values)} in total)" if len(values) > most else "")
