"""The background search for better plans. Until it ends, the Explorer shows plans that need no search.

The page does not wait for the search. Python code waits when it reads a value that depends on the plans, so that a
script gets the same answer on every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.baselines import existing_baselines
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.widgets.base.job import Job, JobProgress
from recompviz.widgets.explorer.selection import Selection
from recompviz.widgets.explorer.tables import Tables


class Awaited(traitlets.Instance):  # type: ignore[type-arg]  # traitlets has no types
    """A trait that waits for the search for better plans when Python code reads it."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        """Wait for the search for better plans, and return the value of the trait."""
        obj.wait_for_plans()
        return super().get(obj, cls)


class Chosen(traitlets.Any):
    """A trait that Python code sets to select a plan, such as the budget.

    The whole assignment holds the lock of the selection, because traitlets itself is not safe for threads. Without the
    lock, a message from the page could arrive in the middle of the assignment and remove the trait's validation and
    observers.
    """

    def set(self, obj: Any, value: Any) -> None:
        """Wait for the search for better plans, and set the trait while the lock is held.

        Raises
        ------
        TypeError
            If ``value`` is None.
        """
        if value is None:  # traitlets would set it without validation
            raise TypeError(f"{self.name} cannot be None; set a budget such as '60%', or load a plan")
        obj.wait_for_plans()
        with obj._selection.changing():
            super().set(obj, value)


def search_tables(
    planner: Planner, objectives: Sequence[PlanObjective], progress: JobProgress | None = None
) -> list[PlanTable]:
    """Return the plan table of each objective, in the same order.

    Parameters
    ----------
    planner : Planner
    objectives : sequence of "time", "memory" or "live"
    progress : callable (done, total), optional
        Called during the search. If the function raises :class:`recompviz.Cancelled`, the search stops with this error.
    """
    if "live" in objectives:
        planner.plans("live", progress)  # It searches for the others too, as seeds, so its progress is that of all.
    return [planner.plans(objective, progress) for objective in objectives]


def with_baselines(planner: Planner, table: PlanTable, names: Sequence[str]) -> PlanTable:
    """Return a table of plans to show before a search, with the baselines that are better than its plans.

    A baseline is better if it recomputes less than every plan of the table that has the same or a smaller total peak.
    So the least total peak of the result is at most the total peak of every baseline.

    Parameters
    ----------
    planner : Planner
    table : PlanTable
        A table of the objective ``"live"``.
    names : sequence of str
        The names of the baselines.
    """
    found = existing_baselines(names, planner.baseline)
    known = planner.table([*table.plans, *found], "live")
    return known if table.improved_by(known) else table


class PlanSearch:
    """The search for better plans, in a background thread.

    Parameters
    ----------
    planner : Planner
    objectives : sequence of "time", "memory" or "live"
        The plan tables to search for.
    selection : Selection
        Its lock is held while the callables below are called.
    progressed : callable (fraction)
        Called during the search. ``fraction`` is the part of the search that is done, from 0 to 1.
    found : callable (tables)
        Called with one plan table for each objective when the search is done.
    stopped : callable (why)
        Called if the search failed or was stopped, and if ``found`` raised an error. ``why`` is the reason as text.
    """

    def __init__(
        self,
        planner: Planner,
        objectives: Sequence[PlanObjective],
        selection: Selection,
        progressed: Callable[[float], None],
        found: Callable[[Sequence[PlanTable]], None],
        stopped: Callable[[str], None],
    ) -> None:
        self._selection = selection
        self._progressed, self._found, self._stopped = progressed, found, stopped
        self._settled = threading.Event()
        self._what = "the search"
        self._job = Job(lambda progress: search_tables(planner, objectives, progress), self._on_job)

    def start(self) -> None:
        """Start the search in another thread."""
        self._job.start()

    @property
    def running(self) -> bool:
        """Whether the search has neither ended nor been stopped."""
        return not self._settled.is_set()

    def stop(self) -> None:
        """Stop the search. The Explorer keeps the plans that it shows."""
        with self._selection.changing():
            if self.running:
                self._job.cancel()
                self._stopped("the search was stopped")
                self._settled.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the search has ended or was stopped.

        In the thread of the search, the method returns without waiting. It also returns without waiting in a thread
        that holds the lock of the selection, because the search may need this lock to end.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.
        """
        if not (self._selection.held or self._job.is_here):
            self._settled.wait(seconds)

    def _on_job(self, job: Job[list[PlanTable]]) -> None:
        with self._selection.changing_for(job.state == "running") as free:
            if not free or not self.running:
                return
            if job.state == "running":
                self._progressed(job.fraction)
            elif job.state == "done" and job.result is not None:
                self._what = "showing the better plans"  # it calls the user's observers
                self._found(job.result)
                self._settled.set()
            else:
                self._settled.set()
                self._stopped(f"{self._what} failed: {job.text}" if job.state == "failed" else "the search was stopped")


def tables_with(planner: Planner, tables: Sequence[PlanTable], baselines: Sequence[str], searched: bool) -> Tables:
    """Return the tables of the objectives, together with those of the baselines that exist for the graph.

    ``searched`` says whether a search found ``tables``.
    """
    shown = Tables(tables, planner, searched)
    if plans := [(plan.kind, plan) for plan in existing_baselines(baselines, planner.baseline)]:
        shown.give(plans)
    return shown
