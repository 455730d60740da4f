"""An attribute with a value of its own in each thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class OfThread:
    """A descriptor for an attribute of a class. Each object has a separate value of the attribute in each thread.

    Parameters
    ----------
    default : callable (owner) → object
        Takes the object that has the attribute. Returns the value for a thread that has set none.
    """

    def __init__(self, default: Callable[[Any], Any]) -> None:
        self._default = default

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, _kind: type | None = None) -> Any:
        if owner is None:
            return self
        values = vars(owner).get(f"{self._name} by thread", {})
        thread = threading.get_ident()
        return values[thread] if thread in values else self._default(owner)

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner).setdefault(f"{self._name} by thread", {})[threading.get_ident()] = value

    def __delete__(self, owner: Any) -> None:
        vars(owner).get(f"{self._name} by thread", {}).pop(threading.get_ident(), None)
