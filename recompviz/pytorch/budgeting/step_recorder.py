"""Record one training step with the profiler. Each run of a region (a captured graph) also reports to an observer.

Recording stops when the last backward pass of the step ends, because the user may start a profiler next.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from recompviz.core.steps.allocations import AllocationEvent, Allocations, read_allocations
from recompviz.pytorch.budgeting.recorded_step import (
    END,
    OTHER,
    OtherRun,
    PassRecord,
    RecordedPass,
    range_of,
    read_recording,
)
from recompviz.pytorch.budgeting.unnamed_memory import left_behind, read_before, still_alive
from recompviz.pytorch.executing.live_outputs import LiveOutput
from recompviz.pytorch.executing.region import Region, Run, Stage, token_addresses
from recompviz.pytorch.internals.autograd import (
    after_backward,
    backward_runs,
    has_storage,
    keeps_graph,
    saved_tensors_are_packed,
)
from recompviz.pytorch.internals.captures import callers
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.memory_window import (
    ProfilerBusy,
    close_after_call,
    in_compiled_call,
    memory_window,
    note_closed,
    note_open,
)
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.internals.tensors import StorageWeakRef, living_storages


class Flaw(NamedTuple):
    """The reason why a training step could not be recorded, and advice for the user."""

    reason: str
    advice: str


IN_BACKWARD = Flaw(
    "the compiled model runs inside a backward pass, as under torch.utils.checkpoint",
    "call it outside of checkpoint(): its plan recomputes what the total requires",
)
LATE = Flaw(
    "a part of the model ran after the backward passes of the step had ended",
    "run the backward pass after all forward passes of the step",
)
PACKED = Flaw(
    "hooks of torch.autograd.graph.saved_tensors_hooks copy what the model saves, so a plan does not say what is kept",
    "leave them out: a plan recomputes what the total requires",
)
BATCHED = Flaw(
    "several backward passes run at once, as with is_grads_batched=True, and take more memory than one",
    "train three steps with one backward pass at a time",
)
RAISED = Flaw("a backward pass raised an error", "a step whose backward pass ends will be recorded")
OTHER_THREAD = Flaw("the next step ran in another thread", "run all steps in one thread")
DROPPED = Flaw("a graph was compiled again while the step was recorded", "train steps that run the same graphs")
IN_TRANSFORM = Flaw(
    "the compiled model is called inside a transform of torch.func (such as vmap or grad), where it runs eagerly and "
    "keeps every value",
    "the total does not limit these steps; transform fewer samples at a time, for example with vmap(..., chunk_size=8)",
)
IN_DISPATCH_MODE = Flaw(
    "the compiled model is called inside a dispatch mode (such as FlopCounterMode), where it runs eagerly and keeps "
    "every value",
    "the total does not limit these steps; use the mode on a small batch, or on the model that is not compiled",
)
IN_GENERATOR = Flaw(
    "the compiled model returns a generator, whose code runs after the call, eagerly or with every value kept",
    "the total does not limit these steps; let the model return a list",
)
IN_THREAD = Flaw("they do not run in the main thread", "train three steps in the main thread")
BUSY = Flaw("another profiler is running", "train three steps without it")


class StepRecorder:
    """Records one training step.

    Parameters
    ----------
    device : torch.device
        The device whose allocations are recorded.
    outputs : sequence of LiveOutput
        Outputs of earlier steps, or of other models, that are alive when the step starts.
    known : set of int
        Addresses of the storages that already count as memory in use when the step starts.
    gradients : sequence of LiveOutput
        Gradients of the previous step that are alive when the step starts.

    Attributes
    ----------
    runs : list of PassRecord
        One for each run of a region, in the order of the forward passes.
    flaw : Flaw or None
        The reason why the record cannot be used; None if there is none.
    stopped : bool
        Whether the profiler was stopped.
    peak : int
        The largest number of bytes that the step added to the memory in use before it. Valid after :meth:`finish`.
    others : list of (Region, OtherRun)
        Runs of other compiled models, each with its region.
    freed_outputs, freed_gradients : int
        Bytes of ``outputs`` and of ``gradients`` that were freed before the first backward pass started.
    gradients_freed : list of bool
        For each entry of ``gradients``, whether it was freed before the first backward pass started.
    forwards : int
        The number of runs that started before the first backward pass.
    """

    def __init__(
        self,
        device: torch.device,
        outputs: Sequence[LiveOutput] = (),
        known: frozenset[int] = frozenset(),
        gradients: Sequence[LiveOutput] = (),
    ) -> None:
        self.device, self.outputs, self.known, self.gradients = device, outputs, known, gradients
        self._blocks: Allocations | None = None
        self.peak = self.freed_outputs = self.freed_gradients = self.forwards = 0
        self.gradients_freed: list[bool] = []
        self.runs: list[PassRecord] = []
        self.others: list[tuple[Region, OtherRun]] = []
        self._stack = contextlib.ExitStack()
        self._window: Any = None
        self._living: dict[int, StorageWeakRef] = {}  # the storages of all tensors when the recording stopped
        self.flaw: Flaw | None = None
        self._open: set[int] = set()  # numbers of the runs whose graphs exist
        self._in_backward: set[int] = set()  # those whose backward pass has started and not ended
        self._trained: set[int] = set()  # those whose backward pass has ended
        self.stopped = False
        self._thread = threading.get_ident()

    @classmethod
    def start(
        cls,
        device: torch.device,
        outputs: Sequence[LiveOutput] = (),
        known: frozenset[int] = frozenset(),
        gradients: Sequence[LiveOutput] = (),
    ) -> StepRecorder | None:
        """Start recording a step. Return None if another profiler is running.

        Call this in the main thread. A profiler that another thread started cannot be stopped safely when the backward
        pass has ended.
        """
        recorder = cls(device, outputs, known, gradients)
        try:
            recorder._window = recorder._stack.enter_context(memory_window(device, reads=True))
        except ProfilerBusy:
            return None
        note_open(recorder)
        return recorder

    def begin(self, run: Run) -> None:
        """Observe a run of a region that starts now."""
        if backward_runs():
            self.flaw = IN_BACKWARD
        elif self.stopped:
            self.flaw = LATE
        record = PassRecord(run.sizes, callers=callers(run.region.parameters(run.arguments or [])))
        record.inputs.update(run.inputs())
        number = len(self.runs)
        run.observer = _PassObserver(number, record, self.device, self)
        self.runs.append(record)
        self._open.add(number)
        packed = saved_tensors_are_packed()
        run.when_freed = lambda _run: self._ended(number, packed)

    def other_runs(self, run: Run, saved: int) -> None:
        """Note a run of another compiled model that starts now. If recording has stopped, do nothing.

        ``saved`` are the bytes that the graphs of further models save now; see :attr:`OtherRun.saved`.
        """
        if not self.stopped:
            with named_range(f"{OTHER}{len(self.others)}"):
                pass
            self.others.append((run.region, OtherRun(run.inputs(), saved)))

    def backward_starts(self, number: int) -> None:
        """Record that the backward pass of a run starts. ``number`` is the position of the run in ``runs``."""
        if not self.forwards:
            self.forwards = len(self.runs)
            self.freed_outputs = sum(live.size for live in self.outputs if not live.alive)
            self.gradients_freed = [not live.alive for live in self.gradients]
            self.freed_gradients = sum(
                live.size for live, gone in zip(self.gradients, self.gradients_freed, strict=True) if gone
            )
        self._in_backward.add(number)
        if self.stopped and self.flaw is None:
            self.flaw = LATE

    def backward_ends(self, number: int) -> None:
        """Record that the backward pass of a run has ended. After the last backward pass of the step, stop recording.

        ``number`` is the position of the run in ``runs``.
        """
        self._in_backward.discard(number)
        self._trained.add(number)
        if not keeps_graph():
            self._ended(number)

    def _ended(self, number: int, packed: bool = False) -> None:
        if number in self._in_backward:
            self.flaw = RAISED
        if packed and number not in self._trained:  # hooks kept copies
            self.flaw = self.flaw or PACKED
        if number in self._open:
            self._open.remove(number)
            if not self._open and not self.stopped:
                after_backward(self.stop)

    def stop(self) -> None:
        """Stop the profiler. If a compiled graph is running, the profiler is stopped when that graph has returned.

        A second call does nothing. A call in another thread than the thread that started the profiler does nothing.
        """
        if self.stopped or threading.get_ident() != self._thread:
            return
        if in_compiled_call():
            close_after_call(self)
            return
        self.stopped = True
        note_closed(self)
        self._stack.close()
        if runtime(self.device).allocated() is None:
            self._living = living_storages()

    def stop_if_over(self) -> None:
        """Stop if the backward passes of all runs have ended, even if the user keeps a graph with ``retain_graph``."""
        if self.runs and not self._in_backward and self._open <= self._trained and not backward_runs():
            self.stop()

    def finish(self) -> list[RecordedPass]:
        """Stop recording, and return the memory of each run. If recording cannot stop now, the list is empty."""
        self.stop()
        if not self.stopped:
            if threading.get_ident() != self._thread:
                self.flaw = OTHER_THREAD
            return []
        events = list(allocation_events(self._window.profiled, self.device.type, ("rv:",)))
        self._blocks = read_allocations(event for event in events if event.address)
        self.peak = self._peak(events, self._blocks)
        return read_recording(events, self.runs, [other for _, other in self.others])

    def _peak(self, events: Sequence[AllocationEvent], blocks: Allocations) -> int:
        """The most bytes that the step added; what was freed before the first backward pass counts only until then."""
        starts = {range_of(number, "b") for number in range(len(self.runs))}
        first = next((event.at for event in events if not event.address and event.scope in starts), len(events))
        split = int(np.searchsorted(blocks.at, first))
        freed = self.freed_outputs + self.freed_gradients
        return max(int(blocks.live[:split].max(initial=0)), int(blocks.live[split:].max(initial=0)) - freed)

    def unnamed(self, known: set[int], rounded: Callable[[int], int]) -> int:
        """Count the bytes of older tensors that the step read and of tensors that it left for the next step.

        Storages that already count as memory in use are left out. Call this method after :meth:`finish`, when the next
        step starts. The result is 0 if the device's allocator counts its bytes, as on CUDA, because this count contains
        these tensors.

        Parameters
        ----------
        known : set of int
            Addresses of the storages that already count as memory in use when the next step starts.
        rounded : callable (int) → int
            Returns the bytes that the allocator takes for a size.
        """
        assert self._blocks is not None
        if runtime(self.device).allocated() is not None:  # the allocator counts everything
            return 0
        inputs = {address for record in self.runs for address in record.inputs}
        inputs |= {address for _, other in self.others for address in other.inputs} | token_addresses()
        alive = still_alive(self._living)
        named = self.known | inputs | (known & alive)
        before = read_before(self._window.profiled, self.device.type, named, rounded)
        return before + left_behind(self._blocks, alive, known)


class _PassObserver:
    """Marks the passes of one run for the profiler, and measures the time of each step of the schedule."""

    def __init__(self, number: int, record: PassRecord, device: torch.device, recorder: StepRecorder) -> None:
        self.number, self.record, self.device, self.recorder = number, record, device, recorder
        self.stage: Stage = "f"

    @contextlib.contextmanager
    def stage_of(self, stage: Stage) -> Iterator[None]:
        """Surround a pass with a profiler range, and mark its end with another."""
        self.stage = stage
        if stage == "b":
            self.recorder.backward_starts(self.number)
        with named_range(range_of(self.number, stage)):
            yield
        with named_range(END):
            pass
        if stage == "b":
            self.recorder.backward_ends(self.number)

    @contextlib.contextmanager
    def mark(self, step: int) -> Iterator[None]:
        """Surround one step of the schedule with a profiler range, and measure the time until it is finished."""
        runtime(self.device).synchronize()
        start = time.perf_counter()
        with named_range(f"{range_of(self.number, self.stage)}:{step}"):
            yield
        runtime(self.device).synchronize()
        self.record.seconds[self.stage, step] = time.perf_counter() - start

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Record the plan of the run, and the addresses of its outputs."""
        self.record.mask = run.mask
        storage_of = run.region.folded.storage_of
        for node, value in zip(run.region.folded.outputs, outputs, strict=True):
            if isinstance(value, torch.Tensor) and node in storage_of:
                storage = storage_of[node]
                if run.region.folded.joint.storages[storage].maker >= 0:
                    self.record.outputs[value.untyped_storage().data_ptr()] = storage

    def tangents(self, tangents: list[Any]) -> None:
        """Record the addresses of the gradients of the outputs."""
        found = [tangent for tangent in tangents if isinstance(tangent, torch.Tensor)]
        if not all(map(has_storage, found)):
            self.recorder.flaw = BATCHED
            return
        self.record.tangents.update(tangent.untyped_storage().data_ptr() for tangent in found)
