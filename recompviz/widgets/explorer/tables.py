"""The tables that an Explorer chooses from, by number.

A choice is a pair (table, row). The tables of the objectives come first, then a slot for given plans (baselines and
loaded plans), a slot for the table solved with pins, and a slot for each other solver tried. A slot may be empty, so
that the number of a table keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable, TableObjective
from recompviz.core.steps.blocks import binding

if TYPE_CHECKING:
    from recompviz.core.planning.planner import Planner

# Families of lower sets, from their names in code to their names for people.
FAMILIES = {
    "auto": "exact if affordable",
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
        The name of each row, for people.
    binding : str
        Where the plan of least peak peaks and what is alive there.
    family : str
        The family of lower sets it was solved over.
    base : int
        For a table solved with pins, the number of the table without them; else −1.
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
        One per objective.
    planner : Planner
        Simulates plans.
    """

    def __init__(self, tables: Sequence[PlanTable], planner: Planner) -> None:
        self._planner = planner
        self.first = tuple(self._shown(table) for table in tables)
        self.more: list[Shown | None] = [None, None]
        self._given: list[tuple[str, Plan]] = []

    @property
    def given(self) -> int:
        """The number of the slot of given plans."""
        return len(self.first)

    @property
    def pinned(self) -> int:
        """The number of the slot of the table solved with pins."""
        return len(self.first) + 1

    def replace(self, tables: Sequence[PlanTable]) -> None:
        """Replace the tables of the objectives, and empty the slot of the table solved with pins."""
        self.first = tuple(self._shown(table) for table in tables)
        self.pin(None)

    def shown(self, number: int) -> Shown | None:
        """The table with a number as it is shown; None for an empty slot."""
        everything = [*self.first, *self.more]
        return everything[number] if 0 <= number < len(everything) else None

    def table(self, number: int) -> PlanTable:
        """The table with a number."""
        found = self.shown(number)
        if found is None:
            raise IndexError(f"there is no table {number}")
        return found.table

    def has(self, number: int, row: int) -> bool:
        """Whether a table has a row."""
        found = self.shown(number)
        return found is not None and 0 <= row < len(found.table)

    def give(self, plans: Iterable[tuple[str, Plan]]) -> None:
        """Add given plans with their names."""
        self._given += plans
        names = {plan.keep_mask.tobytes(): name for name, plan in reversed(self._given)}
        table = self._planner.table([plan for _, plan in self._given])
        self.more[0] = self._shown(table, [names.get(plan.keep_mask.tobytes(), plan.kind) for plan in table.plans])

    def pin(self, table: PlanTable | None, base: int = -1) -> None:
        """Fill the slot of the table solved with pins, or empty it."""
        self.more[1] = None if table is None else self._shown(table, base=base)

    def add(self, table: PlanTable, family: str) -> int:
        """Append a table found by another solver, and return its number."""
        self.more.append(self._shown(table, family=family))
        return len(self.first) + len(self.more) - 1

    def solved(self, objective: TableObjective, family: str) -> int:
        """The number of an objective's table by a solver; −1 if there is none yet."""
        for number, shown in enumerate([*self.first, *self.more]):
            fits = shown is not None and shown.table.objective == objective and shown.family == family
            if fits and number not in (self.given, self.pinned):
                return number
        return -1

    def find(self, plan: Plan) -> tuple[int, int] | None:
        """The first (table, row) that keeps the same values as a plan."""
        for number, shown in enumerate([*self.first, *self.more]):
            for row, other in enumerate(shown.table.plans if shown else ()):
                if np.array_equal(other.keep_mask, plan.keep_mask):
                    return number, row
        return None

    def _shown(self, table: PlanTable, names: Sequence[str] = (), family: str = "auto", base: int = -1) -> Shown:
        leanest = table.plans[int(table.total_peaks.argmin())]
        names = tuple(names or (plan.kind for plan in table.plans))
        return Shown(table, names, binding(self._planner.simulate(leanest)), family, base)
