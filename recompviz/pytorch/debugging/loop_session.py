"""Observe a few steps of a training loop that other code runs: a script, a notebook cell or a trainer.

The loop says where each step ends. The first steps are recorded. In the next step, the objects that hold memory at the
peak are searched. If the search finds nothing, for example because the step ends before the operator of the peak, it is
tried again in the following steps. One more step finds the lines that store into these objects. Later steps run at
their usual speed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
from torch import nn

from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import RecompvizError
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.pytorch.debugging.observer import Observer
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import Recording
from recompviz.pytorch.debugging.report import report_of
from recompviz.pytorch.internals.devices.runtimes import device_of, present_accelerator
from recompviz.pytorch.internals.user_lines import loop_around

NOT_SEARCHED = (
    "the loop ended before a further step could be searched for what holds memory at the peak; "
    "let it run two more steps to see every reason"
)


class NoReport(RecompvizError, RuntimeError):
    """The observation of a loop has no report yet, has not started, or has started already."""


def debug_steps(
    model: nn.Module | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 3,
    title: str = "training loop",
) -> LoopSession:
    """Observe a few steps of a training loop, and report which values are alive at their memory peak, and why.

    Use it as a context manager around the loop, or call ``start()`` and ``stop()`` in the callbacks of a trainer. Call
    ``step()`` at the end of each training step. Without such a call, the whole ``with`` block is one step.

    Parameters
    ----------
    model : torch.nn.Module, optional
        The model, whose parameters then have names in the report even if the steps do not use them.
    optimizer : torch.optim.Optimizer, optional
        The optimizer, so that its state is recognized from the first step on. Wrapped optimizers of trainers are
        accepted.
    steps : int
        Number of recorded steps. Three or more show memory that grows from step to step. If the loop goes on, usually
        up to two further steps, and at most ``steps + 2``, are used to find the objects that hold memory and the lines
        that store it there.
    title : str
        The title of the report.

    Returns
    -------
    LoopSession
        ``.report`` is the :class:`~recompviz.MemoryReport`, ``.done`` tells whether the observation is complete.

    Raises
    ------
    TypeError
        If ``model`` is not a module, ``optimizer`` is not an optimizer, or ``steps`` is not an int.
    ValueError
        If ``steps`` is less than 1.
    ProfilerBusy
        If another profiler runs when the observation starts.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> net = torch.nn.Linear(256, 256)
    >>> with rv.debug_steps(net) as observed:
    ...     for _ in range(5):
    ...         net(torch.ones(512, 256)).tanh().sum().backward()
    ...         observed.step()
    >>> observed.done, observed.report.top.cause, len(observed.report.growth)
    (True, 'saved for backward', 3)
    """
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model is {shown(model)}, expected a torch.nn.Module or None")
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps is {steps!r}, expected a whole number of steps, for example 3")
    if steps < 1:
        raise ValueError(f"steps = {steps}, expected at least 1; use 3 to find memory that grows")
    inner = _unwrapped(optimizer)
    if inner is not None and not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"optimizer is {shown(optimizer)}, expected a torch.optim.Optimizer or None")
    return LoopSession(model, inner, steps, title)


def _unwrapped(optimizer: Any) -> Any:
    """Return the optimizer inside the wrappers of trainers, which keep it in an attribute ``optimizer``."""
    while not isinstance(optimizer, torch.optim.Optimizer) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


class LoopSession:
    """The observation of a training loop. Made by :func:`debug_steps`."""

    def __init__(
        self,
        model: nn.Module | None,
        optimizer: torch.optim.Optimizer | None,
        steps: int,
        title: str,
        spaces: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._spaces = spaces
        self._model, self._optimizer, self._steps, self._title = model, optimizer, steps, title
        self._around = contextlib.ExitStack()
        self._pass = contextlib.ExitStack()
        self._observer: Observer | None = None
        self._recordings: list[Recording] = []
        self._peak: PeakState | None = None
        self._found: Any = None  # what the second or third pass has filled
        self._report: MemoryReport | None = None
        self._advance: Any = None  # what to do at the end of the step

    @property
    def done(self) -> bool:
        """Whether the observation is complete. If so, there is a report, and further steps run at their usual speed."""
        return self._report is not None

    @property
    def report(self) -> MemoryReport:
        """The memory report.

        Raises
        ------
        NoReport
            If :attr:`done` is False: the observation needs further steps, and :meth:`stop` was not called.
        """
        if self._report is None:
            raise NoReport("the observation is not complete, expected the end of the loop; read .report after it")
        return self._report

    def __enter__(self) -> LoopSession:
        self._start(sys._getframe(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start to observe. The next operator belongs to the first step.

        Raises
        ------
        NoReport
            If this observation has started already.
        ProfilerBusy
            If another profiler runs in this process.
        """
        self._start(sys._getframe(1))

    def _start(self, frame: Any) -> None:
        if self._observer is not None:
            raise NoReport("this observation has started already, expected a new one: call rv.debug_steps again")
        tensors = [*self._model.parameters()] if self._model is not None else []
        device = device_of(tensors) if tensors else present_accelerator() or torch.device("cpu")
        self._around.enter_context(loop_around(frame))
        try:
            self._observer = Observer(device, self._model, self._optimizer, in_loop=True, spaces=self._spaces)
            self._recordings = self._pass.enter_context(self._observer.recording())
        except BaseException:  # also an interrupt: what was entered must be closed
            self._observer = None
            self._around.close()
            raise
        self._observer.watcher.begin_step()
        self._advance = self._recorded_step

    def step(self) -> None:
        """End a training step. When the observation is complete, do nothing.

        Raises
        ------
        NoReport
            If the observation has not started.
        """
        if self._observer is None:
            raise NoReport("the observation has not started, expected start() or a with block before step()")
        if self._advance is not None:
            self._advance()

    def stop(self) -> None:
        """End the observation, and make the report from the steps so far.

        If the observation has not started or is complete already, do nothing.
        """
        if self._observer is None or self._report is not None:
            return
        if self._advance == self._recorded_step:
            watcher = self._observer.watcher
            if watcher.step and watcher.step_starts[-1] == len(watcher.operators):
                watcher.drop_step()  # nothing ran after the last step
            else:
                self._observer.step_ended()
            self._end_of_recording()
            self._finish(NOT_SEARCHED)
        else:
            self._pass.close()
            if self._advance == self._found_paths:
                assert self._peak is not None
                self._peak = replace(self._peak, paths=self._found)
            self._finish("" if self._peak is not None and self._peak.paths else NOT_SEARCHED)

    # ---------------------------------------------------------------- what happens at the end of each step

    def _recorded_step(self) -> None:
        assert self._observer is not None
        self._observer.step_ended()
        if len(self._observer.between) <= self._steps:
            self._observer.watcher.begin_step()
            return
        peak = self._end_of_recording()
        if peak.recording.peak_operator is None:
            self._finish()
            return
        self._found = self._pass.enter_context(self._observer.searching_at_peak(peak.recording))
        self._observer.watcher.begin_step()
        self._advance = self._found_paths

    def _end_of_recording(self) -> PeakState:
        assert self._observer is not None
        self._pass.close()
        self._peak = self._observer.peak_of(self._recordings[0])
        return self._peak

    def _found_paths(self) -> None:
        assert self._observer is not None
        assert self._peak is not None
        if not self._found and self._observer.watcher.step < 2 * self._steps:
            self._observer.watcher.begin_step()  # this step was shorter; wait for one like that of the peak
            return
        self._pass.close()
        self._peak = replace(self._peak, paths=self._found)
        retainers = self._peak.retainers
        if not retainers:
            self._finish()
            return
        self._found = self._pass.enter_context(self._observer.following_stores(retainers))
        self._advance = self._found_stores

    def _found_stores(self) -> None:
        assert self._peak is not None
        self._pass.close()
        self._finish()

    def _finish(self, note: str = "") -> None:
        assert self._peak is not None
        if self._advance == self._found_stores:
            self._peak = replace(self._peak, stored_at=self._found)
        self._advance = None
        self._around.close()
        report = report_of(self._peak, self._title)
        self._report = replace(report, notes=(*report.notes, note)) if note else report
        self._peak = self._found = None
