"""The plan tables that an Explorer shows, by number.

First come the tables of the objectives, one for each. The next number belongs to the table of *given plans* (baselines
and loaded plans), and the number after it to the table solved with pins. Then comes each table of another solver. The
list of tables has one *slot* for each number. The slots of given plans and of pins exist from the start, and are empty
until there is such a table.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable, TableObjective
from recompviz.core.steps.little_to_save import little_to_save
from recompviz.core.steps.transient_blocks import binding

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
    """A plan table, with the texts that the page shows for it; frozen.

    Attributes
    ----------
    table : PlanTable
    names : tuple of str
        The name of the plan in each row.
    binding : str
        For the plan of least total peak: the step of the schedule at which the peak is reached, and what is alive
        there.
    little : str
        For a table ``"live"`` that a search found without pins: why recomputation saves little memory in this training
        step. Empty for any other table, and if recomputation saves 1 % or more.
    family : str
        The family of lower sets, if the user chose one for this table. Otherwise ``"auto"``, also for the table solved
        with pins.
    base : int
        For a table solved with pins: the number of the table of the same objective and solver without pins. Otherwise
        −1.
    """

    table: PlanTable
    names: tuple[str, ...]
    binding: str
    little: str
    family: str = "auto"
    base: int = -1


class Tables:
    """The plan tables that an Explorer shows, by number.

    Parameters
    ----------
    tables : sequence of PlanTable
        One for each objective.
    planner : Planner
        Simulates plans.
    searched : bool
        Whether a search found ``tables``. Otherwise they have plans that need no search.

    Attributes
    ----------
    first : tuple of Shown
        The tables of the objectives. Their numbers are their positions.
    more : list of Shown or None
        The tables after those in ``first``: the table of given plans, the table solved with pins, and the tables of
        other solvers. None stands for a table of given plans, or with pins, that does not exist.
    searched : bool
        Whether a search found the tables in ``first``.
    """

    def __init__(self, tables: Sequence[PlanTable], planner: Planner, searched: bool) -> None:
        self._planner, self.searched = planner, searched
        self.first = tuple(self._shown(table) for table in tables)
        self.more: list[Shown | None] = [None, None]
        self._given: list[tuple[str, Plan]] = []

    @property
    def given(self) -> int:
        """The number of the table of given plans (baselines and loaded plans), also if there are none yet."""
        return len(self.first)

    @property
    def pinned(self) -> int:
        """The number of the table solved with pins, also if there are no pins yet."""
        return len(self.first) + 1

    def replace(self, tables: Sequence[PlanTable]) -> Callable[[int], int]:
        """Replace the tables of the objectives by tables that a search found. The other tables stay.

        Returns
        -------
        callable (int) → int
            Returns the new number of a table from its old number; 0 for an objective that no longer exists.
        """
        before, after = len(self.first), len(tables)

        def renumbered(number: int) -> int:
            if number >= before:
                return number + after - before
            return number if number < after else 0

        self.searched = True
        self.first = tuple(self._shown(table) for table in tables)
        pinned = self.more[1]
        if pinned is not None:
            self.more[1] = dataclasses.replace(pinned, base=renumbered(pinned.base))
        return renumbered

    def improved(self) -> list[PlanTable]:
        """Return new tables of the objectives if the planner has better plans than the tables in ``first``.

        Otherwise, and if no search found the tables in ``first``, the result is empty. A search under pins can find
        better plans for the objective ``"live"`` than the search without pins.
        """
        old = [shown.table for shown in self.first]
        if not self.searched or all(table.objective != "live" for table in old):
            return []
        found = self._planner.plans("live")
        new = [found if table.objective == "live" and table.improved_by(found) else table for table in old]
        return [] if all(map(operator.is_, new, old)) else new

    def shown(self, number: int) -> Shown | None:
        """Return the table with a number, and its texts; None if there is no table with this number."""
        everything = [*self.first, *self.more]
        return everything[number] if 0 <= number < len(everything) else None

    def table(self, number: int) -> PlanTable:
        """Return the plan table of a table number.

        Raises
        ------
        IndexError
            If there is no table with this number.
        """
        found = self.shown(number)
        if found is None:
            raise IndexError(f"there is no table {number}")
        return found.table

    def has(self, number: int, row: int) -> bool:
        """Return whether there is a table with this number that has this row."""
        found = self.shown(number)
        return found is not None and 0 <= row < len(found.table)

    def give(self, plans: Iterable[tuple[str, Plan]]) -> None:
        """Add plans, as (name, plan) pairs, to the table of given plans."""
        self._given += plans
        names = {plan.keep_mask.tobytes(): name for name, plan in reversed(self._given)}
        table = self._planner.table([plan for _, plan in self._given])
        self.more[0] = self._shown(table, [names.get(plan.keep_mask.tobytes(), plan.kind) for plan in table.plans])

    def give_missing(self, plans: Iterable[tuple[str, Plan]]) -> bool:
        """Add the plans that no table contains to the table of given plans. Return whether there are any."""
        missing = [(name, plan) for name, plan in plans if self.find(plan) is None]
        if missing:
            self.give(missing)
        return bool(missing)

    def pin(self, table: PlanTable | None, base: int = -1) -> None:
        """Set the table that was solved with pins.

        Parameters
        ----------
        table : PlanTable or None
            None removes the current table of this kind.
        base : int
            The number of the table of the same objective and solver without pins.
        """
        self.more[1] = None if table is None else self._shown(table, base=base)

    def add(self, table: PlanTable, family: str) -> int:
        """Append a table that another solver found over a family of lower sets, and return the number of the table."""
        self.more.append(self._shown(table, family=family))
        return len(self.first) + len(self.more) - 1

    def solved(self, objective: TableObjective, family: str) -> int:
        """Return the number of the table that a solver found for an objective; −1 if there is none yet.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            The objective of the table; :meth:`recompviz.Planner.plans` explains it.
        family : str
            The family of lower sets that the solver uses.
        """
        without_solver = {self.given, self.pinned, *(() if self.searched else range(len(self.first)))}
        for number, shown in enumerate([*self.first, *self.more]):
            fits = shown is not None and shown.table.objective == objective and shown.family == family
            if fits and number not in without_solver:
                return number
        return -1

    def find(self, plan: Plan) -> tuple[int, int] | None:
        """Return (table number, row) of the first plan that keeps the same values as ``plan``, or None if none does."""
        for number in range(len(self.first) + len(self.more)):
            if (row := self.row_in(number, plan)) >= 0:
                return number, row
        return None

    def row_in(self, number: int, plan: Plan) -> int:
        """Return the row of table ``number`` whose plan keeps the same values as ``plan``; −1 if there is none."""
        shown = self.shown(number)
        for row, other in enumerate(shown.table.plans if shown else ()):
            if np.array_equal(other.keep_mask, plan.keep_mask):
                return row
        return -1

    def _shown(self, table: PlanTable, names: Sequence[str] = (), family: str = "auto", base: int = -1) -> Shown:
        leanest = table.plans[int(table.total_peaks.argmin())]
        names = tuple(names or (plan.kind for plan in table.plans))
        timeline = self._planner.simulate(leanest)
        least_of_all = self.searched and table.objective == "live" and base < 0
        little = little_to_save(timeline, int(table.total_peaks[0])) if least_of_all else ""
        return Shown(table, names, binding(timeline), little, family, base)
