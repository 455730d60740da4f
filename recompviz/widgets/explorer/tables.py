"""The tables an Explorer chooses from: those it was made with, and those that come later.

A choice is a pair (table, row). The tables of the objectives come first and never change; then one slot for plans
that were given (baselines, plans loaded), one for what was solved under pins, and one for each
solver tried. A slot may be empty, so that the number of a table never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable, TableObjective
from recompviz.core.steps.blocks import binding

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.timeline import Timeline

Simulate = Callable[[Plan], "Timeline"]

# what solvers are called in code → for people
FAMILIES = {
    "auto": "exact where affordable",
    "all": "exact: all lower sets",
    "paper": "the paper's approximation: Lᵛ",
    "prefixes": "widened family",
}


@dataclass(frozen=True, eq=False)
class Shown:
    """A plan table as it is shown; frozen.

    Attributes
    ----------
    table : PlanTable
    names : tuple of str
        Of each row, for people.
    binding : str
        Where the leanest plan peaks and what is alive there.
    family : str
        Which solver made it.
    base : int
        For a table solved under pins, the number of the table without them; else −1.
    """

    table: PlanTable
    names: tuple[str, ...]
    binding: str
    family: str = "auto"
    base: int = -1


class Tables:
    """All tables by number.

    Parameters
    ----------
    tables : sequence of PlanTable
        One an objective.
    simulate : callable (Plan) → Timeline
    """

    def __init__(self, tables: Sequence[PlanTable], simulate: Simulate) -> None:
        self.simulate = simulate
        self.first = tuple(self._shown(table) for table in tables)
        self.more: list[Shown | None] = [None, None]
        self._given: list[tuple[str, Plan]] = []

    @property
    def given(self) -> int:
        """The number of the slot of plans that were given."""
        return len(self.first)

    @property
    def pinned(self) -> int:
        """The number of the slot of what was solved under pins."""
        return len(self.first) + 1

    def replace(self, tables: Sequence[PlanTable]) -> None:
        """Put better tables in the place of the first ones; what was solved under pins began from those, and goes."""
        self.first = tuple(self._shown(table) for table in tables)
        self.pin(None)

    def _shown(self, table: PlanTable, names: Sequence[str] = (), family: str = "auto", base: int = -1) -> Shown:
        leanest = table.plans[int(table.total_peaks.argmin())]
        names = tuple(names or (plan.kind for plan in table.plans))
        return Shown(table, names, binding(self.simulate(leanest)), family, base)

    def shown(self, number: int) -> Shown | None:
        """What has a number; None for an empty slot."""
        everything = [*self.first, *self.more]
        return everything[number] if 0 <= number < len(everything) else None

    def table(self, number: int) -> PlanTable:
        """The table that has a number."""
        found = self.shown(number)
        if found is None:
            raise IndexError(f"there is no table {number}")
        return found.table

    def has(self, number: int, row: int) -> bool:
        """Whether there is such a row."""
        found = self.shown(number)
        return found is not None and 0 <= row < len(found.table)

    def give(self, graph: Graph, plans: Iterable[tuple[str, Plan]]) -> None:
        """Add plans that were given, by name."""
        self._given += plans
        names = {plan.keep_mask.tobytes(): name for name, plan in reversed(self._given)}
        table = PlanTable.of(
            graph, "given", [plan for _, plan in self._given], lambda plan: self.simulate(plan).profile
        )
        self.more[0] = self._shown(table, [names.get(plan.keep_mask.tobytes(), plan.kind) for plan in table.plans])

    def pin(self, table: PlanTable | None, base: int = -1) -> None:
        """Fill, or empty, the slot of what was solved under pins."""
        self.more[1] = None if table is None else self._shown(table, base=base)

    def add(self, table: PlanTable, family: str) -> int:
        """Add what another solver found; its number."""
        self.more.append(self._shown(table, family=family))
        return len(self.first) + len(self.more) - 1

    def solved(self, objective: TableObjective, family: str) -> int:
        """The number of an objective's table by a solver, −1 if that has not been tried."""
        for number, shown in enumerate([*self.first, *self.more]):
            fits = shown is not None and shown.table.objective == objective and shown.family == family
            if fits and number not in (self.given, self.pinned):
                return number
        return -1

    def find(self, plan: Plan) -> tuple[int, int] | None:
        """The first (table, row) that keeps what a plan keeps."""
        for number, shown in enumerate([*self.first, *self.more]):
            for row, other in enumerate(shown.table.plans if shown else ()):
                if np.array_equal(other.keep_mask, plan.keep_mask):
                    return number, row
        return None


def affordable_row(table: PlanTable, budget: int) -> tuple[int, int]:
    """The row to run under a budget and that budget, raised to the least feasible one where it lies below it."""
    try:
        return table.row(budget), budget
    except InfeasibleBudget as error:
        return table.row(error.least), error.least
