"""The plans of one recorded step: plans of its regions, combined into a Pareto front of recomputation and peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_in_step import region_in_step
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import RegionPlans, StepPlans, step_plans
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.running.operator_figures import calibrated_region
from recompviz.pytorch.running.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.running.region import Region
from recompviz.pytorch.running.resized_steps import at_sizes, grown, grown_outside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.internals.dynamo import Caller


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
    leanest : keep mask or None
        The plan of least simulated peak that was found before anything was measured.
    searched : bool
        Whether a search looked for a leaner plan before anything was measured.
    """

    region: Region
    joint: JointGraph | None = None
    time: NDArray[np.float64] | None = None
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    leanest: NDArray[np.bool_] | None = None
    searched: bool = False

    def lean(self, seconds: float = 0.0) -> NDArray[np.bool_]:
        """The plan of least simulated peak, found before anything was measured.

        Parameters
        ----------
        seconds : float
            Processor time of a search. 0 takes the leanest of the plans that need no search.
        """
        if self.leanest is None or seconds:
            folded = self.region.folded
            masks = region_masks(folded.graph, folded.joint, seconds)
            peaks = [peak_of(folded.joint, mask) for mask in masks]
            order = np.argsort(peaks, kind="stable").tolist()
            self.leanest = next(masks[i] for i in order if self.region.fits(masks[i]))
        return self.leanest

    def search(self, recorded: RecordedPass, record: PassRecord, later: Sequence[int], seconds: float) -> None:
        """Calibrate the region with a recorded run, and search its plans.

        Parameters
        ----------
        recorded : RecordedPass
        record : PassRecord
        later : sequence of int
            Bytes that later regions may take between the passes of this one. Plans are searched for each.
        seconds : float
            Processor time of the search.
        """
        if self.joint is not None:
            return
        folded = replace(self.region.folded, joint=at_sizes(self.region, self.region.folded.joint, record.sizes))
        schedule = make_schedule(folded.joint, self.lean().tolist())
        self.joint, self.time = calibrated_region(folded, schedule, recorded.events, record.seconds)
        graph = replace(folded.graph, time=self.time)
        found: dict[bytes, NDArray[np.bool_]] = {}
        for size in dict.fromkeys(later):
            seen = region_in_step(self.joint, recorded.outside, recorded.released, size)
            found |= {mask.tobytes(): mask for mask in region_masks(graph, seen, seconds / len(later))}
        self.masks = [mask for mask in found.values() if self.region.fits(mask)]


@dataclass(frozen=True, eq=False)
class StepModel:
    """What a recorded step showed, and the plans that follow from it.

    Attributes
    ----------
    regions : tuple of Region
        In the order of their forward passes; one region may run several times.
    passes : tuple of RecordedPass
    plans : StepPlans
    masks : tuple of list of keep mask
        For each run, the rows of its plans.
    keep_all : float
        Milliseconds of the forward passes that keep every value.
    options : tuple of RegionPlans
        For each run, the bytes and times of its plans.
    outside_gradients : int
        Bytes of the gradients, outside the regions, that had accumulated before the recorded step.
    sizes : tuple of tuple
        The sizes of each run's inputs in the recorded step, where they are symbolic.
    factor : float
        How much larger the storages of symbolic size may be than in the recorded step.
    callers : tuple of tuple of Caller
        The user's functions that called each run.
    """

    regions: tuple[Region, ...]
    passes: tuple[RecordedPass, ...]
    plans: StepPlans
    masks: tuple[list[NDArray[np.bool_]], ...]
    keep_all: float
    options: tuple[RegionPlans, ...] = ()
    outside_gradients: int = 0
    sizes: tuple[tuple[Any, ...], ...] = ()
    factor: float = 1.0
    callers: tuple[tuple[Caller, ...], ...] = ()


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
    options: list[RegionPlans] = []
    least, most = 0, 0  # bytes that later regions take, by their leanest plans and by plans that keep every value
    for known, recorded, record in zip(reversed(regions), reversed(passes), reversed(records), strict=True):
        known.search(recorded, record, (least, most), seconds)
        options.insert(0, _options(known, recorded))
        least = int(options[0].peaks(recorded.outside, least).min())
        most = int(options[0].peaks(recorded.outside, most)[0])
    front = step_plans(options, [recorded.outside for recorded in passes])
    symbolic = any(known.region.folded.symbolic_sizes for known in regions)
    return StepModel(
        tuple(known.region for known in regions),
        tuple(passes),
        front,
        tuple(known.masks for known in regions),
        float(sum(known.time.sum() for known in regions if known.time is not None)),
        tuple(options),
        outside_gradients,
        tuple(record.sizes for record in records) if symbolic else (),
        callers=tuple(record.callers for record in records),
    )


def enlarged(model: StepModel, regions: Mapping[Region, PlannedRegion], factor: float) -> StepModel:
    """The plans of a recorded step for larger inputs.

    Parameters
    ----------
    model : StepModel
    regions : mapping of Region to PlannedRegion
    factor : float
        How much larger storages of symbolic size may be.
    """
    if factor == 1.0:
        return model
    options = [
        _options(regions[region], recorded, factor)
        for region, recorded in zip(model.regions, model.passes, strict=True)
    ]
    front = step_plans(options, [grown_outside(recorded.outside, factor) for recorded in model.passes])
    return replace(model, plans=front, options=tuple(options), factor=factor)


def _options(known: PlannedRegion, recorded: RecordedPass, factor: float = 1.0) -> RegionPlans:
    assert known.joint is not None
    assert known.time is not None
    joint = grown(known.region, known.joint, factor)
    return plan_options(known.region, joint, known.time, known.masks, recorded.released)


def plan_options(
    region: Region,
    joint: JointGraph,
    times: NDArray[np.float64],
    masks: list[NDArray[np.bool_]],
    released: frozenset[int],
) -> RegionPlans:
    """The peaks of a region's plans, without the outputs that code outside holds.

    Parameters
    ----------
    region : Region
    joint : JointGraph
        The region's, with the sizes to plan for.
    times : numpy.ndarray
        Milliseconds of each node.
    masks : list of keep mask
    released : frozenset of int
        Storages of outputs that the code outside frees before the backward pass.
    """
    graph = replace(region.folded.graph, time=times)
    model = LiveModel(graph, joint)
    forward, sizes = joint.forward_count, joint.allocated
    outputs = {
        s for s in joint.results if joint.storages[s].maker >= 0 and not joint.calls[joint.storages[s].maker].backward
    }
    output_bytes = int(sum(sizes[s] for s in outputs))
    rows = []
    for mask in masks:
        run = model.simulate(np.ascontiguousarray(mask))
        profile = run.step_peaks
        schedule = make_schedule(joint, mask.tolist())
        saved = set(schedule.saved)
        kept_outputs = int(sum(sizes[s] for s in saved & outputs & released))
        states = sum(joint.calls[c].random for c in schedule.recomputed) * joint.rounded(joint.rng_bytes)
        held = int(sum(sizes[s] for s in saved - outputs)) + kept_outputs + states
        rows.append(
            (
                run.overhead,
                int(profile[:forward].max(initial=0)),
                held,
                int(profile[forward:].max(initial=0)) - output_bytes + kept_outputs,
            )
        )
    columns = list(zip(*rows, strict=True))
    return RegionPlans(np.array(columns[0], np.float64), *(np.array(column, np.int64) for column in columns[1:]))


def peak_of(joint: JointGraph, mask: NDArray[np.bool_]) -> int:
    """The simulated peak of a plan, above what is there before the step."""
    return simulate_schedule(make_schedule(joint, mask.tolist())).transient_peak
