"""The pins of an Explorer when it shows its training step at another batch size or length.

A pin names its value. The pin stays if the step at the other size has a value of the same name. Otherwise the pin is
removed, and the Explorer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recompviz.core.graphs.graph import Graph

NO_PINS: dict[str, Any] = {"request": 0, "base": -1, "edition": 0, "keep": [], "recompute": [], "lost": ""}


def carried_pins(pins: Mapping[str, Any], before: Graph, after: Graph) -> dict[str, Any]:
    """Return pins of one graph as pins of another graph. Nodes of the same name are pinned.

    Parameters
    ----------
    pins : dict
        The value of the Explorer's trait ``_pins``; ``wire.md`` lists its fields.
    before, after : Graph
        The graph that the pins belong to, and the other graph.

    Returns
    -------
    dict
        The pins with the next request number. If a pin is left, ``base`` is 0, so that the first plan table is solved
        with the pins; otherwise ``base`` is −1. ``lost`` names the pins that were removed, because ``after`` has no
        value of their name.

    Examples
    --------
    >>> before = Graph.from_edges([("a", "b"), ("b", "c")], memory={"a": 1, "b": 1, "c": 1})
    >>> after = Graph.from_edges([("b", "c")], memory={"b": 2, "c": 2})
    >>> pins = carried_pins({**NO_PINS, "keep": [0, 1]}, before, after)
    >>> pins["keep"], pins["lost"]
    ([0], 'no longer pinned, because the step has no such value at this size: a')
    """
    numbers = {name: v for v, name in enumerate(after.names)}
    names = {kind: [before.names[v] for v in pins[kind]] for kind in ("keep", "recompute")}
    carried = {kind: [numbers[name] for name in found if name in numbers] for kind, found in names.items()}
    lost = [str(name) for found in names.values() for name in found if name not in numbers]
    text = f"no longer pinned, because the step has no such value at this size: {', '.join(lost)}" if lost else ""
    base = 0 if any(carried.values()) else -1
    return {**NO_PINS, "request": pins["request"] + 1, "base": base, **carried, "lost": text}
