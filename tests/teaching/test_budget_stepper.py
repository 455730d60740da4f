"""The budget stepper: for every budget, curve, strip, graph and lattice show one plan, and it is an optimal one."""

from __future__ import annotations

import re

import numpy as np
import pytest

import recompviz as rv
from recompviz.core.teaching.sets import hasse
from recompviz.core.teaching.small_graphs import NAMES, even_chain, small_graph
from recompviz.widgets.lessons.budget_scene import BOTTOM, CHART_HEIGHT, budgets_of
from tests.core.test_oracle import cost_by_definition, sequences


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]


@pytest.mark.parametrize("name", ["chain", "diamond", "residual", "branches", "uneven chain", "long skip"])
def test_every_part_shows_the_best_plan_of_the_budget(name: str) -> None:
    graph = small_graph(name)
    every = [cost_by_definition(graph, sequence) for sequence in sequences(graph)]
    scene = rv.step_budgets(graph).scenes[0]
    sets = hasse(graph).sets
    assert scene.frames[0].caption.startswith("No lower-set sequence fits")
    assert "path" not in scene.frames[0].patch
    for frame, place in zip(scene.frames[1:], scene.places[1:], strict=True):
        budget = int(place.removeprefix("budget "))
        overhead = min(t for t, peak in every if peak <= budget)
        # the lattice: the sets on the path are the plan's
        path = [sets[int(key[1:])] for key, change in frame.patch.items() if change.get("style") == "cell-path"]
        plan = rv.Plan.from_masks(graph, sorted(filter(None, path), key=int.bit_count))
        assert plan.overhead == overhead
        assert plan.peak <= budget
        # the graph: what is recomputed
        dashed = {key[1:] for key, change in frame.patch.items() if change.get("style") == "recompute"}
        assert {graph.names[int(v)] for v in dashed} == set(plan.recompute)
        # the strip: its highest bar is the peak, under the line of the budget
        scale = CHART_HEIGHT / int(scene.places[-1].removeprefix("budget "))
        top = min(y for part in ("bar-gradient", "bar-keep", "bar-transient") for y in _heights(frame.patch[part]["d"]))
        assert (BOTTOM - top) / scale == pytest.approx(plan.peak, abs=0.06 / scale)
        line = numbers(str(frame.patch["budget"]["d"]))[1]
        assert (BOTTOM - line) / scale == pytest.approx(budget, abs=0.06 / scale)
        # the curve: one point is lit, and the words say the same
        lit = [key for key, change in frame.patch.items() if change.get("style") == "point-lit"]
        assert len(lit) == 1
        assert f"Budget {budget}: the least overhead is {overhead:g}, at peak {plan.peak} " in frame.caption


def _heights(path: object) -> list[float]:
    """The upper edges of the bars in a path: the numbers after V."""
    return [float(y) for y in re.findall(r"V(-?\d+(?:\.\d+)?)", str(path))] or [BOTTOM]


@pytest.mark.parametrize("name", NAMES)
def test_a_click_on_a_point_of_the_curve_sets_its_budget(name: str) -> None:
    scene = rv.step_budgets(name).scenes[0]
    curve = rv.solve(small_graph(name), "all").time_centric
    points = [element for element in scene.elements if element.tag == "circle"]
    assert [element.label for element in points] == [
        f"budget {peak}: overhead {overhead:g}" for overhead, peak in zip(curve.overheads, curve.peaks, strict=True)
    ]
    assert [scene.places[element.go] for element in points] == [f"budget {peak}" for peak in curve.peaks]
    assert scene.height < 600
    captions = {name: scene.frames[at].caption for at, name in scene.chapters}
    assert f"the least peak is {curve.peaks[-1]}" in captions["Infeasible"]
    assert f"Budget {curve.peaks[-1]}: the least overhead is {curve.overheads[-1]:g}" in captions["Least budget"]
    assert f"the least overhead is {curve.overheads[0]:g}, at peak {curve.peaks[0]} " in captions["Least overhead"]


def test_large_sizes_have_few_budgets_and_each_peak_is_one_of_them() -> None:
    peaks = [7 << 30, 5 << 30, (5 << 30) - 1]
    budgets = budgets_of(peaks)
    assert set(peaks) < set(budgets)
    assert len(budgets) <= 45
    assert np.all(np.diff(budgets) > 0)
    large = rv.Graph.from_edges([("a", "b"), ("b", "c")], memory={"a": 5 << 30, "b": 3 << 30, "c": 1 << 30})
    assert "GiB" in rv.step_budgets(large).scenes[0].places[0]


def test_a_graph_with_too_many_lower_sets_is_refused() -> None:
    wide = rv.Graph.from_edges([("a", f"v{i}") for i in range(8)], memory={"a": 1} | {f"v{i}": 1 for i in range(8)})
    with pytest.raises(rv.TooManyLowerSets):
        rv.step_budgets(wide)
    with pytest.raises(ValueError, match="no small graph"):
        rv.step_budgets("none")
    with pytest.raises(ValueError, match="no node"):
        rv.step_budgets(rv.Graph.from_edges([], memory={}))
    assert rv.step_budgets(even_chain(1)).scenes[0].frames
