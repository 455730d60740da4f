"""All errors that recompviz raises on purpose.

Each message has the bad value, what was expected and the next step. The numbers are attributes of the error, so
widgets and tests need not parse the text.
"""

from __future__ import annotations

from recompviz.core.base.units import format_bytes


class RecompvizError(Exception):
    """Base class of all errors that recompviz raises on purpose."""


class GraphError(RecompvizError, ValueError):
    """A graph, or a set of its nodes, does not meet the requirements of the theory."""


class InfeasibleBudget(RecompvizError, ValueError):
    """No plan fits the budget.

    Parameters
    ----------
    budget, least : int
        Bytes: the budget, and the least that any plan of the curve needs.
    unit : str
        ``"formula"`` (intermediate values only) or ``"total"`` (all bytes that the device allocates).
    """

    def __init__(self, budget: int, least: int, unit: str) -> None:
        self.budget = budget
        self.least = least
        self.unit = unit
        super().__init__(
            f"budget {format_bytes(budget)} ({unit} bytes) is below the least feasible "
            f"{format_bytes(least)}; raise the budget, or make the batch smaller"
        )

    def __reduce__(self) -> tuple[type[InfeasibleBudget], tuple[int, int, str]]:
        return type(self), (self.budget, self.least, self.unit)


class TooManyLowerSets(RecompvizError):
    """The graph has more lower sets than the limit.

    Parameters
    ----------
    limit : int
        The largest number of lower sets that was allowed; also an attribute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the graph has more than {limit:,} lower sets; "
            'plan on a smaller family (family="prefixes" or "paper") or raise the limit'
        )

    def __reduce__(self) -> tuple[type[TooManyLowerSets], tuple[int]]:
        return type(self), (self.limit,)


class ImpossiblePin(RecompvizError, ValueError):
    """No plan can keep, or recompute, all pinned nodes."""


class PlanMismatch(RecompvizError, ValueError):
    """A plan is used with another graph than the one it was made for."""


class Cancelled(RecompvizError):
    """The work was stopped by the user, or replaced by newer work, before it ended."""
