"""Causes of memory at the peak: two blocks where one is enough.

The two blocks are a view and its base, an input and its result, or a value and its copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import (
    LiveRows,
    bytes_of,
    finding,
    has_role,
    nearest_source,
    peak_reduction,
)
from recompviz.pytorch.debugging.peak.description import block_label, blocks_and_bytes, saved_for
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operator

# a base is reported if its views need at most this share of it
PINNED_SHARE = 0.5
# operators whose in-place variant saves the result for backward, while the other variant saves the input
SAVES_RESULT_IN_PLACE = frozenset({"leaky_relu", "elu", "hardtanh"})


def pinned_bases(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each block that is alive only because small views of it are needed.

    A view is needed if it is saved for backward, held by an object of the user's program, or read later in the training
    step. At least one view must be saved or held. The views are small if together they take at most half of the block.
    """
    for i, live in rows:
        block = live.block
        if block is None or block.role or (live.operator and live.operator.number == peak.at):
            continue
        later = [
            operand
            for n in peak.reads.get(block.number, [])
            if peak.at <= n < peak.end
            for operand in peak.operators[n].reads
            if operand.block == block.number
        ]
        saved = [s.operand for s in peak.waiting(live)]
        held = [path for path in peak.paths_to(live) if not path.through_graph and not (saved and path.local)]
        needed: dict[tuple[int, ...], int] = {(o.offset, *o.shape): o.bytes for o in [*saved, *later]}
        for path in held:
            needed.setdefault((path.offset, *path.shape), path.bytes)
        size = sum(needed.values())
        if not (saved or held) or not 0 < size <= PINNED_SHARE * block.size:
            continue
        view = _view_of(peak, block.number, set(needed))
        if view is None:
            continue  # an operator returned a result in a larger block, as `mse_loss` does
        reason = f"is saved for {saved_for(peak, peak.waiting(live))}" if saved else f"is held by {held[0].text}"
        yield finding(
            peak,
            "view keeps base alive",
            [(i, live)],
            f"a view of {format_bytes(size)} {reason} and keeps its base of {format_bytes(block.size)} alive",
            "copy the view with `.clone()` or `.contiguous()`, so that the base can be freed",
            view.line,
            avoidable=_with_copy(peak, live, view, size),
            verified=True,
        )


def _with_copy(peak: PeakState, live: LiveBlock, view: Operator, size: int) -> int:
    """Return by how many bytes the peak falls if a base is freed after its view is copied."""
    recording = peak.recording
    assert live.block is not None
    number = live.block.number
    whole = [
        n
        for n in peak.reads.get(number, [])
        if n <= peak.at
        and not peak.operators[n].views
        and any(o.block == number and o.bytes > PINNED_SHARE * live.block.size for o in peak.operators[n].reads)
    ]
    before = max([view.number, *whole]) + 1
    after = recording.peak_without({live.allocation: before}) + recording.rounded(size)
    return max(recording.allocations.peak - after, 0)


def _view_of(peak: PeakState, block: int, needed: set[tuple[int, ...]]) -> Operator | None:
    """Return the first operator that made a small view of a block; None if there is none.

    ``detach`` is returned only if it made one of the needed views and no other operator made a small view.
    """
    size = peak.blocks[block].size
    views = [(op, v) for op in peak.operators for v in op.views if v.block == block and op.number <= peak.at]
    small = [op for op, v in views if v.bytes <= PINNED_SHARE * size and op.short != "detach"]
    exact = [op for op, v in views if (v.offset, *v.shape) in needed and v.bytes <= PINNED_SHARE * size]
    return next(iter(small or exact), None)


