"""Positions of the nodes and edges of a graph. They depend on the graph and the mode, and not on a plan.

The mode ``"wrapped"`` breaks a deep network into lines, as a page breaks a text. The modes ``"right"`` and ``"down"``
draw the graph in one piece, from left to right or from top to bottom. These two modes use Graphviz, or the built-in
layered layout if Graphviz is missing or takes too long. Layouts are cached by the fingerprint of the graph.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.widgets.layout.dot import run_dot
from recompviz.widgets.layout.layered import arrange, ranks_of
from recompviz.widgets.layout.wrapped import PITCH, Point, wrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["wrapped", "right", "down"]
MODES: tuple[Mode, ...] = get_args(Mode)
NODE = (38.0, 22.0)  # width and height of every node
DOWN_PITCH = 40.0
VIEW = (1060.0, 328.0)  # size of the graph pane in a notebook on a laptop
# with more ranks than this, one line is not legible
ONE_LINE = 24
_KEPT_LAYOUTS = 32

_cache: OrderedDict[tuple[str, Mode, float], Layout] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions of the nodes and edges of a graph, in pixels at scale 1; x grows to the right, y downwards.

    Attributes
    ----------
    mode : "wrapped", "right" or "down"
        Whether the ranks run from left to right in several lines, in one line, or from top to bottom.
    engine : "dot" or "layered"
        The program that computed the layout: Graphviz, or the built-in layout.
    nodes : numpy.ndarray of float32, shape (#V, 2)
        The centres of the nodes.
    points : numpy.ndarray of float32, shape (#points, 2)
        The points of the lines of all edges.
    offsets : numpy.ndarray of uint32, shape (#E + 1,)
        The line of edge e is ``points[offsets[e]:offsets[e + 1]]``.
    width, height : float
        The size of the picture.
    """

    mode: Mode
    engine: str
    nodes: NDArray[np.float32]
    points: NDArray[np.float32]
    offsets: NDArray[np.uint32]
    width: float
    height: float


def default_mode(graph: Graph) -> Mode:
    """Return the mode in which a graph opens: ``"right"`` if it has at most 24 ranks, otherwise ``"wrapped"``."""
    return "right" if max(ranks_of(graph), default=0) < ONE_LINE else "wrapped"


def edge_span(graph: Graph) -> int:
    """Return the sum of the lengths of all edges, in ranks. A large sum means that ``dot`` takes a long time."""
    rank = np.array(ranks_of(graph))
    return int((rank[graph.edges[:, 1]] - rank[graph.edges[:, 0]]).sum()) if len(graph.edges) else 0


def lay_out(graph: Graph, mode: Mode | None = None, seconds: float = 2.0) -> Layout:
    """Return the layout of a graph in a mode. Layouts are cached.

    Parameters
    ----------
    graph : Graph
    mode : "wrapped", "right" or "down", optional
        If None, the result of :func:`default_mode`.
    seconds : float
        The time limit of the first run of Graphviz; see :func:`recompviz.widgets.layout.dot.run_dot`. Graphviz is not
        used if ``seconds`` is 0, and never for the mode ``"wrapped"``.

    Raises
    ------
    ValueError
        If there is no such mode.

    Examples
    --------
    >>> layout = lay_out(Graph.from_edges([(0, 1)], memory=[1, 1]), "right", seconds=0)
    >>> layout.engine, bool(layout.nodes[0, 0] < layout.nodes[1, 0])
    ('layered', True)
    """
    mode = mode or default_mode(graph)
    if mode not in MODES:
        raise ValueError(f"layout mode {mode!r} is unknown; choose one of {', '.join(MODES)}")
    key = (graph.fingerprint, mode, seconds)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    layout = _compute(graph, mode, seconds)
    with _lock:
        _cache[key] = layout
        while len(_cache) > _KEPT_LAYOUTS:
            _cache.popitem(last=False)
    return layout


def _compute(graph: Graph, mode: Mode, seconds: float) -> Layout:
    if mode == "wrapped":
        centres, routes, width, height = wrap(graph, NODE, VIEW)
        return _layout(mode, "layered", centres, routes, width, height)
    if seconds > 0:
        drawing = run_dot(graph, "LR" if mode == "right" else "TB", NODE, seconds, edge_span(graph))
        if drawing is not None:
            centres = [drawing.nodes[v] for v in range(len(graph))]
            routes = [drawing.lines.get((u, v), [centres[u], centres[v]]) for u, v in graph.edges.tolist()]
            return _layout(mode, "dot", centres, routes, drawing.width, drawing.height)
    return _layered(graph, mode)


def _layered(graph: Graph, mode: Mode) -> Layout:
    rank = ranks_of(graph)
    edges = [(u, v) for u, v in graph.edges.tolist()]
    arrangement = arrange(rank, edges)
    down = mode == "down"
    along_half, across_half = (NODE[1] / 2, NODE[0] / 2) if down else (NODE[0] / 2, NODE[1] / 2)
    pitch = DOWN_PITCH if down else PITCH
    spread = NODE[0] / NODE[1] if down else 1.0  # nodes are wider than high

    def point(along: float, across: float) -> Point:
        return (
            (across_half + across * spread, along_half + along) if down else (along_half + along, across_half + across)
        )

    centres = [point(rank[v] * pitch, arrangement.across[v]) for v in range(len(graph))]
    routes = []
    for e, (u, v) in enumerate(edges):
        # a line is level as far as the nodes of a rank reach, or else it would cut their corners
        passed = [
            point(r * pitch + side, y) for r, y in arrangement.lines.get(e, ()) for side in (-along_half, along_half)
        ]
        start = point(rank[u] * pitch + along_half, arrangement.across[u])
        end = point(rank[v] * pitch - along_half, arrangement.across[v])
        routes.append([start, *passed, end])
    far = point(max(rank, default=0) * pitch + along_half, arrangement.extent)
    width, height = (far[0] + across_half, far[1]) if down else (far[0], far[1] + across_half)
    return _layout(mode, "layered", centres, routes, width, height)


def _layout(
    mode: Mode, engine: str, centres: list[Point], routes: list[list[Point]], width: float, height: float
) -> Layout:
    offsets = np.zeros(len(routes) + 1, np.uint32)
    offsets[1:] = np.cumsum([len(route) for route in routes])
    points = np.array([point for route in routes for point in route], np.float32).reshape(-1, 2)
    nodes = np.array(centres, np.float32).reshape(-1, 2)
    return Layout(mode, engine, nodes, points, offsets, width, height)
