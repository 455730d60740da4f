"""Filters of warnings that several threads may set at the same time.

``warnings.catch_warnings`` replaces the list of filters and restores the old one at the end. If two threads overlap,
the thread that ends last restores a list that contains the filters of the other thread. These filters then stay for
good. Here each filter is added to the list once, the threads that use the filter are counted, and the last of them
removes the filter.
"""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from recompviz.pytorch.internals.undone import undone

Action = Literal["error", "ignore"]

_lock = threading.Lock()
_used: Counter[tuple[Action, str]] = Counter()


@contextlib.contextmanager
def warnings_filtered(*wanted: tuple[Action, str]) -> Iterator[None]:
    """In a ``with`` block, raise or suppress warnings by their message.

    Parameters
    ----------
    *wanted : tuple of ("error" or "ignore", str)
        An action, and a regular expression that matches the beginning of the message. Later filters have precedence; a
        filter that raises has precedence over filters of other threads that suppress.

    Examples
    --------
    >>> with warnings_filtered(("ignore", "no such layer")):
    ...     warnings.warn("no such layer: conv9")
    """
    added: list[tuple[Action, str]] = []

    def restore() -> None:
        with _lock:
            while added:
                key = added.pop()
                _used[key] -= 1
                if _used[key] <= 0:
                    del _used[key]
                    _remove(*key)

    with undone(restore):
        with _lock:
            for key in wanted:
                added.append(key)
                _used[key] += 1
                warnings.filterwarnings(key[0], message=key[1])
            for action, message in _used:
                if action == "error" and (action, message) not in wanted:
                    warnings.filterwarnings(action, message=message)  # in front again
        yield


def _remove(action: Action, message: str) -> None:
    entry = (action, re.compile(message, re.IGNORECASE), Warning, None, 0)
    with contextlib.suppress(ValueError):  # the filters were replaced in the meantime
        warnings.filters.remove(entry)  # type: ignore[attr-defined]  # typed as a sequence, but a list
