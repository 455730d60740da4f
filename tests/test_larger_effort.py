"""A larger effort says truly which side of a gap is loose, and the peak of a strategy is that of the simulation."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from recompviz.benchmarks.larger_effort import Found, LargerEffort
from recompviz.benchmarks.liveness import every_mask
from recompviz.benchmarks.optimality import chain
from recompviz.benchmarks.repeated_runs import needed_runs, peak_of_runs, runs_of
from recompviz.core.live.model import LiveModel
from recompviz.core.steps.examples import chain_step, residual_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import make_schedule
from tests.core.random_graphs import random_graph


@pytest.mark.parametrize("seed", range(6))
def test_the_peak_of_a_plan_as_runs_is_its_simulated_peak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for graph, joint in (residual_step((1, 1)), chain_step([4, 9, 2, 7, 5, 3])):
        keep_mask = rng.random(len(graph)) < 0.5
        runs = runs_of(make_schedule(joint, keep_mask.tolist()))
        assert peak_of_runs(joint, runs) == LiveModel(graph, joint).peak(keep_mask)
        assert needed_runs(joint, runs) == runs


def test_calls_that_run_again_before_each_backward_call_need_less_memory_than_all_plans() -> None:
    graph = chain(10)
    joint = paper_step(graph)
    least = min(peak for peak, _ in every_mask(LiveModel(graph, joint)))
    forward, last = joint.forward_count, len(joint.calls)
    runs = needed_runs(joint, {b: list(range(forward)) for b in range(forward, last)})
    assert len(runs[forward + 1]) > 1
    assert peak_of_runs(joint, runs) < least


def test_a_strategy_cannot_read_what_was_never_made() -> None:
    _, joint = chain_step([4, 4, 4])
    calls = list(joint.calls)
    calls[1], calls[0] = calls[0], calls[1]
    wrong = JointGraph(tuple(calls), joint.storages, joint.results)
    with pytest.raises(ValueError, match="run its maker first"):
        peak_of_runs(wrong, {})


@pytest.mark.parametrize("seed", range(4))
def test_a_larger_effort_reaches_the_optimum_of_small_steps(seed: int) -> None:
    graph = random_graph(seed, 8)
    joint = paper_step(graph)
    truth = every_mask(LiveModel(graph, joint))
    # the only plan known recomputes as much as possible
    effort = LargerEffort(graph, joint, [np.zeros(len(graph), np.bool_)], seconds=0.2)
    most = LiveModel(graph, joint).peak(np.zeros(len(graph), np.bool_))
    forward = float(graph.time.sum())
    for budget in [peak for peak, _ in truth if peak >= most]:
        least = min(overhead for peak, overhead in truth if peak <= budget)
        found = effort.at(budget, forward, 0.0)
        assert found.plan * forward == pytest.approx(least)
        assert found.any_after <= found.plans_after <= found.plan + 1e-9
        assert found.strategy < found.plan or found.strategy == inf


@pytest.mark.parametrize(
    ("found", "sides"),
    [
        (Found(0.5, 0.1, 0.1, 0.5, 0.5, inf), "unknown"),
        (Found(0.5, 0.1, 0.1, 0.4, 0.4, inf), "search"),
        (Found(0.5, 0.1, 0.2, 0.5, 0.5, inf), "bound"),
        (Found(0.5, 0.1, 0.1, 0.5, 0.5, 0.3), "plans"),
        (Found(0.5, 0.1, 0.2, 0.4, 0.4, 0.3), "search, plans, bound"),
    ],
)
def test_the_side_that_moved_is_named(found: Found, sides: str) -> None:
    assert found.sides == sides
