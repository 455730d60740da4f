"""A job: work in a thread of its own that reports progress and can be cancelled.

The notebook stays free while a job runs. An error in the work becomes a state of the job, never a dead thread.
"""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, Literal, Protocol, TypeVar

from recompviz.core.base.errors import Cancelled, RecompvizError

T = TypeVar("T")

State = Literal["running", "done", "cancelled", "failed"]

# The least time between two reports of progress, seconds.
INTERVAL = 0.1


class Progress(Protocol):
    """How work reports its progress; also a :data:`recompviz.core.base.progress.Progress`."""

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Report that ``done`` of ``total`` is done.

        Parameters
        ----------
        done, total : float
        text : str
            What is being done now. Empty keeps the last text.

        Raises
        ------
        Cancelled
            Once the job was cancelled. The work should let it pass.
        """
        ...


class Job(Generic[T]):
    """Work in a thread of its own.

    Parameters
    ----------
    work : callable (progress) → result
        Runs in the new thread. It can be cancelled wherever it calls ``progress(done, total, text="")``.
    changed : callable (job)
        Called in that thread when there is progress and once when the job ends, before :meth:`wait` returns. If it
        raises when the state is ``"done"``, the job has failed with that error, and it is called again.
    text : str
        What is being done, for people.

    Attributes
    ----------
    state : "running", "done", "cancelled" or "failed"
    fraction : float
        The share of the work that is done, 0 to 1.
    text : str
        What is being done, or why the job failed.
    result : object or None
        What the work returned, if the state is ``"done"``.
    error : BaseException or None
        What the work raised, if the state is ``"failed"``.

    Examples
    --------
    >>> def work(progress):
    ...     for i in range(3):
    ...         progress(i, 3, f"part {i}")
    ...     return 42
    >>> job = Job(work, lambda job: None)
    >>> job.start()
    >>> job.wait(), job.state, job.result
    (True, 'done', 42)
    """

    def __init__(self, work: Callable[[Progress], T], changed: Callable[[Job[T]], None], text: str = "") -> None:
        self.state: State = "running"
        self.fraction = 0.0
        self.text = text
        self.result: T | None = None
        self.error: BaseException | None = None
        self._work, self._changed = work, changed
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._reported = 0.0
        # Output of the thread belongs to the cell or message that made the job.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="recompviz-job", daemon=True)

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work goes on and was not cancelled."""
        return self.state == "running" and not self.cancelled

    @property
    def ended(self) -> bool:
        """Whether the thread has ended. A cancelled job may need some time for that."""
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called. The thread ends at its next report of progress."""
        return self._cancelled.is_set()

    @property
    def is_here(self) -> bool:
        """Whether the present thread is the job's own."""
        return self._thread is threading.current_thread()

    def cancel(self) -> None:
        """Ask the work to stop. Its result is dropped even if it ends before it notices."""
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the thread has ended; whether it has. In the job's own thread, return immediately."""
        return not self.is_here and self._ended.wait(seconds)

    def _progress(self, done: float, total: float, text: str = "") -> None:
        self._stop_if_cancelled()
        self.fraction = min(max(done / max(total, 1e-9), 0.0), 1.0)
        self.text = text or self.text
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            self._changed(self)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled("the job was cancelled")

    def _run(self) -> None:
        try:
            self._progress(0, 1)
            self.result = self._work(self._progress)
            self._stop_if_cancelled()
            self.state, self.fraction = "done", 1.0
            self._changed(self)
        except Cancelled:
            self._end("cancelled", "cancelled")
        except BaseException as error:  # Nothing above a thread would handle it.
            self.error = error
            self._end("failed", explain(error))
        finally:
            self._ended.set()

    def _end(self, state: State, text: str) -> None:
        self.state, self.text, self.result = state, text, None
        self._changed(self)


def explain(error: BaseException) -> str:
    """An error as one line for people, with the next step where one is known.

    Examples
    --------
    >>> explain(MemoryError("3 GiB"))
    'out of memory: 3 GiB. Choose a smaller budget, or a smaller batch, and run again.'
    """
    name = type(error).__name__
    text = str(error).strip().split("\n")[0] or name
    if is_out_of_memory(error):
        return f"out of memory: {text[:160]}. Choose a smaller budget, or a smaller batch, and run again."
    if isinstance(error, RecompvizError):
        return text
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename.rsplit('/', 1)[-1]}:{where[-1].lineno})" if where else ""
    return f"{name}: {text[:240]}{place}"


def is_out_of_memory(error: Any) -> bool:
    """Whether an error says that the device or the machine has no memory left."""
    return (
        isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "out of memory" in str(error).lower()
    )
