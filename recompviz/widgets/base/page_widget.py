"""The base class of the widgets: it takes from the page only what the page may set, and only valid values.

A page may be old, be edited, or send messages out of order. Whatever it sends, the state of the kernel stays valid. A
value that is not taken is answered with the kernel's own value, so that the page shows what the kernel has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import anywidget

from recompviz.widgets.base.interrupts import uninterrupted

# a larger number is not exact in JavaScript
_MOST = 2**53


class _OfThread:
    """An attribute with a value of its own in each thread.

    Parameters
    ----------
    default : callable (owner) → object
        Returns the value in a thread that has set none.
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


class PageWidget(anywidget.AnyWidget):
    """A widget whose traits the page cannot change, except those in ``page_traits``.

    Subclasses define :meth:`from_page`, which checks values of these traits.
    """

    page_traits: ClassVar[tuple[str, ...]] = ()

    def from_page(self, name: str, value: Any, state: Mapping[str, Any]) -> Any:
        """Return a checked value of a trait in ``page_traits`` that the page has sent.

        Parameters
        ----------
        name : str
            The name of the trait.
        value : object
            The value, of any type.
        state : mapping
            All values of the message. The checked value of a trait that comes before ``name`` in ``page_traits`` takes
            the place of the value that was sent.

        Raises
        ------
        LookupError, TypeError, ValueError
            If the value is not valid. It is then ignored.
        """
        raise NotImplementedError

    def set_state(self, sync_data: Any) -> None:
        """Take the state that a page has sent. Called by ipywidgets."""
        if not isinstance(sync_data, Mapping):
            return
        state, refused = dict(sync_data), []
        accepted = {}
        for name in self.page_traits:
            if name in state:
                try:
                    accepted[name] = state[name] = self.from_page(name, state[name], state)
                except (LookupError, TypeError, ValueError):
                    del state[name]
                    refused.append(name)
        with uninterrupted():  # an interrupt would lose notifications that wait for the end of the change
            if accepted:
                self.take_state(accepted)
            if refused:
                self.send_state(refused)

    def take_state(self, state: dict[str, Any]) -> None:
        """Set traits to checked values that a page has sent."""
        super().set_state(state)

    # traitlets and ipywidgets hold changes back in all threads, by these attributes. A change that a background thread
    # makes meanwhile could be lost, and the page would keep an old value. Here each thread has its own.
    _cross_validation_lock = _OfThread(lambda _widget: False)
    _holding_sync = _OfThread(lambda _widget: False)
    notify_change: Any = _OfThread(lambda widget: super(PageWidget, widget).notify_change)  # noqa: UP008

    def _handle_msg(self, msg: Any) -> None:
        content = msg.get("content") if isinstance(msg, Mapping) else None
        data = content.get("data") if isinstance(content, Mapping) else None
        if isinstance(data, Mapping) and _is_message(data):
            super()._handle_msg(msg)


def _is_message(data: Mapping[str, Any]) -> bool:
    """Return whether ipywidgets can read a message. A message with buffers is refused, because our pages send none."""
    method = data.get("method")
    if method == "update":
        return isinstance(data.get("state"), Mapping) and not data.get("buffer_paths")
    return method == "request_state" or (method == "custom" and "content" in data)


def whole_number(value: Any, least: int = 0, most: int = _MOST) -> int:
    """Return a number from a page as an int.

    Raises
    ------
    TypeError, ValueError
        If the value is not a whole number from ``least`` to ``most``.

    Examples
    --------
    >>> whole_number(3), whole_number(3.0)
    (3, 3)
    >>> whole_number(True)
    Traceback (most recent call last):
    TypeError: expected a whole number from 0 to 9007199254740992
    """
    expected = f"expected a whole number from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(expected)
    if not least <= value <= most or value != int(value):
        raise ValueError(expected)
    return int(value)


def amount(value: Any) -> float:
    """Return a number from a page, such as a number of bytes, as a float.

    Raises
    ------
    TypeError, ValueError
        If the value is not a number from 0 to 2⁶³.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("expected a number")
    if not 0 <= value < 2**63:
        raise ValueError("expected a number from 0 to 2**63")
    return float(value)


def node_numbers(value: Any, count: int) -> list[int]:
    """Return a list of different node numbers from a page, each from 0 to ``count`` − 1.

    Raises
    ------
    TypeError, ValueError
        If the value is something else.
    """
    if not isinstance(value, (list, tuple)) or len(value) > count:
        raise TypeError(f"expected a list of at most {count} node numbers")
    nodes = [whole_number(v, 0, count - 1) for v in value]
    if len(set(nodes)) != len(nodes):
        raise ValueError("expected each node once")
    return nodes
