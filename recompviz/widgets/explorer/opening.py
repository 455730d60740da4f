"""An Explorer that is shown before its training step is traced.

A background thread traces the step, measures it and makes the first plans. Until then the page shows the phase, its
progress, and a button to cancel. Python code that reads the plan or another result of the trace waits for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import types
from collections.abc import Callable
from html import escape
from typing import Any

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.tracebacks import without_library_frames
from recompviz.widgets.base.interactive import is_exported, running_shell
from recompviz.widgets.base.job import Job, JobProgress, explain
from recompviz.widgets.base.static_output import CLASS
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.explorer_arguments import ExplorerArguments

# What Explorer.__init__ makes from the traced step; code that reads one of these waits for it.
# characters of one line of an error; the advice at the end of a TraceError has about 400
LONGEST_LINE = 600
_PARTS = frozenset(
    (
        "planner", "title", "cost_unit", "device", "_given", "_selection", "_resizing",
        "_questions", "_run_jobs", "_known", "_search", "_bounds", "_settling", "_history", "_numbers", "_first_choice",
        "_search_later",
    )
)  # fmt: skip


class OpeningExplorer(Explorer):
    """An Explorer that is shown before its training step is traced.

    Parameters
    ----------
    work : callable (progress) → ExplorerArguments
        A function that returns the arguments of the :class:`Explorer`. It runs in a background thread. It should often
        call ``progress(done, total, text)``, which raises :class:`recompviz.Cancelled` after the user has cancelled.
    title : str
        The title that is shown until the step is traced.

    Attributes
    ----------
    error : BaseException or None
        The error that the work raised, without the frames of libraries in its traceback; None if there is none yet.

    Raises
    ------
    Exception
        Reading ``plan``, ``budget`` and other attributes raises the error of the work. If the user has cancelled the
        work, RecompvizError is raised.
    """

    def __init__(self, work: Callable[[JobProgress], ExplorerArguments], title: str) -> None:
        self.error: BaseException | None = None
        self._frames: types.TracebackType | None = None
        self._open = threading.Event()
        super(Explorer, self).__init__(_opening=opening_state("working", 0.0, "loading the tracer", title))
        self.on_msg(self._on_message)
        self._job = Job(work, self._on_job, "starting")
        self._job.start()
        later_cells_wait(self._open, self._job.cancel)

    @property
    def opened(self) -> bool:
        """Whether the training step is shown."""
        return bool(self._opening["state"] == "done")

    def wait_until_open(self, seconds: float | None = None) -> None:
        """Wait until the training step is shown. A call by the work itself returns without waiting.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.

        Raises
        ------
        Exception
            The error that the work raised.
        RecompvizError
            If the user has cancelled the work or closed the widget.
        """
        if self._job.is_here:
            return
        self._open.wait(seconds)
        if self.error is not None:
            raise self.error.with_traceback(self._frames)  # without the frames that an earlier raise has added
        if self._opening["state"] == "cancelled":
            raise RecompvizError(f"opening the Explorer was {self._opening['text']}; call rv.explore again")

    def __getattr__(self, name: str) -> Any:
        """Wait until the training step is traced, and return an attribute that the Explorer makes from it."""
        if name in _PARTS and "_job" in vars(self) and not self._job.is_here:
            self.wait_until_open()
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def close(self) -> None:
        """Close the widget. Its views disappear, and all background work stops."""
        if "_job" in vars(self):  # ipywidgets also closes a widget whose constructor failed
            self._end_opening("closed")
        super().close()

    def _on_job(self, job: Job[ExplorerArguments]) -> None:
        title = self._opening["title"]
        if job.cancelled or job.state == "cancelled":
            if self._opening["state"] == "working":
                self._opening = opening_state("cancelled", 0.0, "cancelled", title)
            self._open.set()
        elif job.state == "running":
            self._opening = opening_state("working", job.fraction, job.text, title)
        elif job.state == "done" and job.result is not None:
            self._show_opened(job.result)
            self._open.set()
        elif job.state == "failed" and job.error is not None:
            self.error = without_library_frames(job.error)
            self._frames = self.error.__traceback__
            self._opening = opening_state("failed", 0.0, short_text(job.error), title)
            self._open.set()

    def _show_opened(self, arguments: ExplorerArguments) -> None:
        with self.hold_sync():
            for name, value in self._prepare(arguments).items():
                setattr(self, name, value)
            self._begin()
            self._opening = {**self._opening, "state": "done", "fraction": 1.0, "text": ""}

    def _stop(self) -> None:
        if self.opened:
            super()._stop()
        elif self._opening["state"] == "working":
            self._end_opening("cancelled")

    def _end_opening(self, text: str) -> None:
        """Cancel the work. Code that waits for the training step then gets an error."""
        self._job.cancel()
        if self._opening["state"] == "working":
            self._opening = opening_state("cancelled", 0.0, text, self._opening["title"])
        self._open.set()

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        if self.opened or (isinstance(content, dict) and content.get("type") == "stop"):
            super()._on_message(widget, content, buffers)

    def take_state(self, state: dict[str, Any]) -> None:
        """Set traits that the page sent. Before the training step is shown, they are ignored."""
        if self.opened:
            super().take_state(state)

    def __repr__(self) -> str:
        if self.opened:
            return super().__repr__()
        return f"Explorer({self._opening['title']}: {self._opening['text']})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self.opened:
            return super()._repr_mimebundle_(**kwargs)
        bundle = super(Explorer, self)._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        # a saved notebook shows this text for as long as no kernel runs, so it must not name the phase of today
        text = f"{self._opening['title']}: run this cell to use the Explorer"
        return {**data, "text/plain": text}, metadata

    def _image(self) -> str:
        if self.opened:
            return super()._image()
        return f'<div class="{CLASS}">{escape(repr(self))}</div>'

    def _ipython_display_(self) -> None:
        if is_exported():
            self._wait_for_picture()
        if self.opened:
            super()._ipython_display_()
            return
        data, metadata = self._repr_mimebundle_()
        self._display(data, metadata, self._wait_for_picture)

    def _wait_for_picture(self) -> None:
        with contextlib.suppress(Exception):  # the picture is then the text of the error
            self.wait_until_open()
            self.wait_for_plans()


def opening_state(state: str, fraction: float, text: str, title: str) -> dict[str, Any]:
    """Return the value of the trait ``_opening``. ``wire.md`` explains it."""
    return {"state": state, "fraction": fraction, "text": text, "title": title, "begun": time.time()}


def short_text(error: BaseException) -> str:
    """Return a text that describes an error to the user.

    A :class:`recompviz.RecompvizError` gives the first lines of its message, at most four. Any other error gives one
    line.

    Examples
    --------
    >>> short_text(ValueError("Expected input batch_size (4) to match target batch_size (5)."))
    'ValueError: Expected input batch_size (4) to match target batch_size (5).'
    """
    if isinstance(error, RecompvizError):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return "\n".join(shortened(line, LONGEST_LINE) for line in lines[:4])
    return explain(error)


# ---------------------------------------------------------------- the notebook


def later_cells_wait(done: threading.Event, cancel: Callable[[], None]) -> None:
    """Make the next cell wait for the event ``done``, because a background thread uses the model until then.

    An interrupt of that cell calls ``cancel``. Outside of a notebook, nothing happens.
    """
    shell = running_shell()
    if shell is None or not hasattr(shell, "events"):
        return

    def wait(*_: Any) -> None:
        shell.events.unregister("pre_run_cell", wait)
        if not done.is_set():
            print("waiting until rv.explore has traced the training step …")
        try:
            done.wait()
        except KeyboardInterrupt:
            cancel()
            raise

    shell.events.register("pre_run_cell", wait)
