"""Solving beside the notebook: one piece of work at a time, and a newer one takes the older one's place.

The work reports progress; where it does, it learns that it was superseded or cancelled, by
:class:`recompviz.Cancelled`. What a superseded piece of work still finds is dropped.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from recompviz.core.base.errors import Cancelled, RecompvizError
from recompviz.widgets.explorer.runner import explain

# (done, total), as the solvers report
Progress = Callable[[int, int], None]


class Background:
    """The newest piece of work, in a thread of its own.

    Parameters
    ----------
    told : callable (state, fraction, text)
        ``state`` is ``"solving"``, ``"done"``, ``"cancelled"`` or ``"failed"``.
    lock : threading.RLock
        The owner's own: whoever holds it is neither told nor handed a result meanwhile.
    """

    def __init__(self, told: Callable[[str, float, str], None], lock: threading.RLock) -> None:
        self._told = told
        self._lock = lock
        self._newest = 0
        self._thread: threading.Thread | None = None

    def start(self, text: str, work: Callable[[Progress], Any], done: Callable[[Any], str]) -> None:
        """Begin; ``done`` takes what the work found and says in words what came of it."""
        with self._lock:
            self._newest += 1
            number = self._newest
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run, number, text, work, done), name="recompviz-solve", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Stop what is under way; nothing of it is shown."""
        with self._lock:
            self._newest += 1
            if self._thread is not None and self._thread.is_alive():
                self._told("cancelled", 0.0, "cancelled")

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until what is under way has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, number: int, text: str, work: Callable[[Progress], Any], done: Callable[[Any], str]) -> None:
        def tell(state: str, fraction: float, words: str) -> None:
            with self._lock:
                if number == self._newest:
                    self._told(state, fraction, words)

        def progress(at: int, total: int) -> None:
            if number != self._newest:
                raise Cancelled("superseded by a newer choice")
            tell("solving", at / max(total, 1), text)

        try:
            progress(0, 1)
            found = work(progress)
            with self._lock:
                if number == self._newest:
                    self._told("done", 1.0, done(found))
        except Cancelled:
            pass
        except RecompvizError as error:
            tell("failed", 0.0, str(error))
        except BaseException as error:  # a thread has nobody above it: tell the widget whatever it was
            tell("failed", 0.0, explain(error))
