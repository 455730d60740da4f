"""Causes that lie with one operator's large result: attention, a broadcast, an optimiser's state, an embedding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import Finding, SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.parts import (
    Live,
    ancestor,
    elements,
    finding,
    item_bytes,
    product,
)
from recompviz.pytorch.debugging.peak.peak_state import PeakState, operator_name, times
from recompviz.pytorch.debugging.recorder.watched import Operator

# an operator's result is called a broadcast where it is so many times larger than all it reads
BROADCAST_FACTOR = 4


def attention_matrices(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Blocks of a softmax between two matrix products: attention written out."""
    groups: dict[SourceLine | None, Live] = defaultdict(list)
    softmaxes = {op.number: op for op in peak.operators if _attends(peak, op)}
    if not softmaxes:
        return
    sizes = {n: op.makes[0] for n, op in softmaxes.items()}
    for i, one in live:
        if one.block is None or one.block.role:
            continue
        op = peak.forward_of(one.operator)
        for n, softmax in softmaxes.items():
            shape = sizes[n].shape
            same = one.block.operand.shape[-2:] == shape[-2:] and elements(one.block.operand) == elements(sizes[n])
            near = op is not None and op.step == softmax.step and abs(op.number - n) < 40
            if same and near:
                groups[softmax.line].append((i, one))
                break
    for line, rows in groups.items():
        size = sum(o.size for _, o in rows)
        softmax = next(op for op in softmaxes.values() if op.line == line)
        dims = "×".join(map(str, softmax.makes[0].shape))
        value = peak.block_label(peak.recording.watcher.blocks[softmax.makes[0].block])
        yield finding(
            peak,
            "attention matrix written out",
            rows,
            f"softmax between two matrix products makes [{dims}]; {times(len(rows), size)} of that shape are alive",
            "`scaled_dot_product_attention` fell back to plain operators here, for its dropout, mask or dtype on this "
            "device; without that it never keeps the matrix"
            if softmax.function == "scaled_dot_product_attention" or softmax.short == "_safe_softmax"
            else "`torch.nn.functional.scaled_dot_product_attention` never keeps the matrix",
            line,
            value=value,
        )


def _attends(peak: PeakState, op: Operator) -> bool:
    """Whether a softmax reads what a matrix product made and is read by another one."""
    if op.short not in ("_softmax", "_safe_softmax") or op.phase is Phase.BACKWARD or len(op.makes) != 1:
        return False
    return ancestor(peak, op, _multiplies, through=9) is not None and _followed_by_product(peak, op, 6)


def _multiplies(op: Operator) -> bool:
    return op.short in ("bmm", "baddbmm", "mm", "matmul", "einsum")


def _followed_by_product(peak: PeakState, op: Operator, depth: int) -> bool:
    if depth == 0 or len(op.makes) < 1:
        return False
    following = [peak.operators[n] for n in peak.reads.get(op.makes[0].block, []) if n > op.number]
    return any(_multiplies(f) or (f.makes and _followed_by_product(peak, f, depth - 1)) for f in following[:4])


