"""Causes that lie with a second block where one would do: a base kept by a view, a result out of place, a wide copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import Finding, SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.parts import (
    Live,
    ancestor,
    fall_without,
    finding,
)
from recompviz.pytorch.debugging.peak.peak_state import PeakState, times
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operator

# a view pins its base where it needs at most this share of it
PINNED_SHARE = 0.5
# in-place variants that save their result for backward where the other one saves its input
SAVES_RESULT_IN_PLACE = frozenset({"leaky_relu", "elu", "hardtanh"})


def pinned_bases(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Large blocks alive only because small views of them are wanted."""
    for i, one in live:
        block = one.block
        if block is None or block.role or (one.operator and one.operator.number == peak.at):
            continue
        later = [
            operand
            for n in peak.reads.get(block.number, [])
            if peak.at <= n < peak.end
            for operand in peak.operators[n].reads
            if operand.block == block.number
        ]
        saved = [s.operand for s in peak.waiting(one)]
        held = [path for path in peak.paths_to(one) if not path.through_graph and not (saved and path.local)]
        wanted: dict[tuple[int, ...], int] = {(o.offset, *o.shape): o.bytes for o in [*saved, *later]}
        for path in held:
            wanted.setdefault((path.offset, *path.shape), path.bytes)
        need = sum(wanted.values())
        if not (saved or held) or not 0 < need <= PINNED_SHARE * block.size:
            continue
        view = _view_of(peak, block.number, set(wanted))
        by = f"saved for {peak.kept_for(peak.waiting(one))}" if saved else f"held by {held[0].text}"
        yield finding(
            peak,
            "view keeps base alive",
            [(i, one)],
            f"{format_bytes(block.size)} stay because of a view of {format_bytes(need)}, {by}",
            "copy what is needed: `.clone()` or `.contiguous()` on the view, so that the base can go",
            view.line if view is not None else None,
            avoidable=block.size - need,
        )


def _view_of(peak: PeakState, block: int, shapes: set[tuple[int, ...]]) -> Operator | None:
    """The operator that first took the small part of a block: the first view no larger than half of it."""
    size = peak.recording.watcher.blocks[block].size
    views = [(op, v) for op in peak.operators for v in op.views if v.block == block and op.number <= peak.at]
    small = [op for op, v in views if v.bytes <= PINNED_SHARE * size and op.short not in ("detach",)]
    exact = [op for op, v in views if (v.offset, *v.shape) in shapes and v.bytes <= PINNED_SHARE * size]
    return next(iter(small or exact), None)


def out_of_place(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Inputs of elementwise operators that could have written over them."""
    groups: dict[tuple[str, SourceLine | None], Live] = defaultdict(list)
    readers: dict[tuple[str, SourceLine | None], Operator] = {}
    for i, one in live:
        op = in_place_reader(peak, one)
        if op is not None:
            groups[op.short, op.line].append((i, one))
            readers[op.short, op.line] = op
    for (short, line), rows in groups.items():
        size = sum(o.size for _, o in rows)
        saved = any(peak.waiting(o) for _, o in rows)
        held = next((h[0] for _, o in rows if (h := peak.paths_to(o))), None)
        reason = (
            f"`{short}` saves its input for backward; in place it saves its result, which is kept anyway"
            if saved
            else "nothing needs it any more"
            + (f", but {held.text} still holds it" if held is not None else f" once `{short}` has run")
        )
        yield finding(
            peak,
            "out of place where in place would do",
            rows,
            f"`{short}` writes a second block beside {times(len(rows), size)}; {reason}",
            f"use `{short}_`, or `inplace=True` in the module",
            line,
            avoidable=fall_without(peak, rows, after=False),
        )


def in_place_reader(peak: PeakState, one: LiveBlock) -> Operator | None:
    """The elementwise operator that read a block last, if it might have written over it."""
    block = one.block
    if block is None or block.role or block.maker < 0 or peak.age(one) or one.operator is None:
        return None
    if one.operator.phase is not Phase.FORWARD:
        return None
    readers = [peak.operators[n] for n in peak.reads.get(block.number, [])]
    readers = [op for op in readers if op.short != "detach" and op.phase is Phase.FORWARD and op.step == block.step]
    if not readers:
        return None
    op = readers[-1]
    elementwise = op.pointwise or op.short in SAVES_RESULT_IN_PLACE  # which torch 2.10 has not all tagged so
    if not elementwise or op.number > peak.at or not hasattr(torch.ops.aten, op.short + "_"):
        return None
    if len([o for o in op.reads if o.block == block.number]) != len(op.reads):
        return None  # binary: which of the two to overwrite is not for sure
    made = op.makes[0] if len(op.makes) == 1 else None
    if made is None or peak.recording.watcher.blocks[made.block].size != block.size:
        return None
    if saved := block.saved:  # by a node that may have run by now, too
        mine = peak.recording.watcher.operator_of_node
        only_here = all(mine.get(s.sequence) == op.number for s in saved)
        return op if only_here and op.short in SAVES_RESULT_IN_PLACE else None
    return op if not peak.next_read(one) else None


def full_precision_copies(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Copies of half-precision values in float32, and what is computed from them at that size."""
    blocks = peak.recording.watcher.blocks
    groups: dict[tuple[SourceLine | None, bool], Live] = defaultdict(list)
    for i, one in live:
        op = peak.forward_of(one.operator)
        origin = ancestor(peak, op, _casts_up) if op is not None and one.block and not one.block.role else None
        if origin is not None and one.block is not None and one.block.operand.dtype in ("float32", "float64"):
            groups[origin.line, origin.casts].append((i, one))
    for (line, asked), rows in groups.items():
        size = sum(o.size for _, o in rows)
        origin = next(found for _, o in rows if (found := ancestor(peak, peak.forward_of(o.operator), _casts_up)))
        source = peak.block_label(blocks[origin.reads[0].block])
        made = origin.makes[0]
        yield finding(
            peak,
            "float32 copy" if asked else "float32 copy under autocast",
            rows,
            f"`{origin.function or origin.short}` copies {source} from {origin.reads[0].dtype} to {made.dtype}; "
            f"the copy and what follows from it take {times(len(rows), size)}",
            "autocast makes such a copy for a loss by itself, with or without yours; compute the loss in parts"
            if asked and origin.autocast
            else "leave it in half precision, or cast only the small result"
            if asked
            else "autocast runs this operator in float32; write it so that only the small result is cast",
            line,
            avoidable=size // 2,
        )


def _casts_up(op: Operator) -> bool:
    return (
        op.short == "_to_copy"
        and len(op.reads) == 1
        and len(op.makes) == 1
        and op.reads[0].dtype in ("float16", "bfloat16", "float32")
        and op.makes[0].dtype in ("float32", "float64")
        and op.reads[0].dtype != op.makes[0].dtype
    )
