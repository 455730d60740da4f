"""The choices that the page may make: the values it sets for traits of the Explorer, checked before they are used.

A page is not trusted: it may come from an older version, or from a test that sends wrong values. ``wire.md`` lists the
fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recompviz.widgets.base.page_widget import amount, checked_nodes, whole_number
from recompviz.widgets.layout.layout import MODES


def choice_of_page(name: str, value: Any, count: int) -> Any:
    """Return a checked value of a trait that the page may set.

    Parameters
    ----------
    name : "_mode", "_theory", "_asked" or "_pins"
        The name of the trait.
    value : object
        What the page sent.
    count : int
        Number of nodes of the graph.

    Raises
    ------
    LookupError, TypeError, ValueError
        If ``value`` is not a value of this trait.

    Examples
    --------
    >>> choice_of_page("_pins", {"request": 1, "base": -1, "keep": [0, 2], "recompute": []}, 3)
    {'request': 1, 'base': -1, 'keep': [0, 2], 'recompute': [], 'lost': ''}
    """
    if name == "_mode":
        if value not in MODES:
            raise ValueError(f"expected one of {', '.join(MODES)}")
        return value
    if name == "_theory":
        if not isinstance(value, bool):
            raise TypeError("expected true or false")
        return value
    if name == "_asked":
        fields = {field: whole_number(value[field]) for field in ("request", "table", "row")}
        return {**fields, "budget": amount(value["budget"]), **_edition(value)}
    keep, recompute = checked_nodes(value["keep"], count), checked_nodes(value["recompute"], count)
    numbers = {"request": whole_number(value["request"]), "base": whole_number(value["base"], -1)}
    # the user has read which pins another size does not have; the next pin removes the message
    return {**numbers, **_edition(value), "keep": keep, "recompute": recompute, "lost": ""}


def _edition(value: Mapping[str, Any]) -> dict[str, int]:
    """Return the edition of the tables that a choice of the page belongs to, if the page says it."""
    return {"edition": whole_number(value["edition"])} if "edition" in value else {}


def numbers_asked(asked: Any) -> tuple[int, int, int, int] | None:
    """Return the request number, table, row and budget of a choice of the page; None if the choice is not valid."""
    try:
        return int(asked["request"]), int(asked["table"]), int(asked["row"]), int(asked["budget"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
