"""Every number that the DP stepper shows comes from the table, and its last row is the solver's curve."""

from __future__ import annotations

import re

import pytest

import recompviz as rv
from recompviz.core.teaching.programme import Programme, budget_free, per_budget
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.widgets.lessons.programme_scene import programme_scene
from recompviz.widgets.lessons.recursion_part import LINES
from tests.core.random_graphs import random_graph


def numbers(line: str, pattern: str) -> tuple[int, ...]:
    found = re.search(pattern, line)
    assert found, line
    return tuple(map(int, found.groups()))


def check(table: Programme) -> None:
    scene = programme_scene(table, "random")
    steps = sorted((*table.cells, *table.infeasible), key=lambda c: (table.sets.index(c.place[0]), c.place[1]))
    assert len(scene.frames) == len(steps) + 1 + len(table.answers)
    for i, (cell, frame) in enumerate(zip(steps, scene.frames, strict=False)):
        shown = {key: str(change["text"]) for key, change in frame.patch.items() if "text" in change}
        assert {key for key in shown if key.startswith("ct")} == {f"ct{j}" for j in range(i + 1)}
        assert shown[f"ct{i}"] == (str(cell.value) if cell.value >= 0 else "✗")
        needed = {key for key, change in frame.patch.items() if change.get("style") in ("cell-needed", "cell-best")}
        assert needed == {f"c{[s.place for s in steps].index(candidate.other)}" for candidate in cell.candidates}
        lines = [shown[f"line{line}"] for line in range(LINES) if f"line{line}" in shown]
        assert len(lines) == min(len(cell.candidates), LINES)
        for candidate, line in zip(cell.candidates, lines, strict=False):
            if len(cell.candidates) > LINES:
                break  # the best comes first there
            here, dm, p, value = candidate.needed, candidate.delta_m, candidate.p, candidate.value
            if table.budget is None:
                assert numbers(line, r"max\( (\d+), (\d+) \+ .* = max\( (\d+), (\d+) \+ (\d+) \) = (\d+)") == (
                    p, dm, p, dm, here, value,
                )  # fmt: skip
            elif candidate.fits:
                found = numbers(line, r"= (\d+) \+ (\d+) = (\d+) +\((\d+) \+ (\d+) ≤ (\d+)\)")
                assert found == (here, dm, value, here, p, table.budget)
            else:
                assert numbers(line, r": (\d+) \+ p = (\d+) \+ (\d+) > (\d+)") == (here, here, p, table.budget)
        if cell.best >= 0:
            best = [line for line in lines if line.endswith("← least")]
            assert len(best) == 1
            assert frame.caption.endswith(f"at cost {cell.candidates[cell.best].extra_t:g}.")
    for answer, frame in zip(table.answers, scene.frames[len(steps) + 1 :], strict=True):
        plan = table.plan(answer.place)
        assert frame.patch["result"]["text"] == f"overhead {plan.overhead:g}, peak {plan.peak}"
        kept = {v for v in range(len(table.graph)) if frame.patch[f"n{v}"]["style"] == "keep"}
        assert kept == set(plan.keep_mask.nonzero()[0].tolist())


@pytest.mark.parametrize("seed", range(20))
def test_the_numbers_of_every_step_are_those_of_the_table(seed: int) -> None:
    graph = random_graph(seed, most_nodes=5)
    check(budget_free(graph))
    check(per_budget(graph, rv.solve(graph, "all").least_budget))


@pytest.mark.parametrize("name", ["diamond", "residual", "inception"])
def test_the_finished_table_is_what_solve_answers(name: str) -> None:
    scene = rv.step_programme(name).scenes[0]
    curve = rv.solve(small_graph(name), "all")
    front = zip(curve.time_centric.overheads.tolist(), curve.time_centric.peaks.tolist(), strict=True)
    words = ", ".join(f"({t:g}, {p})" for t, p in front)
    assert f"(overhead, peak) = {words}." in next(f.caption for f in scene.frames if "the trade-off curve" in f.caption)


def test_a_click_on_a_point_shows_its_plan_and_on_a_cell_its_step() -> None:
    scene = rv.step_programme("diamond").scenes[0]
    targets = {e.label: e.go for e in scene.elements if e.go >= 0}
    for label, go in targets.items():
        if label.startswith("walk back"):
            overhead, peak = re.findall(r"\d+", label)
            assert scene.frames[go].caption.endswith(f"Overhead {overhead}, peak {peak}.")
        else:
            assert scene.frames[go].caption.startswith(label.removeprefix("step that fills "))


def test_the_curve_is_a_step_function_through_its_plans() -> None:
    scene = rv.step_programme("residual").scenes[0]
    paths = {e.key: str(e.attributes["d"]) for e in scene.elements if e.key in ("time-front", "memory-front")}
    points = {
        (round(float(e.attributes["cx"]), 1), round(float(e.attributes["cy"]), 1))
        for e in scene.elements
        if e.tag == "circle"
    }
    for path in paths.values():
        assert re.fullmatch(r"M[\d.]+ [\d.]+V[\d.]+(?:H[\d.]+V[\d.]+)*", path)  # no slanted line
        steps = re.findall(r"[HV ]([\d.]+)", path)
        corners = {(float(x), float(y)) for x, y in zip(steps[2::2], steps[3::2], strict=True)}
        assert len(corners) > 1
        assert corners <= points


def test_an_infeasible_budget_is_refused_with_the_least_feasible_one() -> None:
    with pytest.raises(rv.InfeasibleBudget, match=r"8 B.*least feasible 9 B"):
        rv.step_programme("diamond", budget=8)
