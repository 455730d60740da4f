"""Better plans that are searched for while the first ones are shown: a thread, how to stop it, and who waits for it.

Who only looks does not wait. Who reads in Python what depends on the plans does: a script gets a definite answer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import traitlets

from recompviz.core.base.errors import Cancelled
from recompviz.core.plans.plan_table import PlanTable
from recompviz.widgets.explorer.background import Progress


class Awaited(traitlets.Instance):  # type: ignore[type-arg]
    """A trait that is read in Python only when the plans it depends on are the final ones."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        """The value, once it is one to rely on."""
        obj.wait_for_plans()
        return super().get(obj, cls)


class LaterPlans:
    """The search for better tables in a thread of its own, if there is one to be made.

    Parameters
    ----------
    tell : callable (fraction)
        How far the search is.
    arrived : callable (tables)
        Shows them.
    failed : callable (text)
        Told why there are none.
    """

    def __init__(
        self,
        tell: Callable[[float], None],
        arrived: Callable[[Sequence[PlanTable]], None],
        failed: Callable[[str], None],
    ) -> None:
        self._tell, self._arrived, self._failed = tell, arrived, failed
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._telling = 0

    def start(self, search: Callable[[Progress], Sequence[PlanTable]]) -> None:
        """Begin; ``search(progress)`` ends with :class:`recompviz.Cancelled` from ``progress`` once it is stopped."""
        self._thread = threading.Thread(target=self._run, args=(search,), daemon=True)
        self._thread.start()

    @property
    def searching(self) -> bool:
        """Whether better plans may still come."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the search; the first plans stay."""
        self._stopped.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until they are shown; not in the thread that shows them, nor in one that tells of a choice."""
        here = threading.current_thread()
        if self._thread is not None and self._thread is not here and self._telling != here.ident:
            self._thread.join(seconds)

    @contextlib.contextmanager
    def not_awaited(self) -> Iterator[None]:
        """Here observers are told of a choice: they must not wait for the search, which may wait for them."""
        self._telling = threading.get_ident()
        try:
            yield
        finally:
            self._telling = 0

    def _run(self, search: Callable[[Progress], Sequence[PlanTable]]) -> None:
        def progress(done: int, total: int) -> None:
            if self._stopped.is_set():
                raise Cancelled("the search was stopped")
            self._tell(done / max(total, 1))

        try:
            progress(0, 1)
            tables = tuple(search(progress))
        except Cancelled as error:
            self._failed(str(error))
        except Exception as error:  # the first plans stay, and the page says why
            self._failed(f"the search failed: {error}")
        else:
            self._arrived(tables)
