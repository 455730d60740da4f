"""A graph folded by module, for a static picture of a graph that is too large to show each value.

The same boxes are open as when the page opens the graph. A closed box is one node of a smaller graph, and so is a value
that is in no closed box. This graph is laid out in lines that are as long as the picture is wide at a legible scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.module_paths import common_module
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.widgets.layout.folded_rows import in_rows
from recompviz.widgets.layout.layout import Layout
from recompviz.widgets.layout.modules import Modules, ancestors, times_text

# as in js/graph/module_tree.js: largest boxes are opened as long as so many items, or fewer, are shown
FEW = 8
# a name has at most so many characters, as in the page
LONGEST_NAME = 18
# what it folds is said after a name of this many characters at least; the picture squeezes what is wider than the box
SHORTENED = 8
# the sizes of the box of a module and of the box of a single value, in pixels
MODULE, VALUE = (116.0, 40.0), (62.0, 30.0)


@dataclass(frozen=True, eq=False)
class Folded:
    """The boxes of a folded graph and their positions.

    Attributes
    ----------
    names : tuple of str
        The name of the module of each box; "" for a single value.
    nodes : tuple of tuples of int
        The nodes of the graph that each box shows.
    layout : Layout
        The positions of the boxes, and of the lines between them.
    sizes : tuple of (width, height)
        The size of each box in pixels.
    thin : tuple of bool
        Whether each line is drawn thin, since it is one of many that begin at the same box.
    """

    names: tuple[str, ...]
    nodes: tuple[tuple[int, ...], ...]
    layout: Layout
    sizes: tuple[tuple[float, float], ...]
    thin: tuple[bool, ...]


def first_open(modules: Modules) -> set[int]:
    """Return the boxes that are open when the page opens a folded graph; mirrors ``firstOpen`` of the page.

    They are the whole, and the largest boxes that fold nothing, as long as few boxes are shown.
    """
    count = len(modules.owner)
    sizes = np.zeros(len(modules), int)
    for v in range(count):
        sizes[list(ancestors(modules, v))] += 1
    opened = {0}
    shown = list(modules.children[0])
    while len(shown) <= FEW:
        boxes = [item - count for item in shown if item >= count and modules.times[item - count] == 1]
        largest = max(boxes, key=lambda m: sizes[m], default=0)
        if not boxes or sizes[largest] < FEW:
            break
        opened.add(largest)
        at = shown.index(count + largest)
        shown[at : at + 1] = modules.children[largest]
    return opened


def fold(graph: Graph, modules: Modules) -> Folded:
    """Return a graph with the modules closed that are closed when the page opens it folded.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> from recompviz.widgets.layout.modules import module_tree
    >>> graph = residual_step((2, 3, 6))[0]
    >>> folded = fold(graph, module_tree(graph))
    >>> len(folded.names) < len(graph) == sum(len(nodes) for nodes in folded.nodes)
    True
    """
    count = len(graph)
    opened = first_open(modules)
    members: dict[int, list[int]] = {}
    for v in graph.order:
        closed = [count + m for m in ancestors(modules, v) if m not in opened]
        members.setdefault(closed[-1] if closed else v, []).append(v)
    box_of = {v: b for b, nodes in enumerate(members.values()) for v in nodes}
    pairs = {(box_of[u], box_of[v]) for u, v in graph.edges.tolist()}
    small = Graph(
        tuple(range(len(members))),
        np.ones(len(members), np.int64),
        np.ones(len(members)),
        np.array(sorted((a, b) for a, b in pairs if a != b), np.int32).reshape(-1, 2),
        tuple(NodeInfo(module=common_module([graph.info[v].module for v in nodes])) for nodes in members.values()),
    )
    names = tuple(_name(modules, item - count) if item >= count else "" for item in members)
    sizes = tuple(MODULE if name else VALUE for name in names)
    rows = in_rows(small, sizes)
    layout = Layout(
        "wrapped",
        "layered",
        np.array(rows.centres, np.float32).reshape(-1, 2),
        np.array([point for route in rows.routes for point in route], np.float32).reshape(-1, 2),
        np.cumsum([0, *(len(route) for route in rows.routes)]).astype(np.uint32),
        rows.width,
        rows.height,
    )
    return Folded(names, tuple(map(tuple, members.values())), layout, sizes, tuple(rows.thin))


def _name(modules: Modules, m: int) -> str:
    """Return the name of a box: that of its module, after the name of its parent if it is a number."""
    own = modules.names[m] or modules.paths[m] or "model"
    name = ".".join(modules.paths[m].split(".")[-2:]) if own[0].isdigit() else own
    times = f" {text}" if (text := times_text(modules, m)) else ""
    most = max(SHORTENED, LONGEST_NAME - len(times))
    return (name if len(name) <= most else f"…{name[len(name) - most + 1 :]}") + times
