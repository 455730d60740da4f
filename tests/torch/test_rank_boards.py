"""Predicted ranks under one budget: kinds of ranks and stages of a pipeline, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.ranks.rank_layers import LAYERS
from recompviz.pytorch.ranks.boards import board_of

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


def test_buckets_of_a_replicated_step_are_buffers_of_collectives() -> None:
    model = blocks()
    (lane,) = board_of(rv.replicate_step(trace_of(model), units=["*"])).lanes
    assert (lane.layers[..., AT["collectives"]] == sum(p.nbytes for p in model.parameters())).all()


def stages(kind: str = "1f1b", micro_batches: int = 4) -> list[rv.StageStep]:
    first = rv.trace(blocks(2), torch.zeros(32, 6))
    given = torch.zeros(32, 6, requires_grad=True)
    last = rv.trace(blocks(2), given, targets=(torch.zeros(32, 6),), loss=nn.functional.mse_loss)
    return [rv.stage_step(t, i, 2, micro_batches, ["*"], kind=kind) for i, t in enumerate((first, last))]  # type: ignore[arg-type]


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


def test_ranks_that_do_not_belong_together_are_refused() -> None:
    first, last = stages()
    with pytest.raises(ValueError, match="of another pipeline"):
        board_of([first, stages(micro_batches=5)[1]])
    with pytest.raises(ValueError, match="given twice"):
        board_of([first, first])
    with pytest.raises(ValueError, match="ranks is empty"):
        board_of([])
    step = rv.shard_step(trace_of(blocks()), 2, ["*"])
    with pytest.raises(TypeError, match="stages of a pipeline among other ranks"):
        board_of([step, last])
    with pytest.raises(TypeError, match="has a Linear"):
        board_of([nn.Linear(1, 1)])
    with pytest.raises(ValueError, match="different traces"):
        board_of([step, replace(step, trace=trace_of(blocks()))])
    assert board_of(last).notes[-1] == "not given, and left out of the times: stage 1 of 2"
