"""The type of the callbacks that report progress."""

from __future__ import annotations

from collections.abc import Callable

# called as progress(done, total); an exception raised in it stops the work
Progress = Callable[[int, int], None]
