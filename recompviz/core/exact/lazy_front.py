"""A Pareto front that is computed when it is first used.

The front of the plans of largest overhead is often not needed. With many lower sets, computing it takes as long as
computing the front of the plans of least overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recompviz.core.plans.curve import ParetoFront

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress


class LazyParetoFront(ParetoFront):
    """A Pareto front that is computed when its points are first read, and then kept.

    Parameters
    ----------
    solve : callable (progress) → ParetoFront
        Computes the front. ``progress`` is a callable (done, total) or None.

    Examples
    --------
    >>> import numpy as np
    >>> front = LazyParetoFront(lambda progress: ParetoFront(np.array([1.0]), np.array([8]), lambda position: [1]))
    >>> front.is_solved, len(front), front.is_solved
    (False, 1, True)
    """

    _compute: Callable[[Progress | None], ParetoFront]

    def __init__(self, solve: Callable[[Progress | None], ParetoFront]) -> None:
        object.__setattr__(self, "_compute", solve)

    @property
    def is_solved(self) -> bool:
        """Whether the front has been computed."""
        return "peaks" in self.__dict__

    def solve(self, progress: Progress | None = None) -> None:
        """Compute the front now, unless it has been computed.

        If the computation raises an error, the next call or read of an attribute computes the front again.

        Parameters
        ----------
        progress : callable (done, total), optional
            Called during the computation. Raise :class:`recompviz.Cancelled` in it to stop.
        """
        if self.is_solved:
            return
        front = self._compute(progress)
        for field in ("overheads", "walk_back", "error", "peaks"):  # ``peaks`` last: it marks the front as solved
            object.__setattr__(self, field, getattr(front, field))

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for an attribute that is missing.
        if name not in ("overheads", "peaks", "walk_back", "error"):
            raise AttributeError(name)
        self.solve()
        return getattr(self, name)
