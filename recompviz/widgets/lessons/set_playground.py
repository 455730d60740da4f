"""The playground: a small graph whose lower sets one finds by clicking.

A click is answered in the page, from the edges, the ancestors and the lattice that were sent with the graph. The
kernel is asked for three things: what the graph looks like after an edit, what a sequence costs, its strategy's frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import traitlets

from recompviz.core.base.errors import GraphError, RecompvizError, TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.small_graphs import NAMES, small_graph
from recompviz.core.teaching.strategy import canonical_strategy
from recompviz.widgets.base.assets import esm
from recompviz.widgets.lessons.lesson import Lesson
from recompviz.widgets.lessons.playground_scene import caption, diagram_of, lattice_centres, playground_scene
from recompviz.widgets.lessons.strategy_scene import strategy_scene

MOST_NODES = 16


def playground(graph: Graph | str | None = None) -> Playground:
    """A graph to find lower sets in by clicking; shown in a notebook.

    Parameters
    ----------
    graph : Graph or str, optional
        A graph of at most 16 nodes, or the name of one: ``"chain"``, ``"diamond"``, ``"residual"``, ``"inception"``,
        ``"u-net"``, ``"branches"``, ``"uneven chain"``, ``"long skip"``. Left out: the diamond.

    Returns
    -------
    Playground
        Its ``chosen``, ``sequence`` and ``graph`` say what was clicked together.

    Raises
    ------
    ValueError
        If the graph has more nodes than can be shown, or no graph has the name.

    Examples
    --------
    >>> playground("diamond")
    Playground(5 nodes, 7 lower sets: ∅ is a lower set; its boundary is ∂(L) = ∅.)
    """
    return Playground("diamond" if graph is None else graph)


class Playground(Lesson):
    """See :func:`playground`.

    Attributes
    ----------
    graph : Graph
        As drawn; settable.
    chosen : frozenset of node names
        The set that is clicked together; settable.
    sequence : tuple of frozensets
        The lower sets strung together so far; settable. V need not be its last.
    """

    _esm = esm("lessons/playground.js")

    _presets: Any = traitlets.List().tag(sync=True)
    _lesson = traitlets.Dict().tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _chosen: Any = traitlets.List().tag(sync=True)
    _sequence: Any = traitlets.List().tag(sync=True)
    _costs = traitlets.Unicode().tag(sync=True)
    _problem = traitlets.Unicode().tag(sync=True)
    _stepper = traitlets.Dict().tag(sync=True)

    def __init__(self, graph: Graph | str) -> None:
        super().__init__(_presets=list(NAMES))
        self._show(graph)
        self.on_msg(self._on_message)

    # ---------------------------------------------------------------- what was clicked together

    @property
    def graph(self) -> Graph:
        """The graph as drawn."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._show(graph)

    @property
    def chosen(self) -> frozenset[Name]:
        """The set that is clicked together."""
        return frozenset(self._graph.names[v] for v in self._chosen)

    @chosen.setter
    def chosen(self, nodes: Iterable[Name]) -> None:
        self._chosen = list(bits(self._graph.mask(nodes)))

    @property
    def sequence(self) -> tuple[frozenset[Name], ...]:
        """The lower sets strung together so far."""
        return tuple(frozenset(self._graph.names[v] for v in nodes) for nodes in self._sequence)

    @sequence.setter
    def sequence(self, sets: Iterable[Iterable[Name]]) -> None:
        masks = [self._graph.mask(nodes) for nodes in sets]
        Plan.from_masks(self._graph, self._complete(masks))  # raises where it is none
        self._sequence = [list(bits(mask)) for mask in masks]

    @property
    def plan(self) -> Plan:
        """The canonical plan of the sequence, with V added where it is missing."""
        return Plan.from_masks(self._graph, self._complete(self._masks()))

    def _masks(self) -> list[int]:
        return [sum(1 << v for v in nodes) for nodes in self._sequence]

    def _complete(self, masks: list[int]) -> list[int]:
        return masks if masks and masks[-1] == self._graph.everything else [*masks, self._graph.everything]

    # ---------------------------------------------------------------- the graph

    def _show(self, graph: Graph | str) -> None:
        preset = graph if isinstance(graph, str) else "my own"
        graph = small_graph(graph) if isinstance(graph, str) else graph
        if not isinstance(graph, Graph):
            raise TypeError(f"expected a Graph or the name of one, got {type(graph).__name__}")
        if not 0 < len(graph) <= MOST_NODES:
            raise ValueError(f"a playground has 1 to {MOST_NODES} nodes, this graph has {len(graph)}")
        kept = self.chosen if hasattr(self, "_graph") else frozenset()
        self._graph = graph
        diagram = diagram_of(graph)
        try:
            count = f"{graph.count_lower_sets(100_000):,}"
        except TooManyLowerSets:
            count = "more than 100,000"
        with self.hold_sync():
            self._lesson = {
                "preset": preset,
                "names": [str(name) for name in graph.names],
                "memory": graph.memory.tolist(),
                "time": graph.time.tolist(),
                "edges": graph.edges.tolist(),
                "ancestors": [list(bits(mask)) for mask in graph.ancestors],
                "count": count,
                "subsets": f"{2 ** len(graph):,}",
                "sets": None if diagram is None else [list(bits(mask)) for mask in diagram.sets],
                "at": lattice_centres(graph),
            }
            self._chosen = [v for v, name in enumerate(graph.names) if name in kept]
            self._sequence = []
            self._problem = ""
            self._stepper = {}
            self._scene = playground_scene(graph).message()

    @traitlets.observe("_sequence")
    def _on_sequence(self, _change: Any) -> None:
        self._stepper = {}
        if not self._sequence:
            self._costs = ""
            return
        try:
            plan = self.plan
        except ValueError as error:
            self._costs = str(error)
            return
        sets = " ⊊ ".join(["∅", *("{" + ", ".join(sorted(map(str, L))) + "}" for L in plan.lower_sets)])
        implied = "" if self._masks()[-1] == self._graph.everything else " (V is added as the last)"
        self._costs = f"{sets}{implied}: overhead {plan.overhead:g}, peak {plan.peak} formula bytes"

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        try:
            if kind == "edit":
                self._show(edited(self._graph, content))
            elif kind == "step":
                self._stepper = strategy_scene(canonical_strategy(self.plan), "The strategy of this sequence").message()
        except (RecompvizError, ValueError) as error:
            self._problem = ""  # the same problem twice is told twice
            self._problem = str(error)

    # ---------------------------------------------------------------- where widgets cannot show

    def to_svg(self) -> str:
        """The graph, the chosen set and the sequence as one static SVG picture."""
        chosen = sum(1 << v for v in self._chosen)
        return playground_scene(self._graph, chosen, self._masks()).to_svg(words=self.caption())

    def caption(self) -> str:
        """The verdict on the chosen set, and what the sequence costs."""
        return f"{caption(self._graph, sum(1 << v for v in self._chosen))} {self._costs}".strip()

    def __repr__(self) -> str:
        return f"Playground({len(self._graph)} nodes, {self._lesson['count']} lower sets: {self.caption()})"


