"""Bring the predicted steps of several ranks under one budget: kinds of ranks, or the stages of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.pipeline import stage_passes
from recompviz.core.ranks.rank_board import RankBoard, RankLane
from recompviz.core.ranks.rank_layers import Pass, PassKind, layered, static_layers
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.ranks.interleaved_rank import PipelineRank
from recompviz.pytorch.ranks.pipeline_stage import StageStep
from recompviz.pytorch.ranks.rank_step import RankKind, RankStep

# columns of a lane, over all passes, and the least number of columns of a pass
COLUMNS, LEAST_COLUMNS = 192, 4
# the most plans of a lane
MOST_ROWS = 48
SCHEDULES = {"1f1b": "1F1B", "gpipe": "GPipe", "interleaved": "interleaved 1F1B"}
_EXPECTED = (
    "the steps of rv.rank_kinds, rv.shard_step or rv.replicate_step, the stages of rv.stage_step, or the ranks of "
    "rv.pipeline_rank"
)
SINGLE = (RankStep, RankKind, StageStep, PipelineRank)


def board_of(
    ranks: RankStep | RankKind | StageStep | PipelineRank | Iterable[Any], title: str | None = None
) -> RankBoard:
    """Return the board of predicted ranks. This searches for plans.

    Parameters
    ----------
    ranks : RankStep, RankKind, StageStep, PipelineRank, or several of one kind
        Several stages, or ranks with several stages, must be of the same pipeline.
    title : str, optional
        By default the name of the model's class.

    Raises
    ------
    TypeError
        If ``ranks`` has an object of another type.
    ValueError
        If ``ranks`` is empty, or its stages belong to different pipelines.
    """
    given = [ranks] if isinstance(ranks, SINGLE) else list(ranks)
    if not given:
        raise ValueError(f"ranks is empty, expected {_EXPECTED}")
    stages = [one for one in given if isinstance(one, StageStep)]
    turns = [one for one in given if isinstance(one, PipelineRank)]
    alone = [RankKind((one.rank,), one) if isinstance(one, RankStep) else one for one in given]
    kinds = [kind for kind in alone if isinstance(kind, RankKind)]
    if len(stages) == len(given):
        return _pipeline(stages, title)
    if len(turns) == len(given):
        return _interleaved(turns, title)
    if len(kinds) == len(given):
        return _replicas(kinds, title)
    wrong = next((one for one in given if not isinstance(one, SINGLE)), None)
    what = "parts of a pipeline among other ranks" if wrong is None else f"a {type(wrong).__name__}"
    raise TypeError(f"ranks has {what}, expected {_EXPECTED}")


# ---------------------------------------------------------------- sharded and replicated steps


def _replicas(kinds: Sequence[RankKind], title: str | None) -> RankBoard:
    first = kinds[0].step
    for kind in kinds[1:]:
        if kind.step.trace is not first.trace:
            raise ValueError("the ranks have different traces, expected one step; make them with rv.rank_kinds")
    plans = [Plan.keep_all(first.graph), *first.planner.plans("live").plans]
    plans = sorted({plan.keep_mask.tobytes(): plan for plan in plans}.values(), key=lambda plan: plan.overhead)
    profiles = [kind.step.planner.profile_function() for kind in kinds]
    peaks = np.array([[profile(plan).max() for profile in profiles] for plan in plans], np.int64)
    rows = _front([plan.overhead for plan in plans], peaks.max(axis=1).tolist())
    chosen = [plans[row] for row in rows]
    lanes = tuple(_lane_of(kind, chosen) for kind in kinds)
    return RankBoard(_title(first.trace, title), lanes, True, first.trace.device, "", _notes(first.trace, False))


def _lane_of(kind: RankKind, plans: Sequence[Plan]) -> RankLane:
    step = kind.step
    buckets = sum(s.size for s in step.joint.storages if s.label == "gradient buckets")
    timelines = [step.simulate(plan) for plan in plans]
    passes = _passes(timelines[0])
    columns = max(LEAST_COLUMNS, COLUMNS // len(passes))
    return RankLane(
        _rank_names(kind.ranks),
        passes,
        (float(step.graph.time.sum()),),
        (0,),
        tuple((plan,) for plan in plans),
        np.array([[plan.overhead] for plan in plans], np.float64),
        np.array([timeline.peak for timeline in timelines], np.int64),
        static_layers(timelines[0], buckets),
        np.stack([layered(timeline, _ends(timeline), columns, buckets) for timeline in timelines]),
        lambda row: step.simulate(plans[row]).peak,
    )


def _passes(timeline: Timeline) -> tuple[Pass, ...]:
    kinds: tuple[PassKind, ...] = ("forward", "backward", "optimizer")
    return tuple(Pass(kind) for kind in kinds[: len(_ends(timeline))])


def _ends(timeline: Timeline) -> list[int]:
    """Return where the forward pass, the backward pass and the optimizer's step end."""
    phases = timeline.phases.tolist()
    forward = next((i for i, phase in enumerate(phases) if phase != Phase.FORWARD), len(phases))
    backward = next((i for i, phase in enumerate(phases) if phase == Phase.OPTIMIZER), len(phases))
    return [forward, backward] if backward == len(phases) else [forward, backward, len(phases)]


