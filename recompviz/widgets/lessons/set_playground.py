"""The playground: a widget to find the lower sets of a small graph by clicking nodes.

The page has the edges, the ancestors and the lattice of the graph, so it handles clicks without the kernel. The kernel
edits the graph, computes overhead and peak of a sequence, and makes the frames that explain a sequence step by step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import traitlets

from recompviz.core.base.errors import RecompvizError, TooManyLowerSets
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import set_text, with_everything
from recompviz.core.teaching.small_graphs import NAMES, graph_of
from recompviz.core.teaching.strategy import canonical_strategy
from recompviz.widgets.base.assets import esm
from recompviz.widgets.base.job import explain
from recompviz.widgets.base.page_widget import checked_nodes
from recompviz.widgets.lessons.graph_edits import edited
from recompviz.widgets.lessons.lesson import Lesson
from recompviz.widgets.lessons.playground_scene import caption, diagram_of, lattice_centres, playground_scene
from recompviz.widgets.lessons.scene import Scene
from recompviz.widgets.lessons.strategy_scene import strategy_scene

MOST_NODES = 16
MOST_STEPPERS = 64  # in a page without a kernel


def playground(graph: Graph | str | None = None) -> Playground:
    """Show a widget in which the user chooses sets of nodes by clicking, and adds lower sets to a sequence.

    The widget says whether the chosen set is a lower set, and shows the overhead and peak of the sequence. If the graph
    has at most 80 lower sets, the widget also shows the lattice of all lower sets. The user can edit the graph.

    Parameters
    ----------
    graph : Graph or str, optional
        A graph of at most 16 nodes, or the name of a small graph: ``"chain"``, ``"diamond"``, ``"residual"``,
        ``"inception"``, ``"u-net"``, ``"branches"``, ``"uneven chain"``, ``"long skip"``,
        ``"transformer block"``. Default: ``"diamond"``.

    Returns
    -------
    Playground
        A widget, shown if it is the last value of a notebook cell. ``.chosen``, ``.sequence`` and ``.graph`` are the
        chosen set, the sequence of lower sets and the graph.

    Raises
    ------
    ValueError
        If the graph is empty or has more than 16 nodes, or if there is no small graph of this name.
    TypeError
        If ``graph`` is neither a Graph nor a name.

    Examples
    --------
    >>> playground("diamond")
    Playground(5 nodes, 7 lower sets: ∅ is a lower set; its boundary is ∂(L) = ∅.)
    """
    return Playground("diamond" if graph is None else graph)


def _strategy(graph: Graph, masks: Sequence[int]) -> Scene:
    plan = Plan.from_masks(graph, with_everything(graph, masks))
    return strategy_scene(canonical_strategy(plan), "The strategy of this sequence")


def _grows(small: int, large: int) -> bool:
    return small != large and not small & ~large


def _sequences(graph: Graph, first: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the sequences whose frames a page gets: ``first``, then those with the fewest sets."""
    diagram = diagram_of(graph)
    found = [tuple(first)] if first else []
    sets = diagram.sets[1:] if diagram else (graph.everything,)  # without ∅
    longer: list[tuple[int, ...]] = [()]
    while longer and len(found) < MOST_STEPPERS:
        longer = [(*base, mask) for base in longer for mask in sets if _grows(base[-1] if base else 0, mask)]
        found += [masks for masks in longer if masks not in found]
    return found[:MOST_STEPPERS]


