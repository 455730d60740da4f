"""Planning in simulated bytes: the compiled simulation is the simulator, the search never worse than its seeds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import recompviz as rv
from recompviz.benchmarks.liveness import every_mask
from recompviz.core.live import live_search
from recompviz.core.live import model as liveness
from recompviz.core.live.candidates import Candidate, Candidates
from recompviz.core.live.live_search import ABOVE, LAST, live_plans
from recompviz.core.live.model import Annealing, LiveModel
from recompviz.core.live.moves import Moves
from recompviz.core.live.repeated import repeated_blocks
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.random_joints import random_joint
from tests.core.strategies import steps, steps_with_masks


def seeds_of(graph: rv.Graph) -> list[rv.Plan]:
    curve = rv.solve(graph)
    return curve.plans("time")


Case = tuple[rv.Graph, JointGraph, np.ndarray]


@settings(max_examples=200)
@given(steps_with_masks())
def test_the_compiled_simulation_is_the_simulator_step_by_step(case: Case) -> None:
    graph, joint, mask = case
    joint = replace(joint, optimizer_scratch=0)
    run = LiveModel(graph, joint).simulate(mask)
    schedule = make_schedule(joint, mask.tolist())
    timeline = simulate_schedule(schedule)
    assert run.peak == timeline.transient_peak
    assert np.array_equal(run.step_peaks, timeline.step_peaks)
    again = [joint.calls[c] for c in schedule.recomputed]
    twice = {v for call in again for v in (call.node, *call.views)} - {-1}
    assert set(np.flatnonzero(run.recomputed).tolist()) == twice
    assert run.overhead == graph.time[sorted(twice)].sum()


@given(steps_with_masks())
def test_what_is_alive_at_the_peak_is_what_the_timeline_lists_there(case: Case) -> None:
    graph, joint, mask = case
    joint = replace(joint, optimizer_scratch=0)
    schedule = make_schedule(joint, mask.tolist())
    timeline = simulate_schedule(schedule)
    if timeline.peak_step >= joint.forward_count:
        # a result stays under every plan, so dropping it does not help
        alive = ({block.storage for block in timeline.at_peak()} & schedule.saved) - joint.results
        listed = {joint.calls[joint.storages[s].maker].node for s in alive} - {-1}
        found = set(LiveModel(graph, joint).simulate(mask).alive_at_peak.tolist())
        # the compiled model knows the step of the peak, the timeline the event within it
        assert {v for v in listed if mask[v]} == found


@settings(max_examples=25)
@given(steps(max_nodes=5))
def test_the_curve_is_never_worse_than_its_seeds_and_never_better_than_every_mask(
    case: tuple[rv.Graph, JointGraph],
) -> None:
    graph, joint = case
    model, seeds = LiveModel(graph, joint), seeds_of(graph)
    plans = live_plans(graph, joint, seeds)
    found = [(model.peak(plan.keep_mask), plan.overhead) for plan in plans]
    assert all(a[0] > b[0] and a[1] < b[1] for a, b in itertools.pairwise(found))
    for plan in plans:
        assert model.simulate(plan.keep_mask).overhead == plan.overhead
    for plan in [*seeds, rv.Plan.keep_all(graph)]:
        run = model.simulate(plan.keep_mask)
        assert min(o for p, o in found if p <= run.peak) <= run.overhead
    for budget, least in every_mask(model):
        assert min((o for p, o in found if p <= budget), default=np.inf) >= least


def test_the_curve_is_nearly_always_the_optimum_over_every_mask() -> None:
    hits = budgets = 0
    for seed in range(30):
        graph, joint = random_joint(seed)
        model = LiveModel(graph, joint)
        plans = [(model.peak(plan.keep_mask), plan.overhead) for plan in live_plans(graph, joint, seeds_of(graph))]
        for budget, least in every_mask(model):
            budgets += 1
            hits += min((o for p, o in plans if p <= budget), default=np.inf) == least
    assert hits >= 0.95 * budgets, f"{hits} of {budgets}"


def test_a_plan_of_the_search_is_the_schedule_it_was_judged_by() -> None:
    graph, joint = residual_step(blocks=(2, 2), batch=2, pixels=64)
    for plan in live_plans(graph, joint, seeds_of(graph)):
        assert plan.kind == "live"
        twice = make_schedule(joint, plan.keep_mask.tolist()).recomputed
        assert {joint.calls[c].node for c in twice} == set(np.flatnonzero(~plan.keep_mask).tolist())


@given(steps_with_masks(), st.integers(0, 2**32))
def test_annealing_ends_no_worse_than_it_began_and_the_same_each_time(case: Case, seed: int) -> None:
    graph, joint, mask = case
    model, everywhere, annealing = LiveModel(graph, joint), np.arange(len(graph)), Annealing(1.0, 1.0, 200)
    before, start = model.simulate(mask), mask.copy()
    found = model.anneal(mask, everywhere, before.peak, annealing, seed)
    assert np.array_equal(found, model.anneal(mask, everywhere, before.peak, annealing, seed))
    assert np.array_equal(mask, start)
    after = model.simulate(found)
    assert after.peak <= before.peak
    assert after.overhead <= before.overhead


def test_a_read_only_keep_mask_needs_no_kernel_of_its_own() -> None:
    from recompviz.core.live.kernels import simulate_fully

    model = LiveModel(*residual_step((1,)))
    keep_mask = np.ones(len(model.graph), np.bool_)
    run = model.simulate(keep_mask)
    compiled = list(simulate_fully.signatures)
    keep_mask.setflags(write=False)
    assert model.simulate(keep_mask).peak == run.peak
    assert simulate_fully.signatures == compiled


def test_annealing_finds_a_cheaper_plan() -> None:
    graph, joint = residual_step(blocks=(1,), batch=2, pixels=64)
    model = LiveModel(graph, joint)
    nothing = np.zeros(len(graph), np.bool_)
    before = model.simulate(nothing)
    found = model.anneal(nothing, np.arange(len(graph)), before.peak, Annealing(1.0, 1.0, 200))
    assert model.simulate(found).overhead < before.overhead


def test_a_weight_that_adapts_finds_plans_that_fit_where_a_fixed_one_does_not() -> None:
    graph, joint = residual_step(blocks=(12,), batch=2, pixels=64)
    model, everything = LiveModel(graph, joint), np.ones(len(graph), np.bool_)
    highest, nodes = model.peak(everything), np.arange(len(graph))
    budget, much = 2 * highest // 5, 10 * highest / float(graph.time.sum())
    for rate, fits in ((0.0, False), (0.003, True)):
        found = model.anneal(everything, nodes, budget, Annealing(1e-4 * highest, much, 100 * len(graph), rate))
        assert (model.peak(found) <= budget) == fits


def test_the_weight_of_annealing_stays_a_number_if_everything_fits() -> None:
    graph, joint = residual_step(blocks=(1,), batch=2, pixels=64)
    model, nothing = LiveModel(graph, joint), np.zeros(len(graph), np.bool_)
    highest = max(model.peak(nothing), model.peak(~nothing))
    found = model.anneal(nothing, np.arange(len(graph)), 2 * highest, Annealing(1.0, 1.0, 2000, 0.5))
    assert model.simulate(found).overhead == 0


@settings(max_examples=200)
@given(steps_with_masks(), st.floats(0, 1.2))
def test_the_peak_alone_is_that_of_the_whole_simulation_unless_it_is_above_the_limit(case: Case, share: float) -> None:
    from recompviz.core.live.kernels import order_calls, peak_within
    from recompviz.core.live.step_arrays import ENDLESS, scratch_of, step_arrays

    graph, joint, mask = case
    step, scratch = step_arrays(graph, joint), scratch_of(graph, joint)
    peak = LiveModel(graph, joint).peak(mask)
    steps = order_calls(mask, step, scratch)
    assert peak_within(steps, step, scratch, ENDLESS) == peak
    limit = int(share * peak)
    found = peak_within(steps, step, scratch, limit)
    assert found == peak if peak <= limit else limit < found <= peak


@settings(max_examples=100)
@given(steps_with_masks(), st.floats(0, 1.2), st.booleans())
def test_values_are_kept_one_after_another_if_they_fit(case: Case, share: float, large: bool) -> None:
    graph, joint, mask = case
    model, order = LiveModel(graph, joint), np.arange(len(graph))[::-1].astype(np.int64)
    budget = int(share * model.peak(mask))
    found = mask.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liveness, "FEW", 0 if large else 600)
        model.keep_more(found, order, budget)
    one_by_one = mask.copy()
    for v in order.tolist():
        more = one_by_one.copy()
        more[v] = True
        if model.peak(more) <= budget:
            one_by_one = more
    assert model.peak(found) <= max(budget, model.peak(mask))
    assert not (found & ~one_by_one).any() if large else np.array_equal(found, one_by_one)


def test_the_table_of_repeated_blocks_has_each_node_once_beside_its_likes() -> None:
    graph, _ = residual_step(blocks=(3, 2))
    free = np.flatnonzero(np.arange(len(graph)) % 5 > 0)
    repeated = repeated_blocks(graph, free)
    assert repeated.members.tolist() == [3, 2]
    cells = repeated.cells[repeated.cells >= 0]
    assert len(set(cells.tolist())) == len(cells)
    assert set(cells.tolist()) <= set(free.tolist())
    for start, rows, columns in zip(repeated.start, repeated.positions, repeated.members, strict=True):
        for row in repeated.cells[start : start + rows * columns].reshape(rows, columns):
            ops = {graph.info[v].op for v in row if v >= 0}
            numbers = [graph.info[v].module.split(".")[1] for v in row if v >= 0]
            assert len(ops) == 1
            assert numbers == sorted(set(numbers))


def test_annealing_of_repeated_blocks_improves_the_plan_and_changes_only_them() -> None:
    graph, joint = residual_step(blocks=(6,), batch=2, pixels=64)
    model, everything = LiveModel(graph, joint), np.ones(len(graph), np.bool_)
    free = np.flatnonzero(np.arange(len(graph)) % 7 > 0)
    repeated = repeated_blocks(graph, free)
    budget = round(0.7 * model.peak(everything))
    annealing = Annealing(1e-3 * budget, 0.1 * budget / float(graph.time.sum()), 300)
    found = model.anneal(everything, free, budget, annealing, repeated=repeated)
    assert model.peak(found) < model.peak(everything)
    assert set(np.flatnonzero(~found).tolist()) <= set(repeated.cells.tolist())
    assert np.array_equal(found, model.anneal(everything, free, budget, annealing, repeated=repeated))


def test_no_baseline_is_better_than_the_search() -> None:
    graph, joint = residual_step(blocks=(2, 3), batch=2, pixels=32)
    planner, model = rv.Planner(graph, joint), LiveModel(graph, joint)
    found = [model.simulate(plan.keep_mask) for plan in planner.plans("live").plans]
    for name in ("keep-all", "per-module", "chen"):
        run = model.simulate(planner.baseline(name).keep_mask)
        assert min(plan.overhead for plan in found if plan.peak <= run.peak) <= run.overhead


def test_the_search_ends_with_less_overhead_at_the_least_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[int, int]] = []
    anneal = Moves.anneal_overhead

    def recorded(moves: Moves, budget: int, highest: int, tries: int, seed: int, *, blocks: bool = False) -> None:
        searched.append((budget, moves.candidates.front()[-1].peak))
        anneal(moves, budget, highest, tries, seed, blocks=blocks)

    monkeypatch.setattr(Moves, "anneal_overhead", recorded)
    graph, joint = residual_step((1, 1))
    plans = live_plans(graph, joint, [])
    assert LAST > 0
    assert all(budget == least for budget, least in searched[-LAST:])
    assert searched[-1][1] == LiveModel(graph, joint).peak(plans[-1].keep_mask)


def test_the_end_of_the_search_lowers_the_overhead_at_low_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    fronts: list[list[Candidate]] = []
    near = Moves.anneal_near

    def recorded(moves: Moves, budget: int, highest: int, tries: int, seed: int, *, above: int = 0) -> None:
        fronts.append(moves.candidates.front())
        near(moves, budget, highest, tries, seed, above=above)

    monkeypatch.setattr(Moves, "anneal_near", recorded)
    monkeypatch.setattr(live_search, "SWEPT", 0)
    graph, joint = residual_step(blocks=(12,), batch=2, pixels=64)
    model, plans = LiveModel(graph, joint), live_plans(graph, joint, [])
    after = [(model.peak(plan.keep_mask), plan.overhead) for plan in plans]
    gains = []
    for before in fronts[0]:
        gains.append(before.overhead - min(overhead for peak, overhead in after if peak <= before.peak))
    low = [gain for gain, before in zip(gains, fronts[0], strict=True) if 2 * before.peak < fronts[0][0].peak]
    assert min(gains) >= 0
    assert max(low) > 0.02 * float(graph.time.sum())


def test_the_last_walks_for_the_least_peak_start_from_plans_of_higher_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[tuple[int, int, float]] = []
    anneal = LiveModel.anneal

    def recorded(
        model: LiveModel, keep_mask: NDArray[np.bool_], free: NDArray[np.int64], budget: int, *options: Any
    ) -> NDArray[np.bool_]:
        run = model.simulate(keep_mask)
        walks.append((budget, run.peak, run.overhead))
        return anneal(model, keep_mask, free, budget, *options)

    monkeypatch.setattr(LiveModel, "anneal", recorded)
    monkeypatch.setattr(live_search, "SWEPT", 0)
    graph, joint = residual_step((4, 4))
    live_plans(graph, joint, [])
    from_fitting, *from_higher = walks[-1 - len(ABOVE) :]
    assert from_fitting[1] <= from_fitting[0]
    for budget, peak, overhead in from_higher:
        assert budget < peak
        assert overhead < from_fitting[2]


def test_few_proposals_per_node_are_followed_by_a_second_round(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, joint = residual_step(blocks=(12,), batch=2, pixels=64)
    model, points, walks = LiveModel(graph, joint), [], []
    near = Moves.anneal_near

    def recorded(moves: Moves, budget: int, highest: int, tries: int, seed: int, *, above: int = 0) -> None:
        walks.append((tries, seed))
        near(moves, budget, highest, tries, seed, above=above)

    monkeypatch.setattr(Moves, "anneal_near", recorded)
    monkeypatch.setattr(live_search, "SWEPT", 0)
    most = live_search.NEAR_TRIES * len(graph)
    calls = len(joint.calls) * live_search.NEAR_BUDGETS
    for tries, more in ((most // 4, 0), (most // 4, most), (most // 2, most)):
        walks.clear()
        monkeypatch.setattr(live_search, "NEAR", calls * tries)
        monkeypatch.setattr(live_search, "MORE", calls * more)
        plans = live_plans(graph, joint, [])
        points.append([(model.peak(plan.keep_mask), plan.overhead) for plan in plans])
        second = [tried for tried, seed in walks if seed >= live_search.MORE_SEED and tried]
        assert second == ([most - tries] * live_search.NEAR_BUDGETS if more and tries < most // 2 else [])
    one, two = points[:2]
    gains = [least - min(overhead for peak, overhead in two if peak <= budget) for budget, least in one]
    assert min(gains) >= 0
    assert max(gains) > 0


def test_annealing_of_the_excess_reaches_the_least_peak_of_all_masks() -> None:
    moved = 0
    for seed in range(60):
        graph, joint = random_joint(seed)
        model = LiveModel(graph, joint)
        least = every_mask(model)[-1][0]
        candidates = Candidates(model, np.zeros(len(graph), np.int8))
        start = candidates.add(np.ones(len(graph), np.bool_)).peak
        if start == least:
            continue
        moves = Moves(candidates)
        moves.lower_peak(start - least, 3_000, seed)
        assert candidates.front()[-1].peak == least, seed
        moved += 1
    assert moved > 20


def test_the_end_of_the_search_lowers_the_least_peak_and_searches_for_less_overhead_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fronts: list[list[Candidate]] = []
    walks: list[tuple[int, int]] = []
    lower, near = Moves.lower_peak, Moves.anneal_near

    def lowered(moves: Moves, step: int, tries: int, seed: int) -> None:
        fronts.append(moves.candidates.front())
        lower(moves, step, tries, seed)

    def recorded(moves: Moves, budget: int, highest: int, tries: int, seed: int, *, above: int = 0) -> None:
        walks.append((budget, seed))
        near(moves, budget, highest, tries, seed, above=above)

    monkeypatch.setattr(Moves, "lower_peak", lowered)
    monkeypatch.setattr(Moves, "anneal_near", recorded)
    for effort in ("SWEPT", "WALKED", "SETTLED", "LAST"):  # the first part of the search finds less
        monkeypatch.setattr(live_search, effort, 0)
    monkeypatch.setattr(live_search, "NEAR_BUDGETS", 1)
    graph, joint = residual_step((3, 3))
    model, plans = LiveModel(graph, joint), live_plans(graph, joint, [])
    after = [(model.peak(plan.keep_mask), plan.overhead) for plan in plans]
    lowest = fronts[0][-1].peak
    assert after[-1][0] < lowest * 0.999
    assert len(fronts) >= len(live_search.LOWER)
    last = [budget for budget, seed in walks if seed >= live_search.EXCESS_SEED]
    assert min(last) < lowest
    for before in fronts[0]:  # no budget became worse
        assert min(overhead for peak, overhead in after if peak <= before.peak) <= before.overhead


def test_the_search_can_be_cancelled_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, joint = residual_step(blocks=(1,), batch=2, pixels=64)
    walks: list[int] = []
    monkeypatch.setattr(Moves, "anneal_near", lambda _moves, budget, *_, **_above: walks.append(budget))

    def cancel_after_two(_done: int, _total: int) -> None:
        if len(walks) == 2:
            raise rv.Cancelled("enough")

    with pytest.raises(rv.Cancelled):
        live_plans(graph, joint, [], cancel_after_two)
    assert len(walks) == 2


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


@settings(max_examples=25)
@given(steps(max_nodes=5))
def test_pins_are_obeyed_by_every_plan(case: tuple[rv.Graph, JointGraph]) -> None:
    graph, joint = case
    keep, recompute = {graph.names[0]}, set(graph.names[2:4])
    for plan in live_plans(graph, joint, seeds_of(graph), keep=keep, recompute=recompute):
        assert plan.keep_mask[0]
        for v in np.flatnonzero(plan.keep_mask[2:4]) + 2:
            # kept all the same only if no backward call needs it
            without = plan.keep_mask.copy()
            without[v] = False
            again = make_schedule(joint, without.tolist()).recomputed
            assert v not in {joint.calls[c].node for c in again}


def test_a_node_pinned_both_ways_is_refused() -> None:
    graph, joint = random_joint(1)
    with pytest.raises(rv.ImpossiblePin, match="drop one pin"):
        live_plans(graph, joint, [], keep=[graph.names[0]], recompute=[graph.names[0]])


def test_a_budget_below_every_candidate_is_an_error_of_the_caller() -> None:
    graph, joint = residual_step((1, 1))
    candidates = Candidates(LiveModel(graph, joint), np.zeros(len(graph), np.int8))
    with pytest.raises(ValueError, match="no candidate"):
        candidates.best_within(0)
    peak = candidates.add(np.ones(len(graph), np.bool_)).peak
    assert candidates.best_within(peak).peak == peak
    with pytest.raises(ValueError, match="no candidate"):
        candidates.best_within(peak - 1)


@settings(max_examples=100)
@given(steps(), st.data())
def test_the_front_is_the_pareto_front_of_the_candidates_added(
    case: tuple[rv.Graph, JointGraph], data: st.DataObject
) -> None:
    graph, joint = case
    candidates = Candidates(LiveModel(graph, joint), np.zeros(len(graph), np.int8))
    masks = st.lists(st.booleans(), min_size=len(graph), max_size=len(graph))
    added = [candidates.add(np.array(mask, np.bool_)) for mask in data.draw(st.lists(masks, min_size=1, max_size=30))]
    front = []
    for found in sorted(added, key=lambda found: (found.overhead, found.peak)):
        if not front or found.peak < front[-1].peak:
            front.append(found)
    assert [(found.overhead, found.peak) for found in candidates.front()] == [(f.overhead, f.peak) for f in front]
    for budget in {found.peak + more for found in added for more in (-1, 0, 1)}:
        fitting = [found for found in front if found.peak <= budget]
        if fitting:
            assert candidates.best_within(budget).overhead == fitting[0].overhead


def test_the_archive_stores_the_best_keep_mask_of_each_interval_of_peaks() -> None:
    graph, joint = residual_step(blocks=(1, 1), batch=2, pixels=32)
    model = LiveModel(graph, joint)
    candidates = Candidates(model, np.zeros(len(graph), np.int8))
    everything = np.ones(len(graph), np.bool_)
    highest = candidates.add(everything).peak
    candidates.add(~everything)
    archive = candidates.archive()
    model.anneal(everything, np.arange(len(graph)), highest // 2, Annealing(0.01 * highest, 1.0, 500), archive=archive)
    assert archive.changed.any()
    for i in np.flatnonzero(archive.changed).tolist():
        run = model.simulate(archive.keep_masks[i])
        edge = archive.lowest + i * archive.step
        known = [candidate.overhead for candidate in candidates.front() if candidate.peak <= edge]
        assert run.overhead == archive.overheads[i] < min(known, default=np.inf)
        assert run.peak <= edge
        assert i == 0 or run.peak > edge - archive.step
