"""A cache for results that take long to compute. Several threads may use it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds between two calls of ``waiting``.
PAUSE = 0.05
# stands for a result that is not in a cache; None may be a result
MISSING: Any = object()


class Cache:
    """A cache of results by key, for use by several threads.

    Two threads never compute the same key at the same time, and threads with different keys do not wait for each other.
    The computation of a key may ask for other keys. Two keys whose computations ask for each other can deadlock.

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
        """Return the cached value of a key. If there is none, call ``compute`` and cache what it returns.

        Nothing is cached if ``compute`` raises an exception.

        Parameters
        ----------
        key : str
            Any text, for example ``"plans live"``.
        compute : callable () → value
            Computes the value of the key.
        waiting : callable (), optional
            Called every 0.05 seconds while another thread computes the same key. If it raises an exception, the wait
            ends with this exception.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.RLock())
        while not lock.acquire(timeout=-1 if waiting is None else PAUSE):
            if waiting is not None:
                waiting()
        try:
            value: T = self._values.get(key, MISSING)
            if value is MISSING:
                value = self._values[key] = compute()
            return value
        finally:
            lock.release()

    def peek(self, key: str) -> Any:
        """Return the cached value of a key; None if there is none yet. This never waits for a running computation."""
        return self._values.get(key)

    def with_prefix(self, prefix: str) -> dict[str, Any]:
        """Return a dict of the cached values whose keys start with ``prefix``, by key."""
        return {key: value for key, value in list(self._values.items()) if key.startswith(prefix)}

    def replace(self, prefix: str, key: str, compute: Callable[[], T]) -> T:
        """Return the cached value of a key as :meth:`get` does, and drop the other keys that start with ``prefix``."""
        value = self.get(key, compute)
        for other in self.with_prefix(prefix):
            if other != key:
                self._values.pop(other, None)
        return value

    def copy_of(self, prefix: str) -> Cache:
        """Return a new cache with all values whose keys start with ``prefix``."""
        new = Cache()
        new._values = self.with_prefix(prefix)
        return new