def out_of_place(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield findings about inputs that an elementwise operator could have overwritten with its result.

    There is one finding for each operator name and source line. It is left out if an object other than a local variable
    holds one of the inputs.
    """
    groups: dict[tuple[str, SourceLine | None], LiveRows] = defaultdict(list)
    for i, live in rows:
        op = in_place_reader(peak, live)
        if op is not None:
            groups[op.short, op.line].append((i, live))
    for (short, line), members in groups.items():
        if not all(_alone(peak, live) for _, live in members):
            continue  # another object would see the overwritten value
        held = next((paths[0] for _, live in members if (paths := peak.paths_to(live))), None)
        if any(peak.waiting(live) for _, live in members):
            reason = f"`{short}` saves its input for backward; in place it saves its result, which is kept anyway"
        elif held is not None:
            reason = f"nothing reads the input after it, but {held.text} holds it"
        else:
            reason = "nothing reads the input after it"
        yield finding(
            peak,
            "out of place where in place would do",
            members,
            f"`{short}` writes its result beside its input ({blocks_and_bytes(len(members), bytes_of(members))}); "
            f"{reason}",
            _in_place(members, peak, short),
            line,
            avoidable=peak_reduction(peak, members, after=False),
            verified=True,
        )


def _in_place(rows: LiveRows, peak: PeakState, short: str) -> str:
    layers = [op for _, live in rows if (op := in_place_reader(peak, live)) is not None]
    if any(op.layer for op in layers):
        return f"make the layer with `inplace=True`: `{layers[0].layer}(inplace=True)`"
    return f"use `torch.{short}_`" if hasattr(torch, short + "_") else f"use the method `{short}_`"


def _alone(peak: PeakState, live: LiveBlock) -> bool:
    """Return whether only local variables hold a block. They end with their functions."""
    return all(path.local for path in peak.paths_to(live))


def in_place_reader(peak: PeakState, live: LiveBlock) -> Operator | None:
    """Return the elementwise operator that could have overwritten a block with its result; None if there is none.

    The operator is the last forward operator that reads the block in the training step that made the block.
    """
    block = live.block
    if block is None or block.role or block.maker < 0 or peak.age(live) or live.operator is None:
        return None
    if live.operator.phase is not Phase.FORWARD:
        return None
    readers = [peak.operators[n] for n in peak.reads.get(block.number, [])]
    readers = [op for op in readers if op.short != "detach" and op.phase is Phase.FORWARD and op.step == block.step]
    if not readers:
        return None
    op = readers[-1]
    elementwise = op.pointwise or op.short in SAVES_RESULT_IN_PLACE  # torch 2.10 does not tag all of these
    if not elementwise or op.number > peak.at or not hasattr(torch.ops.aten, op.short + "_"):
        return None
    if op.layer and not op.layer_in_place:
        return None  # a layer of PyTorch without the argument ``inplace``
    if len([o for o in op.reads if o.block == block.number]) != len(op.reads):
        return None  # with two inputs it is not clear which one to overwrite
    made = op.makes[0] if len(op.makes) == 1 else None
    if made is None or peak.blocks[made.block].size != block.size:
        return None
    if block.saved:  # also by a node that has run
        made_by = peak.recording.steps.operator_of_node
        only_here = all(made_by.get(saved.sequence) == op.number for saved in block.saved)
        return op if only_here and op.short in SAVES_RESULT_IN_PLACE else None
    return op if not peak.next_read(live) else None


def full_precision_copies(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield findings about values cast to a wider dtype, and about values computed from them.

    The wider dtype is float32 or float64. The user's code or autocast makes the cast. There is one finding for each
    source line, or two if the line has casts by the user's code and by autocast. Half of the bytes count as avoidable.
    """
    groups: dict[tuple[SourceLine | None, bool], list[tuple[int, LiveBlock, Operator]]] = defaultdict(list)
    for i, live in rows:
        if live.block is None or has_role(live) or live.block.operand.dtype not in ("float32", "float64"):
            continue
        origin = nearest_source(peak, peak.forward_of(live.operator), _casts_up)
        if origin is not None:
            groups[origin.line, origin.casts].append((i, live, origin))
    for (line, asked), members in groups.items():
        found = [(i, live) for i, live, _ in members]
        origin = members[0][2]
        if asked and origin.autocast:
            fix = "autocast computes the loss in float32 with or without this cast; compute the loss in parts"
        elif asked:
            narrow = "float32" if origin.reads[0].dtype == "float32" else "half precision"
            fix = f"leave it in {narrow}, or cast only the small result"
        else:
            fix = "autocast runs this operator in float32; rewrite it so that only the small result is cast"
        source, made = block_label(peak, peak.blocks[origin.reads[0].block]), origin.makes[0]
        yield finding(
            peak,
            f"{made.dtype} copy" if asked else f"{made.dtype} copy under autocast",
            found,
            f"`{origin.function or origin.short}` copies {source} from {origin.reads[0].dtype} to {made.dtype}; "
            f"the copy and the values computed from it take {blocks_and_bytes(len(found), bytes_of(found))}",
            fix,
            line,
            avoidable=bytes_of(found) // 2,
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
