"""The drawings of small graphs: no edge runs behind a node or its labels."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from recompviz.core.teaching.small_graphs import NAMES, small_graph
from recompviz.core.teaching.varied_graphs import random_graph
from recompviz.widgets.lessons.small_drawing import draw_graph

# rows and reach above and below a node's centre, as in the playground, the strategy and the programme
PICTURES = [(66.0, 21.0, 49.0), (80.0, 34.0, 46.0), (76.0, 36.0, 49.0)]


def points_of(path: str) -> np.ndarray:
    """Points of a path of cubic curves."""
    numbers = np.array(re.findall(r"-?\d+(?:\.\d+)?", path), dtype=float).reshape(-1, 2)
    ends = [numbers[0], *numbers[3::3]]
    t = np.linspace(0, 1, 40)[:, None]
    parts = [
        (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * one + 3 * (1 - t) * t**2 * two + t**3 * end
        for start, one, two, end in zip(ends, numbers[1::3], numbers[2::3], ends[1:], strict=False)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize(("row", "above", "below"), PICTURES)
@pytest.mark.parametrize("name", [*NAMES, *(f"random {i}" for i in range(12))])
def test_no_edge_passes_behind_a_node_or_its_labels(name: str, row: float, above: float, below: float) -> None:
    graph = random_graph(random.Random(name)) if name.startswith("random") else small_graph(name)
    drawing = draw_graph(graph, row=row, most_width=580, above=above, below=below)
    half = drawing.node[0] / 2
    for (u, v), curve in zip(graph.edges.tolist(), drawing.curves, strict=True):
        x, y = points_of(curve).T
        for w, (cx, cy) in enumerate(drawing.centres):
            if w in (u, v):
                behind = (abs(x - cx) < half - 1) & (abs(y - cy) < drawing.node[1] / 2)
            else:
                behind = (abs(x - cx) < half - 1) & (y > cy - above + 1) & (y < cy + below - 1)
            assert not behind.any(), f"{graph.names[u]} → {graph.names[v]} runs behind {graph.names[w]}"
