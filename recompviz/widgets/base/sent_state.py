"""A record of the traits that were sent to the page, so that the kernel can send again what was lost.

Every message with traits has a number. The record knows, for each trait, the number of the last message that had it,
and the value that was sent. A page that says the number of the last message that it has can therefore be sent exactly
the traits that it lacks: those of later messages, and those whose value was changed and never sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SentState:
    """The numbers and the values of the traits that were sent.

    Attributes
    ----------
    number : int
        The number of the last message; 0 is the message that opened the connection.

    Examples
    --------
    >>> first, second = [1], [2]
    >>> sent = SentState()
    >>> sent.record({"a": first, "b": first}, 0)
    >>> sent.next_number()
    1
    >>> sent.record({"a": second}, 1)
    >>> sent.missing(0, {"a": second, "b": first})
    ['a']
    >>> sent.missing(1, {"a": second, "b": second})
    ['b']
    """

    def __init__(self) -> None:
        self.number = 0
        self._numbers: dict[str, int] = {}
        self._values: dict[str, Any] = {}

    def next_number(self) -> int:
        """Count one more message; return its number."""
        self.number += 1
        return self.number

    def record(self, values: Mapping[str, Any], number: int) -> None:
        """Record that the message of this number had these values."""
        self._numbers.update(dict.fromkeys(values, number))
        self._values.update(values)

    def known(self, values: Mapping[str, Any]) -> None:
        """Record values that the page has set itself, so they need not be sent."""
        self._values.update(values)

    def later(self, number: int) -> set[str]:
        """Return the names of the traits that were sent after the message of this number."""
        return {name for name, sent in self._numbers.items() if sent > number}

    def missing(self, number: int, values: Mapping[str, Any]) -> list[str]:
        """Return the names of the traits that a page lacks.

        Parameters
        ----------
        number : int
            The number of the last message that the page has, with all messages before it.
        values : mapping of str to object
            The present values of the traits. They are compared by identity, because values are replaced, not changed.
        """
        later = self.later(number)
        return [name for name, value in values.items() if name in later or self._values.get(name, self) is not value]
