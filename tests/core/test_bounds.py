"""Lower bounds are at most the optimum over all keep masks, and at most what any other strategy recomputes."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings

import recompviz as rv
from recompviz.benchmarks.liveness import every_mask
from recompviz.core.bounds.bound_curve import bound_curve, dropped_cost
from recompviz.core.bounds.plan_program import PlanProgram
from recompviz.core.bounds.step_bounds import gap_text
from recompviz.core.bounds.uses import Uses
from recompviz.core.live.model import LiveModel
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import JointGraph
from tests.core.random_joints import random_joint
from tests.core.strategies import steps


def assert_below_the_optimum(graph: rv.Graph, joint: JointGraph, points: int = 40) -> list[float]:
    """Check the bounds of a small step at all budgets of its Pareto front. Return the gaps of plans run as they are."""
    truth = every_mask(LiveModel(graph, joint))
    static = sum(joint.static.values())
    uses = Uses(graph, joint)
    curves = [bound_curve(graph, joint, once=once, points=points) for once in (False, True)]
    for peak, least in truth:
        found = [curve.overhead(peak + static) for curve in curves]  # infinite if the least peak were too high
        assert max(found) <= least
        assert dropped_cost(uses, peak) <= least
    for peak, least in truth[1::3]:
        found = [curve.overhead(peak + static) for curve in curves]
        tightened = [curve.tighten(peak + static) for curve in curves]
        assert max(tightened) <= least
        assert all(after >= before for before, after in zip(found, tightened, strict=True))
    for curve in curves:
        assert curve.least_total <= truth[-1][0] + static
        assert curve.overhead(curve.least_total - 1) == math.inf
    return [curves[1].gap(least, peak + static) for peak, least in truth]


@pytest.mark.parametrize("points", [1, 40])
def test_the_bounds_are_never_above_the_optimum_of_random_steps(points: int) -> None:
    gaps = [gap for seed in range(15) for gap in assert_below_the_optimum(*random_joint(seed, 6), points)]
    assert float(np.median(gaps)) == pytest.approx(0, abs=1e-6)


@settings(max_examples=25)
@given(steps(max_nodes=5))
def test_the_bounds_are_never_above_the_optimum(case: tuple[rv.Graph, JointGraph]) -> None:
    assert_below_the_optimum(*case)


def test_more_recomputation_can_only_lower_the_bound_and_a_larger_budget_too() -> None:
    graph, joint = residual_step((1, 1))
    free, once = (bound_curve(graph, joint, once=once) for once in (False, True))
    assert free.least_total <= once.least_total
    budgets = np.linspace(once.least_total, free.least_total * 3, 20).astype(int).tolist()
    values = [free.overhead(budget) for budget in budgets]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0 == values[-1]


def test_without_scipy_the_curve_says_how_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, joint = residual_step((1,))
    best = bound_curve(graph, joint)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    curve = bound_curve(graph, joint)
    assert (best.method, curve.method) == ("linear program", "one call at a time")
    assert curve.least_total <= best.least_total
    assert 0 < curve.overhead(best.least_total) < math.inf


def test_a_planner_gives_the_gap_of_a_plan() -> None:
    planner = rv.Planner(*residual_step((1,)))
    assert planner.optimality_gap(rv.Plan.keep_all(planner.graph)) == 0
    table = planner.plans("live")
    for once in (False, True):
        assert planner.bounds(once) is planner.bounds(once)
        assert all(planner.bounds(once).overhead(int(peak)) <= plan.overhead
                   for plan, peak in zip(table.plans, table.total_peaks, strict=True))  # fmt: skip
    for plan, peak in list(zip(table.plans, table.total_peaks, strict=True))[::6]:
        before = planner.bounds().overhead(int(peak))
        assert plan.bound is not None
        assert min(before, plan.overhead) <= plan.bound <= plan.overhead
        assert plan.gap == planner.optimality_gap(plan)
    assert planner.optimality_gap(table.plans[-1], once=True) <= planner.optimality_gap(table.plans[-1])


def test_a_plan_has_a_bound_if_a_planner_returned_it() -> None:
    graph, joint = residual_step((1,))
    planner = rv.Planner(graph, joint)
    assert rv.Plan.keep_all(graph).bound is rv.Plan.keep_all(graph).gap is None
    for plan in (planner.baseline("chen"), planner.check(None), planner.check(rv.Plan.keep_all(graph))):
        assert plan.bound is not None
        assert 0 <= plan.bound <= plan.overhead
        assert plan.gap == planner.optimality_gap(plan)


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (None, ""),
        (0.0, "the best possible"),
        (1e-6, "at most 0.1% of the forward above the best possible"),
        (0.04, "at most 4.0% of the forward above the best possible"),
        (0.0401, "at most 4.1% of the forward above the best possible"),
        (0.364, "at most 37% of the forward above the best possible"),
    ],
)
def test_the_text_of_a_gap_is_never_below_the_gap(gap: float | None, text: str) -> None:
    assert gap_text(gap) == text


def test_an_integer_program_raises_the_bound_of_its_budget_and_of_smaller_ones() -> None:
    graph, joint = residual_step((1, 1))
    planner = rv.Planner(graph, joint)
    table, curve = planner.plans("live"), planner.bounds()
    peaks = [int(peak) for peak in table.total_peaks]
    middle = len(peaks) // 2
    before = [curve.overhead(peak) for peak in peaks]
    curve.tighten(peaks[middle])
    after = [curve.overhead(peak) for peak in peaks]
    assert after[middle] > before[middle] + 0.01 * curve.forward
    assert after[:middle] == before[:middle]  # larger budgets
    assert all(value >= after[middle] for value in after[middle:])
    assert after[middle] <= table.plans[middle].overhead


def test_the_program_for_plans_nearly_always_gives_the_optimum_of_all_keep_masks() -> None:
    exact = []
    for seed in range(40):
        graph, joint = random_joint(seed, 7)
        uses, forward = Uses(graph, joint), float(graph.time.sum())
        coarse, fine = PlanProgram(uses, 1), PlanProgram(uses, 40)
        for peak, least in every_mask(LiveModel(graph, joint)) if len(fine.upper) else ():
            line, bound = fine.line(peak), fine.integer_bound(peak, 60)
            assert line is not None
            assert line.value + line.slope * peak <= bound + 1e-4 * forward
            assert max(bound, coarse.integer_bound(peak, 60)) <= least
            exact.append(bound >= least - 1e-3 * forward)
    assert len(exact) > 50
    assert np.mean(exact) > 0.9  # states of the generator are not counted


def test_a_solution_is_a_plan_and_a_known_plan_is_an_upper_limit() -> None:
    graph, joint = residual_step((1, 1))
    model, program = LiveModel(graph, joint), PlanProgram(Uses(graph, joint), 40)
    forward = float(graph.time.sum())
    budget = int(0.7 * model.peak(np.ones(len(graph), np.bool_)))
    bound, solution = program.integer_solution(budget, 60)
    assert solution is not None
    run = model.simulate(program.keep_mask(solution))
    assert run.overhead == pytest.approx(bound, abs=0.01 * forward)
    assert run.peak <= budget
    # less is not possible, so the solver finds no solution, and proves that none exists
    same, none = program.integer_solution(budget, 60, run.overhead)
    assert none is None
    assert run.overhead >= same >= bound - 0.01 * forward
    # more is allowed: the solver finds the same overhead
    again, found = program.integer_solution(budget, 60, 2 * run.overhead)
    assert found is not None
    assert again == pytest.approx(bound, abs=0.01 * forward)
    # nothing fits: the bound is what is known, and infinite without it
    assert program.integer_bound(1, 60, 5.0) == pytest.approx(5.0, abs=0.01)
    assert program.integer_bound(1, 60) == math.inf


def test_a_known_plan_gives_a_bound_in_too_short_a_time() -> None:
    graph, joint = residual_step((2, 2, 2), batch=2)
    planner = rv.Planner(graph, joint)
    plan, program = planner.plans("live").plans[-1], PlanProgram(Uses(graph, joint), 20)
    budget = int(planner.plans("live").total_peaks[-1]) - sum(joint.static.values())
    line = program.line(budget)
    assert line is not None
    assert 0 < line.value + line.slope * budget <= plan.overhead
    assert 0 <= program.integer_bound(budget, 0.5, plan.overhead) <= plan.overhead
