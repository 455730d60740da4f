"""From a training step to its memory report: watch some steps, find the peak, run once more and look around there.

The first pass watches and profiles ``steps`` steps. A second one stops at the operator of the peak and reads
who holds what. Where a container of the user's holds something, a third one finds the line that puts it there.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.attribution import MemoryReport, PeakRow, SourceLine, ranked
from recompviz.core.joint import Category
from recompviz.pytorch import private
from recompviz.pytorch.causes import ordinary_causes, surprising_causes
from recompviz.pytorch.devices import alignment, device_of
from recompviz.pytorch.holders import Holder, fingerprint, holders, nodes_behind
from recompviz.pytorch.moment import Moment, operator_name
from recompviz.pytorch.profiling import allocations_recorded
from recompviz.pytorch.recording import LiveBlock, Recording, operator_label
from recompviz.pytorch.state import gradient_holders, state_kept
from recompviz.pytorch.step import Loss, TraceError, as_targets, scalar
from recompviz.pytorch.user_lines import lines_traced, source_line
from recompviz.pytorch.watcher import Block, Operator, Watcher

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
    with state_kept(module, arguments, optimizer) if module is not None else contextlib.nullcontext():
        if module is not None:
            session.warm_up()
        recording = session.record(steps)
        moment = session.look_around(recording)
    return report_of(moment, session.title), recording


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

    @property
    def title(self) -> str:
        if self.module is not None:
            return f"{type(self.module).__name__}, training step"
        return f"{getattr(self.model, '__name__', type(self.model).__name__)}()"

    def one_step(self, backward: bool = True, optimize: bool = True) -> None:
        inputs, kwargs, _ = self.arguments
        if self.module is None:
            self.model(*inputs, **kwargs)
            return
        for tensor in gradient_holders(self.module, self.arguments):
            tensor.grad = None
        loss = self._forward(self.module)
        if backward:
            if not loss.requires_grad:
                raise TraceError("the loss needs no gradient: there is no backward pass to watch")
            torch.autograd.backward(loss)
        if self.optimizer is not None and optimize:
            self.optimizer.step()

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
            self.watcher.optimizers.append(self.optimizer)
            self.watcher.name_states(self.optimizer)

    def record(self, steps: int) -> Recording:
        """Watch and profile some steps."""
        cuda = self.device.type == "cuda"
        if self.module is not None:
            for tensor in gradient_holders(self.module, self.arguments):
                tensor.grad = None
        gc.collect()
        self._name_static()
        if cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        start = time.perf_counter()
        with allocations_recorded(self.device) as profiled, self.watcher:
            for _ in range(steps):
                self._watched_step()
            if cuda:
                torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        reserved = torch.cuda.max_memory_reserved(self.device) if cuda else None
        events = list(private.operator_ranges(profiled, self.device.type))
        recording = Recording(self.watcher, events, str(self.device), alignment(self.device), reserved, seconds)
        _ = recording.at_peak, recording.static_blocks, recording.step_ends()  # before the watcher sees more
        return recording

    # ---------------------------------------------------------------- who holds what

    def look_around(self, recording: Recording) -> Moment:
        """Run one more step and read, at the operator of the peak, who holds which block."""
        peak = recording.peak_operator
        if peak is None:
            return Moment(recording)
        moment = Moment(recording)
        _ = moment.end, moment.reads, moment.live, moment.has_backward  # of the recorded steps alone
        now = self.watcher.step + 1
        wanted = _by_origin(recording, [one.block for one in moment.live if one.block is not None], peak.step)
        held: dict[int, list[Holder]] = {}
        index = peak.number - self.watcher.step_starts[peak.step]

        def at(op: Operator) -> None:
            if op.step != now or op.number - self.watcher.step_starts[now] != index or held:
                return
            held.update(self._held(wanted, now))

        self.watcher.on_operator = at
        with self.watcher:
            self._watched_step()
        self.watcher.on_operator = None
        containers = {
            id(holder.container): holder.container
            for found in held.values()
            for holder in found
            if holder.container is not None and not isinstance(holder.container, tuple)
        }
        placed = self._placed(list(containers.values())) if containers else {}
        settled = Moment(recording, held, placed)
        settled.__dict__.update({k: v for k, v in moment.__dict__.items() if k not in ("held", "placed", "recording")})
        return settled

    def _held(self, wanted: dict[tuple[int, int, int], int], now: int) -> dict[int, list[Holder]]:
        """By block of the recording: its holders in the step that runs now."""
        watcher = self.watcher
        mine: dict[int, int] = {}  # block now → block of the recording
        for block in watcher.blocks:
            if block.died is None and block.maker < 0 and not block.role:
                mine[block.number] = block.number
            if block.died is None and block.maker >= 0:
                key = now - block.step, block.maker - watcher.step_starts[block.step], block.position
                if key in wanted:
                    mine[block.number] = wanted[key]
        modules = list(watcher.roots)
        functions = [f for f in (self.model, self.loss) if f is not None and not isinstance(f, nn.Module)]
        found: dict[int, list[Holder]] = {}
        with_graph = []
        for holder in holders(modules, functions):
            number = watcher.known(holder.tensor)
            if number in mine:
                found.setdefault(mine[number], []).append(holder)
            if holder.tensor.grad_fn is not None:
                with_graph.append((holder, number))
        reached: dict[int, Holder] = {}
        # what an older step's graph keeps is the question: the oldest holders first
        order = sorted(
            with_graph, key=lambda pair: watcher.blocks[pair[1]].step if pair[1] is not None else now, reverse=False
        )
        for holder, _ in order[:200]:
            for node in nodes_behind(holder.tensor):
                reached.setdefault(node, holder)
        for block_number, recorded in mine.items():
            if recorded in found:
                continue
            for saved in watcher.blocks[block_number].saved:
                if saved.sequence in reached:
                    h = reached[saved.sequence]
                    found[recorded] = [Holder(h.path, h.root, h.container, h.container_path, h.tensor, True)]
                    break
        return found

    def _placed(self, containers: list[Any]) -> dict[int, SourceLine]:
        """The line that puts something into each container, found by looking after every line of one more step."""
        before = [fingerprint(container) for container in containers]
        placed: dict[int, SourceLine] = {}
        last: list[SourceLine | None] = [None]

        def look(frame: Any, event: str) -> None:
            for i, container in enumerate(containers):
                now = fingerprint(container)
                if now != before[i]:
                    before[i] = now
                    if last[0] is not None:
                        placed[id(container)] = last[0]
            if event == "line":
                last[0] = source_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)

        with lines_traced(look):
            self.one_step()
        return placed


def _by_origin(recording: Recording, blocks: list[Block], step: int) -> dict[tuple[int, int, int], int]:
    """(age, operator within its step, output) of each block → its number."""
    starts = recording.watcher.step_starts
    return {
        (step - block.step, block.maker - starts[block.step], block.position): block.number
        for block in blocks
        if block.maker >= 0 and block.step >= 0
    }


# -------------------------------------------------------------------- the report


def report_of(moment: Moment, title: str) -> MemoryReport:
    """The report of a moment: rows, findings, timeline."""
    recording = moment.recording
    static = [
        (block, recording.rounded(block.size))
        for block in recording.static_blocks
        if moment.block_category(block).static
    ]
    entries: list[tuple[PeakRow, LiveBlock | None]] = [
        (_static_row(moment, block, size), None) for block, size in static
    ]
    entries += [(_row(moment, one), one) for one in moment.live]
    entries.sort(key=lambda entry: -entry[0].size)
    live = [(i, one) for i, (_, one) in enumerate(entries) if one is not None]
    rows = tuple(row for row, _ in entries)
    peak = sum(row.size for row in rows)
    findings = [*surprising_causes(moment, live), *ordinary_causes(moment, live)] if live else []
    blocks = recording.watcher.blocks
    sums: dict[Category, int] = {}
    for block, size in static:
        category = moment.block_category(block)
        sums[category] = sums.get(category, 0) + size
    timeline = recording.timeline(
        [moment.block_label(block) for block in blocks], [moment.block_category(block) for block in blocks], sums
    )
    return MemoryReport(title, timeline, rows, ranked(findings, peak), growth=recording.step_ends())


def _static_row(moment: Moment, block: Block, size: int) -> PeakRow:
    category = moment.block_category(block)
    why = {
        Category.PARAMETER: "parameter of the model",
        Category.BUFFER: "buffer of the model",
        Category.OPTIMIZER: "state of the optimiser",
    }.get(category, "held by the caller")
    return PeakRow(
        moment.block_label(block),
        size,
        category,
        why,
        module=block.name.rpartition(".")[0],
        shape=block.operand.shape,
        dtype=block.operand.dtype,
    )


def _row(moment: Moment, one: LiveBlock) -> PeakRow:
    op, block = one.operator, one.block
    last = moment.last_read(one)
    return PeakRow(
        moment.label(one),
        one.size,
        moment.category(one),
        moment.why(one),
        op.name if op is not None else "",
        op.module if op is not None else "",
        op.line if op is not None else None,
        op.stack if op is not None else (),
        block.operand.shape if block is not None else (),
        block.operand.dtype if block is not None else "",
        operator_label(op) if op is not None else "",
        operator_name(last) if last is not None else "",
        moment.age(one),
        op is not None or (block is not None and bool(block.role or block.operand)),
    )
