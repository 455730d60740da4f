"""The playground: the page computes the same patches as Python, edits are checked, the picture is self-contained."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.graphs.bitsets import bits
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.widgets.lessons.playground_scene import caption, playground_patch
from recompviz.widgets.lessons.set_playground import Playground
from tests.core.random_graphs import random_graph
from tests.widgets.test_javascript import node, run


def rounded(patch: Any) -> Any:
    return {key: dict(change) for key, change in patch.items()}


@node
def test_the_page_computes_the_same_patch_and_verdict_as_python() -> None:
    chance = random.Random(7)
    cases, expected = [], []
    for seed in range(12):
        graph = random_graph(seed, most_nodes=6)
        lesson = Playground(graph)._lesson
        lower_sets = sorted(graph.lower_set_masks(), key=int.bit_count)
        for _ in range(6):
            chosen = chance.choice([chance.randrange(1 << len(graph)), chance.choice(lower_sets)])
            first = chance.choice(lower_sets[1:])
            sequence = chance.choice([[], [first], [first, graph.everything]])
            cases.append([lesson, list(bits(chosen)), [list(bits(mask)) for mask in sequence]])
            expected.append([rounded(playground_patch(graph, chosen, sequence)), caption(graph, chosen)])
    painted = run(
        "lessons/playground_patch.js",
        "v.cases.map(([g, c, s]) => [m.playgroundPatch(g, new Set(c), s), m.verdict(g, new Set(c))])",
        cases=cases,
    )
    assert painted == expected


@node
def test_the_page_computes_the_same_closure_as_python() -> None:
    graph = small_graph("u-net")
    lesson = Playground(graph)._lesson
    sets = [list(bits(mask)) for mask in range(1, 1 << len(graph), 7)]
    closures = run(
        "lessons/playground_patch.js", "v.s.map((s) => m.keyOf(m.closure(v.g.ancestors, new Set(s))))", g=lesson, s=sets
    )
    for nodes, found in zip(sets, closures, strict=True):
        names = {graph.names[int(v)] for v in found.split(",")}
        assert names == graph.closure(graph.names[v] for v in nodes)


def test_the_chosen_sequence_is_a_plan() -> None:
    widget = rv.playground("diamond")
    widget.sequence = [{"a", "b"}, {"a", "b", "c", "d"}]
    assert widget.plan.lower_sets == (frozenset("ab"), frozenset("abcd"), frozenset("abcde"))
    assert f"overhead {widget.plan.overhead:g}, peak {widget.plan.peak}" in widget.caption()
    with pytest.raises(ValueError, match="not a lower set"):
        widget.sequence = [{"b"}]
    with pytest.raises(rv.GraphError, match="'z' is no node"):
        widget.chosen = {"z"}


def send(widget: Playground, **change: Any) -> None:
    widget._on_message(widget, {"type": "edit", **change}, [])


def test_edits_change_the_graph_and_impossible_edits_are_reported() -> None:
    widget = rv.playground("diamond")
    widget.chosen = {"a", "b"}
    send(widget, verb="node", name="f", memory=7, time=2)
    send(widget, verb="edge", **{"from": "e", "to": "f"})
    assert widget.graph.memory.tolist() == [2, 1, 1, 1, 3, 7]
    assert [4, 5] in widget.graph.edges.tolist()
    assert widget.chosen == {"a", "b"}
    send(widget, verb="edge", **{"from": "f", "to": "a"})
    assert "cycle" in widget._problem
    send(widget, verb="node", name="g", memory=-1, time=2)
    assert "≥ 0" in widget._problem
    assert len(widget.graph) == 6
    send(widget, verb="remove", name="a")
    assert widget.graph.names == ("b", "c", "d", "e", "f")
    assert widget._problem == ""
    send(widget, verb="preset", name="chain")
    assert widget._lesson["count"] == "7"


def test_the_static_picture_is_well_formed_and_contains_the_verdict() -> None:
    widget = rv.playground("inception")
    widget.chosen = {"a", "d"}
    bundle = widget._repr_mimebundle_()[0]
    assert "the edge c → d enters it" in bundle["text/plain"]
    assert ET.fromstring(bundle["image/svg+xml"]).tag.endswith("svg")
    assert bundle["image/svg+xml"] in bundle["text/html"]


def test_a_graph_with_too_many_lower_sets_to_draw_is_still_a_playground() -> None:
    widget = rv.playground(rv.Graph.from_edges([], memory=[1] * 10))
    assert widget._lesson["count"] == "1,024"
    assert "too many to draw" in widget.to_svg()
    with pytest.raises(ValueError, match="1 to 16 nodes"):
        rv.playground(rv.Graph.from_edges([], memory=[1] * 17))