def _rank_names(ranks: Sequence[int]) -> str:
    """Return the name of some ranks; at most three are named one by one.

    Examples
    --------
    >>> _rank_names([3]), _rank_names([0, 1, 2, 3]), _rank_names([0, 2]), _rank_names([0, 1, 2, 5, 6])
    ('rank 3', 'ranks 0 to 3', 'ranks 0, 2', 'ranks 0 to 2, 5, 6')
    """
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(parts)}"


# ---------------------------------------------------------------- pipelines


def _pipeline(given: Sequence[StageStep], title: str | None) -> RankBoard:
    stages = sorted(given, key=lambda stage: stage.place.stage)
    place = stages[0].place
    for stage in stages[1:]:
        mine = stage.place
        if (mine.stages, mine.micro_batches, mine.kind) != (place.stages, place.micro_batches, place.kind):
            raise ValueError(f"{mine} is of another pipeline than {place}; give the stages of one pipeline")
    numbers = [stage.place.stage for stage in stages]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a stage is given twice: {numbers}; give each stage once")
    missing = [str(i + 1) for i in range(place.stages) if i not in numbers]
    notes = _notes(stages[0].trace, True)
    if missing:
        notes = (*notes, f"not given, and left out of the times: stage {', '.join(missing)} of {place.stages}")
    schedule = f"{SCHEDULES[place.kind]}, {place.micro_batches} micro-batches"
    trace = stages[0].trace
    return RankBoard(_title(trace, title), tuple(map(_stage_lane, stages)), False, trace.device, schedule, notes)


def _stage_lane(stage: StageStep) -> RankLane:
    place = stage.place
    curve = _spread(stage.curve)
    order = place.order()
    columns = max(LEAST_COLUMNS, COLUMNS // len(order))
    layers = []
    for _, _, plan in curve:
        mask = stage.planner.check(plan).keep_mask.tolist()
        layers.append(layered(*stage_passes(stage.steps, place, mask, stage.trace.device), columns))
    return RankLane(
        f"stage {place.stage + 1} of {place.stages}",
        tuple(Pass("backward" if backward else "forward", place.stage, i) for backward, i in order),
        (float(stage.graph.time.sum()),),
        (place.stage,),
        tuple((plan,) for _, _, plan in curve),
        np.array([[overhead] for overhead, _, _ in curve], np.float64),
        np.array([peak for _, peak, _ in curve], np.int64),
        static_layers(stage.simulate(curve[0][2])),
        np.stack(layers),
        lambda row: stage.simulate(curve[row][2]).peak,
    )


def _interleaved(given: Sequence[PipelineRank], title: str | None) -> RankBoard:
    ranks = sorted(given, key=lambda one: one.place.rank)
    first = ranks[0].place
    for one in ranks[1:]:
        if replace(one.place, rank=first.rank) != first:
            raise ValueError(f"{one.place} is of another pipeline than {first}; give the ranks of one pipeline")
    numbers = [one.place.rank for one in ranks]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a rank is given twice: {numbers}; give each rank once")
    trace = ranks[0].stages[0].trace
    notes = _notes(trace, True)
    if missing := [str(i) for i in range(first.ranks) if i not in numbers]:
        notes = (*notes, f"not given, and left out of the times: rank {', '.join(missing)}")
    schedule = f"{SCHEDULES['interleaved']}, {first.micro_batches} micro-batches"
    return RankBoard(_title(trace, title), tuple(map(_turns_lane, ranks)), False, trace.device, schedule, notes)


def _turns_lane(rank: PipelineRank) -> RankLane:
    curve = _spread(rank.curve)
    order = rank.place.order()
    columns = max(LEAST_COLUMNS, COLUMNS // len(order))
    return RankLane(
        f"rank {rank.place.rank}",
        order,
        tuple(float(stage.graph.time.sum()) for stage in rank.stages),
        rank.place.stages,
        tuple(plans for _, _, plans in curve),
        np.array([[plan.overhead for plan in plans] for _, _, plans in curve], np.float64),
        np.array([peak for _, peak, _ in curve], np.int64),
        static_layers(rank.simulate()),
        np.stack([layered(*rank.passes(plans), columns) for _, _, plans in curve]),
        lambda row: rank.simulate(curve[row][2]).peak,
    )


# ---------------------------------------------------------------- both


def _front(costs: Sequence[float], peaks: Sequence[int]) -> list[int]:
    """Return the positions of the pairs that no other pair is better than, by rising cost; at most ``MOST_ROWS``."""
    best: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], peaks[i])):
        if not best or peaks[i] < peaks[best[-1]]:
            best.append(i)
    return _spread(best)


def _spread(rows: Sequence[Any]) -> list[Any]:
    """Return at most ``MOST_ROWS`` rows, evenly, with the first and the last one."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    return [rows[int(i)] for i in np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int))]


def _title(trace: Any, title: str | None) -> str:
    return title or type(trace.model).__name__


def _notes(trace: Any, pipeline: bool) -> tuple[str, ...]:
    sending = "sending" if pipeline else "collectives"
    times = (
        f"times are {trace.cost_unit.replace('ms (', '').rstrip(')')}, without {sending}; a backward pass counts twice"
    )
    return (f"{times} its forward pass", *(("bytes are estimated",) if trace.estimated else ()))
