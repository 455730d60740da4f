"""Observe training steps in three passes.

The first pass watches and profiles some training steps, and finds the peak. The second pass watches one more training
step and pauses at the operator of the peak, to search for the objects that hold blocks. If an object of the user's
program keeps a block alive, a third pass follows one more training step line by line. It finds the line that stores
the block in the object. This module does not run the steps: :mod:`.session` calls a model or a function, and
:mod:`.loop_session` observes the steps of the user's own loop.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

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
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.user_lines import is_own, lines_traced, own_frames, source_line


class Observer:
    """Observes training steps on a device.

    Parameters
    ----------
    device : torch.device
    module : torch.nn.Module, optional
        The module whose parameters are named first.
    optimizer : torch.optim.Optimizer, optional
        An optimizer whose state gets names at once. The state of other optimizers gets names when their ``step`` runs.
    functions : sequence of callable
        Functions whose variables the search for references reads.
    in_loop : bool
        Whether the steps run in a loop of the user. The variables of the loop then keep their values from step to step.
    spaces : sequence of dict
        Further global variables that the search for references reads, for example the variables of a notebook.

    Attributes
    ----------
    watcher : Watcher
    between : list of HeldAfterStep
        The objects that hold blocks before the first recorded training step, and after each one.
    held_by_caller : set of int
        The numbers of the blocks that the caller of the loss holds while the loss is computed.
    """

    def __init__(
        self,
        device: torch.device,
        module: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        functions: Sequence[Any] = (),
        in_loop: bool = False,
        spaces: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.device, self.optimizer, self.in_loop, self._spaces = device, optimizer, in_loop, spaces
        self.watcher = Watcher(module)
        self.between: list[HeldAfterStep] = []
        self.held_by_caller: set[int] = set()
        self._functions = functions
        self._cycles: list[Cycle] = []
        self._garbage: list[Any] = []
        self._process = ProcessTensors(device)

    # ---------------------------------------------------------------- first pass

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Recording]]:
        """Watch and profile the training steps in a ``with`` block.

        The ``with`` block gets an empty list. When the block has ended without an error, the list has one recording.

        Raises
        ------
        ProfilerBusy
            If another profiler runs in this process.
        """
        self._name_all()
        found: list[Recording] = []
        with (
            memory_window(self.device) as window,
            self.watcher.watching(),
            threads_counted() as threads,
            collector_off(),
        ):
            yield found
        self._garbage.clear()
        found.append(
            recorded(
                self.watcher.watched(),
                allocation_events(window.profiled, self.device.type, ("rv:",)),
                device=str(self.device),
                alignment=runtime(self.device).alignment,
                reserved=window.reserved,
                seconds=window.seconds,
                notes=threads.notes,
            )
        )

    def _name_all(self) -> None:
        """Name what exists before the first training step, and search for references."""
        walk = self._walk()
        owners = self.watcher.owners
        for (_, expression), value in walk.owners.items():
            if issubclass(type(value), nn.Module):  # isinstance would read __class__, which a proxy resolves
                known = owners.variables.get(id(value))
                if known is None or len(expression) < len(known):
                    owners.variables[id(value)] = expression
        self._name_given()
        if self.optimizer is not None:
            owners.add_optimizer(self.optimizer)
            owners.name_states(self.optimizer)
        self.between.append(HeldAfterStep.of(self.watcher, walk))

    def _name_given(self) -> None:
        """Name the inputs and targets, if they are known."""

    def step_ended(self) -> None:
        """Note what a recorded training step has left: gradients, garbage, and objects that hold blocks."""
        self.watcher.owners.name_gradients()
        found, cycle = collected(self.watcher)
        self._garbage += found
        self._cycles += [cycle] if cycle is not None else []
        self.between.append(HeldAfterStep.of(self.watcher, self._walk()))

    def _walk(self) -> Walk:
        return Walk(self.watcher.owners.roots, [*self._functions], in_loop=self.in_loop, spaces=self._spaces)

    def peak_of(self, recording: Recording) -> PeakState:
        """Return the state at the peak of a recording. Its ``paths`` and ``stored_at`` are still empty."""
        outside, touched = self._process.outside(self.watcher, self._walk())
        return PeakState(
            recording,
            between=tuple(self.between),
            held_by_caller=frozenset(self.held_by_caller),
            outside=tuple(outside),
            touched=frozenset(touched),
            cycles=tuple(self._cycles),
            files=self._files(),
            process=self._process.memory,
        )

    def _files(self) -> tuple[str, ...]:
        """Return the user's files: those of the frames that called recompviz."""
        return tuple(dict.fromkeys(own.f_code.co_filename for own, _ in own_frames(sys._getframe(1))))

    # ---------------------------------------------------------------- second pass

    @contextlib.contextmanager
    def searching_at_peak(self, recording: Recording) -> Iterator[dict[int, list[ReferencePath]]]:
        """Watch a training step, and search for reference paths at the operator of the peak.

        The ``with`` block gets an empty dictionary. It is filled when the step reaches that operator: number of a block
        → its paths. A block made in this step stands for the recorded block that the same operator made in the step of
        the peak. The recording must have an operator at the peak.
        """
        at_peak, watcher = recording.peak_operator, self.watcher
        paths: dict[int, list[ReferencePath]] = {}
        assert at_peak is not None
        wanted = _by_origin(recording)
        index = at_peak.number - recording.steps.start_of(at_peak.step)
        first = watcher.step + 1

        def search(op: Operator) -> None:
            if op.step >= first and op.number - watcher.step_starts[op.step] == index and not paths:
                paths.update(self._paths_now(wanted, op.step))

        watcher.on_operator = search
        try:
            with watcher.watching():
                yield paths
        finally:
            watcher.on_operator = None

    def _paths_now(self, wanted: Mapping[tuple[int, int], int], now: int) -> dict[int, list[ReferencePath]]:
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

    # ---------------------------------------------------------------- third pass

    @contextlib.contextmanager
    def following_stores(self, retainers: Mapping[Key, Retainer]) -> Iterator[dict[Key, SourceLine]]:
        """Follow a training step line by line, and find the user's lines that store tensors into retainers.

        A retainer is an object that keeps blocks alive. The ``with`` block gets a dictionary, which is complete when
        the block has ended: key of a retainer → the line that stores the most bytes in the retainer. Retainers without
        such a line are left out. The retainers are read before each line.
        """
        stored: dict[Key, SourceLine] = {}
        walk = self._walk()
        reads = {key: read for key, retainer in retainers.items() if (read := reader(retainer, walk)) is not None}
        del walk
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
            # after a return, the rest of the calling line runs: `kept.append(loss_of(x))`
            running = frame if event == "line" else frame.f_back
            if running is not None and is_own(running.f_code.co_filename):
                last = source_line(running.f_code.co_filename, running.f_lineno, running.f_code.co_name)

        with lines_traced(compare, running=self.in_loop):
            yield stored
        stored.update({key: max(lines, key=lambda line: lines[line]) for key, lines in added.items() if lines})


def _by_origin(recording: Recording) -> dict[tuple[int, int], int]:
    """Map (operator within the training step, position of the result) to the number of the block.

    Only blocks made in the training step of the peak and alive at the peak are included.
    """
    step, start = recording.peak_step, recording.steps.start_of(recording.peak_step)
    blocks = [one.block for one in recording.live if one.block is not None]
    return {(b.maker - start, b.position): b.number for b in blocks if b.maker >= 0 and b.step == step}
