"""One memory budget for a training loop whose model was compiled into one or more regions.

The first steps run the leanest plans that are known. One of them is recorded: it shows in which order the regions run,
what the code between them holds, and what each operator takes. Then every region is planned, the plans are combined,
and each later step takes the point of least recomputation that fits into the memory that is free when it starts:
the total without parameters, buffers, inputs, gradients that have accumulated, and the optimiser's state.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import RegionPlans, StepPlans, step_plans
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.autograd import after_backward
from recompviz.pytorch.internals.memory_window import ProfilerBusy, close_before_next, memory_window
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.running.operator_figures import calibrated_region
from recompviz.pytorch.running.recorded_step import END, PassRecord, RecordedPass, range_of, read_recording
from recompviz.pytorch.running.region import Region, Run, Stage
from recompviz.pytorch.running.resized_steps import at_sizes, grown, grown_outside, growth, rounded_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph

# Steps before the recorded one: while Dynamo compiles, memory is not that of a step.
UNRECORDED_STEPS = 1
# A step whose recording failed this often is run by the leanest plan.
MOST_FAILED_RECORDINGS = 3
# Processor time for the search of one region's plans, seconds.
SEARCH_SECONDS = 20.0


@dataclass(eq=False)
class PlannedRegion:
    """A region and its plans."""

    region: Region
    joint: JointGraph | None = None  # calibrated, once it was recorded
    time: NDArray[np.float64] | None = None  # milliseconds of each node
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    leanest: NDArray[np.bool_] | None = None
    searched: bool = False
    parameter_ids: list[int] = field(default_factory=list)
    residents: list[tuple[Callable[[], torch.Tensor | None], str]] = field(default_factory=list)


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
        self.optimizer, self.optimizer_bytes, self.strict = optimizer, optimizer_bytes, strict
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
        self._held: list[tuple[Callable[[], torch.Tensor | None], Category]] = []
        self._inputs: list[Callable[[], torch.Tensor | None]] = []
        self._next = 0  # position in the model of the region that is expected next
        self._unknown = False  # whether the step ran a region that is not in its model
        self._room = 0
        self._outside_gradients = 0
        self._recording: _Recording | None = None
        _budgets.add(self)

    # ---------------------------------------------------------------- called by the regions

    def add(self, region: Region) -> None:
        """Note a region that was just captured."""
        self.regions[region] = PlannedRegion(region)

    def remove(self, region: Region) -> None:
        """Forget a region that could not be compiled."""
        self.regions.pop(region, None)

    def note_model(self, model: nn.Module) -> None:
        """Remember the parameters and buffers of a model; code outside the regions may use some of them."""
        self._held = [(weakref.ref(p), Category.PARAMETER) for p in model.parameters()]
        self._held += [(weakref.ref(b), Category.BUFFER) for b in model.buffers()]

    def note_inputs(self, values: list[Any]) -> None:
        """Remember the tensors that the model is called with; code outside the regions may read them."""
        self._inputs = [weakref.ref(value) for value in values if isinstance(value, torch.Tensor)]

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """The keep mask of a forward pass that starts now."""
        if self.total is None:
            return None
        region = run.region
        self._note_parameters(run)
        self._runs = [other for other in self._runs if not other.freed]
        if not self._runs:
            self._start_step(run)
        self._order.append(region)
        self._runs.append(run)
        if self._recording is not None:
            self._recording.begin(run)
            return self._lean(region)
        model = self._model
        if model is None or self._point is None:
            return self._lean(region)
        # a step may leave regions out: layers that are dropped, an early exit
        position = next((i for i in range(self._next, len(model.regions)) if model.regions[i] is region), None)
        if position is None:
            self._unknown = True
            return self._lean(region)
        self._next = position + 1
        if model.sizes:
            larger = growth(region, run.sizes, model.sizes[position])
            if larger > model.factor:
                self._relative[model.regions[0]] = max(self._relative[model.regions[0]], larger / self._first_growth)
                return self._lean(region)
        return model.masks[position][model.plans.choices[self._point][position]]

    def _note_parameters(self, run: Run) -> None:
        """Remember which parameters and buffers each region has, without keeping them alive."""
        known = self.regions[run.region]
        arguments = run.arguments or []
        if [id(arguments[i]) for i in run.region.parameter_positions] != known.parameter_ids:
            known.parameter_ids = [id(arguments[i]) for i in run.region.parameter_positions]
            known.residents = [
                (weakref.ref(value), role)
                for value, (_, (role, _which)) in zip(arguments, run.region.folded.placeholders, strict=False)
                if role in ("parameter", "buffer") and isinstance(value, torch.Tensor)
            ]

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
                self._recording = _Recording.start(first.device)
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
            options = []
            for region, recorded, masks in zip(model.regions, model.passes, model.masks, strict=True):
                known = self.regions[region]
                assert known.joint is not None
                assert known.time is not None
                joint = grown(region, known.joint, factor)
                options.append(plan_options(region, joint, known.time, masks, recorded.released))
            front = step_plans(options, [grown_outside(recorded.outside, factor) for recorded in model.passes])
            self._larger[key] = model, replace(model, plans=front, options=tuple(options), factor=factor)
        return self._larger[key][1]

    def room(self, run: Run) -> int:
        """Bytes of the total that are free when a step starts."""
        assert self.total is not None
        return self.total - sum(self.resident(run).values())

    def resident(self, run: Run) -> dict[Category, int]:
        """Bytes in use before the step, by category."""
        tensors: dict[int, tuple[Category, int]] = {}
        rounded = run.region.folded.joint.rounded
        device = run.region.device.type

        def count(tensor: Any, category: Category) -> None:
            strided = isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided
            if strided and tensor.device.type == device:
                tensors.setdefault(storage_key(tensor), (category, rounded(tensor.untyped_storage().nbytes())))

        parameters: list[torch.Tensor] = []
        for known in self.regions.values():
            for reference, role in known.residents:
                value = reference()
                count(value, Category.PARAMETER if role == "parameter" else Category.BUFFER)
                if role == "parameter" and value is not None:
                    parameters.append(value)
        for value, (_, (role, _which)) in zip(run.arguments or [], run.region.folded.placeholders, strict=False):
            if role not in ("parameter", "tangent"):  # also a state that a model keeps from step to step
                count(value, Category.BUFFER if role == "buffer" else Category.INPUT)
        for reference, category in self._held:
            count(reference(), category)
        for reference in self._inputs:
            count(reference(), Category.INPUT)
        optimizers = _optimizers_of(self.optimizer, parameters)
        for parameter in parameters:
            if parameter.is_leaf and parameter.grad is not None:
                count(parameter.grad, Category.PARAMETER_GRADIENT)
        for value in _optimizer_state(optimizers):
            count(value, Category.OPTIMIZER)
        # what code outside the regions trains: its gradients appear while the step runs
        counted = len(tensors)
        for parameter in _parameters_of(optimizers):
            count(parameter, Category.PARAMETER)
            if parameter.grad is not None:
                count(parameter.grad, Category.PARAMETER_GRADIENT)
        later = list(tensors.values())[counted:]
        self._outside_gradients = sum(size for category, size in later if category is Category.PARAMETER_GRADIENT)
        totals: dict[Category, int] = {}
        for category, size in tensors.values():
            totals[category] = totals.get(category, 0) + size
        totals[Category.OPTIMIZER] = max(totals.get(Category.OPTIMIZER, 0), self.optimizer_bytes)
        if self._model is not None and self._model.outside_gradients > self._outside_gradients:
            missing = self._model.outside_gradients - self._outside_gradients
            totals[Category.PARAMETER_GRADIENT] = totals.get(Category.PARAMETER_GRADIENT, 0) + missing
        return totals

    def _refuse(self, missing: int, run: Run) -> None:
        assert self.total is not None
        least = self.total + missing
        error = InfeasibleBudget(self.total, least, "total")
        resident = {category: size for category, size in self.resident(run).items() if size}
        there = ", ".join(f"{category.label} {format_bytes(size)}" for category, size in resident.items())
        error.add_note(f"Before the step there are: {there}.")
        raise error

    # ---------------------------------------------------------------- before anything was recorded

    def _lean(self, region: Region, seconds: float = 0.0) -> NDArray[np.bool_]:
        """The plan of least simulated peak, found before anything was measured."""
        known = self.regions[region]
        if known.leanest is None or seconds:
            folded = region.folded
            masks = region_masks(folded.graph, folded.joint, seconds)
            peaks = [_peak_of(folded.joint, mask) for mask in masks]
            known.leanest = next(masks[i] for i in np.argsort(peaks, kind="stable").tolist() if region.fits(masks[i]))
        return known.leanest

    def _check_least(self, run: Run) -> None:
        """Refuse before anything is allocated, if not even the leanest plan of the first region fits."""
        room, known = self.room(run), self.regions[run.region]
        peak = _peak_of(run.region.folded.joint, self._lean(run.region))
        if self.strict and peak > room and not known.searched:
            known.searched = True
            peak = _peak_of(run.region.folded.joint, self._lean(run.region, SEARCH_SECONDS))
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
        self.models[self._order[0]] = self._planned(tuple(self._order), passes, recording.runs)

    def _planned(self, order: tuple[Region, ...], passes: list[RecordedPass], records: list[PassRecord]) -> StepModel:
        options, masks = [], []
        for region, recorded, record in zip(order, passes, records, strict=True):
            known = self.regions[region]
            if known.joint is None:
                folded = replace(region.folded, joint=at_sizes(region, region.folded.joint, record.sizes))
                schedule = make_schedule(folded.joint, self._lean(region).tolist())
                known.joint, known.time = calibrated_region(folded, schedule, recorded.events, record.seconds)
                graph = replace(region.folded.graph, time=known.time)
                found = region_masks(graph, known.joint, SEARCH_SECONDS)
                known.masks = [mask for mask in found if region.fits(mask)]
            assert known.time is not None
            options.append(plan_options(region, known.joint, known.time, known.masks, recorded.released))
            masks.append(known.masks)
        front = step_plans(options, [recorded.outside for recorded in passes])
        keep_all = float(sum(self.regions[region].time.sum() for region in order))  # type: ignore[union-attr]
        sizes = tuple(record.sizes for record in records)
        if not any(region.folded.symbolic_sizes for region in order):
            sizes = ()
        gradients = self._outside_gradients  # counted when the recorded step started
        return StepModel(order, tuple(passes), front, tuple(masks), keep_all, tuple(options), gradients, sizes)

    # ---------------------------------------------------------------- display

    @property
    def planned(self) -> PlannedStep | None:
        """The plan of the step that runs, or ran last; None before a step was recorded."""
        if self.total is None or self._model is None or self._point is None:
            return None
        return PlannedStep(self._model, self._point, self.total - self._room)

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


class _Recording:
    """A step while it is recorded."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.runs: list[PassRecord] = []
        self.stack = contextlib.ExitStack()
        self.window: Any = None
        self.backward_count = 0
        self.stopped = False

    @classmethod
    def start(cls, device: torch.device) -> _Recording | None:
        """Start recording; None if another profiler runs."""
        recording = cls(device)
        try:
            recording.window = recording.stack.enter_context(memory_window(device))
        except ProfilerBusy:
            return None
        close_before_next(recording.stop)
        return recording

    def begin(self, run: Run) -> None:
        """Let a run of a region report to this recording."""
        record = PassRecord(run.sizes)
        run.observer = _PassObserver(len(self.runs), record, self._backward_done)
        self.runs.append(record)
        run.when_freed = self._graph_freed

    def _backward_done(self) -> None:
        """Stop recording at the end of the current backward pass, if it includes all runs of the step."""
        self.backward_count += 1
        if self.backward_count == len(self.runs):
            after_backward(self.stop)

    def _graph_freed(self, run: Run) -> None:
        """Stop recording if a forward pass is dropped without a backward pass."""
        if not run.ran_backward:
            self.stop()

    def stop(self) -> None:
        """Stop recording. The profiler must not stay on, because the user may start another one."""
        if not self.stopped:
            self.stopped = True
            self.stack.close()

    def finish(self) -> list[RecordedPass]:
        """Stop recording, and read the record."""
        self.stop()
        events = allocation_events(self.window.profiled, self.device.type, ("rv:",))
        return read_recording(events, self.runs)


