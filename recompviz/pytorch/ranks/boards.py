"""Find plans for the predicted steps of several ranks: sharded or replicated ranks, or the ranks of a pipeline.

A *board* (:class:`RankBoard`) has plans for all ranks. The search for plans may take minutes, so :class:`RankBoards`
makes several boards. The first board has plans that need no search. For a pipeline, each rank has a search of its own,
and in each later board one more rank has the plans that its search found. Sharded and replicated ranks all run the same
plan, so one search is enough for them, and the second board is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from recompviz.core.base.progress import Progress
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.pipeline import stage_passes
from recompviz.core.ranks.rank_board import RankBoard, RankLane
from recompviz.core.ranks.rank_layers import Pass, PassKind, layered, static_layers
from recompviz.core.ranks.rank_optimizer import peak_of, same_but_optimizer, timeline_of
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.ranks.batch_plans import Row
from recompviz.pytorch.ranks.interleaved_rank import PipelineRank
from recompviz.pytorch.ranks.pipeline_stage import StageStep
from recompviz.pytorch.ranks.rank_step import RankKind, RankStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

# columns of a lane, over all passes, and the least number of columns of a pass
COLUMNS, LEAST_COLUMNS = 192, 4
# the most plans of a lane, because the page gets the memory of each of them
MOST_ROWS = 48
# the most plans of a lane before the search
FIRST_ROWS = 12
# the share of the work until the first board
FIRST_SHARE = 0.05
SCHEDULES = {"1f1b": "1F1B", "gpipe": "GPipe", "interleaved": "interleaved 1F1B"}
_EXPECTED = (
    "the steps of rv.rank_kinds, rv.shard_step or rv.replicate_step, the stages of rv.stage_step, or the ranks of "
    "rv.pipeline_rank"
)
SINGLE = (RankStep, RankKind, StageStep, PipelineRank)

# called as tell(done, total, text)
Tell: TypeAlias = "Callable[[float, float, str], None]"


class RankBoards:
    """Makes the boards of predicted ranks, from the board of the first plans to the board of the best plans found.

    Parameters
    ----------
    ranks : RankStep, RankKind, StageStep, PipelineRank, or an iterable of these
        The predicted ranks. RankStep and RankKind may be mixed. If there are several StageStep, or several
        PipelineRank, all must be of the same pipeline.
    title : str, optional
        The title of the boards; by default the name of the model's class.

    Attributes
    ----------
    title : str
        The title of the boards.

    Raises
    ------
    TypeError
        If ``ranks`` has an object of another type, or StageStep or PipelineRank together with other types.
    ValueError
        If ``ranks`` is empty, if a rank or stage is given twice, or if the ranks belong to different traces, runs or
        pipelines.
    """

    def __init__(
        self, ranks: RankStep | RankKind | StageStep | PipelineRank | Iterable[Any], title: str | None = None
    ) -> None:
        if not isinstance(ranks, (*SINGLE, Iterable)):
            raise TypeError(f"ranks is a {type(ranks).__name__}, expected {_EXPECTED}")
        given = [ranks] if isinstance(ranks, SINGLE) else list(ranks)
        if not given:
            raise ValueError(f"ranks is empty, expected {_EXPECTED}")
        stages = [one for one in given if isinstance(one, StageStep)]
        turns = [one for one in given if isinstance(one, PipelineRank)]
        alone = [RankKind((one.rank,), one) if isinstance(one, RankStep) else one for one in given]
        kinds = [kind for kind in alone if isinstance(kind, RankKind)]
        self._kind: _Kinds | _Pipeline
        if len(stages) == len(given):
            self._kind = _pipeline(stages)
        elif len(turns) == len(given):
            self._kind = _interleaved(turns)
        elif len(kinds) == len(given):
            self._kind = _Kinds(kinds)
        else:
            wrong = next((one for one in given if not isinstance(one, SINGLE)), None)
            what = "parts of a pipeline among other ranks" if wrong is None else f"a {type(wrong).__name__}"
            raise TypeError(f"ranks has {what}, expected {_EXPECTED}")
        self.title = title or type(self._kind.trace.model).__name__

    def made(self, tell: Tell = lambda *_: None) -> Iterator[RankBoard]:
        """Search for plans, and yield one board after another; see the docstring of the module.

        Parameters
        ----------
        tell : callable (done, total, text)
            Called during the search with the progress and a text about it. An exception that it raises ends the search.
        """
        for board in self._kind.boards(tell):
            yield replace(board, title=self.title)


def board_of(ranks: Any, title: str | None = None) -> RankBoard:
    """Search for plans, and return the board with the best plans found.

    The arguments and the errors are as in :class:`RankBoards`.
    """
    *_, last = RankBoards(ranks, title).made()
    return last


def _first_plans(planner: Planner) -> list[Plan]:
    """Return a few plans that need no search, of different peaks."""
    table = planner.first_plans()
    peaks = table.total_peaks.tolist()
    order = [row for row in _front([plan.overhead for plan in table.plans], peaks) if table.plans[row].overhead > 0]
    leaner = _spread([table.plans[row] for row in order], [peaks[row] for row in order], FIRST_ROWS - 1)
    return [Plan.keep_all(planner.graph), *leaner]


# ---------------------------------------------------------------- sharded and replicated steps


class _Kinds:
    """Kinds of ranks that all run one plan. Kinds that differ only in the optimizer are simulated once."""

    def __init__(self, kinds: Sequence[RankKind]) -> None:
        self.kinds, self.trace = kinds, kinds[0].step.trace
        if any(kind.step.trace is not self.trace for kind in kinds):
            raise ValueError("the ranks have different traces, expected one step; make them with rv.rank_kinds")
        first = kinds[0].step
        for kind in kinds:
            step = kind.step
            if (step.sharding, step.units) != (first.sharding, first.units):
                raise ValueError(
                    f"{step} and {first} are of different runs (engine, shards, units or resharding); show each run in "
                    "a view of its own, for example the result of one rv.rank_kinds"
                )
        numbers = [rank for kind in kinds for rank in kind.ranks]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"a rank is given twice: {numbers}; give each rank once, or all with rv.rank_kinds")
        # the steps that are simulated, and for each kind the one that gives its memory
        self.simulated: list[RankStep] = []
        self.own: list[int] = []
        for kind in kinds:
            alike = (i for i, step in enumerate(self.simulated) if same_but_optimizer(step.joint, kind.step.joint))
            self.own.append(next(alike, len(self.simulated)))
            if self.own[-1] == len(self.simulated):
                self.simulated.append(kind.step)

    def boards(self, tell: Tell) -> Iterator[RankBoard]:
        """Yield the first board, and the one after the search."""
        planner = self.kinds[0].step.planner
        yield self._board(_first_plans(planner), _share(tell, 0, FIRST_SHARE, "first plans"))
        found = planner.plans("live", _share(tell, FIRST_SHARE, 0.55, "searching for plans"))
        plans = [Plan.keep_all(planner.graph), *found.plans]
        yield self._board(plans, _share(tell, 0.55, 1, "simulating the plans"))

    def _board(self, plans: Sequence[Plan], progress: Progress) -> RankBoard:
        plans = sorted({plan.keep_mask.tobytes(): plan for plan in plans}.values(), key=lambda plan: plan.overhead)
        peaks = []
        profiles = [step.planner.profile_function() for step in self.simulated]
        for i, plan in enumerate(plans):
            progress(i, 3 * len(plans))
            found = [profile(plan) for profile in profiles]
            peaks.append(
                max(
                    peak_of(found[own], self.simulated[own].joint, kind.step.joint)
                    for own, kind in zip(self.own, self.kinds, strict=True)
                )
            )
        best = _front([plan.overhead for plan in plans], peaks)
        chosen = [plans[row] for row in _spread(best, [peaks[i] for i in best], MOST_ROWS)]
        timelines: list[list[Timeline]] = []
        for i, step in enumerate(self.simulated):
            timelines.append([])
            for k, plan in enumerate(chosen):
                share = (i + k / len(chosen)) / len(self.simulated)
                progress(int(len(plans) * (1 + 2 * share)), 3 * len(plans))
                timelines[-1].append(step.simulate(plan))
        lanes = tuple(
            _lane_of(kind, chosen, [timeline_of(timeline, kind.step.joint) for timeline in timelines[own]])
            for own, kind in zip(self.own, self.kinds, strict=True)
        )
        notes = (*_notes(self.trace, False), *_cut(len(best), ""))
        return RankBoard("", lanes, True, self.trace.device, "", notes)


def _lane_of(kind: RankKind, plans: Sequence[Plan], timelines: Sequence[Timeline]) -> RankLane:
    step = kind.step
    buckets = sum(s.size for s in step.joint.storages if s.label == "gradient buckets")
    columns = max(LEAST_COLUMNS, COLUMNS // len(_passes(timelines[0])))
    return RankLane(
        _rank_names(kind.ranks),
        _passes(timelines[0]),
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
    forward = _first(timeline.phases != Phase.FORWARD)
    backward = _first(timeline.phases == Phase.OPTIMIZER)
    count = len(timeline.phases)
    return [forward, backward] if backward == count else [forward, backward, count]


def _first(mask: NDArray[np.bool_]) -> int:
    """Return the position of the first True; the length if there is none."""
    return int(mask.argmax()) if mask.any() else len(mask)


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


class _Pipeline:
    """Ranks of a pipeline, each with plans of its own."""

    def __init__(
        self, ranks: Sequence[StageStep] | Sequence[PipelineRank], schedule: str, notes: Sequence[str]
    ) -> None:
        self.ranks: tuple[StageStep | PipelineRank, ...] = tuple(ranks)
        self.schedule, self.notes = schedule, tuple(notes)
        self.trace = _stages_of(self.ranks[0])[0].trace

    def boards(self, tell: Tell) -> Iterator[RankBoard]:
        """Yield the first board, and one after the search for each rank."""
        count = len(self.ranks)
        lanes = []
        for i, rank in enumerate(self.ranks):
            tell(FIRST_SHARE * i / count, 1, f"first plans of {_name_of(rank)}")
            lanes.append(_lane(rank, _first_rows(rank)))
        cut: list[str] = []
        yield self._board(lanes, cut)
        for i, rank in enumerate(self.ranks):
            start, stop = (FIRST_SHARE + (1 - FIRST_SHARE) * place / count for place in (i, i + 1))
            rows = rank.found(_share(tell, start, stop, f"searching for plans of {_name_of(rank)}"))
            lanes[i] = _lane(rank, _spread(rows, [peak for _, peak, _ in rows], MOST_ROWS))
            cut += _cut(len(rows), f"{_name_of(rank)}: ")
            yield self._board(lanes, cut)

    def _board(self, lanes: Sequence[RankLane], cut: Sequence[str]) -> RankBoard:
        notes = (*_notes(self.trace, True), *self.notes, *cut)
        return RankBoard("", tuple(lanes), False, self.trace.device, self.schedule, notes)


def _pipeline(given: Sequence[StageStep]) -> _Pipeline:
    stages = sorted(given, key=lambda stage: stage.place.stage)
    place = stages[0].place
    for stage in stages[1:]:
        mine = stage.place
        if replace(mine, stage=place.stage) != place:
            raise ValueError(f"{mine} is of another pipeline than {place}; give the stages of one pipeline")
    numbers = [stage.place.stage for stage in stages]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a stage is given twice: {numbers}; give each stage once")
    missing = [str(i + 1) for i in range(place.stages) if i not in numbers]
    notes = [f"not given, and left out of the times: stage {', '.join(missing)} of {place.stages}"] if missing else []
    return _Pipeline(stages, f"{SCHEDULES[place.kind]}, {place.micro_batches} micro-batches", notes)


def _interleaved(given: Sequence[PipelineRank]) -> _Pipeline:
    ranks = sorted(given, key=lambda one: one.place.rank)
    first = ranks[0].place
    for one in ranks[1:]:
        if replace(one.place, rank=first.rank) != first:
            raise ValueError(f"{one.place} is of another pipeline than {first}; give the ranks of one pipeline")
    numbers = [one.place.rank for one in ranks]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a rank is given twice: {numbers}; give each rank once")
    missing = [str(i) for i in range(first.ranks) if i not in numbers]
    notes = [f"not given, and left out of the times: rank {', '.join(missing)}"] if missing else []
    return _Pipeline(ranks, f"{SCHEDULES['interleaved']}, {first.micro_batches} micro-batches", notes)


def _stages_of(rank: StageStep | PipelineRank) -> tuple[StageStep, ...]:
    return rank.stages if isinstance(rank, PipelineRank) else (rank,)


def _name_of(rank: StageStep | PipelineRank) -> str:
    if isinstance(rank, PipelineRank):
        return f"rank {rank.place.rank}"
    return f"stage {rank.place.stage + 1} of {rank.place.stages}"


def _first_rows(rank: StageStep | PipelineRank) -> Sequence[Row]:
    """Return rows that need no search: all stages of a rank take their leaner plans together."""
    plans = [_first_plans(stage.planner) for stage in _stages_of(rank)]
    count = max(map(len, plans))
    choices = [tuple(mine[min(i, len(mine) - 1)] for mine in plans) for i in range(count)]
    return rank.batch_plans.rows(choices)


def _lane(rank: StageStep | PipelineRank, rows: Sequence[Row]) -> RankLane:
    stages = _stages_of(rank)
    if isinstance(rank, PipelineRank):
        order, numbers = rank.place.order(), rank.place.stages
    else:
        number = rank.place.stage
        order = tuple(Pass("backward" if backward else "forward", number, i) for backward, i in rank.place.order())
        numbers = (number,)
    if any(stage.steps.optimizer_scratch for stage in stages):
        order = (*order, Pass("optimizer", numbers[-1]))
    columns = max(LEAST_COLUMNS, COLUMNS // len(order))
    timelines = [_timeline(rank, plans) for _, _, plans in rows]
    return RankLane(
        _name_of(rank),
        order,
        tuple(float(stage.graph.time.sum()) for stage in stages),
        numbers,
        tuple(plans for _, _, plans in rows),
        np.array([[plan.overhead for plan in plans] for _, _, plans in rows], np.float64),
        np.array([peak for _, peak, _ in rows], np.int64),
        static_layers(timelines[0][0]),
        np.stack([layered(timeline, ends, columns) for timeline, ends in timelines]),
        lambda row: _timeline(rank, rows[row][2])[0].peak,
    )


def _timeline(rank: StageStep | PipelineRank, plans: Sequence[Plan]) -> tuple[Timeline, tuple[int, ...]]:
    """Return the memory of a rank over a batch, and for each pass the step after its last one."""
    if isinstance(rank, PipelineRank):
        return rank.passes(plans)
    mask = rank.planner.check(plans[0]).keep_mask.tolist()
    return stage_passes(rank.steps, rank.place, mask, rank.trace.device)


def _share(tell: Tell, start: float, stop: float, text: str) -> Progress:
    """Return the progress of a part of the work, which begins and ends at these fractions of the whole."""
    return lambda done, total: tell(start + (stop - start) * done / max(total, 1), 1, text)


# ---------------------------------------------------------------- both


def _front(costs: Sequence[float], peaks: Sequence[int]) -> list[int]:
    """Return the positions of the pairs that no other pair is better than, by rising cost."""
    best: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], peaks[i])):
        if not best or peaks[i] < peaks[best[-1]]:
            best.append(i)
    return best


def _spread(rows: Sequence[Any], peaks: Sequence[int], most: int) -> list[Any]:
    """Return at most ``most`` rows, with the first and the last one; ``peaks`` fall.

    From one to the next, the peak falls by about the same factor. So a budget loses at most about one such step.

    Examples
    --------
    >>> _spread("abcdef", [800, 790, 780, 390, 190, 100], 4)
    ['a', 'd', 'e', 'f']
    """
    if len(rows) <= most:
        return list(rows)
    falling = -np.asarray(peaks, np.float64)
    targets = -np.geomspace(max(peaks[0], 1), max(peaks[-1], 1), most)[1:-1]
    places = np.searchsorted(falling, targets)  # the first row whose peak is not higher
    return [rows[int(i)] for i in np.unique([0, *places.clip(0, len(rows) - 1), len(rows) - 1])]


def _cut(count: int, name: str) -> list[str]:
    """Return a note if a lane has fewer plans than were found."""
    if count <= MOST_ROWS:
        return []
    return [
        f"{name}at most {MOST_ROWS} of the {count} plans found are shown; plan(total) of the rank chooses among all"
    ]


def _notes(trace: Any, pipeline: bool) -> tuple[str, ...]:
    sending = "sending" if pipeline else "collectives"
    times = (
        f"times are {trace.cost_unit.replace('ms (', '').rstrip(')')}, without {sending}; a backward pass counts twice"
    )
    return (f"{times} its forward pass", *(("bytes are estimated",) if trace.estimated else ()))
