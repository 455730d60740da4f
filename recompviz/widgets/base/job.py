"""A job: a function that runs in another thread, reports progress and can be cancelled.

The notebook can run other cells meanwhile. If the function raises an error, the job ends in the state ``"failed"``.

Later jobs use the same threads again. With a new thread for each job, the resident memory of the kernel grew for hours:
the C library has several heaps, a new thread may get any of them, and each heap keeps the memory of its largest job.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import queue
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from recompviz.core.base.errors import Cancelled, RecompvizError

T = TypeVar("T")

JobState = Literal["running", "done", "cancelled", "failed"]

# the most threads that wait for further jobs
IDLE = 2
# The least time between two calls of ``changed`` for progress, in seconds.
INTERVAL = 0.1


class JobProgress(Protocol):
    """The type of the function ``progress`` that a job passes to its work."""

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Report that the share ``done / total`` of the work is done.

        Parameters
        ----------
        done, total : float
            Amounts in any unit.
        text : str
            The current activity as text, to be shown to the user. If empty, the last text remains.

        Raises
        ------
        Cancelled
            If the job was cancelled. The work should not catch it.
        """
        ...


class Job(Generic[T]):
    """A function that runs in another thread, reports progress and can be cancelled.

    Parameters
    ----------
    work : callable (progress) → result
        The function to run in the other thread. A cancelled job stops only where the function calls
        ``progress(done, total, text="")``.
    changed : callable (job)
        Called in the other thread when the progress changes, and when the job ends, before :meth:`wait` returns. Each
        new text causes a call. Reports without a new text cause at most ten calls in a second. If ``changed`` raises an
        error in the state ``"running"`` or ``"done"``, the job fails with this error, and ``changed`` is called again.
    text : str
        The initial value of the attribute ``text``.

    Attributes
    ----------
    state : "running", "done", "cancelled" or "failed"
        The state of the job. It is ``"running"`` from the beginning, also before :meth:`start`.
    fraction : float
        The share of the work that is done, from 0 to 1.
    text : str
        The current activity in words, to be shown to the user. For a failed job, the error in one line.
    result : object or None
        The return value of ``work`` in the state ``"done"``; None in other states.
    error : BaseException or None
        The error that ``work`` or ``changed`` raised, in the state ``"failed"``; None in other states.

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

    def __init__(self, work: Callable[[JobProgress], T], changed: Callable[[Job[T]], None], text: str = "") -> None:
        self.state: JobState = "running"
        self.fraction = 0.0
        self.text = text
        self.result: T | None = None
        self.error: BaseException | None = None
        self._work, self._changed = work, changed
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._reported = 0.0
        # Output of the thread belongs to the cell or message that made the job.
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the work in another thread. A job can be started once; a second call raises RuntimeError."""
        if self._context is None or self._thread is not None:
            raise RuntimeError("the job was started before; make a new one")
        worker = _Worker.take()
        _started.add(self)
        worker.do(self)

    @property
    def running(self) -> bool:
        """Whether the state is ``"running"`` and :meth:`cancel` was not called."""
        return self.state == "running" and not self.cancelled

    @property
    def ended(self) -> bool:
        """Whether the work has ended. After :meth:`cancel`, the work may continue for some time."""
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called. The work then ends at its next report of progress."""
        return self._cancelled.is_set()

    @property
    def is_here(self) -> bool:
        """Whether the calling code runs inside the work of this job."""
        return self._thread is threading.current_thread() and not self.ended

    def cancel(self) -> None:
        """Ask the work to stop at its next report of progress.

        If the work returns without another report, its result is dropped, and the state becomes ``"cancelled"``. If the
        job has ended before, nothing changes except :attr:`cancelled`.
        """
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the job has ended.

        Parameters
        ----------
        seconds : float, optional
            Longest time to wait. Default: no limit.

        Returns
        -------
        bool
            Whether the job has ended. A call from inside the work returns False without waiting.
        """
        return not self.is_here and self._ended.wait(seconds)

    def _progress(self, done: float, total: float, text: str = "") -> None:
        self._stop_if_cancelled()
        self.fraction = min(max(done / max(total, 1e-9), 0.0), 1.0)
        news = text not in ("", self.text)  # must not be left out: the activity may take a minute
        self.text = text or self.text
        now = time.monotonic()
        if news or now - self._reported >= INTERVAL:
            self._reported = now
            self._changed(self)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled("the job was cancelled")

    def _run_in_context(self) -> None:
        context, self._context = self._context, None
        assert context is not None
        context.run(self._run)

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

    def _end(self, state: JobState, text: str) -> None:
        self.state, self.text, self.result = state, text, None
        self._changed(self)


class _Worker:
    """A thread that runs one job after the other."""

    idle: ClassVar[list[_Worker]] = []
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job[Any]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._loop, name="recompviz-job", daemon=True)
        self.thread.start()

    @classmethod
    def take(cls) -> _Worker:
        """Return a worker that waits for a job, or a new one."""
        with cls.lock:
            if cls.idle:
                return cls.idle.pop()
        return cls()

    def do(self, job: Job[Any]) -> None:
        """Run a job in this thread."""
        job._thread = self.thread
        self._jobs.put(job)

    def _loop(self) -> None:
        while True:
            self._jobs.get()._run_in_context()  # no variable holds the job while the thread waits
            with self.lock:
                if len(self.idle) >= IDLE:
                    return
                self.idle.append(self)


_started: weakref.WeakSet[Job[Any]] = weakref.WeakSet()


def _forget_threads() -> None:
    """Forget the threads of the parent process, which a child process does not have."""
    _started.clear()
    _Worker.idle.clear()
    _Worker.lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)


@atexit.register
def _stop_at_exit() -> None:
    """Cancel all jobs and wait for them. If the interpreter ends while a thread is inside torch, the process aborts."""
    jobs = list(_started)
    for job in jobs:
        job.cancel()
    for job in jobs:
        job._ended.wait()


def explain(error: BaseException) -> str:
    """Return one line that describes an error to the user. For an out-of-memory error, the line also says what to do.

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
    """Return whether the type or the text of an error says that the device or the machine is out of memory."""
    return (
        isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "out of memory" in str(error).lower()
    )
