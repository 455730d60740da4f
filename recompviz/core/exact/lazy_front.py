"""A front that is solved when it is first looked at.

A slider shows the time-centric curve; the memory-centric one is often never asked for, and on wide
graphs costs as much again. It behaves as a ParetoFront in every way, and is solved once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recompviz.core.plans.curve import ParetoFront


class LazyParetoFront(ParetoFront):
    """A ParetoFront whose arrays come from ``solve()`` on first use.

    Examples
    --------
    >>> import numpy as np
    >>> front = LazyParetoFront(lambda: ParetoFront(np.array([1.0]), np.array([8]), lambda position: [1]))
    >>> front.is_solved, len(front), front.is_solved
    (False, 1, True)
    """

    def __init__(self, solve: Callable[[], ParetoFront]) -> None:
        object.__setattr__(self, "_solve", solve)

    @property
    def is_solved(self) -> bool:
        """Whether the arrays are there already."""
        return "peaks" in self.__dict__

    def __getattr__(self, name: str) -> Any:
        # only reached while a field is missing
        if name not in ("overheads", "peaks", "walk_back"):
            raise AttributeError(name)
        front = self._solve()
        for field in ("overheads", "walk_back", "peaks"):
            object.__setattr__(self, field, getattr(front, field))
        return getattr(self, name)
