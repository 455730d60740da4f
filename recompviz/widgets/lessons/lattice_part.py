"""The lattice of all lower sets as a part of a picture, with a sequence of lower sets as a path through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.sets import Hasse, set_text
from recompviz.widgets.lessons.notation import label_width, short_set
from recompviz.widgets.lessons.scene import Canvas, Value
from recompviz.widgets.lessons.small_drawing import Point

HEIGHT = 26.0  # of a lower set

Change = dict[str, Mapping[str, Value]]


def draw_lattice(canvas: Canvas, graph: Graph, diagram: Hasse, at: Sequence[Sequence[float]], scale: float = 1) -> None:
    """Draw the lower sets of a graph, and a line between each two sets that differ by one node.

    Parameters
    ----------
    canvas : Canvas
        The canvas to draw on.
    graph : Graph
    diagram : Hasse
        The lower sets of the graph.
    at : sequence of (float, float)
        The centre (x, y) of each lower set in the order of ``diagram.sets``, in pixels.
    scale : float
        Scale of the sets and their names, at most 1.
    """
    for i, (low, high) in enumerate(diagram.covers):
        (x0, y0), (x1, y1) = at[low], at[high]
        canvas.add("path", "link", key=f"c{i}", d=f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}")
    canvas.add("path", "hidden", key="path", d="M0 0")
    small = {"css": f"font-size:{14 * scale:.1f}px"} if scale < 1 else {}
    for i, (x, y) in enumerate(at):
        text = short_set(graph, diagram.sets[i])
        width, height = scale * label_width(text), scale * HEIGHT
        tip = set_text(graph, diagram.sets[i])
        canvas.box(x - width / 2, y - height / 2, width, height, "cell", f"h{i}", height / 2, tip=tip)
        canvas.text(x, y + 5 * scale, text, "cell-text", f"s{i}", **small)


def sequence_patch(diagram: Hasse, at: Sequence[Sequence[float]], sequence: Sequence[int], chosen: int = -1) -> Change:
    """Return the patch (changes of SVG elements) that shows a sequence of lower sets as a path from ∅.

    Parameters
    ----------
    diagram : Hasse
    at : sequence of (float, float)
        As for :func:`draw_lattice`.
    sequence : sequence of int
        The lower sets of the sequence, as bit masks, without ∅. If it is empty, no path is shown.
    chosen : int
        A lower set that is marked, as a bit mask; −1 to mark none.
    """
    place = {mask: i for i, mask in enumerate(diagram.sets)}
    patch: Change = {}
    if chosen in place:
        patch[f"h{place[chosen]}"] = {"style": "cell-now"}
    path = [0, *sequence] if sequence else []
    for mask in path:
        patch[f"h{place[mask]}"] = {"style": "cell-path-now" if mask == chosen else "cell-path"}
        patch[f"s{place[mask]}"] = {"style": "cell-text-path"}
    if path:
        points: list[Point] = [(at[place[mask]][0], at[place[mask]][1]) for mask in path]
        patch["path"] = {"style": "link-lit", "d": "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)}
    return patch
