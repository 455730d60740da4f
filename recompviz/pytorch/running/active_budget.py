"""The budget of the compiled module that runs now.

Dynamo keeps what it compiled by the user's code, not by the model: models of one class share their regions. So a
backend must be the same object for all of them, and a region asks for its plan the budget of the model that calls it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from recompviz.pytorch.running.region import Chooser, Region, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_active: ContextVar[Chooser | None] = ContextVar("recompviz_budget", default=None)
_used: weakref.WeakSet[Chooser] = weakref.WeakSet()


@contextlib.contextmanager
def active(budget: Chooser) -> Iterator[None]:
    """Let a budget choose the plans of the regions that run inside this block."""
    _used.add(budget)
    token = _active.set(budget)
    try:
        yield
    finally:
        _active.reset(token)


class ActiveBudget:
    """Asks the active budget. Without one every value is kept."""

    def add(self, region: Region) -> None:
        """Tell the active budget of a region that was just captured."""
        budget = _active.get()
        if budget is not None:
            budget.add(region)

    def remove(self, region: Region) -> None:
        """Tell every budget that a region will not run again."""
        for budget in list(_used):
            budget.remove(region)

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """The keep mask of a forward pass that starts now."""
        budget = _active.get()
        return None if budget is None else budget.choose(run)
