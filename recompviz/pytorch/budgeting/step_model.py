"""The model of a training step: the plans of its regions (captured graphs), combined into one Pareto front.

A point of the front is a pair (recomputation cost, peak). The *size of a step* is relative to the *calibrated step*,
the recorded step from which the bytes of the regions were measured; see :func:`growth_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.planning.step_plans import Outside, RegionPlans, StepPlans, same_choices, step_plans
from recompviz.pytorch.budgeting.calibration_cache import CalibrationCache
from recompviz.pytorch.budgeting.merged_steps import merged_outside, merged_positions
from recompviz.pytorch.budgeting.planned_region import Around, PlannedRegion
from recompviz.pytorch.budgeting.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.budgeting.resized_steps import SizedPlans, outside_at
from recompviz.pytorch.executing.region import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.internals.captures import Callers


@dataclass(frozen=True, eq=False)
class StepModel:
    """The recorded memory of a training step, and the plans of its runs of regions (captured graphs); frozen.

    The *calibrated step* is the recorded step from which the bytes of the regions were measured.

    Attributes
    ----------
    regions : tuple of Region
        The region of each run, in the order of the forward passes. A region may run several times.
    passes : tuple of RecordedPass
        The recorded memory of each run.
    plans : StepPlans
        The Pareto front of the step at ``sizes``. A choice is one plan for each run.
    masks : tuple of list of numpy.ndarray of bool
        The plans of each run: for each node, whether its value is kept. ``plans.choices`` has indices into these lists.
    keep_all : float
        Milliseconds of all forward passes, without recomputation.
    options : tuple of RegionPlans
        Bytes and overhead of the plans of each run, at ``sizes``.
    outside_gradients : int
        Bytes of the gradients outside the regions that existed before the recorded step.
    callers : tuple of Callers
        The functions that called each run.
    sized : tuple of SizedPlans
        The bytes of the plans of each run as a function of its input sizes.
    recorded : tuple of (float, tuple of Outside)
        Pairs (size, bytes that code outside held around each run) for each recorded size of the step, by rising size.
        A size is relative to the calibrated step.
    sizes : tuple of tuple
        The dynamic sizes of the inputs of each run. ``plans``, ``options`` and ``outside`` are valid for these sizes.
    outside : tuple of Outside
        The bytes that code outside holds around each run, at ``sizes``.
    optional : bool
        Whether a step may leave out some of the runs.
    searched : tuple of float
        The sizes of the steps at which a search for plans ran, relative to the calibrated step.
    freed_outputs : int
        Bytes of the outputs of earlier steps that existed when a step started and were freed before its first backward
        pass. The plans count them in the forward passes only.
    freed_gradients : int
        Bytes of the gradients of the previous step that existed when a step started and were freed before its first
        backward pass. The plans count them in the forward passes only.
    older_inputs : int
        Bytes of tensors that existed before the calibrated step and count nowhere else: inputs of later runs, and
        tensors that the user did not name.
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
    freed_outputs: int = 0
    freed_gradients: int = 0
    older_inputs: int = 0

    @property
    def step_time(self) -> float:
        """Milliseconds of the forward and backward passes of all runs, without recomputation; 0 if not known."""
        return sum(one.step_time for one in self.sized)

    @property
    def symbolic(self) -> bool:
        """Whether the bytes of at least one region depend on dynamic sizes of its inputs."""
        return any(sized.symbolic for sized in self.sized)

    def outside_at(self, growth: float) -> tuple[Outside, ...]:
        """Estimate the bytes that code outside the regions holds around each run, in a step of another size.

        Parameters
        ----------
        growth : float
            The size of the step, relative to the step from which the bytes of the regions were measured.
        """
        by_run = zip(*(held for _, held in self.recorded), strict=True)
        relative = [size for size, _ in self.recorded]
        return tuple(outside_at(list(zip(relative, held, strict=True)), growth) for held in by_run)


