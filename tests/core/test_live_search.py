"""Planning in simulated bytes: the compiled simulation is the simulator, the search never worse than its seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import recompviz as rv
from recompviz.benchmarks.liveness import every_mask
from recompviz.core.live import model as liveness
from recompviz.core.live.model import LiveModel, Walk
from recompviz.core.live.search import live_plans
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.random_joints import random_joint, random_mask


def seeds_of(graph: rv.Graph) -> list[rv.Plan]:
    curve = rv.solve(graph)
    return curve.plans("time")


def test_the_compiled_simulation_is_the_simulator_step_by_step() -> None:
    for seed in range(400):
        graph, joint = random_joint(seed)
        model = LiveModel(graph, joint)
        for k in range(4):
            kept = random_mask(4 * seed + k, len(graph))
            schedule = make_schedule(joint, kept.tolist())
            timeline = simulate_schedule(schedule)
            run = model.simulate(kept)
            assert run.peak == timeline.transient_peak, seed
            assert np.array_equal(run.step_peaks, timeline.step_peaks), seed
            again = [joint.calls[c] for c in schedule.recomputed]
            twice = {v for call in again for v in (call.node, *call.views)} - {-1}
            assert set(np.flatnonzero(run.recomputed).tolist()) == twice, seed
            assert run.overhead == graph.time[sorted(twice)].sum()


def test_what_is_alive_at_the_peak_is_what_the_timeline_lists_there() -> None:
    for seed in range(100):
        graph, joint = random_joint(seed)
        kept = random_mask(seed, len(graph))
        run = LiveModel(graph, joint).simulate(kept)
        schedule = make_schedule(joint, kept.tolist())
        timeline = simulate_schedule(schedule)
        # a result stays whatever is kept, so dropping it is no way down
        alive = ({block.storage for block in timeline.at_peak()} & schedule.saved) - joint.results
        if timeline.peak_step >= joint.forward_count:
            listed = {joint.calls[joint.storages[s].maker].node for s in alive} - {-1}
            found = set(run.alive_at_peak.tolist())
            # the compiled model knows the step of the peak, the timeline the event within it
            assert {v for v in listed if kept[v]} == found, seed


def test_the_curve_is_never_worse_than_its_seeds_and_never_better_than_every_mask() -> None:
    hits = budgets = 0
    for seed in range(60):
        graph, joint = random_joint(seed)
        model = LiveModel(graph, joint)
        plans = live_plans(graph, joint, seeds_of(graph))
        found = [(model.peak(plan.keep_mask), plan.overhead) for plan in plans]
        assert all(a[0] > b[0] and a[1] < b[1] for a, b in itertools.pairwise(found)), seed
        for plan in plans:
            assert model.simulate(plan.keep_mask).overhead == plan.overhead, seed
        for plan in [*seeds_of(graph), rv.Plan.keep_all(graph)]:
            run = model.simulate(plan.keep_mask)
            assert min(o for p, o in found if p <= run.peak) <= run.overhead, seed
        for budget, least in every_mask(model):
            best = min((o for p, o in found if p <= budget), default=np.inf)
            assert best >= least, seed
            budgets += 1
            hits += best == least
    assert hits >= 0.95 * budgets, f"{hits} of {budgets}"


def test_a_plan_of_the_search_is_the_schedule_it_was_judged_by() -> None:
    graph, joint = residual_step(blocks=(2, 2), batch=2, pixels=64)
    for plan in live_plans(graph, joint, seeds_of(graph)):
        assert plan.kind == "live"
        twice = make_schedule(joint, plan.keep_mask.tolist()).recomputed
        assert {joint.calls[c].node for c in twice} == set(np.flatnonzero(~plan.keep_mask).tolist())


def test_a_random_walk_ends_no_worse_than_it_began_and_the_same_each_time() -> None:
    better = 0
    for seed in range(60):
        graph, joint = random_joint(seed)
        model = LiveModel(graph, joint)
        start, everywhere = random_mask(seed, len(graph)), np.arange(len(graph))
        before, walk = model.simulate(start), Walk(temperature=1.0, weight=1.0, tries=200)
        found = model.anneal(start, everywhere, before.peak, walk, seed)
        assert np.array_equal(found, model.anneal(start, everywhere, before.peak, walk, seed))
        assert np.array_equal(start, random_mask(seed, len(graph)))
        after = model.simulate(found)
        assert after.peak <= before.peak
        assert after.overhead <= before.overhead
        better += after.overhead < before.overhead
    assert better


def test_the_search_can_be_cancelled() -> None:
    graph, joint = residual_step(blocks=(1,), batch=2, pixels=64)

    def cancel(_done: int, _total: int) -> None:
        raise rv.Cancelled("enough")

    with pytest.raises(rv.Cancelled):
        live_plans(graph, joint, [], cancel)


def test_a_table_has_the_same_figures_with_and_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, joint = residual_step(blocks=(1, 1), batch=2, pixels=64)
    LiveModel(graph, joint).peak(np.ones(len(graph), np.bool_))  # compiled from here on
    fast = PlanTable.of(graph, "time", seeds_of(graph), liveness.profile_function(graph, joint))
    monkeypatch.setattr(liveness, "has_numba", lambda: False)
    slow = PlanTable.of(graph, "time", seeds_of(graph), liveness.profile_function(graph, joint))
    assert np.array_equal(fast.total_peaks, slow.total_peaks)
    assert np.array_equal(fast.outlines, slow.outlines)


def test_pins_are_obeyed_by_every_plan() -> None:
    for seed in range(30):
        graph, joint = random_joint(seed)
        keep, recompute = {graph.names[0]}, set(graph.names[2:4])
        for plan in live_plans(graph, joint, seeds_of(graph), keep=keep, recompute=recompute):
            assert plan.keep_mask[0], seed
            for v in np.flatnonzero(plan.keep_mask[2:4]) + 2:
                # kept all the same only where nothing asks for it again
                without = plan.keep_mask.copy()
                without[v] = False
                again = make_schedule(joint, without.tolist()).recomputed
                assert v not in {joint.calls[c].node for c in again}, seed


def test_a_node_pinned_both_ways_is_refused() -> None:
    graph, joint = random_joint(1)
    with pytest.raises(rv.ImpossiblePin, match="drop one pin"):
        live_plans(graph, joint, [], keep=[graph.names[0]], recompute=[graph.names[0]])
