"""Runs of the selected plan on the device, one at a time, in a background thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.base.job import Job, JobProgress, is_out_of_memory
from recompviz.widgets.explorer.bound import TableBounds
from recompviz.widgets.explorer.selection import Selection

# A run waits as long for the end of the linear program that computes bounds, in seconds.
STOPPED = 20.0
# After a plan ran out of memory, a plan of at most this share of its peak is offered.
SMALLER = 0.9
# An Explorer keeps the whole reports of this many runs, and lists the figures of this many; see bounded().
WHOLE, LISTED = 20, 200


class Runner(Protocol):
    """The type of an object that can run training steps under a plan."""

    def run(self, plan: Plan, progress: JobProgress) -> RunReport:
        """Run training steps under a plan and report the measurements.

        Parameters
        ----------
        plan : Plan
        progress : callable (done, total, text)
            A function that the method should call often. The function raises :class:`recompviz.Cancelled` after the
            user has cancelled the run.
        """
        ...


@dataclass(frozen=True, eq=False)
class RunRequest:
    """The selection at the start of a run; frozen.

    Attributes
    ----------
    number : int
        The number of the run, from 1.
    table, row : int
        The number of the plan table that contains the plan, and the row of the plan in this table.
    choices : PlanTable
        The plan table itself. It is stored, because another table may have the number ``table`` when the run ends.
    budget, wanted : int
        The budget in total bytes, and the budget that the user asked for; see :class:`Selection`.
    plan : Plan
    predicted : Timeline
        The simulated memory of one training step under this plan.
    """

    number: int
    table: int
    row: int
    choices: PlanTable
    budget: int
    wanted: int
    plan: Plan
    predicted: Timeline


class Runs:
    """The runs of an Explorer: one run of the selected plan at a time, in the background.

    Parameters
    ----------
    runner : Runner
    selection : Selection
        Its lock is held while the callables below are called.
    told : callable (message)
        Called when the state of the run changes. The message is the new value of the Explorer's trait ``_run``.
    finished : callable (run, report)
        Called with a :class:`RunRequest` and its :class:`RunReport` when the run has succeeded. It is not called if the
        run failed or was cancelled.
    before : int
        The number of the Explorer's newest run; 0 if there is none. The first run of this object gets the next
        number.
    """

    def __init__(
        self,
        runner: Runner,
        selection: Selection,
        told: Callable[[dict[str, Any]], None],
        finished: Callable[[RunRequest, RunReport], None],
        before: int = 0,
    ) -> None:
        self._runner, self._selection = runner, selection
        self._told, self._finished = told, finished
        self._count = before
        self._job: Job[RunReport] | None = None

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._job is not None and not self._job.ended

    def start(self) -> None:
        """Start a run of the selected plan, unless a run is under way."""
        selection = self._selection
        with selection.changing():
            if self._job is not None and not self._job.ended:
                return
            self._count += 1
            chosen = (selection.table, selection.row, selection.current, selection.budget, selection.wanted)
            run = RunRequest(self._count, *chosen, selection.plan, selection.timeline)
            self._job = Job(
                lambda progress: self._runner.run(run.plan, progress), lambda job: self._on_job(run, job), "starting"
            )
            self._job.start()

    def cancel(self) -> None:
        """Ask the run under way to stop. The run stops at its next report of progress."""
        if self._job is not None:
            self._job.cancel()

    def retire(self) -> None:
        """Cancel the run under way, and report nothing more, because the Explorer shows another training step."""
        self._told, self._finished = (lambda _message: None), (lambda _run, _report: None)
        self.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the run has ended.

        In a thread that holds the lock of the selection, the method returns without waiting, because the run may need
        this lock to end.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.
        """
        if self._job is not None and not self._selection.held:
            self._job.wait(seconds)

    def _on_job(self, run: RunRequest, job: Job[RunReport]) -> None:
        with self._selection.changing_for(job.state == "running") as free:
            if not free:
                return
            text, offer = job.text, None
            if job.state == "done" and job.result is not None:
                self._finished(run, job.result)
                text = f"done in {job.result.seconds:.1f} s"
            elif job.error is not None and is_out_of_memory(job.error):
                offer = smaller_total(run.choices, run.predicted.peak)
            self._told(run_state(run.number, job.state, job.fraction, text, offer=offer))


