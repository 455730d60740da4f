"""One run at a time, in a thread of its own, so that the notebook stays free.

The work is told how to report progress and asked to look now and then whether it was cancelled. Whatever it
raises, running out of memory included, ends as a text for people and never as a dead widget.
"""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable

from recompviz.core.base.errors import Cancelled, RecompvizError
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.run_report import RunReport

Progress = Callable[[float, str], None]
Work = Callable[[Plan, Progress, Callable[[], bool]], RunReport]
# (state, fraction, text): state is "running", "done", "cancelled" or "failed"
Listener = Callable[[str, float, str], None]

# no more often than this is progress passed on, seconds
_BETWEEN = 0.1


class Runner:
    """Runs plans one at a time.

    Parameters
    ----------
    work : callable (plan, progress, cancelled) → RunReport
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._thread is not None and self._thread.is_alive()

    def cancel(self) -> None:
        """Ask the run to stop; it does so at its next look."""
        self._cancel.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the run has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def start(self, plan: Plan, told: Listener, finished: Callable[[RunReport], None]) -> bool:
        """Start a run; False if one is under way."""
        with self._lock:
            if self.running:
                return False
            self._cancel = threading.Event()
            # output of the worker belongs to the cell or the message that started it
            context = contextvars.copy_context()
            self._thread = threading.Thread(
                target=context.run,
                args=(self._run, plan, self._cancel, told, finished),
                name="recompviz-run",
                daemon=True,
            )
            self._thread.start()
        return True

    def _run(self, plan: Plan, cancel: threading.Event, told: Listener, finished: Callable[[RunReport], None]) -> None:
        last = 0.0

        def progress(fraction: float, text: str) -> None:
            nonlocal last
            if cancel.is_set():
                raise Cancelled("the run was cancelled")
            now = time.monotonic()
            if now - last >= _BETWEEN:
                last = now
                told("running", min(max(float(fraction), 0.0), 1.0), text)

        try:
            progress(0.0, "starting")
            report = self._work(plan, progress, cancel.is_set)
            if cancel.is_set():
                raise Cancelled("the run was cancelled")
            finished(report)
            told("done", 1.0, f"done in {report.seconds:.1f} s")
        except Cancelled:
            told("cancelled", 0.0, "cancelled")
        except BaseException as error:  # a thread has nobody above it: tell the widget whatever it was
            told("failed", 0.0, explain(error))


def explain(error: BaseException) -> str:
    """An error as one sentence for people, with the next step where one is known."""
    name = type(error).__name__
    text = str(error).strip().split("\n")[0] or name
    if "OutOfMemory" in name or isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"out of memory: {text[:160]}. Choose a smaller budget, or a smaller batch, and run again."
    if isinstance(error, RecompvizError):
        return text
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename.rsplit('/', 1)[-1]}:{where[-1].lineno})" if where else ""
    return f"{name}: {text[:240]}{place}"