class Playground(Lesson):
    """A widget to find the lower sets of a small graph; :func:`recompviz.playground` makes it.

    Parameters
    ----------
    graph : Graph or str
        A graph of at most 16 nodes, or the name of a small graph.
    """

    _esm = esm("lessons/playground.js")
    page_traits = ("_chosen", "_sequence")

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

    # ---------------------------------------------------------------- the choice

    def from_page(self, name: str, value: Any, _state: Mapping[str, Any]) -> Any:
        """Check node numbers that the page has sent; see :meth:`PageWidget.from_page`."""
        count = len(self._graph)
        if name == "_chosen":
            return checked_nodes(value, count)
        if not isinstance(value, (list, tuple)) or len(value) > count:
            raise TypeError(f"expected a list of at most {count} sets")
        return [checked_nodes(nodes, count) for nodes in value]

    @property
    def graph(self) -> Graph:
        """The graph that is shown.

        It can be set to another graph, or to the name of a small graph. The sequence is then empty. A chosen node stays
        chosen if the new graph has a node of the same name. ``ValueError`` is raised if the new graph is empty or has
        more than 16 nodes, or if there is no small graph of this name. ``TypeError`` is raised for any other value.
        """
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._show(graph)

    @property
    def chosen(self) -> frozenset[Name]:
        """The names of the chosen nodes. They need not form a lower set.

        The property can be set to a collection of names. ``GraphError`` is raised if a name is not a node, and
        ``TypeError`` if the value is not a collection.
        """
        return frozenset(self._graph.names[v] for v in self._chosen)

    @chosen.setter
    def chosen(self, nodes: Iterable[Name]) -> None:
        self._chosen = list(bits(self._graph.mask(nodes)))

    @property
    def sequence(self) -> tuple[frozenset[Name], ...]:
        """The chosen sequence of lower sets, as sets of node names. It need not end with V, the set of all nodes.

        The property can be set to a list of sets of node names. ``ValueError`` is raised if a set has an unknown name,
        is not a lower set, or does not strictly contain the set before. ``TypeError`` is raised if the value is not a
        list of sets.
        """
        return tuple(frozenset(self._graph.names[v] for v in nodes) for nodes in self._sequence)

    @sequence.setter
    def sequence(self, sets: Iterable[Iterable[Name]]) -> None:
        masks = [self._graph.mask(nodes) for nodes in sets]
        Plan.from_masks(self._graph, with_everything(self._graph, masks))  # raises if it is not a sequence
        self._sequence = [list(bits(mask)) for mask in masks]

    @property
    def plan(self) -> Plan:
        """The plan of the chosen sequence of lower sets.

        If the sequence does not end with V, the set of all nodes, V is appended. If no sequence is chosen, the plan has
        the single segment V.
        """
        return Plan.from_masks(self._graph, with_everything(self._graph, self._masks()))

    def _masks(self) -> list[int]:
        return [sum(1 << v for v in nodes) for nodes in self._sequence]

    # ---------------------------------------------------------------- the graph

    def _show(self, graph: Graph | str) -> None:
        preset = graph if isinstance(graph, str) else "my own"
        graph = graph_of(graph)
        if not 0 < len(graph) <= MOST_NODES:
            raise ValueError(
                f"a playground shows 1 to {MOST_NODES} nodes, this graph has {len(graph)}; use a smaller graph"
            )
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
        sets = " ⊊ ".join(set_text(self._graph, mask) for mask in (0, *plan.masks))
        implied = "" if self._masks()[-1] == self._graph.everything else " (V is added at the end)"
        self._costs = f"{sets}{implied}: overhead {plan.overhead:g}, peak {plan.peak}"

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        try:
            if kind == "edit":
                self._show(edited(self._graph, content))
            elif kind == "step":
                self._stepper = _strategy(self._graph, self._masks()).message()
        except (RecompvizError, ValueError, TypeError, LookupError, OverflowError) as error:
            self._problem = ""  # so that the page is notified even if the text is the same as before
            self._problem = explain(error)

    # ---------------------------------------------------------------- static pages

    @property
    def title(self) -> str:
        """The title of the page that :meth:`to_html` writes."""
        return f"Lower sets: {self._lesson['preset']}"

    def page_data(self) -> dict[str, Any]:
        """Return the data of a page without a kernel; see :meth:`Lesson.page_data`.

        They contain the frames of up to 64 sequences: of the chosen one, and of those with the fewest sets.
        """
        names = ("_presets", "_lesson", "_scene", "_chosen", "_sequence", "_costs", "_problem", "_stepper")
        steppers = {
            " ".join(",".join(map(str, bits(mask))) for mask in masks): _strategy(self._graph, masks).message()
            for masks in _sequences(self._graph, self._masks())
        }
        return {
            "kind": "playground",
            "traits": {name: getattr(self, name) for name in names},
            "steppers": steppers,
        }

    def to_svg(self) -> str:
        """Return the graph, the chosen set and the sequence as a static SVG picture."""
        chosen = sum(1 << v for v in self._chosen)
        return playground_scene(self._graph, chosen, self._masks()).to_svg(words=self.caption())

    def caption(self) -> str:
        """Return a sentence about the chosen set. If a sequence is chosen, its overhead and peak follow."""
        return f"{caption(self._graph, sum(1 << v for v in self._chosen))} {self._costs}".strip()

    def __repr__(self) -> str:
        return f"Playground({len(self._graph)} nodes, {self._lesson['count']} lower sets: {self.caption()})"
