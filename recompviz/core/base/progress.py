"""The type of callbacks that report the progress of a search. They are called as ``progress(done, total)``."""

from __future__ import annotations

from collections.abc import Callable

# called as progress(done, total); an exception that it raises stops the search
Progress = Callable[[int, int], None]