@dataclass(frozen=True, eq=False)
class PlannedStep:
    """The plans with which one training step runs; frozen.

    Attributes
    ----------
    model : StepModel
    point : int
        The index in ``model.plans`` of the chosen point.
    resident : int
        Bytes in use before the step.
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
    freed_outputs: int = 0,
    freed_gradients: int = 0,
    forwards: int = 0,
    older_inputs: int = 0,
) -> StepModel:
    """Find plans for the regions (captured graphs) of a recorded training step, and combine these plans.

    Parameters
    ----------
    regions : sequence of PlannedRegion
        The region of each run, in the order of the forward passes. A region without measured bytes is calibrated.
    passes : sequence of RecordedPass
        The recorded memory of each run.
    records : sequence of PassRecord
        The data that each run reported.
    outside_gradients : int
        Bytes of the gradients outside the regions that existed before the step.
    seconds : float
        Processor time for the search of one region's plans, in seconds.
    freed_outputs : int
        Bytes of the outputs of earlier steps that were freed before the first backward pass.
    freed_gradients : int
        Bytes of the gradients of the previous step that were freed before the first backward pass.
    forwards : int
        The number of runs that started before the first backward pass.
    older_inputs : int
        Bytes of tensors that existed before the step and count nowhere else: inputs of later runs, and tensors that the
        user did not name.

    Returns
    -------
    StepModel
    """
    outside = tuple(recorded.outside for recorded in passes)
    early = freed_outputs + freed_gradients
    outside = tuple(
        replace(
            held,
            forward=held.forward + (early if i < forwards else 0),
            # the gradients may be there until the first backward pass starts
            after_forward=held.after_forward
            + (early if i + 1 < forwards else freed_gradients if i + 1 == forwards else 0),
        )
        for i, held in enumerate(outside)
    )
    sizes = tuple(record.sizes for record in records)
    new = []
    devices = {known.region.device for known in regions if known.joint is None}
    caches = {device: CalibrationCache(device) for device in devices}
    for known, recorded, record in zip(reversed(regions), reversed(passes), reversed(records), strict=True):
        if known.joint is None:
            known.calibrate(recorded, record, caches[known.region.device])
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
        freed_outputs=freed_outputs,
        freed_gradients=freed_gradients,
        older_inputs=older_inputs,
    )
    return resized(model, sizes, exact=True)


def model_of_region(known: PlannedRegion) -> StepModel:
    """Return the model of a step that consists of one run of a region (a captured graph).

    The sizes of the inputs are fixed, and the loss is inside the region.

    Parameters
    ----------
    known : PlannedRegion
        The region, with measured bytes and times, and with its plans.
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
    """Search for plans at other sizes of the inputs, and return the model with these plans added.

    At other sizes, other values may be alive at the peak, so other plans may be best. The result still describes the
    step at the sizes of ``model``; :func:`resized` gives it at other sizes.

    Parameters
    ----------
    model : StepModel
    regions : mapping of Region to PlannedRegion
        The new plans are added to these objects.
    sizes : tuple of tuple
        The dynamic sizes of the inputs of each run.
    seconds : float
        Processor time for the search of one region's plans, in seconds.

    Returns
    -------
    StepModel
        The same step with more plans.
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
    """Search for plans of the regions ``wanted``, from the last run of the step to the first.

    A region that runs several times is searched for its last and its first run: while later runs use memory, plans that
    save less are better.
    """
    firsts = {region: i for i, region in reversed(list(enumerate(regions)))}
    searched = set[PlannedRegion]()
    least, most = 0, 0  # bytes that later regions take, by their leanest plans and by plans that keep every value
    for i in reversed(range(len(regions))):
        known = regions[i]
        if known in wanted and (known not in searched or firsts[known] == i):
            searched.add(known)
            known.search(sizes[i], Around(outside[i], released[i], (least, most)), seconds)
        options = known.sized(released[i]).at(sizes[i])
        least, most = int(options.peaks(outside[i], least).min()), int(options.peaks(outside[i], most)[0])


def growth_of(sized: Sequence[SizedPlans], sizes: Sequence[tuple[Any, ...]]) -> float:
    """Return the largest factor by which the bytes of a storage grow from the recorded step to another step.

    Only storages whose bytes depend on the shapes of the inputs count. The factor is 1.0 if there are none.

    Parameters
    ----------
    sized : sequence of SizedPlans
        The plans of each region. Their bytes were measured in the recorded step.
    sizes : sequence of tuple
        For each region, the sizes of its inputs in the other step.
    """
    return max((one.growth(of_run) for one, of_run in zip(sized, sizes, strict=True) if one.symbolic), default=1.0)


def with_size(model: StepModel, other: StepModel) -> StepModel:
    """Return a copy of ``model`` that also knows the recorded step of ``other``. Both have the same runs of regions.

    The copy also stores how many bytes code outside the regions held around each run of that step (``recorded``). If
    ``model`` already has a step of this size, each of these numbers is the larger of the two. Of the bytes that were
    freed before the first backward pass, the smaller number is stored.

    Parameters
    ----------
    model : StepModel
    other : StepModel
        The model of one recorded step.
    """
    ((size, held),) = other.recorded
    known = dict(model.recorded)
    if size in known:
        held = tuple(larger(a, b) for a, b in zip(known[size], held, strict=True))
    recorded = tuple(sorted({**known, size: held}.items(), key=lambda item: item[0]))
    both = replace(
        model,
        recorded=recorded,
        freed_outputs=min(model.freed_outputs, other.freed_outputs),
        freed_gradients=min(model.freed_gradients, other.freed_gradients),
        older_inputs=max(model.older_inputs, int(other.older_inputs / max(size, 1.0))),
    )
    return resized(both, model.sizes, exact=True)


def larger(one: Outside, other: Outside) -> Outside:
    """Return the larger of two values for each attribute of :class:`Outside`."""
    return Outside(
        max(one.forward, other.forward), max(one.after_forward, other.after_forward),
        max(one.backward, other.backward), max(one.after_backward, other.after_backward),
    )  # fmt: skip


def merged(model: StepModel, other: StepModel) -> tuple[StepModel, tuple[list[int], list[int]]]:
    """Merge a model with the model of a recorded step whose runs differ. The merged model has the runs of both.

    Parameters
    ----------
    model : StepModel
    other : StepModel
        The model of one recorded step.

    Returns
    -------
    (StepModel, (list of int, list of int))
        The merged model; then the positions in it of the runs of ``model``, and of the runs of ``other``.
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
        freed_outputs=min(model.freed_outputs, other.freed_outputs),
        freed_gradients=min(model.freed_gradients, other.freed_gradients),
        older_inputs=max(model.older_inputs, other.older_inputs),
    )
    both = resized(both, [source.sizes[j] for source, j in where], exact=True)
    return both, (first, second)


def resized(model: StepModel, sizes: Sequence[tuple[Any, ...]], exact: bool = False) -> StepModel:
    """Return a model with its plans at other sizes of the inputs.

    Parameters
    ----------
    model : StepModel
    sizes : sequence of tuple
        The dynamic sizes of the inputs of each run.
    exact : bool
        Whether to combine the plans of the regions anew. If False, only the combinations on the front of ``model`` are
        considered. This is much faster if a step has several regions, but may miss the best combination.

    Returns
    -------
    StepModel
    """
    options = tuple(one.at(of_run) for one, of_run in zip(model.sized, sizes, strict=True))
    outside = model.outside_at(growth_of(model.sized, sizes))
    front = step_plans(options, outside) if exact or len(options) == 1 else same_choices(model.plans, options, outside)
    return replace(model, plans=front, options=options, sizes=tuple(sizes), outside=outside)
