"""The plans of one recorded step: plans of its regions, combined into a Pareto front of recomputation and peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recompviz.core.planning.region_in_step import region_in_step, unmeasured_region
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import Outside, RegionPlans, StepPlans, same_choices, step_plans
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.running.merged_steps import merged_outside, merged_positions
from recompviz.pytorch.running.operator_figures import calibrated_region
from recompviz.pytorch.running.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.running.region import Region
from recompviz.pytorch.running.resized_steps import SizedPlans, at_sizes, outside_at, resized_joint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.internals.dynamo import Callers


class Around(NamedTuple):
    """The memory of a step around one of its regions.

    Attributes
    ----------
    outside : Outside
        Bytes that code outside the region holds.
    released : frozenset of int
        Storages of outputs that the code outside frees before the backward pass.
    later : tuple of int
        Bytes that later regions may take between the passes of this one. Plans are searched for each.
    """

    outside: Outside
    released: frozenset[int]
    later: tuple[int, ...]


@dataclass(eq=False)
class PlannedRegion:
    """A region and its plans.

    Attributes
    ----------
    region : Region
    joint : JointGraph or None
        With measured sizes and workspace; None before a step was recorded.
    time : numpy.ndarray or None
        Milliseconds of each node; None before a step was recorded.
    masks : list of keep mask
        The plans; empty before a step was recorded.
    sizes : tuple
        The sizes of its inputs for which ``joint`` holds, where they are symbolic.
    leanest : keep mask or None
        The plan of least simulated peak that was found before anything was measured.
    searched : set of tuple
        The sizes of its inputs for which a search looked for a leaner plan before anything was measured.
    """

    region: Region
    joint: JointGraph | None = None
    time: NDArray[np.float64] | None = None
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    sizes: tuple[Any, ...] = ()
    leanest: NDArray[np.bool_] | None = None
    searched: set[tuple[Any, ...]] = field(default_factory=set)
    _sized: dict[frozenset[int], SizedPlans] = field(default_factory=dict)

    def lean(self, sizes: tuple[Any, ...] | None = None, seconds: float = 0.0) -> NDArray[np.bool_]:
        """The plan of least simulated peak, found before anything was measured.

        Of plans with the same peak it is the one that saves least: where inputs are small, gradients of parameters
        may be the peak of every plan, and larger inputs may follow.

        Parameters
        ----------
        sizes : tuple, optional
            The sizes of the inputs, for a search.
        seconds : float
            Processor time of a search. 0 takes the leanest of the plans that need no search.
        """
        if self.leanest is None or seconds:
            folded = self.region.folded
            joint = unmeasured_region(folded.joint if sizes is None else at_sizes(self.region, folded.joint, sizes))
            masks = [mask for mask in region_masks(folded.graph, joint, seconds) if self.region.fits(mask)]
            schedules = [make_schedule(joint, mask.tolist()) for mask in masks]
            sizes_of = [(simulate_schedule(one).transient_peak, one.saved_bytes) for one in schedules]
            self.leanest = masks[min(range(len(masks)), key=sizes_of.__getitem__)]
        return self.leanest

    def held(self, mask: NDArray[np.bool_], sizes: tuple[Any, ...], gradients: bool = False) -> int:
        """Bytes that a run leaves until its backward pass: saved values and outputs.

        Parameters
        ----------
        mask : keep mask
        sizes : tuple
            The sizes of the run's inputs.
        gradients : bool
            Whether to add the gradients that its backward pass leaves.
        """
        joint = at_sizes(self.region, self.joint or self.region.folded.joint, sizes)
        left = [s for s in joint.results if gradients or joint.storages[s].maker < joint.forward_count]
        return sum(joint.sizes[s] for s in {*make_schedule(joint, mask.tolist()).saved, *left})

    def calibrate(self, recorded: RecordedPass, record: PassRecord) -> None:
        """Take bytes and times from a recorded run under the plan :meth:`lean`."""
        joint = at_sizes(self.region, self.region.folded.joint, record.sizes)
        self.sizes = record.sizes
        schedule = make_schedule(joint, self.lean().tolist())
        folded = replace(self.region.folded, joint=joint)
        self.joint, self.time = calibrated_region(folded, schedule, recorded.events, record.seconds)

    def search(self, sizes: tuple[Any, ...], around: Around, seconds: float) -> None:
        """Search plans for some sizes of the inputs, and add them to those that are known.

        Parameters
        ----------
        sizes : tuple
        around : Around
            The memory of the step around the region.
        seconds : float
            Processor time of the search.
        """
        assert self.joint is not None
        assert self.time is not None
        graph = replace(self.region.folded.graph, time=self.time)
        joint = self.joint if sizes == self.sizes else resized_joint(self.region, self.joint, self.sizes, sizes)
        found = {mask.tobytes(): mask for mask in self.masks}
        distinct = dict.fromkeys(around.later)
        for size in distinct:
            seen = region_in_step(joint, around.outside, around.released, size)
            for mask in region_masks(graph, seen, seconds / len(distinct), seeds=[*self.masks, self.lean()]):
                if mask.tobytes() not in found and self.region.fits(mask):
                    found[mask.tobytes()] = mask
        self.masks = list(found.values())
        self._sized.clear()

    def sized(self, released: frozenset[int]) -> SizedPlans:
        """The bytes of the plans for any sizes of the inputs.

        Parameters
        ----------
        released : frozenset of int
            Storages of outputs that the code outside frees before the backward pass.
        """
        if released not in self._sized:
            assert self.joint is not None
            assert self.time is not None
            self._sized[released] = SizedPlans(self.region, self.joint, self.time, self.masks, released, self.sizes)
        return self._sized[released]


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


def peak_of(joint: JointGraph, mask: NDArray[np.bool_]) -> int:
    """The simulated peak of a plan, above what is there before the step."""
    return simulate_schedule(make_schedule(joint, mask.tolist())).transient_peak
