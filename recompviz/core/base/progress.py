"""The type of callbacks that report the progress of a search. They are called as ``progress(done, total)``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# called as progress(done, total); an exception that it raises stops the search
Progress = Callable[[int, int], None]


def partial_progress(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """Return a callback that reports the progress of a part of the work as progress of the whole work.

    Parameters
    ----------
    progress : callable (done, total) or None
        The callback for the whole work; it is called with ``total`` = 1000. If it is None, the result is None.
    start, stop : float
        Where the part begins and ends, as fractions of the whole work.

    Examples
    --------
    >>> partial_progress(lambda done, total: print(done, "of", total), 0.5, 1)(1, 4)
    625 of 1000
    """
    if progress is None:
        return None
    return lambda done, total: progress(round(1000 * (start + (stop - start) * done / max(total, 1))), 1000)


def paced(progress: Progress, seconds: float) -> Progress:
    """Return a callback that calls ``progress``, but not more often than every ``seconds``.

    The first call is passed on. A later call is dropped if it comes at most ``seconds`` after the last call that was
    passed on.

    Examples
    --------
    >>> report = paced(lambda done, total: print(done, "of", total), 60)
    >>> for done in range(3):
    ...     report(done, 3)
    0 of 3
    """
    passed_on = -math.inf

    def report(done: int, total: int) -> None:
        nonlocal passed_on
        if (now := time.perf_counter()) - passed_on > seconds:
            progress(done, total)
            passed_on = now

    return report
