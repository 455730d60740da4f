"""Run a training step several times to make its memory report.

The first pass watches and profiles some training steps, and finds the peak. The second pass runs one more training step
and pauses at the operator of the peak, to search for the objects that hold blocks. If an object of the user's program
keeps a block alive, a third pass runs one more training step. It finds the line that stores the block in the object.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import shown
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.other_threads import threads_counted
from recompviz.pytorch.debugging.recorder.recording import Recording, recorded
from recompviz.pytorch.debugging.recorder.watched import Operator
from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.references.cycles import Cycle, collected, collector_off
from recompviz.pytorch.debugging.references.held import HeldAfterStep, paths_by_block
from recompviz.pytorch.debugging.references.insertions import contents, reader
from recompviz.pytorch.debugging.references.process_tensors import ProcessTensors
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer
from recompviz.pytorch.debugging.references.walk import Walk
from recompviz.pytorch.debugging.report import report_of
from recompviz.pytorch.internals.aot import make_lazy_parameters
from recompviz.pytorch.internals.devices.runtimes import device_of, present_accelerator, runtime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.optimizers import plain_optimizer
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.state import clear_gradients, state_restored
from recompviz.pytorch.internals.user_lines import calls_step, lines_traced, own_frames, source_line
from recompviz.pytorch.tracing.step import (
    Loss,
    Step,
    TraceError,
    expect_loss,
    needs_closure,
    refuse_call,
    refuse_foreign,
    scalar,
    step_arguments,
)

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
    """Run some eager training steps and report the measured memory at their peak.

    Up to three more training steps run. If ``model`` is a module, one step runs before to warm up. Up to two steps run
    afterwards to search for references. If ``model`` is a module, its parameters, buffers and gradients and the
    optimizer's state are restored at the end.

    Parameters
    ----------
    model, inputs, kwargs, targets, loss, optimizer, steps
        As for :func:`recompviz.debug`.

    Returns
    -------
    report : MemoryReport
        The report, without the differences and the advice that :func:`recompviz.debug` adds.
    recording : Recording
        The operators and allocations of these training steps.

    Raises
    ------
    TypeError
        If ``model`` is neither a module nor a function.
    ValueError
        If ``steps`` is less than 1.
    TraceError
        If ``loss`` is neither a function nor a module, or if the loss of a module is not a scalar or needs no gradient.
    ProfilerBusy
        If another ``torch.profiler`` runs in this process.
    """
    if not callable(model):
        raise TypeError(f"model is {shown(model)}, expected a torch.nn.Module or a function that runs one step")
    if steps < 1:
        raise ValueError(f"steps = {steps}, expected at least 1; use 3 to find memory that grows")
    arguments = step_arguments(inputs, kwargs, targets, optimizer, closures=True)
    if isinstance(model, nn.Module):
        refuse_call(model, *arguments[:2])
        make_lazy_parameters(Step(model, None), (*arguments[:2], ()))
        refuse_foreign(optimizer, model, arguments)
    expect_loss(loss)
    module = model if isinstance(model, nn.Module) else None
    session = _Session(model, arguments, loss, optimizer)
    with state_restored(session.modules, arguments, optimizer) if module is not None else contextlib.nullcontext():
        if module is not None:
            session.warm_up()
        recording = session.record(steps)
        peak = session.look_at_peak(recording)
    return report_of(peak, session.title), recording


class _Session:
    """A training step of one model or function, which runs as often as the passes need it."""

    def __init__(
        self, model: Any, arguments: Arguments, loss: Loss | None, optimizer: torch.optim.Optimizer | None
    ) -> None:
        self.model, self.arguments, self.loss, self.optimizer = model, arguments, loss, optimizer
        self._plain = None if optimizer is None else plain_optimizer(optimizer)
        self.module = model if isinstance(model, nn.Module) else None
        self.modules = [one for one in (model, loss) if isinstance(one, nn.Module)]
        tensors = [*self.module.parameters()] if self.module is not None else []
        self.device = device_of([*tensors, *pytree.tree_leaves(arguments)])
        if self.module is None:
            self.device = present_accelerator() or self.device
        self.watcher = Watcher(self.module)
        self.between: list[HeldAfterStep] = []
        self.cycles: list[Cycle] = []
        self.held_by_caller: set[int] = set()
        self.process = ProcessTensors(self.device)

    @property
    def title(self) -> str:
        if self.module is not None:
            return f"{type(self.module).__name__}, training step"
        return f"{getattr(self.model, '__name__', type(self.model).__name__)}()"

    # ---------------------------------------------------------------- one step

    @calls_step
    def one_step(self, optimize: bool = True) -> None:
        inputs, kwargs, _ = self.arguments
        if self.module is None:
            self.model(*inputs, **kwargs)
            return
        if self._plain is not None and optimize and needs_closure(self._plain):
            self._plain.step(self._loss_and_gradients)  # type: ignore[arg-type]
            return
        self._loss_and_gradients()
        if self._plain is not None and optimize:
            self._plain.step()

    def _loss_and_gradients(self) -> torch.Tensor:
        assert self.module is not None
        self._clear()
        loss = self._forward(self.module)
        if not loss.requires_grad:
            raise TraceError("the loss needs no gradient: there is no backward pass to watch")
        torch.autograd.backward(loss)
        return loss.detach()

    def _clear(self) -> None:
        for module in self.modules:
            clear_gradients(module, self.arguments)

    def _forward(self, module: nn.Module) -> torch.Tensor:
        """Return the loss. The output of the model is freed on return, as in the traced training step."""
        inputs, kwargs, targets = self.arguments
        output = module(*inputs, **kwargs)
        known = [self.watcher.known(leaf) for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        self.held_by_caller.update(number for number in known if number is not None)
        loss: torch.Tensor = scalar(output if self.loss is None else self.loss(output, *targets))
        return loss

    def warm_up(self) -> None:
        """Run one training step so that libraries fill their caches. The optimizer does not step.

        So the first step of the optimizer, which makes its state, is recorded.
        """
        self.one_step(optimize=False)

    # ---------------------------------------------------------------- first pass

    @calls_step
    def record(self, steps: int) -> Recording:
        """Watch and profile some training steps, and search for references before the first and after each."""
        self._clear()
        walk = self._walk()
        self._name_modules(walk)
        self._name_given()
        self.between.append(HeldAfterStep.of(self.watcher, walk))
        del walk
        garbage: list[Any] = []
        with (
            memory_window(self.device) as window,
            self.watcher.watching(),
            threads_counted() as threads,
            collector_off(),
        ):
            for _ in range(steps):
                self._watched_step()
                found, cycle = collected(self.watcher)
                garbage += found
                self.cycles += [cycle] if cycle is not None else []
                self.between.append(self._held_now())
            self._clear()  # the next step would clear them too, so that all steps end alike
        garbage.clear()
        return recorded(
            self.watcher.watched(),
            allocation_events(window.profiled, self.device.type, ("rv:",)),
            device=str(self.device),
            alignment=runtime(self.device).alignment,
            reserved=window.reserved,
            seconds=window.seconds,
            notes=threads.notes,
        )

    def _name_modules(self, walk: Walk) -> None:
        for (_, expression), value in walk.owners.items():
            if issubclass(type(value), nn.Module):  # isinstance would read __class__, which a proxy resolves
                known = self.watcher.owners.variables.get(id(value))
                if known is None or len(expression) < len(known):
                    self.watcher.owners.variables[id(value)] = expression

    def _name_given(self) -> None:
        inputs, kwargs, targets = self.arguments
        owners = self.watcher.owners
        owners.name_given((inputs, kwargs), "input")
        owners.name_given(targets, "target")
        if self.optimizer is not None:
            owners.add_optimizer(self.optimizer)
            owners.name_states(self.optimizer)

    def _watched_step(self) -> None:
        self.watcher.begin_step()
        self.one_step()
        self.watcher.owners.name_gradients()

    def _held_now(self) -> HeldAfterStep:
        return HeldAfterStep.of(self.watcher, self._walk())

    def _walk(self) -> Walk:
        functions = [f for f in (self.model, self.loss) if f is not None and not isinstance(f, nn.Module)]
        return Walk(self.watcher.owners.roots, functions)

    # ---------------------------------------------------------------- second and third pass

    def look_at_peak(self, recording: Recording) -> PeakState:
        """Return the state at the peak. This runs up to two more training steps.

        The first is interrupted at the operator of the peak, to search for reference paths. The second runs if an
        object keeps a block alive, and finds the line that stores the block. None runs if there is no operator.
        """
        outside, touched = self.process.outside(self.watcher, self._walk())
        seen = PeakState(
            recording,
            between=tuple(self.between),
            held_by_caller=frozenset(self.held_by_caller),
            outside=tuple(outside),
            touched=frozenset(touched),
            cycles=tuple(self.cycles),
            files=self._files(),
        )
        at_peak = recording.peak_operator
        if at_peak is None:
            return seen
        watcher, now = self.watcher, self.watcher.step + 1
        wanted = _by_origin(recording)
        index = at_peak.number - recording.steps.start_of(at_peak.step)
        paths: dict[int, list[ReferencePath]] = {}

        def search(op: Operator) -> None:
            if op.step == now and op.number - watcher.step_starts[now] == index and not paths:
                paths.update(self._paths_now(wanted, now))

        watcher.on_operator = search
        with watcher.watching():
            self._watched_step()
        watcher.on_operator = None
        peak = replace(seen, paths=paths)
        return replace(peak, stored_at=self._storing_lines(peak.retainers)) if peak.retainers else peak

    def _files(self) -> tuple[str, ...]:
        """Return the user's files: those of the frames that called recompviz, and that of the function."""
        files = [own.f_code.co_filename for own, _ in own_frames(sys._getframe(1))]
        code = getattr(inspect.unwrap(self.model), "__code__", None) or getattr(
            getattr(self.model, "__func__", None), "__code__", None
        )
        return tuple(dict.fromkeys([*files, *([code.co_filename] if code is not None else [])]))

    def _paths_now(self, wanted: Mapping[tuple[int, int], int], now: int) -> dict[int, list[ReferencePath]]:
        """Return the current reference paths, by the number of the recorded block.

        A block made in this training step stands for the recorded block that the same operator made in the training
        step of the peak.
        """
        watcher = self.watcher
        found: dict[int, list[ReferencePath]] = {}
        for number, paths in paths_by_block(watcher, self._walk().found).items():
            block = watcher.blocks[number]
            recorded_as: int | None = number
            if block.maker >= 0:
                origin = block.maker - watcher.step_starts[block.step], block.position
                recorded_as = wanted.get(origin) if block.step == now else None
            if recorded_as is not None:
                found[recorded_as] = paths
        return found

    def _storing_lines(self, retainers: Mapping[Key, Retainer]) -> dict[Key, SourceLine]:
        """Return the line that stores the most bytes in each retainer; retainers without such a line are left out.

        One more training step runs. The retainers are read before each of its lines.
        """
        walk = self._walk()
        reads = {key: read for key, retainer in retainers.items() if (read := reader(retainer, walk)) is not None}
        before = {key: contents(read) for key, read in reads.items()}
        added: dict[Key, dict[SourceLine, int]] = {key: {} for key in reads}
        last: SourceLine | None = None

        def compare(frame: Any, event: str) -> None:
            nonlocal last
            for key, read in reads.items():
                now, old = contents(read), before[key]
                if now.keys() - old.keys() and last is not None:
                    more = sum(size for tensor, size in now.items() if tensor not in old)
                    added[key][last] = added[key].get(last, 0) + more
                before[key] = now
            if event == "line":
                last = source_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)

        with lines_traced(compare):
            self.one_step()
        return {key: max(lines, key=lambda line: lines[line]) for key, lines in added.items() if lines}


def _by_origin(recording: Recording) -> dict[tuple[int, int], int]:
    """Map (operator within the training step, position of the result) to the number of the block.

    Only blocks made in the training step of the peak and alive at the peak are included.
    """
    step, start = recording.peak_step, recording.steps.start_of(recording.peak_step)
    blocks = [one.block for one in recording.live if one.block is not None]
    return {(b.maker - start, b.position): b.number for b in blocks if b.maker >= 0 and b.step == step}
