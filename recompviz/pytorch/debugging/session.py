"""Run a training step several times, in the passes of :mod:`.observer`, to make its memory report."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import RecompvizError
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.pytorch.debugging.observer import Observer
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import Recording
from recompviz.pytorch.debugging.report import report_of
from recompviz.pytorch.internals.aot import make_lazy_parameters
from recompviz.pytorch.internals.devices.runtimes import any_without_memory, device_of, present_accelerator
from recompviz.pytorch.internals.optimizers import plain_optimizer
from recompviz.pytorch.internals.state import clear_gradients, state_restored
from recompviz.pytorch.internals.user_lines import calls_step
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

    ``steps`` training steps are recorded. If ``model`` is a module, one step runs before them, to warm up. Up to two
    steps run after them, to search for references and for the lines that store them. If ``model`` is a module, its
    parameters, buffers and gradients and the optimizer's state are restored at the end.

    Parameters
    ----------
    model, inputs, kwargs, targets, loss, optimizer, steps
        As for :func:`recompviz.debug`.

    Returns
    -------
    report : MemoryReport
        The report. Its ``differences`` and ``advice`` are empty; :func:`recompviz.debug` fills them in.
    recording : Recording
        The operators and allocations of the recorded training steps.

    Raises
    ------
    TypeError
        If ``model`` is neither a module nor a function; if ``kwargs``, ``targets`` or ``optimizer`` has the wrong type;
        or if ``forward`` of a module cannot be called with ``inputs`` and ``kwargs``.
    ValueError
        If ``steps`` is less than 1, or if ``optimizer`` trains neither a parameter of the module nor an input or
        target.
    TraceError
        If ``loss`` is neither a function nor a module, or if the loss of a module is not one number or needs no
        gradient.
    RecompvizError
        If the model or the batch is on the meta device.
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
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    if any_without_memory([*parameters, *pytree.tree_leaves(arguments)]):
        raise RecompvizError(
            "a model or batch on the meta device has no memory to record; use rv.trace and rv.simulate"
        )
    module = model if isinstance(model, nn.Module) else None
    session = _Session(model, arguments, loss, optimizer)
    with state_restored(session.modules, arguments, optimizer) if module is not None else contextlib.nullcontext():
        if module is not None:
            session.warm_up()
        recording = session.record(steps)
        peak = session.look_at_peak(recording)
    return report_of(peak, session.title), recording


class _Session(Observer):
    """A training step of one model or function, which runs as often as the passes need it."""

    def __init__(
        self, model: Any, arguments: Arguments, loss: Loss | None, optimizer: torch.optim.Optimizer | None
    ) -> None:
        self.model, self.arguments, self.loss = model, arguments, loss
        self._plain = None if optimizer is None else plain_optimizer(optimizer)
        self.module = model if isinstance(model, nn.Module) else None
        self.modules = [one for one in (model, loss) if isinstance(one, nn.Module)]
        tensors = [*self.module.parameters()] if self.module is not None else []
        device = device_of([*tensors, *pytree.tree_leaves(arguments)])
        if self.module is None:
            device = present_accelerator() or device
        functions = [f for f in (model, loss) if f is not None and not isinstance(f, nn.Module)]
        super().__init__(device, self.module, optimizer, functions)

    @property
    def title(self) -> str:
        if self.module is not None:
            return f"{type(self.module).__name__}, training step"
        return f"{getattr(self.model, '__name__', type(self.model).__name__)}()"

    @calls_step
    def one_step(self, optimize: bool = True) -> None:
        inputs, kwargs, _ = self.arguments
        if self.module is None:
            self.model(*inputs, **kwargs)
            return
        if self._plain is not None and optimize and needs_closure(self._plain):
            self._plain.step(self._loss_and_gradients)  # type: ignore[arg-type]  # a closure may return a tensor
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

    @calls_step
    def record(self, steps: int) -> Recording:
        """Watch and profile some training steps, and search for references before the first and after each."""
        self._clear()
        with self.recording() as found:
            for _ in range(steps):
                self._watched_step()
                self.step_ended()
            self._clear()  # the next step would clear them too, so that all steps end alike
        return found[0]

    def _name_given(self) -> None:
        inputs, kwargs, targets = self.arguments
        self.watcher.owners.name_given((inputs, kwargs), "input")
        self.watcher.owners.name_given(targets, "target")

    def _watched_step(self) -> None:
        self.watcher.begin_step()
        self.one_step()

    def look_at_peak(self, recording: Recording) -> PeakState:
        """Return the state at the peak. This runs up to two more training steps.

        The first is interrupted at the operator of the peak, to search for reference paths. The second runs if an
        object keeps a block alive, and finds the line that stores the block. None runs if there is no operator.
        """
        seen = self.peak_of(recording)
        if recording.peak_operator is None:
            return seen
        with self.searching_at_peak(recording) as paths:
            self._watched_step()
            self.watcher.owners.name_gradients()
        peak = replace(seen, paths=paths)
        if not peak.retainers:
            return peak
        with self.following_stores(peak.retainers) as stored_at:
            self.one_step()
        return replace(peak, stored_at=stored_at)

    def _files(self) -> tuple[str, ...]:
        """Return the user's files: those of the frames that called recompviz, and that of the function."""
        code = getattr(inspect.unwrap(self.model), "__code__", None) or getattr(
            getattr(self.model, "__func__", None), "__code__", None
        )
        return tuple(dict.fromkeys([*super()._files(), *([code.co_filename] if code is not None else [])]))
