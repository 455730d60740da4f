"""The plans of one recorded step: plans of its regions, combined into a Pareto front of recomputation and peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.planning.step_plans import Outside, RegionPlans, StepPlans, same_choices, step_plans
from recompviz.pytorch.running.merged_steps import merged_outside, merged_positions
from recompviz.pytorch.running.planned_region import Around, PlannedRegion
from recompviz.pytorch.running.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.running.region import Region
from recompviz.pytorch.running.resized_steps import SizedPlans, outside_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.internals.dynamo import Callers


@dataclass(frozen=True, eq=False)
class StepModel:
    """What recorded steps showed, and the plans that follow from it.

    Attributes
    ----------
    regions : tuple of Region
        In the order of their forward passes; one region may run several times.
    passes : tuple of RecordedPass
        For each run.
    plans : StepPlans
    masks : tuple of list of keep mask
        For each run, the rows of its plans.
    keep_all : float
        Milliseconds of the forward passes that keep every value.
    options : tuple of RegionPlans
        For each run, the bytes and times of its plans.
    outside_gradients : int
        Bytes of the gradients, outside the regions, that had accumulated before the recorded step.
    callers : tuple of Callers
        The functions that called each run.
    sized : tuple of SizedPlans
        For each run, the bytes of its plans as a function of the sizes of its inputs.
    recorded : tuple of (float, tuple of Outside)
        At each recorded size of the step, relative to the calibrated one and rising: what code outside each run held.
    sizes : tuple of tuple
        For each run, the sizes of its inputs for which ``plans``, ``options`` and ``outside`` hold.
    outside : tuple of Outside
        What code outside each run holds, at these sizes.
    optional : bool
        Whether a step may leave some of the runs out.
    searched : tuple of float
        The sizes of the step for which plans were searched, relative to the calibrated one.
    """

    regions: tuple[Region, ...]
    passes: tuple[RecordedPass, ...]
    plans: StepPlans
    masks: tuple[list[NDArray[np.bool_]], ...]
    keep_all: float
    options: tuple[RegionPlans, ...] = ()
    outside_gradients: int = 0
    callers: tuple[Callers, ...] = ()
    sized: tuple[SizedPlans, ...] = ()
    recorded: tuple[tuple[float, tuple[Outside, ...]], ...] = ()
    sizes: tuple[tuple[Any, ...], ...] = ()
    outside: tuple[Outside, ...] = ()
    optional: bool = False
    searched: tuple[float, ...] = ()

    @property
    def symbolic(self) -> bool:
        """Whether sizes of inputs may differ from step to step."""
        return any(sized.symbolic for sized in self.sized)

    def outside_at(self, growth: float) -> tuple[Outside, ...]:
        """What code outside each run holds in a step of another size."""
        by_run = zip(*(held for _, held in self.recorded), strict=True)
        relative = [size for size, _ in self.recorded]
        return tuple(outside_at(list(zip(relative, held, strict=True)), growth) for held in by_run)


@dataclass(frozen=True, eq=False)
class PlannedStep:
    """The plan of one step.

    Attributes
    ----------
    model : StepModel
    point : int
        The point of ``model.plans`` that was chosen.
    resident : int
        Bytes there before the step.
    """

    model: StepModel
    point: int
    resident: int


def model_of_step(
    regions: Sequence[PlannedRegion],
    passes: Sequence[RecordedPass],
    records: Sequence[PassRecord],
    outside_gradients: int,
    seconds: float,
) -> StepModel:
    """Plan a recorded step.

    Parameters
    ----------
    regions, passes, records : sequence
        One for each run of a region, in the order of the forward passes.
    outside_gradients : int
        Bytes of the gradients, outside the regions, that had accumulated before the step.
    seconds : float
        Processor time for the search of one region's plans.
    """
    outside = tuple(recorded.outside for recorded in passes)
    sizes = tuple(record.sizes for record in records)
    new = []
    for known, recorded, record in zip(reversed(regions), reversed(passes), reversed(records), strict=True):
        if known.joint is None:
            known.calibrate(recorded, record)
            new.append(known)
    released = [recorded.released for recorded in passes]
    _search(regions, new, sizes, outside, released, seconds)
    sized = tuple(known.sized(freed) for known, freed in zip(regions, released, strict=True))
    growth = growth_of(sized, sizes)
    model = StepModel(
        tuple(known.region for known in regions),
        tuple(passes),
        StepPlans((), (), ()),
        tuple(known.masks for known in regions),
        float(sum(one.keep_all for one in sized)),
        outside_gradients=outside_gradients,
        callers=tuple(record.callers for record in records),
        sized=sized,
        recorded=((growth, outside),),
        searched=(growth if new else 1.0,),
    )
    return resized(model, sizes, exact=True)


def model_of_region(known: PlannedRegion) -> StepModel:
    """The model of a step that is one run of a region of fixed sizes, with the loss inside it.

    Parameters
    ----------
    known : PlannedRegion
        With its bytes, times and plans.
    """
    sized = known.sized(frozenset())
    model = StepModel(
        (known.region,),
        (RecordedPass(Outside(), frozenset(), {}, True),),
        StepPlans((), (), ()),
        (known.masks,),
        sized.keep_all,
        sized=(sized,),
        recorded=((1.0, (Outside(),)),),
        searched=(1.0,),
    )
    return resized(model, [()], exact=True)


def searched_at(
    model: StepModel, regions: Mapping[Region, PlannedRegion], sizes: tuple[tuple[Any, ...], ...], seconds: float
) -> StepModel:
    """A model with plans that are searched for other sizes, too. At other sizes, other values fill the peak.

    Parameters
    ----------
    model : StepModel
    regions : mapping of Region to PlannedRegion
    sizes : tuple of tuple
        For each run, the sizes of its inputs.
    seconds : float
        Processor time for the search of one region's plans.
    """
    growth = growth_of(model.sized, sizes)
    known = [regions[region] for region in model.regions]
    released = [recorded.released for recorded in model.passes]
    _search(
        known,
        [one for one in known if one.region.folded.symbolic_sizes],
        sizes,
        model.outside_at(growth),
        released,
        seconds,
    )
    result = replace(
        model,
        masks=tuple(one.masks for one in known),
        sized=tuple(one.sized(freed) for one, freed in zip(known, released, strict=True)),
        searched=(*model.searched, growth),
    )
    return resized(result, model.sizes, exact=True)


def _search(
    regions: Sequence[PlannedRegion],
    wanted: Sequence[PlannedRegion],
    sizes: Sequence[tuple[Any, ...]],
    outside: Sequence[Outside],
    released: Sequence[frozenset[int]],
    seconds: float,
) -> None:
    """Search plans for some regions of a step, from its last region to its first."""
    left = list(wanted)
    least, most = 0, 0  # bytes that later regions take, by their leanest plans and by plans that keep every value
    for i in reversed(range(len(regions))):
        known = regions[i]
        if known in left:
            left.remove(known)
            known.search(sizes[i], Around(outside[i], released[i], (least, most)), seconds)
        options = known.sized(released[i]).at(sizes[i])
        least, most = int(options.peaks(outside[i], least).min()), int(options.peaks(outside[i], most)[0])


def growth_of(sized: Sequence[SizedPlans], sizes: Sequence[tuple[Any, ...]]) -> float:
    """The size of a step: the largest ratio of the bytes of a storage to those that it was calibrated with."""
    return max((one.growth(of_run) for one, of_run in zip(sized, sizes, strict=True) if one.symbolic), default=1.0)


def with_size(model: StepModel, other: StepModel) -> StepModel:
    """A model with what another recorded step of the same runs shows about the code outside, at its size."""
    ((size, held),) = other.recorded
    known = dict(model.recorded)
    if size in known:
        held = tuple(larger(a, b) for a, b in zip(known[size], held, strict=True))
    recorded = tuple(sorted({**known, size: held}.items(), key=lambda item: item[0]))
    return resized(replace(model, recorded=recorded), model.sizes, exact=True)


def larger(one: Outside, other: Outside) -> Outside:
    """The larger of each figure."""
    return Outside(
        max(one.forward, other.forward), max(one.after_forward, other.after_forward),
        max(one.backward, other.backward), max(one.after_backward, other.after_backward),
    )  # fmt: skip


def merged(model: StepModel, other: StepModel) -> tuple[StepModel, tuple[list[int], list[int]]]:
    """A model of steps that run what either of two models runs.

    Parameters
    ----------
    model : StepModel
    other : StepModel
        Of one recorded step.

    Returns
    -------
    (model, (positions of the first, positions of the second))
    """
    first, second, regions = merged_positions(model.regions, other.regions)
    where: list[tuple[StepModel, int]] = [(model, 0)] * len(regions)
    for positions, source in ((first, model), (second, other)):
        for j, k in enumerate(positions):
            where[k] = source, j
    growths = {size for size, _ in (*model.recorded, *other.recorded)}
    recorded = tuple(
        (size, merged_outside(len(regions), [(first, model.outside_at(size)), (second, other.outside_at(size))]))
        for size in sorted(growths)
    )
    both = StepModel(
        tuple(regions),
        tuple(source.passes[j] for source, j in where),
        model.plans,
        tuple(source.masks[j] for source, j in where),
        float(sum(source.sized[j].keep_all for source, j in where)),
        outside_gradients=max(model.outside_gradients, other.outside_gradients),
        callers=tuple(source.callers[j] for source, j in where),
        sized=tuple(source.sized[j] for source, j in where),
        recorded=recorded,
        optional=True,
        searched=model.searched,
    )
    both = resized(both, [source.sizes[j] for source, j in where], exact=True)
    return both, (first, second)


def resized(model: StepModel, sizes: Sequence[tuple[Any, ...]], exact: bool = False) -> StepModel:
    """The plans of a recorded step for other sizes of the inputs.

    Parameters
    ----------
    model : StepModel
    sizes : sequence of tuple
        For each run, the sizes of its inputs.
    exact : bool
        Whether to combine the plans of the regions anew. Otherwise only the combinations that are best for the recorded
        sizes are considered, which is much faster where a step has several regions.
    """
    options = tuple(one.at(of_run) for one, of_run in zip(model.sized, sizes, strict=True))
    outside = model.outside_at(growth_of(model.sized, sizes))
    front = step_plans(options, outside) if exact or len(options) == 1 else same_choices(model.plans, options, outside)
    return replace(model, plans=front, options=options, sizes=tuple(sizes), outside=outside)
