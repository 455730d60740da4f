"""Questions that an Explorer asks its planner: solve with pins, or with another solver. Plans are loaded here, too.

The answer to a question is one more plan table. A background thread computes it. Then the plan of the table for the
current budget is shown. Pins are answered twice if a search is needed: first with the known plans, changed so that they
obey the pins, then with what the search finds. A newer question cancels the older question.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.base.files import read_text
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.graph import Name
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable, check_objective
from recompviz.core.plans.plan_text import longest_text
from recompviz.widgets.base.job import Job, JobProgress
from recompviz.widgets.explorer.selection import Selection
from recompviz.widgets.explorer.tables import FAMILIES


class Questions:
    """The questions of an Explorer to its planner, answered one at a time in the background.

    A question asks for plans with pinned values, or for the plans of another solver. The answer is a plan table. The
    selection then shows one plan of this table.

    Parameters
    ----------
    planner : Planner
    selection : Selection
        Its lock is held while the callables below are called.
    told : callable (state, fraction, text, interim)
        Called when a question starts, progresses or ends. ``state`` is ``"solving"``, ``"done"``, ``"cancelled"`` or
        ``"failed"``, and ``"idle"`` after pins were removed. ``fraction`` is the part of the work that is done, 0 to 1.
        ``text`` is for the user. ``interim`` is True if the first answer to pins is shown and the second is missing.
    added : callable ()
        Called when a table was added to or removed from ``selection.tables``.
    """

    def __init__(
        self,
        planner: Planner,
        selection: Selection,
        told: Callable[[str, float, str, bool], None],
        added: Callable[[], None],
    ) -> None:
        self._planner, self._selection = planner, selection
        self._told, self._added = told, added
        self._job: Job[PlanTable] | None = None
        self._interim = False  # whether the first answer to the newest question is shown
        self._begun = 0  # the number of the table that was selected when the question was asked
        self._unpinned: tuple[Plan, int] | None = None  # a given plan shown before the first pin, and its budget

    @property
    def running(self) -> bool:
        """Whether a question is being answered."""
        return self._job is not None and self._job.running

    def stop(self) -> None:
        """Stop the question that is being answered. Its answer is dropped."""
        with self._selection.changing():
            if self._job is not None and self._job.running:
                self._job.cancel()
                self._tell("cancelled", 0.0, "cancelled")

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the newest question has been answered, has failed or was cancelled.

        If there was no question, the method returns without waiting. It also returns without waiting in a thread that
        holds the lock of the selection, because the background thread may need the lock.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.
        """
        if self._job is not None and not self._selection.held:
            self._job.wait(seconds)

    # ---------------------------------------------------------------- pins

    @property
    def base(self) -> int:
        """The number of the table to solve again when the user pins a value.

        Usually this is the table shown. If the table shown was itself solved with pins, the base is the table of the
        same objective and solver without pins. While baselines or loaded plans are shown, the base is the first table.
        """
        tables, number = self._selection.tables, self._selection.table
        if number == tables.pinned:
            shown = tables.shown(number)
            return shown.base if shown else 0
        return 0 if number == tables.given else number

    def pin(self, base: int, keep: Sequence[Name], recompute: Sequence[Name]) -> None:
        """Solve a table again under pins, and show the answer.

        Nothing happens if the table does not exist, or holds given plans (baselines and loaded plans).

        Parameters
        ----------
        base : int
            The number of the table to solve again.
        keep, recompute : sequence of node names
            Values that every plan must keep, and values that every plan must recompute. If both are empty, the table
            solved with earlier pins is removed. If the removed table was shown, another plan is shown. It is the
            baseline or loaded plan that was shown before the first pin, if there was one and the budget is still the
            same. Otherwise it is the plan for the budget in the table of the same objective and solver without pins.
        """
        tables = self._selection.tables
        shown = tables.shown(base)
        if not keep and not recompute:
            self._unpin()
        elif shown is not None and shown.table.objective != "given":
            objective, family = shown.table.objective, cast(Family, shown.family)

            def answered(table: PlanTable) -> str:
                left = self._interim and self._selection.table != tables.pinned
                if tables.shown(tables.pinned) is None:
                    given = self._selection.table == tables.given
                    self._unpinned = (self._selection.plan, self._selection.wanted) if given else None
                tables.pin(table, base)
                count = len(keep) + len(recompute)
                text = f"solved with {count} pin{'' if count == 1 else 's'}"
                if left:
                    self._added()  # Another table was chosen after the first answer. The last choice stays.
                    return text
                return self._show(tables.pinned, text)

            self._ask(
                "solving with pins",
                lambda progress, first: self._planner.what_if(
                    objective, family, keep=keep, recompute=recompute, progress=progress, first=first
                ),
                answered,
            )

    def _unpin(self) -> None:
        selection, tables = self._selection, self._selection.tables
        with selection.changing():
            self.stop()
            self._interim = False
            self._tell("idle", 0.0, "")
            shown = tables.shown(tables.pinned)
            if shown is None:
                return
            if selection.table == tables.pinned:
                self._show_unpinned(shown.base)
            tables.pin(None)
            self._added()

    def _show_unpinned(self, base: int) -> None:
        """Show the given plan that was shown before the first pin, or else the plan of a table for the budget."""
        selection = self._selection
        plan, wanted = self._unpinned or (None, 0)
        row = -1 if plan is None else selection.tables.row_in(selection.tables.given, plan)
        if row >= 0 and selection.wanted == wanted:
            total = int(selection.tables.table(selection.tables.given).total_peaks[row])
            selection.choose(selection.tables.given, row, max(wanted, total), wanted=wanted)
        else:
            selection.choose_table(base)

    # ---------------------------------------------------------------- other solvers, other plans

    def use_solver(self, family: Family, objective: PlanObjective | None = None) -> None:
        """Show the plans that another solver finds for an objective. A table found before is shown immediately.

        If the user selects another table while the solver runs, the new table is added and not shown.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that the solver may use, as for :func:`recompviz.solve`.
        objective : "time", "memory" or "live", optional
            If None: ``"memory"`` if the table shown has this objective, otherwise ``"time"``. ``"live"`` is possible
            only with the family ``"auto"``.

        Raises
        ------
        ValueError
            If ``family`` or ``objective`` is unknown, or if the objective is ``"live"`` with another family than
            ``"auto"``.
        """
        check_solver(family, objective)
        with self._selection.changing():
            self._use_solver(family, objective)

    def _use_solver(self, family: Family, objective: PlanObjective | None) -> None:
        selection, tables = self._selection, self._selection.tables
        shown = selection.current.objective
        wanted: PlanObjective = objective or ("memory" if shown == "memory" else "time")
        number = tables.solved(wanted, family)
        if number >= 0:
            self._show(number, "")
            return

        def answered(table: PlanTable) -> str:
            number, text = tables.solved(wanted, family), f"solved: {FAMILIES[family]}"
            if number < 0:  # The search for better plans may have found it in the meantime.
                number = tables.add(table, family)
            if selection.table == self._begun:
                return self._show(number, text)
            self._added()  # Another table was chosen in the meantime. The last choice stays.
            return f"{text}; select it to see it"

        self._begun = selection.table
        self._ask(
            f"solving, {FAMILIES[family]}",
            lambda progress, _first: self._planner.what_if(wanted, family, progress=progress),
            answered,
        )

    def renumber(self, renumbered: Callable[[int], int]) -> None:
        """Replace the table numbers that this object remembers. A question that is being answered goes on.

        Parameters
        ----------
        renumbered : callable (int) → int
            Returns the new number of a table from its old number.
        """
        self._begun = renumbered(self._begun)

    def load(self, plan: Plan | str | Path) -> tuple[str, Plan]:
        """Select a plan that was made elsewhere, and return it with its name.

        If no table contains the plan, it is added to the table of given plans (baselines and loaded plans).

        Parameters
        ----------
        plan : Plan, str or Path
            A plan of this graph, its JSON text, or the path of a file with its JSON text.

        Raises
        ------
        PlanMismatch
            If the plan was made for another graph, or the text is not a plan.
        FileError
            If the file cannot be read. It is also an OSError.
        TypeError
            If ``plan`` is neither a Plan, a str nor a path.
        """
        graph = self._planner.graph
        if not isinstance(plan, Plan):
            expect(plan, (str, os.PathLike), "plan", "a Plan, its JSON text, or the path of a file with this text")
            is_text = isinstance(plan, str) and plan.lstrip().startswith("{")
            plan = Plan.from_json(graph, str(plan) if is_text else read_text(plan, 4 * longest_text(len(graph))))
        elif plan.graph.fingerprint != graph.fingerprint:
            raise PlanMismatch("the plan was made for another graph; plan again for this one, or see plan.on(graph)")
        plan = self._planner.check(plan)  # with this graph's costs
        selection, tables = self._selection, self._selection.tables
        named = (f"loaded {plan.kind}", plan)
        with selection.changing():
            found = tables.find(plan)
            if found is None:
                tables.give([named])
                self._added()
                found = tables.find(plan)
                assert found is not None
            table, row = found
            selection.choose(table, row, int(tables.table(table).total_peaks[row]))
        return named

    # ---------------------------------------------------------------- the job

    def _show(self, number: int, text: str) -> str:
        """Show a table at the current budget and return the text for the user, which says if the budget was raised."""
        with self._selection.changing():
            self._added()
            return text + self._selection.choose_table(number)

    def _ask(
        self,
        text: str,
        work: Callable[[JobProgress, Callable[[PlanTable], None]], PlanTable],
        answered: Callable[[PlanTable], str],
    ) -> None:
        """Start a job, and cancel the one under way.

        ``work`` gets a function to report progress and a function to give a first answer. ``answered`` shows a table
        and returns the text for the user.
        """

        def first(table: PlanTable) -> None:
            # the thread that holds the lock may wait for this job; the first answer is then not shown
            with self._selection.changing_for(True) as free:
                if free and job is self._job and job.running:
                    answered(table)
                    self._interim = True
                    self._tell("solving", job.fraction, text)

        with self._selection.changing():
            if self._job is not None:
                self._job.cancel()
            job = self._job = Job(lambda progress: work(progress, first), lambda job: self._on_job(job, answered), text)
            self._interim = False
            self._tell("solving", 0.0, text)
            self._job.start()

    def _tell(self, state: str, fraction: float, text: str) -> None:
        self._told(state, fraction, text, self._interim)

    def _on_job(self, job: Job[PlanTable], answered: Callable[[PlanTable], str]) -> None:
        with self._selection.changing_for(job.state == "running") as free:
            if not free or job is not self._job or job.cancelled:
                return
            if job.state == "done" and job.result is not None:
                text = answered(job.result)
                self._interim = False
                self._tell("done", 1.0, text)
            else:
                self._tell("solving" if job.state == "running" else job.state, job.fraction, job.text)


def solving_state(
    families: Mapping[str, str],
    state: str = "idle",
    fraction: float = 0.0,
    text: str = "",
    interim: bool = False,
    loaded: bool = False,
) -> dict[str, Any]:
    """Return the value of the Explorer's trait ``_solving``: a dictionary of the parameters (see ``wire.md``)."""
    return {
        "state": state,
        "fraction": fraction,
        "text": text,
        "interim": interim,
        "loaded": loaded,
        "families": dict(families),
    }


def check_solver(family: str, objective: str | None) -> None:
    """Raise ValueError if the family or the objective is unknown, or for ``"live"`` with a family except ``"auto"``."""
    if family not in FAMILIES:
        raise ValueError(f"solver {family!r} is unknown; choose {', '.join(map(repr, FAMILIES))}")
    if objective is not None:
        check_objective(objective)
    if objective == "live" and family != "auto":
        raise ValueError(
            f'solver {family!r} cannot solve for objective "live"; choose solver "auto" or objective "time"'
        )