class _PassObserver:
    """Marks the passes of one run for the profiler and takes their times."""

    def __init__(self, number: int, record: PassRecord, backward_done: Callable[[], None]) -> None:
        self.number, self.record, self.backward_done = number, record, backward_done
        self.stage: Stage = "f"

    @contextlib.contextmanager
    def stage_of(self, stage: Stage) -> Iterator[None]:
        """Surround a pass with a range, and mark its end."""
        self.stage = stage
        with named_range(range_of(self.number, stage)):
            yield
        with named_range(END):
            pass
        if stage == "b":
            self.backward_done()

    @contextlib.contextmanager
    def mark(self, step: int) -> Iterator[None]:
        """Surround one step of the schedule with a range, and take its time."""
        start = time.perf_counter()
        with named_range(f"{range_of(self.number, self.stage)}:{step}"):
            yield
        self.record.seconds[self.stage, step] = time.perf_counter() - start

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Note where the outputs of the region are."""
        storage_of = run.region.folded.storage_of
        for node, value in zip(run.region.folded.outputs, outputs, strict=True):
            if isinstance(value, torch.Tensor) and node in storage_of:
                storage = storage_of[node]
                if run.region.folded.joint.storages[storage].maker >= 0:
                    self.record.outputs[value.untyped_storage().data_ptr()] = storage

    def tangents(self, tangents: list[Any]) -> None:
        """Note where the gradients of the outputs are."""
        self.record.tangents.update(t.untyped_storage().data_ptr() for t in tangents if isinstance(t, torch.Tensor))


def plan_options(
    region: Region,
    joint: JointGraph,
    times: NDArray[np.float64],
    masks: list[NDArray[np.bool_]],
    released: frozenset[int],
) -> RegionPlans:
    """The peaks of a region's plans, without the outputs that code outside holds."""
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


