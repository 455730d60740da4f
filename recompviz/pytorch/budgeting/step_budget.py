"""Keep a training loop within one total of memory; its model was compiled into regions (captured graphs).

The first training steps run under plans of least peak. One of them is recorded. The record shows the order of the
regions, the bytes that code between the regions holds, and the time of each operator. Then plans are searched for each
region, and combined into plans of the whole step. When a later step starts, the free memory is the total minus
parameters, buffers, inputs, accumulated gradients and optimizer state. The step runs the combination that fits into
this memory and recomputes least.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes, parse_total
from recompviz.core.planning.region_in_step import expected_region, unmeasured_region
from recompviz.core.reports.training_step_text import added_time
from recompviz.core.steps.joint import Category
from recompviz.pytorch.budgeting.live_graphs import LiveGraphs
from recompviz.pytorch.budgeting.old_gradients import OldGradients
from recompviz.pytorch.budgeting.optional_regions import OptionalRegions
from recompviz.pytorch.budgeting.other_models import OtherModels, saved_by_all
from recompviz.pytorch.budgeting.plan_chooser import PlanChooser
from recompviz.pytorch.budgeting.planned_region import PlannedRegion, peak_of
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import RecordingAttempts, UnplannedStep
from recompviz.pytorch.budgeting.resident_memory import ResidentMemory
from recompviz.pytorch.budgeting.step_model import PlannedStep, StepModel, growth_of, model_of_step
from recompviz.pytorch.budgeting.step_recorder import BUSY, DROPPED, IN_BACKWARD, IN_THREAD, Flaw, StepRecorder
from recompviz.pytorch.executing.joint_at_sizes import at_sizes
from recompviz.pytorch.executing.region import Region, Run
from recompviz.pytorch.internals.autograd import backward_runs
from recompviz.pytorch.internals.ddp_buckets import bucket_bytes
from recompviz.pytorch.internals.memory_window import closes_wait, step_is_recorded
from recompviz.pytorch.internals.user_lines import warn_user

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph

# Before a step is refused, there must have been a search for plans at a size that differs by at most this factor.
REFUSED_RANGE = 1.25


class StepBudget:
    """Chooses the plan of each region (a captured graph), to keep the training steps within a total.

    Parameters
    ----------
    total : int, float, str or None
        The memory limit of a training step in bytes, or a string such as ``"10 GiB"``. None keeps every value.
    optimizer : torch.optim.Optimizer, optional
        Its state counts from the first step on. If left out, the optimizer is found when it first steps a parameter of
        a region.
    optimizer_bytes : int
        Bytes that the optimizer's state will have; 0 if they are not known.
    strict : bool
        Whether a step that does not fit raises an error. If False, it runs under the plans of least peak.
    holds : tensor, module, optimizer or function, or nested containers of these, optional
        What the caller keeps in memory beside the compiled model; see :func:`recompviz.compile`.

    Attributes
    ----------
    total : int or None
        The total in bytes.
    memory : ResidentMemory
        Counts the bytes in use before a step.
    regions : dict of Region to PlannedRegion
        The captured regions, each with its plans.
    graphs : LiveGraphs
        The runs of regions whose autograd graphs exist.
    others : OtherModels
        Tells this budget about other compiled models.
    recording : StepRecorder or None
        Records the current step; None if the step is not being recorded.
    models : RecordedModels
        The models of the recorded steps, by the first region of the step.
    attempts : RecordingAttempts
        Decides which steps are recorded.
    runs : int
        The number of runs of regions.
    steps : int
        The number of training steps that started; 0 without a total.

    Raises
    ------
    TypeError
        If ``total`` is neither a number nor a string, or ``holds`` has an object of another kind.
    ValueError
        If ``total`` is not a size of at least 1 byte.
    """

    def __init__(
        self,
        total: int | float | str | None,
        optimizer: torch.optim.Optimizer | None = None,
        optimizer_bytes: int = 0,
        strict: bool = True,
        holds: Any = None,
    ) -> None:
        self.total = None if total is None else parse_total(total)
        self.strict = strict
        self.memory = ResidentMemory(optimizer, optimizer_bytes, holds)
        self.regions: dict[Region, PlannedRegion] = {}
        self.graphs = LiveGraphs(self.regions)
        self.others = OtherModels(self)
        self._old_gradients = OldGradients(self.memory)
        self.recording: StepRecorder | None = None
        self.runs = self.steps = 0
        self.models = RecordedModels(self.regions)
        self.attempts = RecordingAttempts()
        self._order: list[Region] = []
        self._step: PlanChooser | None = None
        self._optional = OptionalRegions(self.memory)
        self._reserves: dict[StepModel, tuple[int, int]] = {}  # the number of regions that were known, and the bytes
        self._room = 0
        self._free = 0  # bytes for the next run of a step that is not planned
        self._resident_before = 0  # the memory in use before the recorded step
        self._buckets = self._buckets_before = 0  # what of it are buckets of DistributedDataParallel, counted apart
        self._recorded_number = 0
        self._recorded_planned = self._recorded_inside = False
        self._warned_over = False
        # graphs without a backward pass: those that were checked, and those that ran in a recorded step
        self._inferred: weakref.WeakSet[Region] = weakref.WeakSet()
        self._recorded_inferences: weakref.WeakSet[Region] = weakref.WeakSet()
        self._aside = 0  # the most bytes that the others take while graphs of a step exist
        self._limit = self.total or 0

    # ---------------------------------------------------------------- called by the regions

    def add(self, region: Region) -> None:
        """Register a region that was just captured."""
        self.regions[region] = PlannedRegion(region)

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again, and the recorded steps that ran it."""
        self.memory.forget(region)
        if region not in self.regions:
            return
        del self.regions[region]
        self.models.forget(region)
        self._reserves.clear()
        self._optional.forget(region)
        self.attempts.forget(region)
        self._old_gradients.forget(region)
        self._order = [other for other in self._order if other is not region]
        if self._step is not None and region in self._step.model.regions:
            self._step = None

    def note_model(self, model: nn.Module) -> None:
        """From now on, count the parameters and buffers of a model as in use, because eager code may use them."""
        self.memory.note_model(model)

    def note_inputs(self, values: list[Any]) -> None:
        """From now on, count the tensors with which the model is called as in use, because eager code may read them.

        They replace the tensors of the previous call.
        """
        self.memory.note_inputs(values)

    def warn_of_mode(self, flaw: Flaw) -> None:
        """If there is a total, warn that the model is called where it runs eagerly.

        ``flaw`` says where. There is one warning for each flaw.
        """
        if self.total is not None:
            self.attempts.warn_of_mode(flaw)

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """Return for each node whether its value is kept in a run that starts now; None without a total.

        Raises
        ------
        InfeasibleBudget
            If the budget is strict and no plan fits.
        """
        self.runs += 1
        self.others.note_use()
        region = run.region
        if region not in self.regions:  # another model of the same class was compiled first
            self.add(region)
        self.memory.note_run(run)
        if self.total is None:
            self.graphs.note_outside_steps(run)
            return None
        trained = self.graphs.note_ended(self.recording is not None)
        if not self.graphs.of_step:
            self._start_step(run, trained)
        self._order.append(region)
        self.graphs.note(run)
        self._optional.note(self._order[0], region, run.sizes)
        self.others.tell_recordings(run)
        if self.recording is not None:
            self.recording.begin(run)
        step, known = self._step, self.regions[region]
        mask = step.mask(run) if step is not None else None
        if step is not None and step.missing > 0 and self.strict:
            missing, self._step = step.missing, None
            self._order, self.graphs.of_step = [], []
            self._refuse(missing, run)
        if mask is None and step is not None:
            mask = known.lean()
            step.add(known.held(mask, run.sizes))
        elif mask is None:
            mask = known.first_plan(self._free)
            self._free -= known.held(mask, run.sizes)
        return mask

    def note_inference(self, run: Run, peak: int) -> None:
        """Note a run of a graph without a backward pass that starts now, and will take ``peak`` bytes.

        Each compiled model whose training loop contains this run compares it with its own total; see
        :meth:`check_inference`.
        """
        self.others.note_use()
        self.memory.note_run(run)
        for budget in self.others.trained_beside():
            budget.check_inference(run, peak)

    def check_inference(self, run: Run, peak: int) -> None:
        """Warn if a run without a backward pass exceeds the total, together with the memory in use.

        Each budget gives this warning only once. While a training step is recorded, this method only notes that the
        graph runs in the step.

        Parameters
        ----------
        run : Run
            A run of this or another model. It starts now.
        peak : int
            The bytes that the run will take.
        """
        inside = self.graphs.exist
        if self.recording is not None:  # what it takes is recorded
            self._recorded_inferences.add(run.region)
            return
        if inside and run.region not in self._recorded_inferences:
            self._aside = max(self._aside, peak)
        if self._warned_over:
            return
        kept = saved_by_all()
        if run.region in self._inferred and self._room - kept - self.memory.most_gradients > peak:
            return
        self._inferred.add(run.region)
        most = peak + self.memory.in_use(run, kept, self.others.memories())
        if most <= self._limit:
            return
        self._warned_over = True
        when = f"in training step {self.steps}" if inside else f"before training step {self.steps + 1}"
        warn_user(
            f"a forward pass without gradients {when} takes {format_bytes(most)}, {format_bytes(most - self._limit)} "
            f"more than the total of {format_bytes(self._limit)}, because no plan makes it smaller: it keeps nothing "
            "for a backward pass; give it a smaller batch, or run it where less is in use",
            UnplannedStep,
        )

    # ---------------------------------------------------------------- steps

    def _start_step(self, run: Run, trained: bool) -> None:
        """Finish the previous training step, and choose the plans of the one that starts.

        Parameters
        ----------
        run : Run
            The first run of the step.
        trained : bool
            Whether a backward pass ran in the previous step.
        """
        if self.recording is not None:
            self._finish_recording(run)
        if self._step is not None and self._step.unknown:
            self.attempts.record_again(self._step.model.regions[0])
        self._order, self._step = [], None
        self.steps += 1
        assert self.total is not None
        self.memory.start_step()
        self._check_old_gradients()
        shared = self.others.start_step(run.region, self.total)
        self._limit = shared.limit
        self._free = self._room = self.room(run) - shared.held
        first = run.region
        model = self.models.get(first)
        if model is not None:
            if model.freed_gradients and self.memory.old_gradients:
                self._old_gradients.watch(first)
            self._step = self._planned_step(run, model)
            if self.attempts.is_due_again(first) or self.models.is_new_size(model, self._step.growth):
                self._start_recording(run)
                if self.recording is not None:
                    self.attempts.note_again(first)
            return
        self._check_least(run)
        if self.attempts.is_due(first, trained):
            self._start_recording(run)
        self.attempts.note_step(first)

    def _check_old_gradients(self) -> None:
        """Warn once if the step before did not free gradients that the recorded step has freed."""
        if self._old_gradients.were_kept():
            size = max((model.freed_gradients for model in self.models.values()), default=0)
            warn_user(
                f"training step {self.steps - 1} may have taken {format_bytes(size)} more than planned, as it kept "
                "the gradients of the step before, which the recorded step had freed before its backward pass; the "
                "steps that follow count them; call zero_grad() before the forward pass",
                UnplannedStep,
            )

    def _planned_step(self, run: Run, model: StepModel) -> PlanChooser:
        """Choose the plans of a training step before it allocates anything.

        Raises
        ------
        InfeasibleBudget
            If no plan fits.
        """
        predicted, sizes = None, None
        now = model
        if model.symbolic:
            predicted = self.models.predicted(run.region)
            sizes = predicted.of(run.sizes)
            self._room -= int(model.older_inputs * max(0.0, growth_of(model.sized, sizes) - 1))
            model = self.models.searched(model, sizes)
            now = self.models.at(model, sizes)
        point = now.plans.fitting(self._room)
        if point is None and predicted is not None and sizes is not None:
            model = self.models.searched(model, sizes, REFUSED_RANGE)
            now = self.models.at(model, sizes, exact=True)
            point = now.plans.fitting(self._room)
            if point is None and not predicted.certain:
                smallest = self.models.at(model, predicted.of(run.sizes, fewest=True), exact=True)
                if smallest.plans.fitting(self._room) is not None:  # this step may be one of the smaller ones
                    point = len(now.plans.peak) - 1
        reserve = self._reserve(model) + self._aside
        if point is not None and reserve:
            with_reserve = now.plans.fitting(self._room - reserve)
            point = with_reserve if with_reserve is not None else len(now.plans.peak) - 1
        if point is None and (not self.strict or model.optional):  # a step with fewer regions may fit
            point = len(now.plans.peak) - 1
        if point is None:
            self._refuse(now.plans.least - self._room, run)
        step = PlanChooser(now, point, self._room, sizes, predicted)
        if reserve:
            step.reserve(reserve)
        return step

    def _reserve(self, model: StepModel) -> int:
        """Bytes to reserve for regions that may run in a step, though the recorded steps left them out; cached."""
        known = self._reserves.get(model)
        if known is None or known[0] != self._optional.count:
            known = self._reserves[model] = self._optional.count, self._optional.reserve(model.regions, self.regions)
        return known[1]

    def room(self, run: Run) -> int:
        """Return the bytes of the total that are free before the training step that ``run`` starts.

        If steps of several compiled models overlap, the smallest of their totals counts. The result is negative if more
        bytes are in use than the total.
        """
        kept = saved_by_all()
        return self._limit - sum(self._resident(run, kept).values()) - kept

    @property
    def growth(self) -> float:
        """The predicted size of the current step, relative to the recorded step.

        It is 1.0 if all sizes are fixed, or if the step is not planned.
        """
        return self._step.growth if self._step is not None else 1.0

    def resident(self, run: Run) -> dict[Category, int]:
        """Count the bytes in use before the training step that ``run`` starts, by category."""
        return self._resident(run, saved_by_all())

    def _resident(self, run: Run, kept: int) -> dict[Category, int]:
        model = self.models.get(run.region)
        found = self.memory.count(run, model.outside_gradients if model else 0, kept, self.others.memories())
        # a recorded step shows the buckets, because gradients are copied into them
        buckets = bucket_bytes(run.region.device, run.region.folded.joint.rounded)
        self._buckets = max(0, buckets - (model.older_inputs if model else 0))
        found[Category.OTHER] = found.get(Category.OTHER, 0) + self._buckets
        if model is None:
            return found
        found[Category.INPUT] = found.get(Category.INPUT, 0) + model.older_inputs
        outputs = sum(live.size for live in self.memory.outputs)
        # the plans count these in the forward passes
        found[Category.OTHER] = found.get(Category.OTHER, 0) - min(outputs, model.freed_outputs)
        if not self._old_gradients.stay:
            freed = min(self.memory.old_gradients, model.freed_gradients)
            found[Category.PARAMETER_GRADIENT] = found.get(Category.PARAMETER_GRADIENT, 0) - freed
        return found

    def _refuse(self, missing: int, run: Run, estimated: str = "") -> NoReturn:
        """Raise InfeasibleBudget; the step of this run takes ``missing`` bytes more than the total."""
        error = InfeasibleBudget(self._limit, self._limit + missing, "total", estimated)
        if self._limit != self.total:
            error.add_note("This is the total of another compiled model, which trains in the same step.")
        resident = {category: size for category, size in self.resident(run).items() if size}
        other = {Category.OTHER: "other tensors (outputs, holds=)"}
        there = ", ".join(
            f"{other.get(category, category.label)} {format_bytes(size)}" for category, size in resident.items()
        )
        error.add_note(f"Before the step there are: {there}.")
        raise error

    # ---------------------------------------------------------------- before anything was recorded

    def _check_least(self, run: Run) -> None:
        """Raise InfeasibleBudget if the plan of least peak of the first region surely does not fit.

        The bytes that code outside will hold are not known yet. If the plan may not fit together with them, a plan
        of less peak is searched first.
        """
        # gradients that were used may be freed before the backward pass
        room, known = self._room + self.memory.old_gradients, self.regions[run.region]
        joint = at_sizes(run.region, run.region.folded.joint, run.sizes)
        if self.strict and run.sizes not in known.searched and peak_of(unmeasured_region(joint), known.lean()) > room:
            known.searched.add(run.sizes)
            known.lean(run.sizes, self.models.search_seconds)
        least = peak_of(unmeasured_region(joint, outside=0), known.lean())
        if self.strict and least > room:
            self._refuse_unrecorded(run, joint, self._room)

    def _refuse_unrecorded(self, run: Run, joint: JointGraph, room: int) -> NoReturn:
        """Raise InfeasibleBudget with a total that is expected to be enough."""
        expected = peak_of(expected_region(joint), self.regions[run.region].lean())
        gradients, others = self.memory.gradients_to_come(run.region)
        why = "no step was recorded yet"
        capture = run.region.capture
        if others or (capture is not None and capture.ended_by is not None):
            why += ", and only a part of the model was captured, so a step may take more"
        gradients -= self.resident(run).get(Category.PARAMETER_GRADIENT, 0)
        if gradients > 0:
            why += f"; gradients that accumulate over several backward passes take {format_bytes(gradients)} more"
        self._refuse(expected + others - room, run, why)

    # ---------------------------------------------------------------- recording

    def _start_recording(self, run: Run) -> None:
        first = run.region
        if backward_runs():
            self._note_failure(first, IN_BACKWARD)
            return
        if threading.current_thread() is not threading.main_thread():
            self._note_failure(first, IN_THREAD)
            return
        if closes_wait():  # the window of an earlier step is closed after this call
            return
        # another model is recorded, for example the generator of a GAN: two at a time would stop each other
        if step_is_recorded() and self.attempts.put_off(first):
            return
        self.attempts.note_begin(first)
        self.recording = StepRecorder.start(
            first.device,
            self.memory.outputs,
            frozenset(self.memory.addresses(run, self.others.memories())),
            self._old_gradients.record(first),
        )
        self._resident_before, self._recorded_number = self._limit - self._room, self.steps
        self._buckets_before = self._buckets
        self._recorded_planned, self._recorded_inside = self._step is not None, self.others.inside
        if self.recording is None:
            self._note_failure(first, BUSY)

    def _note_failure(self, first: Region, flaw: Flaw | None) -> None:
        """Plan the next recording, unless the steps are planned already."""
        if first not in self.models:
            self.attempts.note_failure(first, flaw)

    def _finish_recording(self, run: Run) -> None:
        """Read the recorded step and make, extend or merge the model of steps with the same first region.

        ``run`` starts the step that follows.
        """
        recording, self.recording = self.recording, None
        assert recording is not None
        passes = recording.finish()
        if not self._order:  # the model that was recorded is gone
            return
        first, flaw = self._order[0], recording.flaw
        if not recording.stopped and flaw is None:  # its graphs were kept, and no backward pass ended it
            self._note_failure(first, None)
            return
        if flaw is None and len(passes) != len(self._order):
            flaw = DROPPED
        if flaw is not None or not any(recorded.ran_backward for recorded in passes):
            self._note_failure(first, flaw)
            return
        self.attempts.flaw = None
        self.others.note_recorded(recording.others)
        self._old_gradients.note_recorded(first, recording.gradients_freed)
        found = {
            record.inputs[address]
            for one, record in zip(passes, recording.runs, strict=True)
            for address in one.older_inputs
        }
        found |= {other.inputs[address] for _, other in recording.others for address in other.older_inputs}
        older = sum(size for storage, size in found if not self.memory.counted(int(storage.cdata)))
        if not self._recorded_inside:  # otherwise what is older belongs to the step of another model, which counts it
            known = self.memory.addresses(run, self.others.memories())
            self.others.unnamed = recording.unnamed(known, run.region.folded.joint.rounded)
            older += self.others.unnamed
        self._check_recorded(self._resident_before + recording.peak + max(0, older - self._buckets_before))
        recorded = model_of_step(
            [self.regions[region] for region in self._order],
            passes,
            recording.runs,
            self.memory.outside_gradients,
            self.models.search_seconds,
            recording.freed_outputs,
            recording.freed_gradients,
            recording.forwards,
            older,
        )
        self.models.add(recorded, [record.sizes for record in recording.runs])

    def _check_recorded(self, peak: int) -> None:
        """Warn once if a recorded step took more than the total."""
        if peak <= self._limit or self._warned_over:
            return
        self._warned_over = True
        why = (
            "it ran other graphs or sizes than the steps recorded before"
            if self._recorded_planned
            else "the memory of code between the captured graphs is known only after it"
        )
        warn_user(
            f"training step {self._recorded_number} took {format_bytes(peak)}, {format_bytes(peak - self._limit)} more "
            f"than the total of {format_bytes(self._limit)}, because {why}; the steps that follow are planned with "
            "its record. If no step may exceed the total, take a smaller batch in the first steps",
            UnplannedStep,
        )

    # ---------------------------------------------------------------- display

    @property
    def planned(self) -> PlannedStep | None:
        """The plans of the current training step or, between steps, of the last one; None if it was not planned."""
        if self.total is None or self._step is None:
            return None
        return PlannedStep(self._step.model, self._step.point, self.total - self._room)

    @property
    def room_left(self) -> int:
        """Bytes of the total that were free when the last training step started, planned or not; 0 before the first."""
        return self._room

    @property
    def failed_recordings(self) -> int:
        """The number of training steps that could not be recorded.

        A recording fails for the reason in ``attempts.flaw``, or because the step has no backward pass. A failure does
        not count if the step was already planned from an earlier recording, or if its first region was removed.
        """
        return self.attempts.failed

    @property
    def range_of_totals(self) -> tuple[int, int]:
        """The least feasible total and the least total that keeps every value, in bytes.

        Both include the memory that was in use before the last training step. If steps of different kinds were
        recorded, each number is the largest over these kinds.

        Raises
        ------
        ValueError
            If no step was recorded yet, or there is no total.
        """
        if not self.models or self.total is None:
            raise ValueError("no step was recorded yet; train for three steps under a total")
        there = self.total - self._room
        fronts = [model.plans for model in self.models.values()]
        return there + max(front.least for front in fronts), there + max(front.peak[0] for front in fronts)

    @property
    def text(self) -> str:
        """The total and the number of regions as text; for a planned step also the planned peak and recomputation."""
        if self.total is None:
            return "no total: every value is kept"
        if (planned := self.planned) is None:
            return f"total {format_bytes(self.total)}: {len(self.regions)} regions, not planned yet"
        model = planned.model
        peak = model.plans.peak[planned.point]
        overhead = model.plans.overhead[planned.point]
        return (
            f"total {format_bytes(self.total)}: {len(model.regions)} regions a step\n"
            f"planned peak {format_bytes(peak)} in addition to the memory in use before the step; "
            f"{added_time(overhead, model.step_time, model.keep_all)}"
        )

    def __repr__(self) -> str:
        return f"StepBudget({self.text})"
