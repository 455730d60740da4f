"""A cache for results that take long to compute, safe to use from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds between two calls of ``waiting``.
PAUSE = 0.05


class Cache:
    """Results by key. Each key is computed at most once at a time; different keys do not wait for each other.

    A computation may ask for other keys, as long as no two keys need each other.

    Examples
    --------
    >>> cache = Cache()
    >>> cache.get("answer", lambda: 42), cache.get("answer", lambda: 43)
    (42, 42)
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, compute: Callable[[], T], waiting: Callable[[], None] | None = None) -> T:
        """The cached value of a key, or what ``compute`` returns. Nothing is cached if ``compute`` raises.

        Parameters
        ----------
        key : str
        compute : callable
        waiting : callable, optional
            Called repeatedly while another thread computes this key. An exception that it raises ends the wait.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.RLock())
        while not lock.acquire(timeout=-1 if waiting is None else PAUSE):
            if waiting is not None:
                waiting()
        try:
            if key not in self._values:
                self._values[key] = compute()
            value: T = self._values[key]
            return value
        finally:
            lock.release()

    def peek(self, key: str) -> Any:
        """The cached value of a key, or None."""
        return self._values.get(key)

    def copy_of(self, prefix: str) -> Cache:
        """A new cache with the values whose key starts with ``prefix``."""
        new = Cache()
        new._values = {key: value for key, value in list(self._values.items()) if key.startswith(prefix)}
        return new
