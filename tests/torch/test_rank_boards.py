"""Predicted ranks under one budget: kinds of ranks and stages of a pipeline, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.ranks.interleaved import RankPlace
from recompviz.core.ranks.rank_layers import LAYERS
from recompviz.core.ranks.rank_optimizer import same_but_optimizer
from recompviz.pytorch.ranks import boards
from recompviz.pytorch.ranks.boards import RankBoards, board_of

AT = {layer.name: i for i, layer in enumerate(LAYERS)}


def blocks(count: int = 3) -> nn.Sequential:
    """Blocks whose parameters are not divided evenly."""
    return nn.Sequential(
        *(
            nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 6))
            for _ in range(count)
        )
    )


def trace_of(model: nn.Module) -> rv.Trace:
    optimizer = torch.optim.Adam(model.parameters())
    return rv.trace(
        model, torch.zeros(32, 6), targets=(torch.zeros(32, 6),), loss=nn.functional.mse_loss, optimizer=optimizer
    )


def test_kinds_of_ranks_share_their_plans_and_their_layers_add_up_to_the_peaks() -> None:
    kinds = rv.rank_kinds(trace_of(blocks()), 4, ["*"])
    view = rv.explore_ranks(kinds, budget="90%")
    board = view.board
    assert board.shared
    assert [lane.passes[-1].kind for lane in board.lanes] == ["optimizer"] * len(kinds)
    assert len({tuple(plans[0].keep_mask.tobytes() for plans in lane.plans) for lane in board.lanes}) == 1
    for lane, kind in zip(board.lanes, kinds, strict=True):
        assert lane.layers.sum(axis=-1).max(axis=(1, 2)).tolist() == lane.peaks.tolist()
        assert lane.layers.min() >= 0
        assert [kind.step.simulate(plan).peak for (plan,) in lane.plans] == lane.peaks.tolist()
        for name in ("parameters", "optimizer", "gradients", "gathered", "collectives", "kept"):
            assert lane.layers[..., AT[name]].max() > 0
    assert max(view.peaks) <= view.budget
    assert max(plan.overhead for plan in view.plans) > 0


@pytest.mark.parametrize("stored", [None, torch.float64])
def test_kinds_that_share_a_simulation_have_the_steps_that_are_made_for_each_rank(stored: torch.dtype | None) -> None:
    trace = trace_of(blocks())
    kinds = rv.rank_kinds(trace, 4, ["*"], stored=stored)
    assert len(kinds) == 2
    board = board_of(kinds)
    for kind, lane in zip(kinds, board.lanes, strict=True):
        alone = rv.shard_step(trace, 4, ["*"], rank=kind.ranks[0], stored=stored)
        assert kind.step.rank == alone.rank
        assert kind.step.joint.storages == alone.joint.storages
        (own,) = board_of(alone).lanes
        for row, (plan,) in enumerate(lane.plans):
            assert lane.peaks[row] == alone.simulate(plan).peak
            same = [i for i, plans in enumerate(own.plans) if plans[0].keep_mask.tobytes() == plan.keep_mask.tobytes()]
            assert all((lane.layers[row] == own.layers[i]).all() for i in same)
        assert (lane.before == own.before).all()


def test_ranks_that_differ_in_more_than_the_optimizer_are_simulated_on_their_own() -> None:
    model = blocks()
    decay = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    trace = rv.trace(
        model, torch.zeros(32, 6), targets=(torch.zeros(32, 6),), loss=nn.functional.mse_loss, optimizer=decay
    )
    steps = [rv.shard_step(trace, 16, ["*"], rank=rank) for rank in (0, 15)]  # rank 15 has no rows
    assert not same_but_optimizer(steps[0].joint, steps[1].joint)
    board = board_of(steps)
    for step, lane in zip(steps, board.lanes, strict=True):
        assert [step.simulate(plan).peak for (plan,) in lane.plans] == lane.peaks.tolist()


def test_buckets_of_a_replicated_step_are_buffers_of_collectives() -> None:
    model = blocks()
    (lane,) = board_of(rv.replicate_step(trace_of(model), units=["*"])).lanes
    assert (lane.layers[..., AT["collectives"]] == sum(p.nbytes for p in model.parameters())).all()


def stages(kind: str = "1f1b", micro_batches: int = 4, **options: bool) -> list[rv.StageStep]:
    first = rv.trace(blocks(1), torch.zeros(32, 6))
    given = torch.zeros(32, 6, requires_grad=True)
    last = rv.trace(blocks(1), given, targets=(torch.zeros(32, 6),), loss=nn.functional.mse_loss)
    traces = (first, last)
    return [rv.stage_step(t, i, 2, micro_batches, ["*"], kind=kind, **options) for i, t in enumerate(traces)]  # type: ignore[arg-type]


def test_the_optimizer_of_a_stage_is_its_last_pass() -> None:
    model = blocks(1)
    adam = torch.optim.Adam(model.parameters(), foreach=True)
    stage = rv.stage_step(rv.trace(model, torch.zeros(32, 6), optimizer=adam), 0, 2, 4, ["*"])
    view = rv.explore_ranks(stage)
    (lane,) = view.board.lanes
    assert [one.kind for one in lane.passes].count("optimizer") == 1
    assert lane.passes[-1].kind == "optimizer"
    assert lane.layers.sum(axis=-1).max(axis=(1, 2)).tolist() == lane.peaks.tolist()
    state, scratch = (lane.layers[0, i, :-1, AT["optimizer"]].max() for i in (0, -1))
    assert scratch - state == stage.trace.joint.optimizer_scratch > 0
    assert "optimizer" in view.to_svg()


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
def test_each_stage_has_plans_of_its_own(kind: str) -> None:
    pipeline = stages(kind)
    view = rv.explore_ranks(reversed(pipeline))
    assert [lane.name for lane in view.board.lanes] == ["stage 1 of 2", "stage 2 of 2"]
    view.budget = view.board.least
    assert max(view.peaks) <= view.budget
    for stage, lane, plan, peak in zip(pipeline, view.board.lanes, view.plans, view.peaks, strict=True):
        assert stage.simulate(plan).peak == peak
        assert lane.layers.sum(axis=-1).max(axis=(1, 2)).tolist() == lane.peaks.tolist()
        assert len(lane.passes) == 8


def interleaved(micro_batches: int = 4) -> list[rv.PipelineRank]:
    given = torch.zeros(32, 6, requires_grad=True)
    traces = [
        rv.trace(blocks(1), torch.zeros(32, 6)),
        *(rv.trace(blocks(1), given) for _ in range(2)),
        rv.trace(blocks(1), given, targets=(torch.zeros(32, 6),), loss=nn.functional.mse_loss),
    ]
    steps = [rv.stage_step(t, i, 4, micro_batches, ["*"], kind="interleaved") for i, t in enumerate(traces)]
    return [rv.pipeline_rank(steps[i::2], 2) for i in range(2)]


def test_each_rank_of_an_interleaved_pipeline_has_a_plan_for_each_of_its_stages() -> None:
    ranks = interleaved()
    view = rv.explore_ranks(ranks)
    view.budget = view.board.least
    assert [lane.stages for lane in view.board.lanes] == [(0, 2), (1, 3)]
    assert len(view.plans) == 4
    assert "1a" in view.to_svg()
    for rank, lane, row in zip(ranks, view.board.lanes, view.rows, strict=True):
        assert rank.simulate(lane.plans[row]).peak == lane.peaks[row] <= view.budget
        assert lane.layers.min() >= 0
        assert lane.layers.sum(axis=-1).max(axis=(1, 2)).tolist() == lane.peaks.tolist()
        plans = rank.plan(view.budget)
        assert rank.simulate(plans).peak <= view.budget
        assert sum(plan.overhead for plan in plans) <= lane.overheads[row].sum()
        with pytest.raises(rv.InfeasibleBudget):
            rank.plan(1000)
        with pytest.raises(ValueError, match="1 plans for 2 stages"):
            rank.simulate([None])


def test_the_order_of_an_interleaved_rank_is_that_of_pytorch() -> None:
    from torch.distributed.pipelining.schedules import ScheduleInterleaved1F1B, _ComputationType

    for ranks, local, micro_batches in product(range(2, 5), range(1, 4), range(1, 10)):
        schedule = ScheduleInterleaved1F1B.__new__(ScheduleInterleaved1F1B)
        rounds = max(1, micro_batches // ranks)
        schedule.n_local_stages, schedule.pp_group_size, schedule._n_microbatches = local, ranks, micro_batches
        schedule.number_of_rounds, schedule.microbatches_per_round = rounds, micro_batches // rounds
        for rank in range(ranks):
            place = RankPlace(rank, ranks, local, micro_batches)
            assert place.is_possible == (micro_batches % rounds == 0)
            if place.is_possible:
                actions = filter(None, schedule._calculate_single_rank_operations(rank))
                expected = [
                    (a.computation_type != _ComputationType.FORWARD, a.stage_index, a.microbatch_index) for a in actions
                ]
                assert [(p.kind == "backward", p.stage, p.micro_batch) for p in place.order()] == expected


def test_stages_that_are_not_those_of_a_rank_are_refused() -> None:
    first, second = interleaved()
    with pytest.raises(ValueError, match="not those of one of 2 ranks"):
        rv.pipeline_rank([first.stages[0], second.stages[0]], 2)
    with pytest.raises(ValueError, match="ranks is 1"):
        rv.pipeline_rank(first.stages, 1)
    with pytest.raises(ValueError, match="different pipelines"):
        rv.pipeline_rank([stages()[0]], 2)
    with pytest.raises(ValueError, match="equal rounds for 2 ranks"):
        interleaved(5)
    with pytest.raises(ValueError, match=r"rv\.pipeline_rank"):
        first.stages[0].simulate()
    with pytest.raises(ValueError, match="given twice"):
        board_of([first, first])


def test_ranks_that_do_not_belong_together_are_refused() -> None:
    first, last = stages()
    with pytest.raises(ValueError, match="of another pipeline"):
        board_of([first, stages(micro_batches=5)[1]])
    with pytest.raises(ValueError, match="of another pipeline"):
        board_of([first, stages(return_outputs=False)[1]])
    with pytest.raises(ValueError, match="given twice"):
        board_of([first, first])
    with pytest.raises(ValueError, match="ranks is empty"):
        board_of([])
    step = rv.shard_step(trace_of(blocks()), 2, ["*"])
    with pytest.raises(TypeError, match="parts of a pipeline among other ranks"):
        board_of([step, last])
    with pytest.raises(TypeError, match="has a Linear"):
        board_of([nn.Linear(1, 1)])
    with pytest.raises(TypeError, match=r"ranks is a Trace, expected the steps of rv\.rank_kinds"):
        rv.explore_ranks(step.trace)
    with pytest.raises(ValueError, match="different traces"):
        board_of([step, replace(step, trace=trace_of(blocks()))])
    ddp, whole = rv.replicate_step(step.trace, units=["*"]), rv.replicate_step(step.trace)
    others = [rv.shard_step(step.trace, 4, ["*"], rank=1), rv.shard_step(step.trace, 2, ["*"], rank=1, reshard=False)]
    for first, second in [(step, ddp), (ddp, whole), *((step, other) for other in others)]:
        with pytest.raises(ValueError, match="of different runs"):
            rv.explore_ranks([first, second])
    with pytest.raises(ValueError, match=r"a rank is given twice: \[0, 0\]"):
        rv.explore_ranks([step, step])
    assert board_of(last).notes[-1] == "not given, and left out of the times: stage 1 of 2"


@pytest.mark.parametrize("given", ["kinds", "stages", "interleaved"])
def test_later_boards_are_better_and_the_last_one_is_that_of_a_search_without_progress(given: str) -> None:
    made = {"kinds": lambda: rv.rank_kinds(trace_of(blocks()), 4, ["*"]), "stages": stages, "interleaved": interleaved}
    ranks = made[given]()
    told: list[tuple[float, str]] = []
    found = list(RankBoards(ranks).made(lambda done, total, text: told.append((done / total, text))))
    assert len(found) == (2 if given == "kinds" else 1 + len(ranks))
    for board, better in pairwise(found):
        assert better.most == board.most  # without recomputation
        for lane, other in zip(board.lanes, better.lanes, strict=True):
            for peak, extra in zip(lane.peaks, lane.overheads, strict=True):
                at = next(row for row, size in enumerate(other.peaks) if size <= peak)
                assert other.overheads[at].sum() <= extra.sum() + 1e-9
    assert [part for part, _ in told] == sorted(part for part, _ in told)
    assert 0 <= told[0][0] <= told[-1][0] <= 1
    assert {text.partition(" of ")[0] for _, text in told} > {"first plans"}
    again = board_of(ranks)
    assert [lane.peaks.tolist() for lane in again.lanes] == [lane.peaks.tolist() for lane in found[-1].lanes]


def test_the_view_says_when_it_has_not_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _), step = stages(), rv.shard_step(trace_of(blocks()), 2, ["*"])
    every = [len(board_of(ranks).lanes[0].peaks) for ranks in (first, step)]
    monkeypatch.setattr(boards, "MOST_ROWS", 2)
    for ranks, count, name in zip((first, step), every, ("stage 1 of 2: ", ""), strict=True):
        board = board_of(ranks)
        assert len(board.lanes[0].peaks) == 2
        assert (
            f"{name}at most 2 of the {count} plans found are shown; plan(total) of the rank chooses among all"
            in board.notes
        )


def test_explore_names_the_view_of_ranks() -> None:
    kinds = rv.rank_kinds(trace_of(blocks()), 4, ["*"])
    for given in (kinds, list(kinds), kinds[0], kinds[0].step, stages(), interleaved()[0]):
        with pytest.raises(TypeError, match=r"expected one model; for the ranks of a run, write rv\.explore_ranks"):
            rv.explore(given)


def test_a_search_in_the_background_ends_with_the_same_plans() -> None:
    ranks = stages()
    waited = rv.explore_ranks(stages(), budget="80%", background=False)
    view = rv.explore_ranks(ranks, budget="80%", background=True)
    assert view.peaks == waited.peaks  # waits for the search
    assert view.board.notes == waited.board.notes
    assert repr(view) == repr(waited)
