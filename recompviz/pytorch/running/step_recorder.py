"""Record one training step: the profiler follows the allocator, and each run of a region reports to an observer.

Recording stops when the last backward pass of the step ends, because the user may start a profiler next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from recompviz.pytorch.internals.autograd import after_backward
from recompviz.pytorch.internals.devices import synchronize
from recompviz.pytorch.internals.dynamo import callers
from recompviz.pytorch.internals.memory_window import ProfilerBusy, close_before_next, memory_window
from recompviz.pytorch.internals.profiler import allocation_events, named_range
from recompviz.pytorch.running.recorded_step import END, PassRecord, RecordedPass, range_of, read_recording
from recompviz.pytorch.running.region import Run, Stage


class StepRecorder:
    """Records one training step.

    Parameters
    ----------
    device : torch.device
        The device whose allocator is followed.

    Attributes
    ----------
    runs : list of PassRecord
        One for each run of a region, in the order of the forward passes.
    complete : bool
        Whether every run has ended: its backward pass ran, or its graph was freed without one.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.runs: list[PassRecord] = []
        self._stack = contextlib.ExitStack()
        self._window: Any = None
        self.complete = False
        self._ended = 0
        self._stopped = False

    @classmethod
    def start(cls, device: torch.device) -> StepRecorder | None:
        """Start recording a step; return None if another profiler is running."""
        recorder = cls(device)
        try:
            recorder._window = recorder._stack.enter_context(memory_window(device))
        except ProfilerBusy:
            return None
        close_before_next(recorder.stop)
        return recorder

    def begin(self, run: Run) -> None:
        """Observe a run of a region that starts now."""
        record = PassRecord(run.sizes, callers=callers(run.region.parameters(run.arguments or [])))
        run.observer = _PassObserver(len(self.runs), record, self.device, self._backward_done)
        self.runs.append(record)
        run.when_freed = self._graph_freed

    def _backward_done(self) -> None:
        """Count a backward pass that ended. After the last one of the step, stop recording."""
        self._ended += 1
        if self._ended == len(self.runs):
            self.complete = True
            after_backward(self.stop)

    def _graph_freed(self, run: Run) -> None:
        """Count a run whose graph was freed without a backward pass. After the last one of the step, stop recording."""
        if not run.ran_backward:
            self._ended += 1
            if self._ended == len(self.runs) and not self._stopped:
                self.complete = True
                self.stop()

    def stop(self) -> None:
        """Stop the profiler. Further calls do nothing."""
        if not self._stopped:
            self._stopped = True
            self._stack.close()

    def finish(self) -> list[RecordedPass]:
        """Stop recording, and return the memory of each run."""
        self.stop()
        events = allocation_events(self._window.profiled, self.device.type, ("rv:",))
        return read_recording(events, self.runs)


class _PassObserver:
    """Marks the passes of one run for the profiler, and measures the time of each step of the schedule."""

    def __init__(
        self, number: int, record: PassRecord, device: torch.device, backward_done: Callable[[], None]
    ) -> None:
        self.number, self.record, self.device, self.backward_done = number, record, device, backward_done
        self.stage: Stage = "f"

    @contextlib.contextmanager
    def stage_of(self, stage: Stage) -> Iterator[None]:
        """Surround a pass with a profiler range, and mark its end with another."""
        self.stage = stage
        with named_range(range_of(self.number, stage)):
            yield
        with named_range(END):
            pass
        if stage == "b":
            self.backward_done()

    @contextlib.contextmanager
    def mark(self, step: int) -> Iterator[None]:
        """Surround one step of the schedule with a profiler range, and measure the time until it is finished."""
        synchronize(self.device)
        start = time.perf_counter()
        with named_range(f"{range_of(self.number, self.stage)}:{step}"):
            yield
        synchronize(self.device)
        self.record.seconds[self.stage, step] = time.perf_counter() - start

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Record the addresses of the region's outputs."""
        storage_of = run.region.folded.storage_of
        for node, value in zip(run.region.folded.outputs, outputs, strict=True):
            if isinstance(value, torch.Tensor) and node in storage_of:
                storage = storage_of[node]
                if run.region.folded.joint.storages[storage].maker >= 0:
                    self.record.outputs[value.untyped_storage().data_ptr()] = storage

    def tangents(self, tangents: list[Any]) -> None:
        """Record the addresses of the gradients of the outputs."""
        self.record.tangents.update(t.untyped_storage().data_ptr() for t in tangents if isinstance(t, torch.Tensor))
