"""A region and its plans: before a step is recorded the leanest one, afterwards those that a search finds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recompviz.core.planning.region_in_step import region_in_step, unmeasured_region
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import Outside
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.running.operator_figures import calibrated_region
from recompviz.pytorch.running.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.running.region import Region
from recompviz.pytorch.running.resized_steps import SizedPlans, at_sizes, resized_joint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph


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


def peak_of(joint: JointGraph, mask: NDArray[np.bool_]) -> int:
    """The simulated peak of a plan, above what is there before the step."""
    return simulate_schedule(make_schedule(joint, mask.tolist())).transient_peak
