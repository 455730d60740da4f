"""The search for a planner's tables while the Explorer shows plans that needed no search.

The page does not wait for it. Python code that reads what depends on the plans waits, so that a script gets the
same answer on every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.widgets.base.job import Job, Progress
from recompviz.widgets.explorer.selection import Selection


class Awaited(traitlets.Instance):  # type: ignore[type-arg]
    """A trait whose reader in Python waits for the search."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        """The value after the search has ended."""
        obj.wait_for_plans()
        return super().get(obj, cls)


def search_tables(
    planner: Planner, objectives: Sequence[PlanObjective], progress: Progress | None = None
) -> list[PlanTable]:
    """The plan table of each objective."""
    if "live" in objectives:
        planner.plans("live", progress)  # It searches for the others too, as seeds, so its progress is that of all.
    return [planner.plans(objective, progress) for objective in objectives]


class PlanSearch:
    """The search in a job.

    Parameters
    ----------
    planner : Planner
    objectives : sequence of "time", "memory" or "live"
    selection : Selection
        Its lock is held while the callables below are called.
    progressed : callable (fraction)
    found : callable (tables)
    stopped : callable (why)
        Called instead of ``found`` if there are no better tables: the first plans stay.
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
        self._job = Job(lambda progress: search_tables(planner, objectives, progress), self._on_job)

    def start(self) -> None:
        """Begin the search."""
        self._job.start()

    @property
    def running(self) -> bool:
        """Whether better tables may still come."""
        return not self._settled.is_set()

    def stop(self) -> None:
        """End the search. The first plans stay."""
        with self._selection.changing():
            if self.running:
                self._job.cancel()
                self._stopped("the search was stopped")
                self._settled.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the search has ended. A thread that the search may have to wait for returns immediately."""
        if not (self._selection.held or self._job.is_here):
            self._settled.wait(seconds)

    def _on_job(self, job: Job[list[PlanTable]]) -> None:
        with self._selection.changing():
            if not self.running:
                return
            if job.state == "running":
                self._progressed(job.fraction)
            elif job.state == "done" and job.result is not None:
                self._found(job.result)
                self._settled.set()
            else:
                self._settled.set()
                self._stopped(f"the search failed: {job.text}" if job.state == "failed" else "the search was stopped")
