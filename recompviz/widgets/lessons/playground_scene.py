"""The picture of the playground: the graph on the left, the lattice of its lower sets on the right.

A *patch* changes some elements of the picture, so that it shows the chosen set and the sequence; see
:mod:`recompviz.widgets.lessons.scene`. In the page, ``js/lessons/playground_patch.js`` computes the patch without the
kernel. This module computes the same patch for the static picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching.sets import Hasse, hasse, inspect_set, set_text
from recompviz.widgets.lessons.lattice_part import draw_lattice, sequence_patch
from recompviz.widgets.lessons.notation import SizeFormat, cost_lines, fit_name
from recompviz.widgets.lessons.scene import Canvas, Frame, Patch, Scene, Value
from recompviz.widgets.lessons.small_drawing import GAP, LATTICE_WIDTH, ROW, Drawing, draw_graph, hasse_centres

TOP = 44.0

Change = dict[str, Mapping[str, Value]]


def diagram_of(graph: Graph) -> Hasse | None:
    """Return the Hasse diagram of a graph's lower sets; None if there are more than 80 lower sets."""
    try:
        return hasse(graph)
    except TooManyLowerSets:
        return None


def playground_scene(graph: Graph, chosen: int = 0, sequence: Sequence[int] = ()) -> Scene:
    """Return a picture of a graph in which a set of nodes and a sequence of lower sets are marked.

    The set is marked in the graph, and the sequence in the lattice of all lower sets. If there are more than 80 lower
    sets, neither the lattice nor the sequence is drawn.

    Parameters
    ----------
    graph : Graph
    chosen : int
        The set, as a bit mask.
    sequence : sequence of int
        The lower sets of the sequence, as bit masks, without ∅.
    """
    canvas = Canvas()
    drawing = draw_graph(graph)
    diagram = diagram_of(graph)
    left, graph_width, right, height = _frame(drawing, diagram)
    canvas.text(left, 22, "Graph G", "heading")
    sizes = SizeFormat.of(graph)
    canvas.text(left + 74, 22, f"M: size{f' in {sizes.unit}' if sizes.unit else ''}, T: cost", "muted")
    wide, high = drawing.node
    ox, oy = left + (graph_width - drawing.width) / 2, TOP + (height - TOP - drawing.height - 30) / 2
    for e, (curve, arrow) in enumerate(zip(drawing.curves, drawing.arrows, strict=True)):
        canvas.add("path", "edge", key=f"e{e}", d=curve, transform=f"translate({ox:.1f} {oy:.1f})")
        canvas.add("path", "arrow", d=arrow, transform=f"translate({ox:.1f} {oy:.1f})")
    for v, (x, y) in enumerate(drawing.centres):
        canvas.box(ox + x - wide / 2, oy + y - high / 2, wide, high, "node", f"n{v}", 8, tip=str(graph.names[v]))
        text, small = fit_name(graph.names[v], wide)
        canvas.text(ox + x, oy + y + 5, text, "name", f"t{v}", **small)
        for i, line in enumerate(cost_lines(graph, v, sizes, wide + GAP)):
            canvas.text(ox + x, oy + y + high / 2 + 14 + 12 * i, line, "cost")
    canvas.text(right, 22, "All lower sets, by inclusion" if diagram else "", "heading")
    if diagram:
        draw_lattice(canvas, graph, diagram, lattice_centres(graph) or [])
    else:
        canvas.text(right, 60, "too many to draw", "muted")
    frame = Frame(playground_patch(graph, chosen, sequence), caption(graph, chosen))
    lattice_width = hasse_centres(graph, diagram)[1] if diagram else LATTICE_WIDTH
    return Scene(right + lattice_width + 20, height, "Playground", tuple(canvas.elements), (frame,))


def _frame(drawing: Drawing, diagram: Hasse | None) -> tuple[float, float, float, float]:
    """Return left edge and width of the graph, left edge of the lattice, and height of the picture, in pixels."""
    lattice_height = max(mask.bit_count() for mask in diagram.sets) * ROW if diagram else 0.0
    width = max(drawing.width, 380.0)
    return 20.0, width, width + 70, max(drawing.height + 60, lattice_height + 50, 200.0) + TOP


def lattice_centres(graph: Graph) -> list[list[float]] | None:
    """Return the centre (x, y) of each lower set in the picture, in pixels, in the order of :attr:`Hasse.sets`.

    The result is None if there are more than 80 lower sets.
    """
    diagram = diagram_of(graph)
    if diagram is None:
        return None
    _, _, right, _ = _frame(draw_graph(graph), diagram)
    return [[right + x, TOP + 22 + y] for x, y in hasse_centres(graph, diagram)[0]]


def playground_patch(graph: Graph, chosen: int, sequence: Sequence[int]) -> Patch:
    """Return the patch that marks a chosen set and a sequence of lower sets in the picture of a graph.

    A patch maps keys of SVG elements to changes. If the graph has more than 80 lower sets, only the set is marked.

    Parameters
    ----------
    graph : Graph
    chosen : int
        The set, as a bit mask.
    sequence : sequence of int
        The lower sets of the sequence, as bit masks, without ∅.
    """
    diagram, at = diagram_of(graph), lattice_centres(graph)
    report = inspect_set(graph, graph.set_of(chosen))
    patch: Change = {}
    for v in bits(chosen):
        on_boundary = report.is_lower_set and report.boundary >> v & 1
        patch[f"n{v}"] = {"style": "keep" if on_boundary else "in-set"}
        if on_boundary:
            patch[f"t{v}"] = {"style": "name-keep"}
    edges = [(u, v) for u, v in graph.edges.tolist()]
    for pair in report.violations:
        patch[f"e{edges.index(pair)}"] = {"style": "violation"}
    if diagram is None or at is None:
        return patch
    patch |= sequence_patch(diagram, at, sequence, chosen if report.is_lower_set else -1)
    return patch


def caption(graph: Graph, chosen: int) -> str:
    """Return a sentence that says whether a set is a lower set. ``chosen`` is the set as a bit mask.

    The sentence names the boundary of a lower set. For another set, it names the edges that enter the set.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("b", "c")], memory=dict(a=1, b=1, c=1))
    >>> caption(g, g.mask("b"))
    '{b} is not a lower set: the edge a → b enters it from outside.'
    >>> caption(g, g.mask("ab"))
    '{a, b} is a lower set; its boundary is ∂(L) = {b}.'
    """
    report = inspect_set(graph, graph.set_of(chosen))
    if report.is_lower_set:
        return f"{set_text(graph, chosen)} is a lower set; its boundary is ∂(L) = {set_text(graph, report.boundary)}."
    entering = ", ".join(f"{graph.names[u]} → {graph.names[v]}" for u, v in report.violations)
    one = len(report.violations) == 1
    return (
        f"{set_text(graph, chosen)} is not a lower set: the edge{'' if one else 's'} {entering} "
        f"enter{'s' if one else ''} it from outside."
    )
