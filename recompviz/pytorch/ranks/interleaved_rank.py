"""``pipeline_rank``: one rank that runs several stages of a pipeline in turn, predicted and planned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from recompviz.core.base.progress import Progress, partial_progress
from recompviz.core.base.units import parse_total
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.interleaved import RankPlace, interleaved_passes
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.pipeline_transfers import interleaved_transfers
from recompviz.pytorch.ranks.batch_plans import MOST_PLANS, BatchPlans, Choice, Row
from recompviz.pytorch.ranks.pipeline_stage import StageStep


@dataclass(frozen=True, eq=False)
class PipelineRank:
    """One rank of an interleaved pipeline over one batch; frozen. It is made by :func:`pipeline_rank`.

    Attributes
    ----------
    stages : tuple of StageStep
        The stages of the rank, in the order of the pipeline.
    place : RankPlace
        The place of the rank in the pipeline. ``place.order()`` has the order of its passes.
    """

    stages: tuple[StageStep, ...]
    place: RankPlace
    _cache: dict[str, tuple[Row, ...]] = field(default_factory=dict, init=False, repr=False)

    def passes(self, plans: Sequence[Plan | None] | None = None) -> tuple[Timeline, tuple[int, ...]]:
        """Return the predicted timeline of the rank over one batch, and the ends of the passes in this timeline.

        For each pass of ``place.order()``, its end is the number of timeline steps up to the end of the pass. The
        argument and the errors are as in :meth:`simulate`.
        """
        given = [None] * len(self.stages) if plans is None else list(plans)
        if len(given) != len(self.stages):
            raise ValueError(f"{len(given)} plans for {len(self.stages)} stages; give one for each stage of the rank")
        pairs = zip(self.stages, given, strict=True)
        masks = [stage.planner.check(plan).keep_mask.tolist() for stage, plan in pairs]
        device = self.stages[0].trace.device
        steps = [stage.steps_of(plan) for stage, plan in zip(self.stages, given, strict=True)]
        return interleaved_passes(steps, self.place, masks, device)

    def simulate(self, plans: Sequence[Plan | None] | None = None) -> Timeline:
        """Return the predicted memory of the rank over one batch.

        Parameters
        ----------
        plans : sequence of Plan or None, optional
            A plan for each stage. A stage whose plan is None runs as it is written. Without ``plans``, all stages run
            as they are written.

        Raises
        ------
        ValueError
            If the number of plans is not the number of stages.
        PlanMismatch
            If a plan is for another graph.
        TypeError
            If a plan is neither a Plan nor None.
        """
        return self.passes(plans)[0]

    @property
    def batch_plans(self) -> BatchPlans:
        """A new object that finds plans for the stages of the rank over a whole batch."""
        steps, device = [stage.steps for stage in self.stages], self.stages[0].trace.device

        def peak(masks: Sequence[Sequence[bool]]) -> int:
            return interleaved_passes(steps, self.place, masks, device)[0].peak

        return BatchPlans(tuple(stage.graph for stage in self.stages), peak)

    @property
    def curve(self) -> tuple[Row, ...]:
        """The best plans found, by rising overhead and falling peak; cached.

        A row is (overhead of one micro-batch in the unit of ``graph.time``, peak in total bytes, plan of each stage).
        """
        return self.found()

    def found(self, progress: Progress | None = None) -> tuple[Row, ...]:
        """Return the rows of :attr:`curve`; cached.

        Parameters
        ----------
        progress : callable (done, total), optional
            Called during the search. An exception that it raises ends the search.
        """
        return self.batch_plans.found(self._cache, self._choices, 0.5, progress)

    def _choices(self, progress: Progress | None) -> list[Choice]:
        """Return the choices to simulate: from one to the next, one stage recomputes more."""
        count = len(self.stages)
        fronts = [self._front_of(i, partial_progress(progress, i / count, (i + 1) / count)) for i in range(count)]
        at = [0] * count
        tried = [tuple(at)]
        while True:
            # the stage whose next plan frees most for its recomputation goes on
            gains = [
                ((front[k][1] - front[k + 1][1]) / (front[k + 1][0] - front[k][0]), i)
                for i, (front, k) in enumerate(zip(fronts, at, strict=True))
                if k + 1 < len(front)
            ]
            if not gains:
                break
            at[max(gains)[1]] += 1
            tried.append(tuple(at))
        if len(tried) > MOST_PLANS:
            places = {round(i * (len(tried) - 1) / (MOST_PLANS - 1)) for i in range(MOST_PLANS)}
            tried = [tried[i] for i in sorted(places)]
        return [tuple(front[k][2][i] for i, (front, k) in enumerate(zip(fronts, rows, strict=True))) for rows in tried]

    def _front_of(self, place: int, progress: Progress | None) -> tuple[Row, ...]:
        """Return the best plans of one stage, if the other stages keep everything."""
        keep_all = [Plan.keep_all(stage.graph) for stage in self.stages]
        plans = self.stages[place].candidates(progress)
        return self.batch_plans.rows((*keep_all[:place], plan, *keep_all[place + 1 :]) for plan in plans)

    def plan(self, total: int | float | str) -> Choice:
        """Return a plan for each stage: the combination that recomputes least among those found that fit ``total``.

        The search starts from the first row of :attr:`curve` whose peak fits. It keeps further values, one after
        another, as long as the peak still fits.

        Parameters
        ----------
        total : int, float or str
            The largest peak that the rank may have, in total bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        InfeasibleBudget
            If no row of :attr:`curve` fits.
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size, or is 0.
        """
        return self.batch_plans.within(self.found(), parse_total(total))

    def __repr__(self) -> str:
        at = self.place
        stages = ", ".join(str(stage + 1) for stage in at.stages)
        return f"PipelineRank(rank {at.rank} of {at.ranks}, stages {stages}, {at.micro_batches} micro-batches)"


def pipeline_rank(stages: Iterable[StageStep], ranks: int) -> PipelineRank:
    """Return one rank of ``ScheduleInterleaved1F1B`` of ``torch.distributed.pipelining`` over one batch.

    Parameters
    ----------
    stages : sequence of StageStep
        The stages of the rank, made by :func:`recompviz.stage_step` with ``kind="interleaved"``. Rank ``i`` has the
        stages ``i``, ``i + ranks``, ``i + 2 · ranks``, … All stages have the same ``return_outputs``. If their traces
        have optimizers, these run one after another when all backward passes have run.
    ranks : int
        The number of ranks, at least 2.

    Raises
    ------
    ValueError
        If ``stages`` are not the stages of one rank, or if the micro-batches cannot be divided into equal rounds.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> first = rv.trace(torch.nn.Linear(8, 8), torch.zeros(4, 8))
    >>> third = rv.trace(torch.nn.Linear(8, 8), torch.zeros(4, 8, requires_grad=True))
    >>> stages = [rv.stage_step(t, i, 4, 4, kind="interleaved") for i, t in ((0, first), (2, third))]
    >>> rank = rv.pipeline_rank(stages, 2)
    >>> rank, len(rank.place.order())
    (PipelineRank(rank 0 of 2, stages 1, 3, 4 micro-batches), 16)
    """
    given = sorted(stages, key=lambda stage: stage.place.stage)
    if not given:
        raise ValueError("stages is empty, expected the stages of one rank, from rv.stage_step")
    if isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 2:
        raise ValueError(f"ranks is {ranks!r}, expected a number of ranks, at least 2")
    first = given[0].place
    count = first.stages // ranks
    if any(s.place != replace(first, stage=s.place.stage, kind="interleaved") for s in given):
        raise ValueError(
            'the stages are of different pipelines; make all with rv.stage_step(…, kind="interleaved"), with the same '
            "numbers of stages and micro-batches, and the same return_outputs"
        )
    place = RankPlace(first.stage, ranks, count, first.micro_batches, first.return_outputs)
    numbers = tuple(stage.place.stage for stage in given)
    if count * ranks != first.stages or numbers != place.stages:
        raise ValueError(
            f"stages {list(numbers)} of {first.stages} are not those of one of {ranks} ranks; rank i has the stages i, "
            f"i + {ranks}, i + {2 * ranks}, …"
        )
    if not place.is_possible:
        raise ValueError(
            f"{place.micro_batches} micro-batches cannot be divided into equal rounds for {ranks} ranks; use a "
            f"multiple of {ranks}"
        )
    if first.on_demand:
        orders = [replace(place, rank=rank).order() for rank in range(ranks)]
        transfers = interleaved_transfers(orders, first.stages, first.micro_batches)
        place = replace(place, transfers=transfers[place.rank])
    return PipelineRank(tuple(given), place)
