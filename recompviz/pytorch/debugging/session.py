"""From a training step to its memory report: watch some steps, find the peak, run once more and look around there.

The first pass watches and profiles ``steps`` steps. A second one stops at the operator of the peak and reads
who holds what. Where a container of the user's holds something, a third one finds the line that puts it there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.reports.memory_report import MemoryReport, SourceLine
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.other_threads import threads_seen
from recompviz.pytorch.debugging.recorder.recording import Recording
from recompviz.pytorch.debugging.recorder.watched import Block, Operator
from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.references.held import HeldAfterStep, paths_by_block
from recompviz.pytorch.debugging.references.insertions import contents, reader
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer
from recompviz.pytorch.debugging.references.walk import Walk
from recompviz.pytorch.debugging.reporting import report_of
from recompviz.pytorch.internals.devices import alignment, device_of
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import operator_ranges
from recompviz.pytorch.internals.state import clear_gradients, state_restored
from recompviz.pytorch.internals.user_lines import calls_step, lines_traced, source_line
from recompviz.pytorch.tracing.step import Loss, TraceError, as_targets, scalar

Arguments = tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]


def examined(
    model: nn.Module | Callable[..., Any],
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 3,
) -> tuple[MemoryReport, Recording]:
    """The memory report of some eager steps, without expectation or advice, and the recording behind it.

    Raises
    ------
    TypeError
        If ``model`` is neither a module nor a function.
    ValueError
        If ``steps`` is less than 1.
    """
    if not callable(model):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module or a function that runs one step")
    if steps < 1:
        raise ValueError(f"steps = {steps}, expected at least 1 (3, to see what grows)")
    arguments = (tuple(inputs), dict(kwargs or {}), as_targets(targets))
    module = model if isinstance(model, nn.Module) else None
    session = _Session(model, arguments, loss, optimizer)
    with state_restored(module, arguments, optimizer) if module is not None else contextlib.nullcontext():
        if module is not None:
            session.warm_up()
        recording = session.record(steps)
        peak = session.look_around(recording)
    return report_of(peak, session.title), recording


class _Session:
    """One step of the user's, run as often as it takes."""

    def __init__(
        self, model: Any, arguments: Arguments, loss: Loss | None, optimizer: torch.optim.Optimizer | None
    ) -> None:
        self.model, self.arguments, self.loss, self.optimizer = model, arguments, loss, optimizer
        self.module = model if isinstance(model, nn.Module) else None
        tensors = [*self.module.parameters()] if self.module is not None else []
        self.device = device_of([*tensors, *pytree.tree_leaves(arguments)])
        if self.module is None and torch.cuda.is_available():
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.watcher = Watcher(self.module)
        self.between: list[HeldAfterStep] = []

    @property
    def title(self) -> str:
        if self.module is not None:
            return f"{type(self.module).__name__}, training step"
        return f"{getattr(self.model, '__name__', type(self.model).__name__)}()"

    @calls_step
    def one_step(self, backward: bool = True, optimize: bool = True) -> None:
        inputs, kwargs, _ = self.arguments
        if self.module is None:
            self.model(*inputs, **kwargs)
            return
        self._clear()
        loss = self._forward(self.module)
        if backward:
            if not loss.requires_grad:
                raise TraceError("the loss needs no gradient: there is no backward pass to watch")
            torch.autograd.backward(loss)
        if self.optimizer is not None and optimize:
            self.optimizer.step()

    def _clear(self) -> None:
        if self.module is not None:
            clear_gradients(self.module, self.arguments)

    def _forward(self, module: nn.Module) -> torch.Tensor:
        """The loss; the model's output is gone when it is there, as in the step that is traced."""
        inputs, kwargs, targets = self.arguments
        output = module(*inputs, **kwargs)
        loss: torch.Tensor = scalar(output if self.loss is None else self.loss(output, *targets))
        return loss

    def warm_up(self) -> None:
        """Libraries allocate what they keep once; the optimiser does not step, its first step is to be seen."""
        self.one_step(optimize=False)

    def _watched_step(self) -> None:
        self.watcher.begin_step()
        self.one_step()
        self.watcher.name_gradients()

    def _name_static(self) -> None:
        inputs, kwargs, targets = self.arguments
        self.watcher.name_given((inputs, kwargs), "input")
        self.watcher.name_given(targets, "target")
        if self.optimizer is not None:
            self.watcher.add_optimizer(self.optimizer)
            self.watcher.name_states(self.optimizer)

    @calls_step
    def record(self, steps: int) -> Recording:
        """Watch and profile some steps."""
        self._clear()
        self._name_static()
        self.between.append(self._held_now())
        with memory_window(self.device) as window, self.watcher, threads_seen() as threads:
            for _ in range(steps):
                self._watched_step()
                self.between.append(self._held_now())
            self._clear()  # as the next step would: the ends of the steps are alike
        events = list(operator_ranges(window.profiled, self.device.type))
        device, rounding = str(self.device), alignment(self.device)
        recording = Recording(self.watcher, events, device, rounding, window.reserved, window.seconds, threads.notes)
        _ = recording.at_peak, recording.static_blocks, recording.step_ends  # before the watcher sees more
        return recording

    # ---------------------------------------------------------------- who holds what

    def look_around(self, recording: Recording) -> PeakState:
        """Run one more step and read, at the operator of the peak, who holds which block."""
        at_peak = recording.peak_operator
        if at_peak is None:
            return PeakState(recording)
        peak = PeakState(recording, between=tuple(self.between))
        _ = peak.end, peak.reads, peak.live, peak.has_backward  # of the recorded steps alone
        now = self.watcher.step + 1
        wanted = _by_origin(recording, [one.block for one in peak.live if one.block is not None], at_peak.step)
        held: dict[int, list[ReferencePath]] = {}
        index = at_peak.number - self.watcher.step_starts[at_peak.step]

        def at(op: Operator) -> None:
            if op.step != now or op.number - self.watcher.step_starts[now] != index or held:
                return
            held.update(self._held(wanted, now))

        self.watcher.on_operator = at
        with self.watcher:
            self._watched_step()
        self.watcher.on_operator = None
        settled = peak.settled(held)
        return settled.with_lines(self._placed(settled.retainers)) if settled.retainers else settled

    def _held_now(self) -> HeldAfterStep:
        return HeldAfterStep.of(self.watcher, self._walk())

    def _walk(self) -> Walk:
        functions = [f for f in (self.model, self.loss) if f is not None and not isinstance(f, nn.Module)]
        return Walk(self.watcher.roots, functions)

    def _held(self, wanted: dict[tuple[int, int], int], now: int) -> dict[int, list[ReferencePath]]:
        """By block of the recording, of those made in the step of the peak or outside: the paths to it, now."""
        watcher = self.watcher
        found: dict[int, list[ReferencePath]] = {}
        for number, paths in paths_by_block(watcher, self._walk().found).items():
            block = watcher.blocks[number]
            recorded: int | None = number
            if block.maker >= 0:
                key = block.maker - watcher.step_starts[block.step], block.position
                recorded = wanted.get(key) if block.step == now else None
            if recorded is not None:
                found[recorded] = paths
        return found

    def _placed(self, retainers: Mapping[Key, Retainer]) -> dict[Key, SourceLine]:
        """The line that puts most into each retainer, found by looking after every line of one more step."""
        walk = self._walk()
        reads = {key: read for key, retainer in retainers.items() if (read := reader(retainer, walk)) is not None}
        before = {key: contents(read) for key, read in reads.items()}
        added: dict[Key, dict[SourceLine, int]] = {key: {} for key in reads}
        last: list[SourceLine | None] = [None]

        def look(frame: Any, event: str) -> None:
            for key, read in reads.items():
                now, old = contents(read), before[key]
                if now.keys() - old.keys() and last[0] is not None:
                    more = sum(size for tensor, size in now.items() if tensor not in old)
                    added[key][last[0]] = added[key].get(last[0], 0) + more
                before[key] = now
            if event == "line":
                last[0] = source_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)

        with lines_traced(look):
            self.one_step()
        return {key: max(lines, key=lambda line: lines[line]) for key, lines in added.items() if lines}


def _by_origin(recording: Recording, blocks: list[Block], step: int) -> dict[tuple[int, int], int]:
    """(operator within the step, output) of each block that a step made → its number."""
    start = recording.watcher.step_starts[step]
    return {(b.maker - start, b.position): b.number for b in blocks if b.maker >= 0 and b.step == step}