class Undisturbed:
    """A runner that first stops the computation of bounds, which would disturb the measured times."""

    def __init__(self, runner: Runner, bounds: TableBounds) -> None:
        self._runner, self._bounds = runner, bounds

    def run(self, plan: Plan, progress: JobProgress) -> RunReport:
        """Stop the computation of bounds, and run training steps under a plan."""
        self._bounds.stop()
        self._bounds.wait(STOPPED)
        return self._runner.run(plan, progress)


def run_state(
    number: int, state: str, fraction: float, text: str, *, can: bool = True, offer: float | None = None
) -> dict[str, Any]:
    """Return the value of the Explorer's trait ``_run``: a dictionary of the parameters. ``wire.md`` explains them."""
    return {"number": number, "state": state, "fraction": fraction, "text": text, "can": can, "offer": offer}


@dataclass(frozen=True)
class RunHistory:
    """The runs of an Explorer, at all sizes of its training step; frozen.

    Attributes
    ----------
    entries : tuple of (planner, report, dict)
        The planner for the batch size and sequence length of the run, the report, and an entry of the Explorer's trait
        ``_runs``; the oldest first. At most 200, see :func:`bounded`; the newest 20 have their report, the others None.
    """

    entries: tuple[tuple[Planner, RunReport | None, dict[str, Any]], ...] = ()

    @property
    def last(self) -> int:
        """The number of the newest run; 0 if there is none."""
        return int(self.entries[-1][2]["number"]) if self.entries else 0

    def with_run(self, planner: Planner, report: RunReport, message: dict[str, Any]) -> RunHistory:
        """Return the history with one more run. ``message`` is its entry of the Explorer's trait ``_runs``."""
        entries = [*self.entries, (planner, report, message)]
        messages = bounded([entry[2] for entry in entries])
        entries = entries[-len(messages) :]
        whole = [None] * (len(entries) - WHOLE) + [entry[1] for entry in entries[-WHOLE:]]
        return RunHistory(tuple(zip([entry[0] for entry in entries], whole, messages, strict=True)))

    def of(self, planner: Planner) -> list[dict[str, Any]]:
        """Return the messages about the runs of the step that a planner plans, oldest first."""
        return [message for other, _, message in self.entries if other is planner]

    def reports(self, planner: Planner) -> list[tuple[int, RunReport]]:
        """Return number and report of the runs of the step that a planner plans, among the newest 20, oldest first."""
        return [
            (int(message["number"]), report)
            for other, report, message in self.entries
            if other is planner and report is not None
        ]


def bounded(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages about runs that an Explorer keeps, in the same order.

    The newest 20 messages are complete. In older messages, the measured bytes of each step and the gap are empty,
    because the table of runs does not show them. Messages older than the newest 200 are left out. Without this limit,
    each run would take memory for as long as the Explorer lives, and every run would send all earlier messages again.

    Parameters
    ----------
    messages : sequence of dict
        Entries of the Explorer's trait ``_runs``, oldest first.
    """
    listed = list(messages[-LISTED:])
    older = max(0, len(listed) - WHOLE)
    return [{**message, "measured": b"", "gap": []} for message in listed[:older]] + listed[older:]


def smaller_total(table: PlanTable, peak: int) -> float | None:
    """Return a smaller total in bytes, to try after a plan ran out of memory.

    Return the largest total peak in the table that is at most 90 % of ``peak``. If there is none, return the largest
    total peak below ``peak``. If no plan has a total peak below ``peak``, return None.
    """
    for most in (SMALLER * peak, peak - 1):
        if (table.total_peaks <= most).any():
            return float(table.total_peaks[table.total_peaks <= most].max())
    return None
