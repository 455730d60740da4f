"""A front that is solved on first use.

The memory-centric curve is often not needed, and on wide graphs it costs as much as the time-centric one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recompviz.core.plans.curve import ParetoFront

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress


class LazyParetoFront(ParetoFront):
    """A ParetoFront whose arrays are computed on first use, once.

    Parameters
    ----------
    solve : callable (progress) → ParetoFront

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
        """Whether the front was already computed."""
        return "peaks" in self.__dict__

    def solve(self, progress: Progress | None = None) -> None:
        """Compute the front now, unless it was already computed.

        Raise :class:`recompviz.Cancelled` in ``progress`` to stop.
        """
        if self.is_solved:
            return
        front = self._compute(progress)
        for field in ("overheads", "walk_back", "peaks"):  # ``peaks`` last: it marks the front as solved
            object.__setattr__(self, field, getattr(front, field))

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for an attribute that is missing.
        if name not in ("overheads", "peaks", "walk_back"):
            raise AttributeError(name)
        self.solve()
        return getattr(self, name)
