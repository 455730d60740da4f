"""The selection: the plan that an Explorer shows.

ipykernel 7 may call observers in other threads than the cell's, and searches and runs have threads of their own.
So one lock guards every change of the selection. Each choice has a request number, which only rises. A choice with
an older number than the present one is dropped.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.explorer.tables import Tables


class Selection:
    """One row of one table, the budget it was chosen for, and its simulated timeline.

    Parameters
    ----------
    planner : Planner
    tables : Tables
    changed : callable (selection)
        Called with the lock held after each choice.

    Attributes
    ----------
    tables : Tables
    table, row : int
        What is selected.
    request : int
        The number of the newest choice.
    budget : int
        Total bytes.
    plan : Plan
    timeline : Timeline
        Simulated, of that plan.
    """

    plan: Plan
    timeline: Timeline

    def __init__(self, planner: Planner, tables: Tables, changed: Callable[[Selection], None]) -> None:
        self.tables = tables
        self.table = self.row = self.request = self.budget = 0
        self._planner, self._changed = planner, changed
        self._lock = threading.RLock()
        self._depth, self._holder = 0, 0

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock. Observers are called in here, so they must not wait for a job; see :attr:`held`."""
        with self._lock:
            self._depth, self._holder = self._depth + 1, threading.get_ident()
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._holder = 0

    @property
    def held(self) -> bool:
        """Whether the present thread holds the lock. A job may need the lock to end, so this thread must not wait."""
        return self._holder == threading.get_ident()

    @property
    def current(self) -> PlanTable:
        """The table of the selected row."""
        return self.tables.table(self.table)

    def announce(self, request: int) -> bool:
        """Make a request number the newest one without waiting for the lock; whether it is newer than the present one.

        A choice with an older number that is being simulated is dropped when its simulation ends.
        """
        if request <= self.request:
            return False
        self.request = request
        return True

    def choose(self, table: int, row: int, budget: int, request: int | None = None) -> None:
        """Select a row, unless its table was replaced or a newer choice was made in the meantime.

        Parameters
        ----------
        table, row : int
        budget : int
            Total bytes.
        request : int, optional
            If left out, a new number.
        """
        with self.changing():
            request = self.request + 1 if request is None else request
            if request < self.request or not self.tables.has(table, row):
                return
            plan = self.tables.table(table).plans[row]
            timeline = self._planner.simulate(plan)
            if request < self.request:
                return
            self.request, self.table, self.row, self.budget = request, table, row, budget
            self.plan, self.timeline = plan, timeline
            self._changed(self)

    def choose_budget(self, budget: int) -> None:
        """Select the row of the present table for a budget in total bytes."""
        with self.changing():
            self.choose(self.table, self.current.row(budget), budget)

    def choose_table(self, table: int) -> str:
        """Select the row of a table for the present budget, or for the least feasible one.

        Returns
        -------
        str
            What to tell the user if the budget was raised, else empty.
        """
        with self.changing():
            row, budget = affordable_row(self.tables.table(table), self.budget)
            raised = budget > self.budget
            self.choose(table, row, budget)
        return f"; least feasible {format_bytes(budget)}, so the budget was raised" if raised else ""

    def replace_tables(self, tables: Sequence[PlanTable]) -> tuple[int, int, int]:
        """Replace the tables of the objectives, and empty the table that was solved with pins.

        Returns
        -------
        tuple of int
            The (table, row, budget) to pass to :meth:`choose`. A given plan (a baseline or a loaded one) or another
            solver's table stays selected, under its new number. Otherwise it is the row of the first table for the same
            budget, which is raised if no plan fits.
        """
        with self.changing():
            stays = self.table >= self.tables.given and self.table != self.tables.pinned
            table = self.table + len(tables) - self.tables.given
            self.tables.replace(tables)
            if stays:
                return table, self.row, self.budget
            budget = max(self.budget, tables[0].least_total)
            return 0, tables[0].row(budget), budget


def affordable_row(table: PlanTable, budget: int) -> tuple[int, int]:
    """The row for a budget in total bytes, and that budget, raised to the least feasible one if it lies below."""
    try:
        return table.row(budget), budget
    except InfeasibleBudget as error:
        return table.row(error.least), error.least
