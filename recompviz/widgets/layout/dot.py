"""Layouts by Graphviz's ``dot``, with a time limit.

``dot`` draws small and medium graphs best, but it may take minutes for long skip edges. Therefore ``dot`` runs with a
time limit. If the run fails or reaches the limit, ``dot`` runs once more with coarser settings. If this run fails, too,
if the graph is too large, or if ``dot`` is not installed, the caller uses :mod:`recompviz.widgets.layout.layered`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import graphviz
from graphviz.backend import dot_command, execute

from recompviz.core.graphs.graph import Graph

# above this summed edge span the careful try takes too long; U-Net shapes of 500 nodes are beyond it
AFFORDABLE_SPAN = 8_000
# above this the coarse try takes too long, too
HOPELESS_SPAN = 400_000
# the number of nodes alone can be too much: 3,000 nodes in a chain exceed both time limits
AFFORDABLE_NODES, HOPELESS_NODES = 1_000, 2_000
COARSE = {"nslimit": "0.1", "mclimit": "0.1", "splines": "line"}
RETRY_SECONDS = 1.0
POINTS_PER_CURVE = 4


@dataclass(frozen=True)
class DotDrawing:
    """A layout computed by ``dot``, in points (1/72 inch); y grows downwards.

    Attributes
    ----------
    nodes : dict of int to (x, y)
        The centre of each node, by its number.
    lines : dict of (u, v) to list of (x, y)
        The points of each edge's line, from node u to node v.
    width, height : float
        The size of the drawing.
    """

    nodes: dict[int, tuple[float, float]]
    lines: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def run_dot(graph: Graph, rankdir: str, node: tuple[float, float], seconds: float, span: int) -> DotDrawing | None:
    """Lay out a graph by ``dot``.

    There are up to two runs. The first run uses the default settings. It is left out if the graph has many nodes or
    long edges. The second run uses coarser settings. It follows if the first run fails or is left out.

    Parameters
    ----------
    graph : Graph
    rankdir : "LR" or "TB"
        Whether the graph is drawn from left to right, or from top to bottom.
    node : (width, height)
        The size of every node in points.
    seconds : float
        The time limit of the first run. The second run has the same limit, but at most one second.
    span : int
        The sum of the lengths of all edges, in ranks; see :func:`recompviz.widgets.layout.layout.edge_span`.

    Returns
    -------
    DotDrawing or None
        The layout. None if ``dot`` is not installed, if no run succeeds within its time limit, or if the graph is empty
        or too large.
    """
    if span > HOPELESS_SPAN or not 0 < len(graph) <= HOPELESS_NODES:
        return None
    tries = [(COARSE, min(RETRY_SECONDS, seconds))]
    if span <= AFFORDABLE_SPAN and len(graph) <= AFFORDABLE_NODES:
        tries.insert(0, ({}, seconds))
    for options, limit in tries:
        try:
            return parse_plain(_plain(_digraph(graph, rankdir, node, options), limit))
        except graphviz.ExecutableNotFound:
            return None
        except (subprocess.SubprocessError, OSError, ValueError, IndexError):
            continue
    return None


def _digraph(graph: Graph, rankdir: str, node: tuple[float, float], options: dict[str, str]) -> graphviz.Digraph:
    width, height = (f"{size / 72:.4f}" for size in node)
    drawing = graphviz.Digraph(
        graph_attr={"rankdir": rankdir, "nodesep": "0.14", "ranksep": "0.16", **options},
        node_attr={"shape": "box", "fixedsize": "true", "label": "", "width": width, "height": height},
        edge_attr={"arrowhead": "none"},
    )
    for v in range(len(graph)):
        drawing.node(str(v))
    drawing.edges((str(u), str(v)) for u, v in graph.edges.tolist())
    return drawing


def _plain(drawing: graphviz.Digraph, seconds: float) -> str:
    """Run ``dot -Tplain`` and return its output.

    ``Digraph.pipe`` has no time limit. ``run_check``, on which ``pipe`` is built, passes further arguments to
    ``subprocess.run``, which kills ``dot`` when the time is up.
    """
    done = execute.run_check(
        dot_command.command("dot", "plain"),
        input=drawing.source,
        encoding="utf-8",
        capture_output=True,
        quiet=True,
        timeout=seconds,
    )
    return str(done.stdout)


def parse_plain(text: str) -> DotDrawing:
    """Read a layout in the ``plain`` format of ``dot``. Inches become points, and y grows downwards.

    Raises
    ------
    ValueError, IndexError
        If the text is not in this format.

    Examples
    --------
    >>> parse_plain("graph 1 2 1\\nnode 0 0.5 1 1 1 x solid box black lightgrey\\nstop").nodes
    {0: (36.0, 0.0)}
    """
    nodes: dict[int, tuple[float, float]] = {}
    lines: dict[tuple[int, int], list[tuple[float, float]]] = {}
    width = height = 0.0
    for row in text.replace("\\\n", "").splitlines():
        word = row.split()
        if not word:
            continue
        if word[0] == "graph":
            width, height = float(word[2]) * 72, float(word[3]) * 72
        elif word[0] == "node":
            nodes[int(word[1])] = (float(word[2]) * 72, height - float(word[3]) * 72)
        elif word[0] == "edge":
            count = int(word[3])
            flat = [float(x) * 72 for x in word[4 : 4 + 2 * count]]
            control = [(x, height - y) for x, y in zip(flat[::2], flat[1::2], strict=True)]
            lines[int(word[1]), int(word[2])] = _flatten(control)
    return DotDrawing(nodes, lines, width, height)


def _flatten(control: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points on a sequence of cubic Bézier curves, given by their control points."""
    points = [control[0]]
    for i in range(0, len(control) - 3, 3):
        a, b, c, d = control[i : i + 4]
        for step in range(1, POINTS_PER_CURVE + 1):
            t = step / POINTS_PER_CURVE
            s = 1 - t
            w = (s**3, 3 * s * s * t, 3 * s * t * t, t**3)
            points.append(
                (
                    w[0] * a[0] + w[1] * b[0] + w[2] * c[0] + w[3] * d[0],
                    w[0] * a[1] + w[1] * b[1] + w[2] * c[1] + w[3] * d[1],
                )
            )
    return points
