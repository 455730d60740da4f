"""Several ranks under one budget: the rows that fit, the times of the passes, the layers of the memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from recompviz.core.base.errors import GraphError
from recompviz.core.ranks.pipeline import stage_passes, stage_timeline
from recompviz.core.ranks.rank_layers import LAYERS, Pass, layered
from recompviz.core.ranks.rank_optimizer import peak_of, same_but_optimizer, timeline_of, with_optimizer_bytes
from recompviz.core.ranks.schedule_times import pass_times
from recompviz.core.ranks.stage_place import StagePlace
from recompviz.core.ranks.stage_steps import stage_steps
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.rank_boards import pipeline_board, sharded_board


@pytest.mark.parametrize("seed", range(4))
def test_each_stage_gets_its_cheapest_plan_that_fits_and_one_plan_is_for_all_sharded_ranks(seed: int) -> None:
    pipeline, sharded = pipeline_board(seed), sharded_board(seed)
    for board in (pipeline, sharded):
        for budget in np.linspace(0.8 * board.least, 1.05 * board.most, 25):
            rows = board.rows(budget)
            counts = [range(len(lane.peaks)) for lane in board.lanes]
            choices = zip(*counts, strict=False) if board.shared else product(*counts)
            fitting = [c for c in choices if all(p <= budget for p in board.peaks(c))]
            cost = {c: [lane.overheads[r].sum() for lane, r in zip(board.lanes, c, strict=True)] for c in fitting}
            if fitting:
                assert cost[rows] == [min(column) for column in zip(*cost.values(), strict=True)]
            else:
                assert budget < board.least
                assert max(board.peaks(rows)) > budget
            peaks = [board.peaks(rows)[i] for i in board.order(rows)]
            assert peaks == sorted(peaks, reverse=True)


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
def test_the_bubble_of_equal_stages_is_that_of_the_literature(kind: str) -> None:
    stages, micro_batches, forward, backward = 4, 8, 1.0, 2.0
    ranks = []
    for stage in range(stages):
        order = StagePlace(stage, stages, micro_batches, kind).order()  # type: ignore[arg-type]
        ranks.append([Pass("backward" if b else "forward", stage, i) for b, i in order])
    durations = [{("forward", s): forward, ("backward", s): backward} for s in range(stages)]
    times = pass_times(ranks, durations)
    # (stages − 1) forward and backward passes are idle
    assert max(stop for lane in times for _, stop in lane) == (micro_batches + stages - 1) * (forward + backward)
    for passes, lane in zip(ranks, times, strict=True):
        ends = {(p.kind, p.stage, p.micro_batch): stop for p, (_, stop) in zip(passes, lane, strict=True)}
        assert len(ends) == 2 * micro_batches
        assert all(a[1] <= b[0] for a, b in pairwise(lane))


def test_passes_that_wait_for_each_other_are_an_error() -> None:
    ranks = [[Pass("forward", 1), Pass("forward", 0)]]
    with pytest.raises(GraphError, match="waits for"):
        pass_times(ranks, [{("forward", 0): 1.0, ("forward", 1): 1.0}])


@pytest.mark.parametrize("stage", range(3))
def test_layers_add_up_to_the_timeline_and_none_is_negative(stage: int) -> None:
    graph, joint = residual_step(blocks=(2, 2))
    place = StagePlace(2, 3, 4) if stage == 2 else StagePlace(2, 3, 4, "gpipe")
    if stage == 0:
        place = StagePlace(2, 3, 3)
    steps = stage_steps(joint, place, [], [])
    for keep in ([True] * len(graph), [v % 3 == 0 for v in range(len(graph))]):
        timeline, ends = stage_passes(steps, place, keep)
        assert len(ends) == len(place.order()) == 2 * place.micro_batches
        assert ends[-1] == len(timeline.phases)
        assert stage_timeline(steps, place, keep).peak == timeline.peak
        starts = [0, *ends[:-1]]
        for (backward, _), start, stop in zip(place.order(), starts, ends, strict=True):
            assert backward == all(phase != Phase.FORWARD for phase in timeline.phases[start:stop])
        layers = layered(timeline, ends, 5)
        assert layers.min() >= 0
        sums = layers.sum(axis=-1)
        np.testing.assert_array_equal(
            sums[:, :5].max(axis=1),
            [timeline.profile[start:stop].max() for start, stop in zip(starts, ends, strict=True)],
        )
        np.testing.assert_array_equal(sums[:, 5], [timeline.static + timeline.step_ends[stop - 1] for stop in ends])
        parameters = layers[..., [layer.name for layer in LAYERS].index("parameters")]
        assert (parameters == timeline.static_bytes.get(Category.PARAMETER, 0)).all()


@pytest.mark.parametrize("scratch", [(0, 0), (3, 50), (9_000_000, 1), (1, 9_000_000)])
def test_a_timeline_with_another_optimizer_is_that_of_a_simulation(scratch: tuple[int, int]) -> None:
    graph, joint = residual_step(blocks=(2, 2))
    first, second = (with_optimizer_bytes(joint, 10 + extra, extra) for extra in scratch)
    assert same_but_optimizer(first, second)
    for keep in ([True] * len(graph), [v % 3 == 0 for v in range(len(graph))]):
        simulated, wanted = (simulate_schedule(make_schedule(j, keep)) for j in (first, second))
        found = timeline_of(simulated, second)
        for name in ("step", "storage", "category", "delta", "phases"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert (found.static_bytes, found.peak) == (wanted.static_bytes, wanted.peak)
        assert peak_of(simulated.profile, first, second) == wanted.peak


def test_steps_that_differ_in_a_call_or_in_a_size_are_not_the_same_but_for_the_optimizer() -> None:
    _, joint = residual_step(blocks=(2, 2))
    larger = replace(joint.storages[3], size=joint.storages[3].size + 1)
    assert not same_but_optimizer(joint, replace(joint, storages=(*joint.storages[:3], larger, *joint.storages[4:])))
    assert not same_but_optimizer(joint, replace(joint, calls=joint.calls[:-1]))
    assert not same_but_optimizer(joint, with_optimizer_bytes(joint, 0, 1))  # one more step


def test_the_table_names_the_ranks_that_are_short_first() -> None:
    board = pipeline_board(1)
    lines = board.table(board.least - 1).splitlines()
    assert "short by 1 B" in lines[1]
    assert lines[-1] == "times are drawn"
    assert all("free" in line for line in board.table(board.most).splitlines()[1:-1])
