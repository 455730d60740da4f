"""Every number that the strategy stepper shows comes from the core."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import recompviz as rv
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.core.teaching.strategy import canonical_strategy
from recompviz.widgets.base.styles import STYLES
from recompviz.widgets.lessons.memory_chart import earlier_cache
from recompviz.widgets.lessons.strategy_scene import strategy_scene
from tests.core.random_graphs import random_graph


@pytest.mark.parametrize("seed", range(20))
def test_the_numbers_of_every_step_are_those_of_the_core(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    curve = rv.solve(graph, "all")
    for plan in (curve.plan(curve.least_budget), curve.plan(curve.least_budget, "memory")):
        strategy = canonical_strategy(plan)
        scene = strategy_scene(strategy, "random")
        assert len(scene.frames) == len(strategy.states)
        for state, frame in zip(strategy.states, scene.frames, strict=True):
            shown = {key: change.get("text") for key, change in frame.patch.items()}
            assert shown["live"] == f"live now: {state.live}"
            assert shown["overhead"] == f"overhead so far: {state.overhead:g} of {plan.overhead:g}"
            numbers = [str(shown[f"n{row}"]).removeprefix("+ ") for row in range(4)]
            if state.verb in ("recompute", "backward", "release"):
                terms = plan.terms[state.segment - 1]
                sizes = (terms.cache, terms.segment, terms.gradients, terms.needed)
                assert numbers == [str(size) for size in sizes]
                assert shown["bound-number"] == f"= {terms.total}"
                assert graph.memory_of(earlier_cache(strategy, state)) == terms.cache  # the blue bar, the first term
            else:
                assert numbers == [""] * 4
            live = {v for v in range(len(graph)) if frame.patch.get(f"v{v}", {}).get("style", "gone") != "gone"}
            assert live == {v for v in range(len(graph)) if state.values >> v & 1}
        last = scene.frames[-1]
        assert last.caption.startswith("All gradients are computed; discard ")
        assert last.caption.endswith(f"Overhead {plan.overhead:g}, peak {plan.peak}.")


@pytest.mark.parametrize("seed", range(20))
def test_a_caption_names_everything_that_a_step_frees_and_a_prediction_asks_for_it(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    curve = rv.solve(graph, "all")
    strategy = canonical_strategy(curve.plan(curve.least_budget))
    scene = strategy_scene(strategy, "random")
    assert len(scene.predictions) == len(scene.frames)
    assert scene.predictions[-1] is None
    for i, (before, after, asked) in enumerate(
        zip(strategy.states, strategy.states[1:], scene.predictions, strict=False)
    ):
        assert asked is not None
        gone = {f"v{v}" for v in range(len(graph)) if (before.values & ~after.values) >> v & 1}
        gone |= {f"g{v}" for v in range(len(graph)) if (before.gradients & ~after.gradients) >> v & 1}
        if asked.kind == "bar":
            assert (asked.answer, gone) == (after.live, set())
            continue
        assert set(asked.answer) == gone <= set(asked.choices)  # type: ignore[arg-type]
        caption = scene.frames[i + 1].caption
        if after.verb == "release":
            named = caption[caption.index("iscard ") : re.search(r"[;.] (keep|Overhead)", caption).start()]  # type: ignore[union-attr]
            names = {key: f"{'∇' * (key[0] == 'g')}{graph.names[int(key[1:])]}" for key in gone}
            assert set(named.removeprefix("iscard ").split(", ")) - {"nothing"} == set(names.values())
        else:
            assert all(str(graph.names[int(key[1:])]) in caption for key in gone)


def test_nothing_gives_the_peak_away_before_it_is_reached() -> None:
    stepper = rv.step_strategy("diamond", [{"a", "b"}, {"a", "b", "c", "d"}])
    scene = stepper.scenes[0]
    first_bound = next(i for i, frame in enumerate(scene.frames) if "bound-number" in frame.patch)
    fixed = " ".join([scene.title, *(element.text for element in scene.elements)])
    assert "10" not in fixed  # the peak
    for frame in scene.frames[:first_bound]:
        texts = [str(change.get("text", "")) for change in frame.patch.values()]
        assert not any("10" in text for text in [*texts, frame.caption])
    veil = next(element for element in scene.elements if element.key == "veil")
    assert STYLES[veil.style].get("fill-opacity") is None
    order = [element.style for element in scene.elements]
    bars = [i for i, style in enumerate(order) if style == "bar-gradient"]
    assert all(order.index("veil") > i for i in (*bars[:-1], order.index("bound"), order.index("thin")))
    assert order[bars[-1] + 1] == "muted"  # the last one is the legend's


def test_all_plans_of_a_graph_have_one_axis() -> None:
    tops = set()
    for plan in ([], [{"a"}, {"a", "b", "c"}]):
        scene = rv.step_strategy("diamond", plan).scenes[0]
        assert scene.gauge is not None
        tops.add((scene.gauge.most, scene.gauge.scale))
    pair = rv.step_strategy("uneven chain", budget=74).scenes[0]
    words = [element.text for element in pair.elements if element.text.startswith("2M(V)")]
    assert words == ["2M(V) = 122: keep everything"] * 2
    assert tops == {(16, 120 / 16)}


def test_two_objectives_are_shown_side_by_side_and_step_together() -> None:
    stepper = rv.step_strategy("chain", budget=15)
    curve = rv.solve(small_graph("chain"), "all")
    last = stepper.scenes[0].frames[-1].patch
    assert last["0/overhead"]["text"] == "overhead so far: {0:g} of {0:g}".format(curve.plan(15).overhead)
    assert last["1/overhead"]["text"] == "overhead so far: {0:g} of {0:g}".format(curve.plan(15, "memory").overhead)


def test_the_static_picture_shows_the_current_step() -> None:
    stepper = rv.step_strategy("diamond", [{"a"}, {"a", "b", "c"}])
    assert "Live memory is now at the peak" in stepper.caption()
    stepper.frame = 1
    assert stepper.caption() == "Step 2 of 19. Forward, segment 1 of 3: compute a."
    assert ET.fromstring(stepper.to_svg()).tag.endswith("svg")
    with pytest.raises(ValueError, match="no step 20; choose 0 to 18"):
        stepper.frame = 20


def test_a_sequence_with_a_budget_a_graph_too_large_and_a_plan_of_another_graph_are_refused() -> None:
    with pytest.raises(ValueError, match="both a sequence and a budget"):
        rv.step_strategy("diamond", [{"a"}], budget=12)
    with pytest.raises(ValueError, match="17; use a smaller graph"):
        rv.step_strategy(rv.Graph.from_edges([], memory=[1] * 17), [])
    with pytest.raises(rv.PlanMismatch, match="another graph"):
        rv.step_strategy("chain", rv.baseline(small_graph("diamond"), "chen"))


def test_steps_are_saved_as_pictures(tmp_path: Path) -> None:
    stepper = rv.step_strategy("diamond", [{"a"}])
    files = stepper.save_steps(tmp_path / "slides", [0, 3])
    assert [file.name for file in files] == ["step-001.svg", "step-004.svg"]
    assert stepper.scenes[0].frames[3].caption in files[1].read_text(encoding="utf-8")
    assert len(stepper.save_steps(tmp_path / "all")) == len(stepper.scenes[0].frames)
    with pytest.raises(ValueError, match="no step 99"):
        stepper.save_steps(tmp_path / "none", [0, 99])
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(rv.FileError):
        stepper.save_steps(tmp_path / "file")


def test_sizes_in_bytes_are_shown_in_one_unit() -> None:
    graph = rv.Graph.from_edges([("a", "b")], memory={"a": 3 << 20, "b": 5 << 19})
    scene = rv.step_strategy(graph, [{"a"}]).scenes[0]
    texts = [element.text for element in scene.elements]
    assert {"sizes in MiB", "V₁, M 3", "V₂, M 2.5"} <= set(texts)
    assert scene.frames[1].patch["live"]["text"] == "live now: 3 MiB"
    assert scene.frames[-1].caption.endswith("peak 8.5 MiB.")
