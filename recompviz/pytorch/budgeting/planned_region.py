"""A region (a captured graph) and its plans.

Before a training step is recorded, a region has only plans that were simulated without measurements. Afterwards it has
the plans that a search with measurements found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recompviz.core.planning.region_in_step import region_in_step, unmeasured_region
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import Outside
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.budgeting.calibration_cache import call_keys
from recompviz.pytorch.budgeting.operator_figures import calibrated_region
from recompviz.pytorch.budgeting.recorded_step import PassRecord, RecordedPass
from recompviz.pytorch.budgeting.resized_steps import SizedPlans
from recompviz.pytorch.executing.joint_at_sizes import at_sizes, resized_joint
from recompviz.pytorch.executing.region import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.budgeting.calibration_cache import CalibrationCache
    from recompviz.pytorch.tracing.folding import Folded


# The most results of :meth:`PlannedRegion.saved` that are cached.
MOST_CACHED = 512


class Starting(NamedTuple):
    """A plan that was made before a step was recorded, so without measurements.

    Attributes
    ----------
    mask : numpy.ndarray of bool, shape (#V,)
        For each node, whether its value is kept.
    peak : int
        The simulated peak, in bytes above the memory in use before the step.
    saved : int
        The bytes that the forward pass saves for the backward pass.
    """

    mask: NDArray[np.bool_]
    peak: int
    saved: int


class Around(NamedTuple):
    """The memory of a training step around one run of a region (a captured graph).

    Attributes
    ----------
    outside : Outside
        Bytes that code outside the regions holds.
    released : frozenset of int
        Storages of the outputs that the code outside frees before the backward pass.
    later : tuple of int
        Alternatives for the bytes that later regions take between the forward and the backward pass of this run, for
        example the least and the most. One search for plans runs for each of these values.
    """

    outside: Outside
    released: frozenset[int]
    later: tuple[int, ...]


@dataclass(eq=False)
class PlannedRegion:
    """A region (a captured graph) and its plans. A plan is a keep mask: for each node, whether its value is kept.

    In the budget of a planned module, ``joint``, ``time`` and ``masks`` of the traced graph come from the trace, not
    from a recorded step.

    Attributes
    ----------
    region : Region
    joint : JointGraph or None
        The joint graph with measured bytes, workspace and times; None before a step was recorded.
    time : numpy.ndarray or None
        Milliseconds of each node; None before a step was recorded.
    masks : list of numpy.ndarray of bool
        The plans; empty before a step was recorded.
    sizes : tuple
        The dynamic sizes of the inputs for which the bytes of ``joint`` are valid.
    starting : list of Starting
        The plans that were made without measurements, by rising peak and saved bytes; empty before the first run.
    recorded : numpy.ndarray of bool or None
        The plan of the recorded run; None before a step was recorded.
    calibrated : bool
        Whether ``time`` was measured by :func:`recompviz.calibrate`. Otherwise it was measured in the recorded step.
    searched : set of tuple
        The dynamic sizes of the inputs at which a search for a plan of lower peak ran before a step was recorded.
    """

    region: Region
    joint: JointGraph | None = None
    time: NDArray[np.float64] | None = None
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    sizes: tuple[Any, ...] = ()
    starting: list[Starting] = field(default_factory=list)
    recorded: NDArray[np.bool_] | None = None
    calibrated: bool = False
    searched: set[tuple[Any, ...]] = field(default_factory=set)
    _sized: dict[frozenset[int], SizedPlans] = field(default_factory=dict)
    _saved: dict[tuple[bytes, tuple[Any, ...]], int] = field(default_factory=dict)

    def lean(self, sizes: tuple[Any, ...] | None = None, seconds: float = 0.0) -> NDArray[np.bool_]:
        """Return the plan of least simulated peak, found without measurements.

        If several plans have this peak, the plan that saves the fewest bytes is returned.

        Parameters
        ----------
        sizes : tuple, optional
            Plans are simulated for these dynamic sizes of the inputs; by default for the sizes at the capture.
        seconds : float
            Processor time of a search, in seconds. With 0, the result of the last call is returned again, also for
            other ``sizes``. If there was no call yet, the result is the best of the plans that need no search.

        Returns
        -------
        numpy.ndarray of bool, shape (#V,)
            For each node, whether its value is kept.
        """
        if not self.starting or seconds:
            folded = self.region.folded
            joint = unmeasured_region(folded.joint if sizes is None else at_sizes(self.region, folded.joint, sizes))
            masks = [mask for mask in region_masks(folded.graph, joint, seconds) if self.region.fits(mask)]
            schedules = [make_schedule(joint, mask.tolist()) for mask in masks]
            found = [
                Starting(mask, simulate_schedule(schedule).transient_peak, schedule.saved_bytes)
                for mask, schedule in zip(masks, schedules, strict=True)
            ]
            self.starting = sorted(found, key=lambda plan: (plan.peak, plan.saved))
        return self.starting[0].mask

    def first_plan(self, free: int) -> NDArray[np.bool_]:
        """Return the plan for a run in a step of an unknown kind, when no recorded step starts with the same region.

        The values that this run saves stay alive during the later runs, which are unknown. Therefore a plan that saves
        less may be better than the plan of least peak. Half of the free bytes above the least peak are left for the
        later runs and for other code.

        Parameters
        ----------
        free : int
            Bytes of the total that are free when the run starts.

        Returns
        -------
        numpy.ndarray of bool, shape (#V,)
            The plan of least sum of peak and saved bytes among those that fit; the plan of least peak if none fits.
        """
        self.lean()
        least = self.starting[0]
        limit = least.peak + (free - least.peak) // 2
        fitting = [plan for plan in self.starting if plan.peak <= limit]
        return min(fitting, key=lambda plan: plan.peak + plan.saved, default=least).mask

    def held(self, mask: NDArray[np.bool_], sizes: tuple[Any, ...], gradients: bool = False) -> int:
        """Count the bytes of saved values and outputs that a run keeps from its forward to its backward pass.

        Parameters
        ----------
        mask : numpy.ndarray of bool, shape (#V,)
            The plan of the run.
        sizes : tuple
            The dynamic sizes of the run's inputs.
        gradients : bool
            Whether to add the gradients that the backward pass returns.
        """
        joint = at_sizes(self.region, self.joint or self.region.folded.joint, sizes)
        left = [s for s in joint.results if gradients or joint.storages[s].maker < joint.forward_count]
        return sum(joint.sizes[s] for s in {*make_schedule(joint, mask.tolist()).saved, *left})

    def saved(self, mask: NDArray[np.bool_], sizes: tuple[Any, ...]) -> int:
        """Count the bytes of the values that a run saves for its backward pass, without its outputs; cached.

        Parameters
        ----------
        mask : numpy.ndarray of bool, shape (#V,)
            The plan of the run.
        sizes : tuple
            The dynamic sizes of the run's inputs.
        """
        key = mask.tobytes(), sizes
        if key not in self._saved:
            joint = at_sizes(self.region, self.region.folded.joint, sizes)
            saved = make_schedule(joint, mask.tolist()).saved - set(joint.results)
            if len(self._saved) >= MOST_CACHED:
                self._saved.clear()
            self._saved[key] = sum(joint.sizes[s] for s in saved)
        return self._saved[key]

    def calibrate(self, recorded: RecordedPass, record: PassRecord, cache: CalibrationCache) -> None:
        """Set the attributes ``joint``, ``time`` and ``sizes`` from a recorded run of this region.

        In a recorded run, cheap calls take longer than in other steps, because the profiler's own memory lies between
        the blocks that they reuse. If ``cache`` has the times of all calls, for example since the model was shown in an
        Explorer, these times are taken.
        """
        joint = at_sizes(self.region, self.region.folded.joint, record.sizes)
        self.sizes = record.sizes
        self.recorded = self.region.keep_all if record.mask is None else record.mask
        schedule = make_schedule(joint, self.recorded.tolist())
        folded = replace(self.region.folded, joint=joint)
        known = _cached_seconds(folded, cache)
        self.calibrated = known is not None
        self.joint, self.time = calibrated_region(folded, schedule, recorded.events, record.seconds, known)

    def search(self, sizes: tuple[Any, ...], around: Around, seconds: float) -> None:
        """Search for plans at given sizes of the inputs, and add them to ``masks``. Call :meth:`calibrate` before.

        The plan of the recorded run is added, too.

        Parameters
        ----------
        sizes : tuple
            The dynamic sizes of the inputs.
        around : Around
            The memory of the step around the region.
        seconds : float
            Processor time of the search, in seconds.
        """
        assert self.joint is not None
        assert self.time is not None
        graph = replace(self.region.folded.graph, time=self.time)
        joint = self.joint if sizes == self.sizes else resized_joint(self.region, self.joint, self.sizes, sizes)
        found = {mask.tobytes(): mask for mask in self.masks}
        distinct = dict.fromkeys(around.later)
        for size in distinct:
            seen = region_in_step(joint, around.outside, around.released, size)
            masks = region_masks(graph, seen, seconds / len(distinct), seeds=[*self.masks, self.lean()])
            for mask in (*masks, self.lean() if self.recorded is None else self.recorded):
                if mask.tobytes() not in found and self.region.fits(mask):
                    found[mask.tobytes()] = mask
        self.masks = list(found.values())
        self._sized.clear()

    def sized(self, released: frozenset[int]) -> SizedPlans:
        """Return the bytes of the plans as a function of the input sizes; cached. Call :meth:`calibrate` before.

        Parameters
        ----------
        released : frozenset of int
            Storages of the outputs that the code outside frees before the backward pass.
        """
        if released not in self._sized:
            assert self.joint is not None
            assert self.time is not None
            self._sized[released] = SizedPlans(self.region, self.joint, self.time, self.masks, released, self.sizes)
        return self._sized[released]


def _cached_seconds(folded: Folded, cache: CalibrationCache) -> list[float] | None:
    """The seconds of each call in the cache, 0 for the arrival of gradients; None if one is missing."""
    calls = folded.joint.calls
    keys = call_keys(calls, folded.call_node)
    found = cache.find(list(keys.values()), [len(calls[c].makes) for c in keys])
    if found is None:
        return None
    figures = dict(zip(keys, found, strict=True))
    return [figures[c].seconds if c in figures else 0.0 for c in range(len(calls))]


def peak_of(joint: JointGraph, mask: NDArray[np.bool_]) -> int:
    """Return the simulated peak of a plan, in bytes above the memory in use before the step.

    ``mask`` says for each node of the graph whether its value is kept.
    """
    return simulate_schedule(make_schedule(joint, mask.tolist())).transient_peak
