"""Lower bounds on the recomputation of any strategy, computed in the background when the search has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan_table import PlanTable
from recompviz.widgets.base.job import Job, JobProgress

# the bounds of larger graphs take minutes
MOST_NODES = 1200
NO_BOUND: dict[str, Any] = {"rows": 0, "overheads": b""}


class TableBounds:
    """The lower bounds on the overhead of the plans in a table.

    Parameters
    ----------
    told : callable (message)
        Called in a background thread with the value of the Explorer's trait ``_bound``.
    """

    def __init__(self, told: Callable[[dict[str, Any]], None]) -> None:
        self._told = told
        self._job: Job[dict[str, Any]] | None = None

    def start(self, planner: Planner, table: PlanTable) -> None:
        """Compute the bounds of a table in the background. A computation under way is cancelled.

        A graph of more than 1,200 nodes gets no bounds.
        """
        self.stop()
        if len(planner.graph) > MOST_NODES:
            return

        def work(progress: JobProgress) -> dict[str, Any]:
            curve = planner.bounds(progress=progress)
            overheads = [curve.overhead(int(total)) for total in table.total_peaks]
            own = [plan.overhead for plan in table.plans]
            return {"rows": len(table), "overheads": np.minimum(overheads, own).astype("<f8").tobytes()}

        self._job = Job(work, self._on_job)
        self._job.start()

    def stop(self) -> None:
        """Stop a computation under way before its next linear program."""
        if self._job is not None:
            self._job.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the bounds are known or the computation has stopped, at most ``seconds``; None for no limit."""
        if self._job is not None:
            self._job.wait(seconds)

    def _on_job(self, job: Job[dict[str, Any]]) -> None:
        if job is self._job and job.state == "done" and not job.cancelled and job.result is not None:
            self._told(job.result)
