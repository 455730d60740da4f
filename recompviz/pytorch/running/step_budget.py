"""One memory budget for a training loop whose model was compiled into one or more regions.

The first steps run the leanest plans that are known. One of them is recorded: it shows in which order the regions run,
what the code between them holds, and what each operator takes. Then every region is planned, the plans are combined,
and each later step takes the point of least recomputation that fits into the memory that is free when it starts:
the total without parameters, buffers, inputs, gradients that have accumulated, and the optimiser's state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.steps.joint import Category
from recompviz.pytorch.running.region import Region, Run
from recompviz.pytorch.running.resident_memory import ResidentMemory
from recompviz.pytorch.running.resized_steps import growth, rounded_up
from recompviz.pytorch.running.step_model import PlannedRegion, PlannedStep, StepModel, enlarged, model_of_step, peak_of
from recompviz.pytorch.running.step_recorder import StepRecorder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Steps before the recorded one: while Dynamo compiles, memory is not that of a step.
UNRECORDED_STEPS = 1
# A step whose recording failed this often is run by the leanest plan.
MOST_FAILED_RECORDINGS = 3
# Processor time for the search of one region's plans, seconds.
SEARCH_SECONDS = 20.0


class StepBudget:
    """Chooses the plan of each region at each step.

    Parameters
    ----------
    total : int, str or None
        Total bytes, or a string such as ``"10 GiB"``. None keeps every value.
    optimizer : torch.optim.Optimizer, optional
        Its state counts from the start. If not given, the optimiser is found when it first steps a parameter
        of a region.
    optimizer_bytes : int
        Bytes of the optimiser's state, if known.
    strict : bool
        Whether a step that does not fit raises an error; otherwise it runs under the leanest plan.

    Raises
    ------
    ValueError
        If ``total`` is not a size.
    """

    def __init__(
        self,
        total: int | float | str | None,
        optimizer: torch.optim.Optimizer | None = None,
        optimizer_bytes: int = 0,
        strict: bool = True,
    ) -> None:
        self.total = None if total is None else parse_bytes(total)
        self.strict = strict
        self.memory = ResidentMemory(optimizer, optimizer_bytes)
        self.regions: dict[Region, PlannedRegion] = {}
        # by the region that a step starts with
        self.models: dict[Region, StepModel] = {}
        self._warm_ups: Counter[Region] = Counter()
        self._failed: Counter[Region] = Counter()
        self._runs: list[Run] = []
        self._order: list[Region] = []
        self._model: StepModel | None = None
        self._point: int | None = None
        # by the first region and the factor: the recorded step, and its plans for larger sizes
        self._larger: dict[tuple[Region, float], tuple[StepModel, StepModel]] = {}
        self._relative: defaultdict[Region, float] = defaultdict(lambda: 1.0)  # growth of other regions over the first
        self._first_growth = 1.0
        self._next = 0  # position in the model of the region that is expected next
        self._unknown = False  # whether the step ran a region that is not in its model
        self._room = 0
        self._recording: StepRecorder | None = None

    # ---------------------------------------------------------------- called by the regions

    def add(self, region: Region) -> None:
        """Note a region that was just captured."""
        self.regions[region] = PlannedRegion(region)

    def remove(self, region: Region) -> None:
        """Forget a region that could not be compiled."""
        self.regions.pop(region, None)
        self.memory.forget(region)

    def note_model(self, model: nn.Module) -> None:
        """Remember the parameters and buffers of a model; code outside the regions may use some of them."""
        self.memory.note_model(model)

    def note_inputs(self, values: list[Any]) -> None:
        """Remember the tensors that the model is called with; code outside the regions may read them."""
        self.memory.note_inputs(values)

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """The keep mask of a forward pass that starts now."""
        if self.total is None:
            return None
        region = run.region
        self.memory.note_run(run)
        self._runs = [other for other in self._runs if not other.freed]
        if not self._runs:
            self._start_step(run)
        self._order.append(region)
        self._runs.append(run)
        if self._recording is not None:
            self._recording.begin(run)
            return self.regions[region].lean()
        model = self._model
        if model is None or self._point is None:
            return self.regions[region].lean()
        # a step may leave regions out: layers that are dropped, an early exit
        position = next((i for i in range(self._next, len(model.regions)) if model.regions[i] is region), None)
        if position is None:
            self._unknown = True
            return self.regions[region].lean()
        self._next = position + 1
        if model.sizes:
            larger = growth(region, run.sizes, model.sizes[position])
            if larger > model.factor:
                self._relative[model.regions[0]] = max(self._relative[model.regions[0]], larger / self._first_growth)
                return self.regions[region].lean()
        return model.masks[position][model.plans.choices[self._point][position]]

    # ---------------------------------------------------------------- steps

    def _start_step(self, run: Run) -> None:
        """Finish the step before, and decide how this one runs."""
        if self._recording is not None:
            self._finish_recording()
        if self._model is not None and self._unknown:
            self.models.pop(self._model.regions[0], None)  # the step runs other regions now
        self._order, self._point, self._next, self._unknown = [], None, 0, False
        first = run.region
        self._model = self.models.get(first)
        if self._model is None:
            self._check_least(run)
            if self._warm_ups[first] >= UNRECORDED_STEPS and self._failed[first] < MOST_FAILED_RECORDINGS:
                self._recording = StepRecorder.start(first.device)
            self._warm_ups[first] += 1
            return
        if self._model.sizes:
            self._first_growth = growth(first, run.sizes, self._model.sizes[0])
            self._model = self._resized(self._model, rounded_up(self._first_growth))
        self._room = self.room(run)
        self._point = self._model.plans.fitting(self._room)
        if self._point is not None and self._relative[first] > 1.0:
            # later regions have grown more than the first one in an earlier step; this step may be smaller
            self._model = self._resized(self.models[first], rounded_up(self._first_growth * self._relative[first]))
            self._point = self._model.plans.fitting(self._room)
            if self._point is None:
                self._point = len(self._model.plans.peak) - 1
        if self._point is None and not self.strict:
            self._point = len(self._model.plans.peak) - 1
        if self._point is None:
            self._refuse(self._model.plans.least - self._room, run)

    def _resized(self, model: StepModel, factor: float) -> StepModel:
        """The plans of a recorded step for larger inputs."""
        key = model.regions[0], factor
        if factor == 1.0:
            return model
        if key not in self._larger or self._larger[key][0] is not model:
            self._larger[key] = model, enlarged(model, self.regions, factor)
        return self._larger[key][1]

    def room(self, run: Run) -> int:
        """Bytes of the total that are free when a step starts."""
        assert self.total is not None
        return self.total - sum(self.resident(run).values())

    def resident(self, run: Run) -> dict[Category, int]:
        """Bytes in use before the step, by category."""
        return self.memory.count(run, self._model.outside_gradients if self._model is not None else 0)

    def _refuse(self, missing: int, run: Run) -> None:
        assert self.total is not None
        least = self.total + missing
        error = InfeasibleBudget(self.total, least, "total")
        resident = {category: size for category, size in self.resident(run).items() if size}
        there = ", ".join(f"{category.label} {format_bytes(size)}" for category, size in resident.items())
        error.add_note(f"Before the step there are: {there}.")
        raise error

    # ---------------------------------------------------------------- before anything was recorded

    def _check_least(self, run: Run) -> None:
        """Refuse before anything is allocated, if not even the leanest plan of the first region fits."""
        room, known = self.room(run), self.regions[run.region]
        peak = peak_of(run.region.folded.joint, known.lean())
        if self.strict and peak > room and not known.searched:
            known.searched = True
            peak = peak_of(run.region.folded.joint, known.lean(SEARCH_SECONDS))
        if peak > room and self.strict:
            self._refuse(peak - room, run)

    # ---------------------------------------------------------------- recording

    def _finish_recording(self) -> None:
        recording, self._recording = self._recording, None
        assert recording is not None
        passes = recording.finish()
        if len(passes) != len(self._order) or not all(recorded.ran_backward for recorded in passes):
            self._failed[self._order[0]] += 1
            return
        ran = [self.regions[region] for region in self._order]
        self.models[self._order[0]] = model_of_step(
            ran, passes, recording.runs, self.memory.outside_gradients, SEARCH_SECONDS
        )

    # ---------------------------------------------------------------- display

    @property
    def planned(self) -> PlannedStep | None:
        """The plan of the step that runs, or ran last; None before a step was recorded."""
        if self.total is None or self._model is None or self._point is None:
            return None
        return PlannedStep(self._model, self._point, self.total - self._room)

    @property
    def room_left(self) -> int:
        """Bytes of the total that were free when the last step started."""
        return self._room

    @property
    def failed_recordings(self) -> int:
        """How many recorded steps were dropped, because a region's backward pass did not run in them."""
        return sum(self._failed.values())

    @property
    def range_of_totals(self) -> tuple[int, int]:
        """The least total of the steps that were recorded, and the total that keeps every value.

        Both hold for what was there before the last step.

        Raises
        ------
        ValueError
            If no step was recorded yet.
        """
        if not self.models or self.total is None:
            raise ValueError("no step was recorded yet; train for three steps under a total")
        there = self.total - self._room
        fronts = [model.plans for model in self.models.values()]
        return there + max(front.least for front in fronts), there + max(front.peak[0] for front in fronts)

    @property
    def text(self) -> str:
        """The total, the number of regions, and the planned peak and overhead of the current step."""
        if self.total is None:
            return "no total: every value is kept"
        if self._model is None:
            return f"total {format_bytes(self.total)}: {len(self.regions)} regions, not planned yet"
        model = self._model
        lines = [f"total {format_bytes(self.total)}: {len(model.regions)} regions a step"]
        if self._point is not None:
            peak = model.plans.peak[self._point]
            share = model.plans.overhead[self._point] / model.keep_all if model.keep_all else 0.0
            lines.append(
                f"planned peak {format_bytes(peak)} in addition to the memory in use before the step; "
                f"recomputation adds {share:.1%} of the forward time"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"StepBudget({self.text})"
