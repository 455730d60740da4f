"""Every number that the strategy stepper shows comes from the core."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import recompviz as rv
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.core.teaching.strategy import canonical_strategy
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
            assert shown["live"] == str(state.live)
            assert shown["overhead"] == f"{state.overhead:g} of {plan.overhead:g}"
            if state.segment:
                terms = plan.terms[state.segment - 1]
                assert [shown[f"n{row}"] for row in range(4)] == [
                    str(size) for size in (terms.cache, terms.segment, terms.gradients, terms.needed)
                ]
                assert shown["bound-number"] == str(terms.total)
            live = {v for v in range(len(graph)) if frame.patch.get(f"v{v}", {}).get("style", "gone") != "gone"}
            assert live == {v for v in range(len(graph)) if state.values >> v & 1}
        last = scene.frames[-1]
        assert last.caption == f"All gradients are computed. Overhead {plan.overhead:g}, peak {plan.peak}."


def test_two_objectives_are_shown_side_by_side_and_step_together() -> None:
    stepper = rv.step_strategy("chain", budget=15)
    curve = rv.solve(small_graph("chain"), "all")
    last = stepper.scenes[0].frames[-1].patch
    assert last["0/overhead"]["text"] == "{0:g} of {0:g}".format(curve.plan(15).overhead)
    assert last["1/overhead"]["text"] == "{0:g} of {0:g}".format(curve.plan(15, "memory").overhead)


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
