"""Causes that lie with one operator: a view, a copy, a broadcast, attention, an optimiser, an embedding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch

from recompviz.core.attribution import Finding, SourceLine
from recompviz.core.schedule import Phase
from recompviz.core.units import format_bytes
from recompviz.pytorch.cause_parts import (
    Live,
    ancestor,
    elements,
    fall_without,
    finding,
    item_bytes,
    product,
)
from recompviz.pytorch.moment import Moment, operator_name, times
from recompviz.pytorch.recording import LiveBlock
from recompviz.pytorch.watcher import Operator

# an operator's result is called a broadcast where it is so many times larger than all it reads
BROADCAST_FACTOR = 4
# a view pins its base where it needs at most this share of it
PINNED_SHARE = 0.5
# in-place variants that save their result for backward where the other one saves its input
SAVES_RESULT_IN_PLACE = frozenset({"leaky_relu", "elu", "hardtanh"})


def pinned_bases(moment: Moment, live: Live) -> Iterator[Finding]:
    """Large blocks alive only because small views of them are wanted."""
    for i, one in live:
        block = one.block
        if block is None or block.role or (one.operator and one.operator.number == moment.at):
            continue
        later = [
            operand
            for n in moment.reads.get(block.number, [])
            if moment.at <= n < moment.end
            for operand in moment.operators[n].reads
            if operand.block == block.number
        ]
        saved = [s.operand for s in moment.waiting(one)]
        held = [(h, h.tensor.numel() * h.tensor.element_size()) for h in moment.holders_of(one) if not h.through_graph]
        held = held if not saved else [h for h in held if not h[0].local]
        wanted: dict[tuple[int, ...], int] = {(o.offset, *o.shape): o.bytes for o in [*saved, *later]}
        for holder, size in held:
            wanted.setdefault((int(holder.tensor.storage_offset()), *holder.tensor.shape), size)
        need = sum(wanted.values())
        if not (saved or held) or not 0 < need <= PINNED_SHARE * block.size:
            continue
        view = _view_of(moment, block.number, set(wanted))
        by = f"saved for {moment.kept_for(moment.waiting(one))}" if saved else f"held by {held[0][0].text}"
        yield finding(
            moment,
            "view keeps base alive",
            [(i, one)],
            f"{format_bytes(block.size)} stay because of a view of {format_bytes(need)}, {by}",
            "copy what is needed: `.clone()` or `.contiguous()` on the view, so that the base can go",
            view.line if view is not None else None,
            avoidable=block.size - need,
        )


def _view_of(moment: Moment, block: int, shapes: set[tuple[int, ...]]) -> Operator | None:
    """The operator that first took the small part of a block: the first view no larger than half of it."""
    size = moment.recording.watcher.blocks[block].size
    views = [(op, v) for op in moment.operators for v in op.views if v.block == block and op.number <= moment.at]
    small = [op for op, v in views if v.bytes <= PINNED_SHARE * size and op.short not in ("detach",)]
    exact = [op for op, v in views if (v.offset, *v.shape) in shapes and v.bytes <= PINNED_SHARE * size]
    return next(iter(small or exact), None)


def out_of_place(moment: Moment, live: Live) -> Iterator[Finding]:
    """Inputs of elementwise operators that could have written over them."""
    groups: dict[tuple[str, SourceLine | None], Live] = defaultdict(list)
    readers: dict[tuple[str, SourceLine | None], Operator] = {}
    for i, one in live:
        op = in_place_reader(moment, one)
        if op is not None:
            groups[op.short, op.line].append((i, one))
            readers[op.short, op.line] = op
    for (short, line), rows in groups.items():
        size = sum(o.size for _, o in rows)
        saved = any(moment.waiting(o) for _, o in rows)
        held = next((h[0] for _, o in rows if (h := moment.holders_of(o))), None)
        reason = (
            f"`{short}` saves its input for backward; in place it saves its result, which is kept anyway"
            if saved
            else "nothing needs it any more"
            + (f", but {held.text} still holds it" if held is not None else f" once `{short}` has run")
        )
        yield finding(
            moment,
            "out of place where in place would do",
            rows,
            f"`{short}` writes a second block beside {times(len(rows), size)}; {reason}",
            f"use `{short}_`, or `inplace=True` in the module",
            line,
            avoidable=fall_without(moment, rows, after=False),
        )


def in_place_reader(moment: Moment, one: LiveBlock) -> Operator | None:
    """The elementwise operator that read a block last, if it might have written over it."""
    block = one.block
    if block is None or block.role or block.maker < 0 or moment.age(one) or one.operator is None:
        return None
    if one.operator.phase is not Phase.FORWARD:
        return None
    readers = [moment.operators[n] for n in moment.reads.get(block.number, [])]
    readers = [op for op in readers if op.short != "detach" and op.phase is Phase.FORWARD and op.step == block.step]
    if not readers:
        return None
    op = readers[-1]
    elementwise = op.pointwise or op.short in SAVES_RESULT_IN_PLACE  # which torch 2.10 has not all tagged so
    if not elementwise or op.number > moment.at or not hasattr(torch.ops.aten, op.short + "_"):
        return None
    if len([o for o in op.reads if o.block == block.number]) != len(op.reads):
        return None  # binary: which of the two to overwrite is not for sure
    made = op.makes[0] if len(op.makes) == 1 else None
    if made is None or moment.recording.watcher.blocks[made.block].size != block.size:
        return None
    if saved := block.saved:  # by a node that may have run by now, too
        mine = moment.recording.watcher.operator_of_node
        only_here = all(mine.get(s.sequence) == op.number for s in saved)
        return op if only_here and op.short in SAVES_RESULT_IN_PLACE else None
    return op if not moment.next_read(one) else None


def full_precision_copies(moment: Moment, live: Live) -> Iterator[Finding]:
    """Copies of half-precision values in float32, and what is computed from them at that size."""
    blocks = moment.recording.watcher.blocks
    groups: dict[tuple[SourceLine | None, bool], Live] = defaultdict(list)
    for i, one in live:
        op = moment.forward_of(one.operator)
        origin = ancestor(moment, op, _casts_up) if op is not None and one.block and not one.block.role else None
        if origin is not None and one.block is not None and one.block.operand.dtype in ("float32", "float64"):
            groups[origin.line, origin.casts].append((i, one))
    for (line, asked), rows in groups.items():
        size = sum(o.size for _, o in rows)
        origin = next(found for _, o in rows if (found := ancestor(moment, moment.forward_of(o.operator), _casts_up)))
        source = moment.block_label(blocks[origin.reads[0].block])
        made = origin.makes[0]
        yield finding(
            moment,
            "float32 copy" if asked else "float32 copy under autocast",
            rows,
            f"`{origin.function or origin.short}` copies {source} from {origin.reads[0].dtype} to {made.dtype}; "
            f"the copy and what follows from it take {times(len(rows), size)}",
            "leave it in half precision, or cast only the small result"
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


def attention_matrices(moment: Moment, live: Live) -> Iterator[Finding]:
    """Blocks of a softmax between two matrix products: attention written out."""
    groups: dict[SourceLine | None, Live] = defaultdict(list)
    softmaxes = {op.number: op for op in moment.operators if _attends(moment, op)}
    if not softmaxes:
        return
    sizes = {n: op.makes[0] for n, op in softmaxes.items()}
    for i, one in live:
        if one.block is None or one.block.role:
            continue
        op = moment.forward_of(one.operator)
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
        value = moment.block_label(moment.recording.watcher.blocks[softmax.makes[0].block])
        yield finding(
            moment,
            "attention matrix written out",
            rows,
            f"softmax between two matrix products makes [{dims}]; {times(len(rows), size)} of that shape are alive",
            "`scaled_dot_product_attention` fell back to plain operators here, for its dropout, mask or dtype on this "
            "device; without that it never keeps the matrix"
            if softmax.function == "scaled_dot_product_attention"
            else "`torch.nn.functional.scaled_dot_product_attention` never keeps the matrix",
            line,
            value=value,
        )


def _attends(moment: Moment, op: Operator) -> bool:
    """Whether a softmax reads what a matrix product made and is read by another one."""
    if op.short not in ("_softmax", "_safe_softmax") or op.phase is Phase.BACKWARD or len(op.makes) != 1:
        return False
    return ancestor(moment, op, _multiplies, through=9) is not None and _followed_by_product(moment, op, 6)


def _multiplies(op: Operator) -> bool:
    return op.short in ("bmm", "baddbmm", "mm", "matmul", "einsum")


def _followed_by_product(moment: Moment, op: Operator, depth: int) -> bool:
    if depth == 0 or len(op.makes) < 1:
        return False
    following = [moment.operators[n] for n in moment.reads.get(op.makes[0].block, []) if n > op.number]
    return any(_multiplies(f) or (f.makes and _followed_by_product(moment, f, depth - 1)) for f in following[:4])


def broadcasts(moment: Moment, live: Live) -> Iterator[Finding]:
    """Blocks as large as an elementwise operator made by broadcasting two small operands against each other."""
    groups: dict[int, Live] = defaultdict(list)
    for i, one in live:
        if one.block is not None and one.block.role:
            continue
        op = moment.forward_of(one.operator)
        found = ancestor(moment, op, lambda o: _broadcast(moment, o) is not None) if op is not None else None
        shape = _broadcast(moment, found) if found is not None else None
        if found is not None and shape is not None:
            item = item_bytes(one.block.operand) if one.block is not None else 4
            if one.size // item >= product(shape) // 2:
                groups[found.number].append((i, one))
    by_line: dict[tuple[SourceLine | None, tuple[int, ...]], tuple[Operator, Live]] = {}
    for number, rows in groups.items():
        op = moment.operators[number]
        key = op.line, _broadcast(moment, op) or ()
        by_line.setdefault(key, (op, []))[1].extend(rows)
    for (line, shape), (op, rows) in by_line.items():
        blocks = moment.recording.watcher.blocks
        shapes = " with ".join(str(list(blocks[o.block].operand.shape)) for o in op.reads[:2])
        size = sum(o.size for _, o in rows)
        inputs = sum(blocks[o.block].size for o in op.reads)
        value = moment.block_label(blocks[op.makes[0].block]) if op.makes else operator_name(op)
        yield finding(
            moment,
            "accidental broadcast",
            rows,
            f"`{op.short}` of {shapes} makes {list(shape)}: {times(len(rows), size)} of that size, from "
            f"{format_bytes(inputs)} of operands",
            "give both operands the same shape: `.squeeze()`, `.unsqueeze()` or `.view_as()` one of them",
            line,
            avoidable=max(size - inputs, 0),
            value=value,
        )


def _broadcast(moment: Moment, op: Operator) -> tuple[int, ...] | None:
    """The shape to which an elementwise operator blows up at least two small operands; None if it does not."""
    if not (op.pointwise or op.short.endswith("_loss")) or len(op.reads) < 2 or op.phase is Phase.BACKWARD:
        return None
    blocks = moment.recording.watcher.blocks
    stored = [blocks[o.block].size // item_bytes(o) for o in op.reads]
    if sum(count > 1 for count in stored) < 2:
        return None
    shape = max([o.shape for o in (*op.reads, *op.makes)], key=product)
    return shape if product(shape) >= BROADCAST_FACTOR * max(stored) else None


def optimizer_first_step(moment: Moment, live: Live) -> Iterator[Finding]:
    """What an optimiser allocates in the very step of the peak: its state, the first time, and temporaries."""
    state = [
        (i, o)
        for i, o in live
        if o.block and o.block.role == "optimiser state" and moment.age(o) == 0 and o.operator is not None
    ]
    if state:
        kinds = sorted({o.block.name.split(" of ")[0] for _, o in state if o.block is not None})
        name = next((o.operator.optimizer for _, o in state if o.operator), "") or "the optimiser"
        size = sum(o.size for _, o in state)
        yield finding(
            moment,
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
            moment,
            "temporaries of the optimiser",
            scratch,
            f"{name} works on all parameters at once: scratch of {times(len(scratch), size)}",
            "`foreach=False` or `fused=True` needs them for one parameter at a time, or not at all",
        )


def dense_embedding_gradients(moment: Moment, live: Live) -> Iterator[Finding]:
    """Gradients of embeddings that are zero but for the few rows that the batch looked up."""
    blocks = moment.recording.watcher.blocks
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
        forward = moment.forward_of(op)
        weight = next((blocks[o.block].name for o in forward.reads if blocks[o.block].name), "") if forward else ""
        touched = one.size * looked_up // rows
        yield finding(
            moment,
            "dense gradient of an embedding",
            [(i, one)],
            f"the gradient of {weight or 'the embedding'} is {rows:,}×{width}, of which the batch touches at most "
            f"{looked_up:,} rows ({format_bytes(touched)})",
            "`sparse=True` with SparseAdam or SGD, a smaller vocabulary, or a shared softmax matrix",
            op.line,
            avoidable=one.size - touched,
            value=f"gradient of {weight}" if weight else "",
        )
