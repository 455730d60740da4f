"""The budget of the compiled module that runs now.

Dynamo caches compiled code for each function of the user, not for each model. Models of one class therefore share their
regions (captured graphs). A region asks the budget of the model that calls it for a plan.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from recompviz.pytorch.executing.region import Chooser, Region, Run
from recompviz.pytorch.internals.dynamo import DynamoError
from recompviz.pytorch.tracing.user_errors import raise_if_it_must_come_through

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_active: ContextVar[Chooser | None] = ContextVar("recompviz_budget", default=None)
_used: weakref.WeakSet[Chooser] = weakref.WeakSet()


@contextlib.contextmanager
def active(budget: Chooser) -> Iterator[None]:
    """Let a budget choose the plans of the regions (captured graphs) that run in a ``with`` block.

    Dynamo may raise an error that wraps a MemoryError, or an exception of a class that neither Python, PyTorch nor
    recompviz defines. The wrapped exception is then raised in place of Dynamo's error.
    """
    _used.add(budget)
    before = _active.get()
    try:
        try:
            _active.set(budget)
            yield
        finally:
            _active.set(before)
    except DynamoError as error:  # it wraps what a backend raises
        raise_if_it_must_come_through(error)
        raise
    finally:  # again, in case an interrupt ended the first time
        _active.set(before)


def active_of(chooser: Chooser) -> Chooser | None:
    """Return the chooser that decides now.

    For an :class:`ActiveBudget`, this is the budget that is active now, or None if no budget is active. For any other
    chooser, it is the chooser itself.
    """
    return _active.get() if isinstance(chooser, ActiveBudget) else chooser


class ActiveBudget:
    """Lets the budget of the enclosing :func:`active` block choose the plans of regions (captured graphs).

    Outside such a block, every value is kept.
    """

    def add(self, region: Region) -> None:
        """Pass a region that was just captured to the active budget, if there is one."""
        budget = _active.get()
        if budget is not None:
            budget.add(region)

    def remove(self, region: Region) -> None:
        """Remove a region from every budget that has been active, because the region will not run again."""
        for budget in list(_used):
            budget.remove(region)

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """Return for each node whether its value is kept in the run that starts now; None keeps every value."""
        budget = _active.get()
        return None if budget is None else budget.choose(run)

    def note_inference(self, run: Run, peak: int) -> None:
        """Tell the active budget that a graph without a backward pass starts, and allocates up to ``peak`` bytes."""
        budget = _active.get()
        if budget is not None:
            budget.note_inference(run, peak)