def _peak_of(joint: JointGraph, mask: NDArray[np.bool_]) -> int:
    from recompviz.core.steps.simulation import simulate_schedule

    return simulate_schedule(make_schedule(joint, mask.tolist())).transient_peak


# -------------------------------------------------------------------- optimisers

_budgets: weakref.WeakSet[StepBudget] = weakref.WeakSet()
_optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()


def _note_optimizer(optimizer: torch.optim.Optimizer, *_arguments: Any) -> None:
    if _budgets:
        _optimizers.add(optimizer)


def watch_optimizers() -> None:
    """Note every optimiser that steps, so that the state of those that step a planned model can be counted."""
    global _watching
    if not _watching:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(_note_optimizer)
        _watching = True


_watching = False


def _optimizers_of(given: torch.optim.Optimizer | None, parameters: list[torch.Tensor]) -> list[torch.optim.Optimizer]:
    """The optimisers that step one of these parameters."""
    own = {id(parameter) for parameter in parameters}
    known = {*_optimizers, *([given] if given is not None else [])}
    return [
        optimizer
        for optimizer in known
        if any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])
    ]


def _parameters_of(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


def _optimizer_state(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """The tensors that optimisers hold."""
    states = [state for optimizer in optimizers for state in optimizer.state.values() if isinstance(state, dict)]
    return [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
