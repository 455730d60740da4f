"""A record of the traits that were sent to the page, so that the kernel can send again what was lost.

Every message with traits has a number. For each trait, the record has the number of the last message with the trait,
and the value that was sent. A page says the number of the last message that it got. It then gets the traits of later
messages, and the traits that were changed and never sent.

A value that one page has set is in no message of the kernel. The record therefore counts the changes by pages, so that
the other pages get these values, too.
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
    own : int
        How often a page has set traits.

    Examples
    --------
    >>> first, second = [1], [2]
    >>> sent = SentState()
    >>> sent.record({"a": first, "b": first}, 0)
    >>> sent.next_number()
    1
    >>> sent.record({"a": second}, 1)
    >>> sent.missing(0, 0, {"a": second, "b": first})
    ['a']
    >>> sent.missing(1, 0, {"a": second, "b": second})
    ['b']
    """

    def __init__(self) -> None:
        self.number = self.own = 0
        self._set: dict[str, int] = {}
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

    def set_by_page(self, values: Mapping[str, Any]) -> None:
        """Record values that a page has set."""
        self.own += 1
        self._set.update(dict.fromkeys(values, self.own))
        self._values.update(values)

    def later(self, number: int, own: int) -> set[str]:
        """Return the names of traits that were sent after message ``number``, or set by a page after count ``own``."""
        sent = {name for name, at in self._numbers.items() if at > number}
        return sent | {name for name, at in self._set.items() if at > own}

    def missing(self, number: int, own: int, values: Mapping[str, Any]) -> list[str]:
        """Return the names of the traits that a page lacks.

        Parameters
        ----------
        number : int
            The number of the last message that the page has, with all messages before it.
        own : int
            Of the values that pages have set, the page has those up to this count; see :attr:`own`.
        values : mapping of str to object
            The present values of the traits. They are compared by identity, because values are replaced, not changed.
        """
        later = self.later(number, own)
        return [name for name, value in values.items() if name in later or self._values.get(name, self) is not value]
