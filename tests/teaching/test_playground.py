"""The playground: the page computes the same patches as Python, edits are checked, the picture is self-contained."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.graphs.bitsets import bits
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.core.teaching.strategy import canonical_strategy
from recompviz.widgets.lessons.playground_scene import caption, playground_patch
from recompviz.widgets.lessons.set_playground import Playground
from recompviz.widgets.lessons.strategy_scene import strategy_scene
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


@node
def test_a_page_without_a_kernel_computes_the_same_costs_as_python() -> None:
    chance = random.Random(3)
    cases, expected = [], []
    for seed in range(30):
        graph = random_graph(seed, most_nodes=7)
        widget = Playground(graph)
        sets = sorted(graph.lower_set_masks(), key=int.bit_count)[1:]
        masks: list[int] = []
        for mask in sets:
            if (not masks or masks[-1] & ~mask == 0) and chance.random() < 0.5:
                masks.append(mask)
        widget._sequence = [list(bits(mask)) for mask in masks]
        cases.append([widget._lesson, widget._sequence])
        expected.append(widget._costs)
    assert run("lessons/sequence_costs.js", "v.cases.map(([g, s]) => m.costsText(g, s))", cases=cases) == expected


def test_a_page_has_all_frames_and_is_written_whole(tmp_path: Path) -> None:
    widget = rv.playground("diamond")
    widget.sequence = [{"a"}, {"a", "b"}, {"a", "b", "c", "d"}]
    pages = {
        "play.html": widget,
        "strategy.html": rv.step_strategy("chain"),
        "table.html": rv.step_programme("diamond"),
    }
    for name, lesson in pages.items():
        page = lesson.to_html(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == page
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
        packed = re.search(r'<script type="application/x-recompviz-lesson">(.+?)</script>', page)
        assert packed
        data = json.loads(gzip.decompress(base64.b64decode(packed[1])))
        assert data["traits"] == json.loads(json.dumps(lesson.page_data()["traits"]))
    key = "0 0,1 0,1,2,3"
    steps = widget.page_data()["steppers"]
    assert steps[key]["captions"] == strategy_scene(canonical_strategy(widget.plan), "").message()["captions"]
    assert len(steps) == 47  # the 24 sequences that end with V, and the 23 of these without their V
    with pytest.raises(rv.FileError):
        widget.to_html(tmp_path)


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