def edited(graph: Graph, change: dict[str, Any]) -> Graph | str:
    """The graph after an edit from the page.

    Parameters
    ----------
    graph : Graph
    change : dict
        ``verb`` is ``"preset"`` (name), ``"node"`` (name, memory, time: add or change), ``"remove"`` (name) or
        ``"edge"`` (from, to: add, or remove where it is there).

    Raises
    ------
    GraphError
        If the edit makes no graph: a cycle, a negative size, an unknown or a nameless node.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b")], memory=dict(a=1, b=1))
    >>> edited(g, {"verb": "edge", "from": "a", "to": "b"})
    Graph(#V=2, #E=0)
    """
    verb = change.get("verb")
    if verb == "preset":
        return graph if change["name"] == "my own" else str(change["name"])
    names = [str(name) for name in graph.names]
    memory = dict(zip(names, graph.memory.tolist(), strict=True))
    time = dict(zip(names, graph.time.tolist(), strict=True))
    edges = [(names[u], names[v]) for u, v in graph.edges.tolist()]
    if verb == "edge":
        edge = (str(change["from"]), str(change["to"]))
        edges = [e for e in edges if e != edge] if edge in edges else [*edges, edge]
    elif verb in ("node", "remove"):
        name = str(change["name"])
        if not name:
            raise GraphError("the node has no name; write one, for example x")
        if verb == "node":
            size, cost = float(change["memory"] or 0), float(change["time"] or 0)
            if not size.is_integer() or not np.isfinite(cost):
                raise GraphError(f"M must be whole bytes and T a number ≥ 0, got {size:g} and {cost:g}")
            memory[name], time[name] = int(size), cost
        elif name not in memory:
            raise GraphError(f"{name!r} is no node; the nodes are {', '.join(names)}")
        else:
            del memory[name], time[name]
            edges = [e for e in edges if name not in e]
    else:
        raise GraphError(f"edit {verb!r} is unknown; choose preset, node, remove or edge")
    return Graph.from_edges(edges, memory, time)
