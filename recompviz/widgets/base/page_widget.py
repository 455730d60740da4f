"""The base class of the widgets: it takes from the page only what the page may set, and only valid values.

A page may be old, be edited, or send messages out of order. Whatever it sends, the state of the kernel stays valid. If
the kernel refuses a value, it sends its own value back, so that the page shows what the kernel has.

A connection may drop messages. Each message with traits therefore has a number, by which the page finds that a message
is missing: see :mod:`recompviz.widgets.base.sent_state` and ``js/shared/in_step.js``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import anywidget
import traitlets

from recompviz.widgets.base.interrupts import uninterrupted
from recompviz.widgets.base.of_thread import OfThread
from recompviz.widgets.base.sent_state import SentState

# a larger number is not exact in JavaScript
_MOST = 2**53


class PageWidget(anywidget.AnyWidget):
    """A widget of which the page can change only the traits named in ``page_traits``.

    Subclasses define :meth:`from_page`, which checks the values that the page sends for these traits.
    """

    page_traits: ClassVar[tuple[str, ...]] = ()

    # of each message with traits: [since, number, question, lost, own]; see js/shared/in_step.js
    _revision: Any = traitlets.List().tag(sync=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.RLock()  # messages are sent in the order of their numbers
        self._sent = SentState()
        self._revision_now = [0, 0, 0, 0]  # without the count of what pages have set
        super().__init__(*args, **kwargs)

    def from_page(self, name: str, value: Any, state: Mapping[str, Any]) -> Any:
        """Check a value that the page has sent for a trait in ``page_traits``. Return the value that the trait gets.

        Parameters
        ----------
        name : str
            The name of the trait.
        value : object
            The value, of any type.
        state : mapping
            All values of the message, by the names of their traits. The values of traits that come before ``name`` in
            ``page_traits`` are already checked.

        Raises
        ------
        LookupError, TypeError, ValueError
            If the value is not valid. The trait then keeps its old value.
        """
        raise NotImplementedError

    def set_state(self, sync_data: Any) -> None:
        """Take the values of traits that a page has sent. Called by ipywidgets.

        Only traits in ``page_traits`` count. If a value is not valid, the page gets the kernel's value of the trait.
        """
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
        """Set traits to values that a page has sent and :meth:`from_page` has checked."""
        super().set_state(state)
        with self._sending:
            self._sent.set_by_page({name: getattr(self, name) for name in state if getattr(self, name) == state[name]})

    # ---------------------------------------------------------------- messages to the page

    def open(self) -> None:
        """Open the connection to the page. Called by ipywidgets."""
        with self._sending:
            super().open()
            self._sent.record(self._synchronised(), 0)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """Return the values of traits, and the number of the last message. Called by ipywidgets."""
        with self._sending:
            state = super().get_state(key, drop_defaults)
            if "_revision" in state:
                state["_revision"] = [*self._revision_now, self._sent.own]
            return state

    def send_state(self, key: Any = None) -> None:
        """Send values of traits to the page as a message with a number. Called by ipywidgets.

        Parameters
        ----------
        key : str or iterable of str, optional
            Names of traits. If None, all.
        """
        names = self.keys if key is None else [key] if isinstance(key, str) else list(key)
        if names:
            with self._sending:
                self._send_names(names, 0 if key is None else self._sent.number)

    def _send_names(self, names: list[str], since: int, question: int = 0, lost: int = 0) -> None:
        """Send a message that has everything that changed after the message ``since``."""
        values = {name: getattr(self, name) for name in names if name != "_revision"}
        number = self._sent.next_number()
        self._revision_now = [since, number, question, lost]
        try:
            super().send_state([*values, "_revision"])
        finally:
            self._revision_now = [0, number, 0, 0]  # for a whole state, which a page asks for when it is loaded
        self._sent.record(values, number)

    def _synchronised(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.keys if name != "_revision"}

    def _bring_up_to_date(self, content: Mapping[str, Any]) -> None:
        """Take what the page has set and the kernel never got; send what the kernel has set and the page never got.

        Parameters
        ----------
        content : mapping
            ``since``: the number of the last message that the page has, with all before it. ``own``: the count of what
            pages have set, up to which the page knows it. ``question``: a number that the answer repeats. ``state``:
            the values that the page has of those traits that it may set.
        """
        since, own, question = (_number_or_zero(content.get(name)) for name in ("since", "own", "question"))
        since, own = min(since, self._sent.number), min(own, self._sent.own)
        given, later = content.get("state"), self._sent.later(since, own)
        state = {n: value for n, value in given.items() if n in self.page_traits} if isinstance(given, Mapping) else {}
        lost = {n: value for n, value in state.items() if _is_lost(value, getattr(self, n), n in later)}
        try:
            if lost:
                self.set_state(lost)
        finally:  # an observer of the user may have raised
            with self._sending:
                now = self._synchronised()
                missing = [n for n in self._sent.missing(since, own, now) if n not in state or state[n] != now[n]]
                self._send_names(missing, since, question, len(lost))

    # traitlets and ipywidgets hold changes back in all threads, by these attributes. A change that a background thread
    # makes meanwhile could be lost, and the page would keep an old value. Here each thread has its own.
    _cross_validation_lock = OfThread(lambda _widget: False)
    _holding_sync = OfThread(lambda _widget: False)
    notify_change: Any = OfThread(lambda widget: super(PageWidget, widget).notify_change)  # noqa: UP008 (in no method)

    def _handle_msg(self, msg: Any) -> None:
        content = msg.get("content") if isinstance(msg, Mapping) else None
        data = content.get("data") if isinstance(content, Mapping) else None
        if isinstance(data, Mapping) and _is_message(data):
            super()._handle_msg(msg)

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        if isinstance(content, Mapping) and content.get("type") == "since":
            with uninterrupted():
                self._bring_up_to_date(content)
        else:
            super()._handle_custom_msg(content, buffers)


def _is_lost(value: Any, present: Any, is_later: bool) -> bool:
    """Return whether the value of a page is a choice that the kernel never got.

    Choices with a request number are compared by this number. Any other value is lost if it differs from the present
    one, and the present one is not a later one (``is_later``) that the page does not know.
    """
    if value == present:
        return False
    mine, theirs = (each.get("request") if isinstance(each, Mapping) else None for each in (value, present))
    if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)):
        return mine > theirs
    return not is_later


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


def _number_or_zero(value: Any) -> int:
    try:
        return whole_number(value)
    except (TypeError, ValueError):
        return 0


def amount(value: Any) -> float:
    """Return a number from a page, such as a number of bytes, as a float.

    Raises
    ------
    TypeError, ValueError
        If the value is not a number that is at least 0 and less than 2⁶³.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("expected a number")
    if not 0 <= value < 2**63:
        raise ValueError("expected a number from 0 to 2**63")
    return float(value)


def checked_nodes(value: Any, count: int) -> list[int]:
    """Return a list of node numbers from a page as a list of int.

    Raises
    ------
    TypeError, ValueError
        If the value is not a list of different whole numbers from 0 to ``count`` − 1.
    """
    if not isinstance(value, (list, tuple)) or len(value) > count:
        raise TypeError(f"expected a list of at most {count} node numbers")
    nodes = [whole_number(v, 0, count - 1) for v in value]
    if len(set(nodes)) != len(nodes):
        raise ValueError("expected each node once")
    return nodes
