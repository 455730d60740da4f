"""Every error that recompviz raises on purpose.

Each names the bad value, what was expected and the next step, and carries the figures as
attributes so that a widget can show them without parsing the text.
"""

from __future__ import annotations

from recompviz.core.base.units import format_bytes


class RecompvizError(Exception):
    """The base of all errors that recompviz raises on purpose."""


class GraphError(RecompvizError, ValueError):
    """A graph, or a set of its nodes, is not what the theory needs."""


class InfeasibleBudget(RecompvizError, ValueError):
    """No plan fits the budget.

    Parameters
    ----------
    budget, least : int
        Bytes: what was asked for, and the least that any plan of the curve needs.
    unit : str
        ``"formula"`` (intermediate values only) or ``"total"`` (what the device sees).
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
    """The graph has more lower sets than the limit allows to enumerate."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the graph has more than {limit:,} lower sets; "
            'plan on a smaller family (family="prefixes" or "paper") or raise the limit'
        )

    def __reduce__(self) -> tuple[type[TooManyLowerSets], tuple[int]]:
        return type(self), (self.limit,)


class ImpossiblePin(RecompvizError, ValueError):
    """No plan can keep, or recompute, all the nodes that were pinned."""


class PlanMismatch(RecompvizError, ValueError):
    """A plan was made for another graph than the one it is used with."""


class Cancelled(RecompvizError):
    """The work was superseded or cancelled by the user before it ended."""
