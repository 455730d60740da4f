"""Graphviz ``dot`` under a time limit.

``dot`` gives the best pictures of small and middling graphs, but long skip edges can take it minutes. So it
runs as a subprocess that is ended when its time is up; a second, shorter try uses coarser settings, and
where that fails too (or there is no ``dot``) the caller lays out with :mod:`recompviz.widgets.layout.layered`.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from recompviz.core.graphs.graph import Graph

# above this summed edge span the first, careful try is hopeless; U-Net shapes of 500 nodes are beyond it
AFFORDABLE_SPAN = 8_000
# beyond this even the coarse try does not end in time
HOPELESS_SPAN = 400_000
# sheer size is too much as well: 3,000 nodes take both tries to their limits even as a chain
AFFORDABLE_NODES, HOPELESS_NODES = 1_000, 2_000
COARSE = ("-Gnslimit=0.1", "-Gmclimit=0.1", "-Gsplines=line")
RETRY_SECONDS = 1.0
POINTS_PER_CURVE = 4


@dataclass(frozen=True)
class DotDrawing:
    """What ``dot`` answered: node centres, and for each edge the points of its line; y grows downwards."""

    nodes: dict[int, tuple[float, float]]
    lines: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def find_dot() -> str | None:
    """The executable, or None: ``dot`` on PATH."""
    return shutil.which("dot")


def run_dot(graph: Graph, rankdir: str, node: tuple[float, float], seconds: float, span: int) -> DotDrawing | None:
    """Lay out by ``dot``; None if there is none, or it does not end in time.

    Parameters
    ----------
    graph : Graph
    rankdir : "LR" or "TB"
    node : (width, height)
        Of every node, points.
    seconds : float
        The time limit of the careful try; the coarse one gets at most ``RETRY_SECONDS``.
    span : int
        The summed edge span, which tells beforehand what is hopeless.
    """
    executable = find_dot()
    if executable is None or span > HOPELESS_SPAN or not 0 < len(graph) <= HOPELESS_NODES:
        return None
    head = (
        f"digraph G {{ rankdir={rankdir}; nodesep=0.14; ranksep=0.16; edge [arrowhead=none]; "
        f'node [shape=box, fixedsize=true, label="", width={node[0] / 72:.4f}, height={node[1] / 72:.4f}];\n'
    )
    lines = [f"{v};" for v in range(len(graph))] + [f"{u}->{v};" for u, v in graph.edges.tolist()]
    source = head + "\n".join(lines) + "\n}"
    tries: list[tuple[tuple[str, ...], float]] = [(COARSE, min(RETRY_SECONDS, seconds))]
    if span <= AFFORDABLE_SPAN and len(graph) <= AFFORDABLE_NODES:
        tries.insert(0, ((), seconds))
    for options, limit in tries:
        try:
            done = subprocess.run(
                [executable, "-Tplain", *options],
                input=source,
                capture_output=True,
                text=True,
                timeout=limit,
                check=True,
            )
            return parse_plain(done.stdout)
        except (subprocess.SubprocessError, OSError, ValueError, IndexError):
            continue
    return None


def parse_plain(text: str) -> DotDrawing:
    """Read dot's ``plain`` format; lengths become points, y is turned downwards.

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
    """Points on a chain of cubic Bézier curves."""
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