def broadcasts(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Blocks as large as an elementwise operator made by broadcasting two small operands against each other."""
    groups: dict[int, Live] = defaultdict(list)
    for i, one in live:
        if one.block is not None and one.block.role:
            continue
        op = peak.forward_of(one.operator)
        found = ancestor(peak, op, lambda o: _broadcast(peak, o) is not None) if op is not None else None
        shape = _broadcast(peak, found) if found is not None else None
        if found is not None and shape is not None:
            item = item_bytes(one.block.operand) if one.block is not None else 4
            if one.size // item >= product(shape) // 2:
                groups[found.number].append((i, one))
    by_line: dict[tuple[SourceLine | None, tuple[int, ...]], tuple[Operator, Live]] = {}
    for number, rows in groups.items():
        op = peak.operators[number]
        key = op.line, _broadcast(peak, op) or ()
        by_line.setdefault(key, (op, []))[1].extend(rows)
    for (line, shape), (op, rows) in by_line.items():
        blocks = peak.recording.watcher.blocks
        shapes = " with ".join(str(list(blocks[o.block].operand.shape)) for o in op.reads[:2])
        size = sum(o.size for _, o in rows)
        inputs = sum(blocks[o.block].size for o in op.reads)
        value = peak.block_label(blocks[op.makes[0].block]) if op.makes else operator_name(op)
        # of one rank it was asked for, by None or unsqueeze
        meant = len({len(o.shape) for o in op.reads[:2]}) == 1
        yield finding(
            peak,
            "broadcast to a large result" if meant else "accidental broadcast",
            rows,
            f"`{op.short}` of {shapes} makes {list(shape)}: {times(len(rows), size)} of that size, from "
            f"{format_bytes(inputs)} of operands",
            "use an operator that never writes it out (a matrix product, `torch.cdist`), or go through it in parts"
            if meant
            else "give both operands the same shape: `.squeeze()`, `.unsqueeze()` or `.view_as()` one of them",
            line,
            avoidable=max(size - inputs, 0),
            value=value,
        )


def _broadcast(peak: PeakState, op: Operator) -> tuple[int, ...] | None:
    """The shape to which an elementwise operator blows up at least two small operands; None if it does not."""
    if not (op.pointwise or op.short.endswith("_loss")) or len(op.reads) < 2 or op.phase is Phase.BACKWARD:
        return None
    blocks = peak.recording.watcher.blocks
    stored = [blocks[o.block].size // item_bytes(o) for o in op.reads]
    if sum(count > 1 for count in stored) < 2:
        return None
    shape = max([o.shape for o in (*op.reads, *op.makes)], key=product)
    return shape if product(shape) >= BROADCAST_FACTOR * max(stored) else None


def optimizer_first_step(peak: PeakState, live: Live) -> Iterator[Finding]:
    """What an optimiser allocates in the very step of the peak: its state, the first time, and temporaries."""
    state = [
        (i, o)
        for i, o in live
        if o.block and o.block.role == "optimiser state" and peak.age(o) == 0 and o.operator is not None
    ]
    if state:
        kinds = sorted({o.block.name.split(" of ")[0] for _, o in state if o.block is not None})
        name = next((o.operator.optimizer for _, o in state if o.operator), "") or "the optimiser"
        size = sum(o.size for _, o in state)
        yield finding(
            peak,
            "optimiser state made at its first step",
            state,
            f"{name} allocates {' and '.join(kinds)} for each parameter when it first steps: "
            f"{times(len(state), size)}, which stay",
            "count them in from the start, or take an optimiser with less state (SGD, Adafactor, 8 bit)",
        )
    scratch: Live = [
        (i, o)
        for i, o in live
        if o.operator is not None and o.operator.optimizer and not (o.block is not None and o.block.role)
    ]
    if scratch:
        name = next(o.operator.optimizer for _, o in scratch if o.operator)
        size = sum(o.size for _, o in scratch)
        yield finding(
            peak,
            "temporaries of the optimiser",
            scratch,
            f"{name} works on all parameters at once: scratch of {times(len(scratch), size)}",
            "`foreach=False` or `fused=True` needs them for one parameter at a time, or not at all",
        )


def dense_embedding_gradients(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Gradients of embeddings that are zero but for the few rows that the batch looked up."""
    blocks = peak.recording.watcher.blocks
    for i, one in live:
        op = one.operator
        if op is None or one.block is None or op.short not in ("embedding_dense_backward", "_embedding_bag_backward"):
            continue
        if op.phase is not Phase.BACKWARD or len(one.block.operand.shape) != 2:
            continue
        rows, width = one.block.operand.shape
        integer = [o for o in op.reads if o.dtype in ("int64", "int32")]
        looked_up = min(rows, product(integer[0].shape)) if integer else rows
        if looked_up > rows // 2:
            continue
        forward = peak.forward_of(op)
        weight = next((blocks[o.block].name for o in forward.reads if blocks[o.block].name), "") if forward else ""
        touched = one.size * looked_up // rows
        yield finding(
            peak,
            "dense gradient of an embedding",
            [(i, one)],
            f"the gradient of {weight or 'the embedding'} is {rows:,}×{width}, of which the batch touches at most "
            f"{looked_up:,} rows ({format_bytes(touched)})",
            "`sparse=True` with SparseAdam or SGD, a smaller vocabulary, or a shared softmax matrix",
            op.line,
            avoidable=one.size - touched,
            value=f"gradient of {weight}" if weight else "",
        )
