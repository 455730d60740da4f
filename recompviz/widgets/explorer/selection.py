"""The selection: the plan that an Explorer shows.

Several threads change the selection. Searches and runs have threads of their own, and ipykernel 7 may call observers in
a thread other than the cell's. Therefore one lock guards every change of the selection. Each choice has a request
number. A choice is dropped if a choice with a higher number has been made.

An interrupt of a cell is delayed until a change is complete. Python interrupts only the main thread, which runs cells.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from recompviz.core.base.units import format_bytes
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.reserved_prediction import with_reserved_on_cuda
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.base.interrupts import uninterrupted
from recompviz.widgets.explorer.budgets import affordable_row
from recompviz.widgets.explorer.tables import Tables


class Selection:
    """One row of one plan table, the budget for which it was selected, and its simulated timeline.

    Parameters
    ----------
    planner : Planner
        Simulates the selected plan.
    tables : Tables
        The tables to select from.
    changed : callable (selection)
        Called after each choice, while the lock is held.

    Attributes
    ----------
    tables : Tables
    table, row : int
        The number of the selected table, and the selected row.
    request : int
        The request number of the newest choice.
    budget : int
        The budget in total bytes.
    wanted : int
        The budget that the user asked for. If no known plan fits it, the plan of least total peak is selected, and
        ``budget`` is the total peak of this plan.
    edition : int
        How often the tables of the objectives were replaced. A number of a table or row belongs to one edition.
    plan : Plan
        The plan in the selected row.
    timeline : Timeline
        The simulated memory of one training step under this plan.
    """

    plan: Plan
    timeline: Timeline

    def __init__(self, planner: Planner, tables: Tables, changed: Callable[[Selection], None]) -> None:
        self.tables = tables
        self.table = self.row = self.request = self.budget = self.wanted = self.edition = 0
        self._planner, self._changed = planner, changed
        self._lock = threading.RLock()
        self._depth, self._holder = 0, 0

    def begin(self, planner: Planner, tables: Tables) -> None:
        """Select from the tables of another planner from now on. A call of :meth:`choose` has to follow."""
        self._planner, self.tables = planner, tables
        self.table = self.row = 0
        self.edition += 1

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock of the selection in a ``with`` block.

        Code in the block must not wait for a background job, because the job may need the lock to end. An interrupt of
        the cell (Ctrl-C) is delayed until the block ends.
        """
        with contextlib.nullcontext() if self.held else uninterrupted(), self._lock:
            self._depth, self._holder = self._depth + 1, threading.get_ident()
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._holder = 0

    @contextlib.contextmanager
    def changing_for(self, report: bool) -> Iterator[bool]:
        """Hold the lock in a ``with`` block, as :meth:`changing`.

        The block gets True if it holds the lock. If ``report`` is true and another thread holds the lock, the block
        runs without the lock and gets False. A job reports its progress in this way, because the thread that holds the
        lock may wait for the job.
        """
        if not self._lock.acquire(blocking=not report):
            yield False
            return
        try:
            with self.changing():
                yield True
        finally:
            self._lock.release()

    @property
    def held(self) -> bool:
        """Whether the current thread holds the lock of the selection.

        A thread that holds the lock must not wait for a background job, because the job may need the lock to end.
        """
        return self._holder == threading.get_ident()

    @property
    def current(self) -> PlanTable:
        """The table of the selected row."""
        return self.tables.table(self.table)

    def announce(self, request: int) -> None:
        """Record a request number if it is higher than the newest one so far, without waiting for the lock.

        If the plan of a choice with a lower number is being simulated, this choice is dropped afterwards.
        """
        self.request = max(self.request, request)

    def choose(self, table: int, row: int, budget: int, request: int | None = None, wanted: int | None = None) -> None:
        """Select a row of a table and simulate its plan.

        Nothing happens if the table does not have the row, or if a choice with a higher request number has been made.

        Parameters
        ----------
        table, row : int
            The number of the table, and the row.
        budget : int
            The budget in total bytes.
        request : int, optional
            The request number of the choice. If None, one more than the newest request number.
        wanted : int, optional
            The budget that the user asked for, if no known plan fits it. If None, ``budget``.
        """
        with self.changing():
            request = self.request + 1 if request is None else request
            if request < self.request or not self.tables.has(table, row):
                return
            plan = self.tables.table(table).plans[row]
            timeline = self._planner.simulate(plan)
            if request < self.request:
                return
            timeline = with_reserved_on_cuda(timeline, self._planner.joint)  # takes longer than the simulation
            if request < self.request:
                return
            self.request, self.table, self.row, self.budget = request, table, row, budget
            self.wanted = budget if wanted is None else wanted
            self.plan, self.timeline = plan, timeline
            self._changed(self)

    def choose_budget(self, budget: int) -> None:
        """Select the best plan of the current table for a budget; see :meth:`recompviz.PlanTable.row`.

        The budget is in total bytes: parameters, gradients and inputs are included.

        Raises
        ------
        InfeasibleBudget
            If no plan of the table fits the budget.
        """
        with self.changing():
            self.choose(self.table, self.current.row(budget), budget)

    def give_missing(self, plans: Iterable[tuple[str, Plan]]) -> None:
        """Add the plans that no table contains to the table of given plans (baselines and loaded plans).

        The selected plan stays selected, also if it has another row in this table afterwards.
        """
        with self.changing():
            given = self.tables.shown(self.tables.given)
            before = given.table.plans[self.row] if given is not None and self.table == self.tables.given else None
            if self.tables.give_missing(plans) and before is not None:
                self.row = self.tables.row_in(self.table, before)

    def choose_table(self, table: int) -> str:
        """Select the plan of a table for the budget that the user asked for.

        If no plan fits, the budget becomes the least total peak.

        Returns
        -------
        str
            A text for the user if the budget was raised, otherwise empty.
        """
        with self.changing():
            wanted = self.wanted
            row, budget = affordable_row(self.tables.table(table), wanted)
            raised = budget > wanted
            self.choose(table, row, budget, wanted=wanted)
        return f"; least feasible {format_bytes(budget)}, so the budget was raised" if raised else ""

    def replace_tables(
        self, tables: Sequence[PlanTable], kept: Iterable[tuple[str, Plan]] = ()
    ) -> tuple[tuple[int, int, int], Callable[[int], int]]:
        """Replace the tables of the objectives, and return the row that should be selected next.

        Parameters
        ----------
        tables : sequence of PlanTable
        kept : iterable of (name, plan)
            Plans that must stay in some table. Those that no table contains after the replacement are added to the
            table of given plans.

        Returns
        -------
        choice : tuple of int
            The arguments (table, row, budget) for :meth:`choose`. If a table of an objective is selected, the table is
            the new one of the same number, or the first if there is none. The row is the one for ``wanted``, the budget
            that the user asked for. If no plan fits, the budget is the least total peak of the table. If another table
            is selected, that table and its row stay selected.
        renumbered : callable (int) → int
            Returns the new number of a table from its old number.
        """
        with self.changing():
            stays = self.table >= self.tables.given
            renumbered = self.tables.replace(tables)
            self.edition += 1
            if stays:
                self.table = renumbered(self.table)
            self.give_missing(kept)
            if stays:
                return (self.table, self.row, self.budget), renumbered
            number = renumbered(self.table)
            row, budget = affordable_row(tables[number], self.wanted)
            return (number, row, budget), renumbered
