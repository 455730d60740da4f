"""Causes of memory at the peak: operators with large results.

They are attention, broadcasts, the optimizer's state, and gradients of embeddings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import (
    LiveRows,
    bytes_of,
    element_count,
    elements_of,
    finding,
    has_role,
    item_bytes,
    nearest_source,
)
from recompviz.pytorch.debugging.peak.description import block_label, blocks_and_bytes, operator_path
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.watched import Operator

# a result is called a broadcast if it has this many times the elements of the largest input
BROADCAST_FACTOR = 4
# the largest number of operators between a softmax and a block that belongs to the same attention
_NEAR = 40


def attention_matrices(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield findings about attention without a fused kernel. Such attention stores the attention matrix.

    Attention is recognized by a softmax between two matrix products. A block belongs to the finding if it has as many
    elements and the same last two dimensions as the softmax's result, and an operator close to the softmax made it.
    There is one finding for each source line.
    """
    softmaxes = [op for op in peak.operators if _is_attention(peak, op)]
    groups: dict[SourceLine | None, LiveRows] = defaultdict(list)
    for i, live in rows:
        op = peak.forward_of(live.operator)
        if live.block is None or has_role(live) or op is None:
            continue
        operand = live.block.operand
        for softmax in softmaxes:
            made = softmax.makes[0]
            same = operand.shape[-2:] == made.shape[-2:] and elements_of(operand) == elements_of(made)
            if same and op.step == softmax.step and abs(op.number - softmax.number) < _NEAR:
                groups[_forward_line(softmax, softmaxes)].append((i, live))
                break
    for line, members in groups.items():
        softmax = next(op for op in softmaxes if _forward_line(op, softmaxes) == line)
        shape = "×".join(map(str, softmax.makes[0].shape))
        fell_back = softmax.function == "scaled_dot_product_attention" or softmax.short == "_safe_softmax"
        if fell_back:
            fix = (
                "`scaled_dot_product_attention` fell back to plain operators, because of its dropout, mask or dtype on "
                "this device; its fused kernels do not store the matrix"
            )
        else:
            fix = "use `torch.nn.functional.scaled_dot_product_attention`, which does not store the matrix"
        yield finding(
            peak,
            "attention matrix written out",
            members,
            f"a softmax between two matrix products makes [{shape}]; "
            f"{blocks_and_bytes(len(members), bytes_of(members))} of that shape are alive",
            fix,
            line,
            value=block_label(peak, peak.blocks[softmax.makes[0].block]),
            # a layer of PyTorch with dropout has no fused kernel on the CPU
            surprising=not (fell_back and softmax.layer and peak.recording.device == "cpu"),
        )


def _forward_line(softmax: Operator, softmaxes: list[Operator]) -> SourceLine | None:
    """Return the line of a softmax in the forward pass, also if a checkpoint runs it again in the backward pass."""
    if softmax.phase is Phase.RECOMPUTE:
        same = (op for op in softmaxes if op.phase is Phase.FORWARD and op.module == softmax.module)
        return next((op.line for op in same), softmax.checkpoint or softmax.line)
    return softmax.line


def _is_attention(peak: PeakState, op: Operator) -> bool:
    """Return whether a softmax reads the result of a matrix product, and a matrix product reads its result."""
    if op.short not in ("_softmax", "_safe_softmax") or op.phase is Phase.BACKWARD or len(op.makes) != 1:
        return False
    return nearest_source(peak, op, _multiplies, most_steps=9) is not None and _read_by_product(peak, op, 6)


def _multiplies(op: Operator) -> bool:
    return op.short in ("bmm", "baddbmm", "mm", "matmul", "einsum")


def _read_by_product(peak: PeakState, op: Operator, most_steps: int) -> bool:
    if most_steps == 0 or len(op.makes) < 1:
        return False
    following = [peak.operators[n] for n in peak.reads.get(op.makes[0].block, []) if n > op.number]
    return any(_multiplies(f) or (f.makes and _read_by_product(peak, f, most_steps - 1)) for f in following[:4])


def broadcasts(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield findings about elementwise operators and losses that broadcast their inputs to a large shape.

    A shape is large if it has at least four times as many elements as the largest input. A finding also contains large
    values computed from the result. There is one finding for each source line and shape.
    """
    groups: dict[int, LiveRows] = defaultdict(list)
    for i, live in rows:
        if has_role(live):
            continue
        found = _broadcast_behind(peak, live.operator)
        shape = _broadcast(peak, found) if found is not None else None
        if found is not None and shape is not None:
            item = item_bytes(live.block.operand) if live.block is not None else 4
            if live.size // item >= element_count(shape) // 2:
                groups[found.number].append((i, live))
    by_line: dict[tuple[SourceLine | None, tuple[int, ...]], tuple[Operator, LiveRows]] = {}
    for number, members in groups.items():
        op = peak.operators[number]
        by_line.setdefault((op.line, _broadcast(peak, op) or ()), (op, []))[1].extend(members)
    for (line, shape), (op, members) in by_line.items():
        shapes = " with ".join(str(list(peak.blocks[o.block].operand.shape)) for o in op.reads[:2])
        inputs = sum(peak.blocks[o.block].size for o in op.reads)
        # inputs of the same rank were prepared for broadcasting, by None or unsqueeze
        meant = len({len(o.shape) for o in op.reads[:2]}) == 1
        if meant:
            fix = "use an operator that does not store it (a matrix product, `torch.cdist`), or compute it in parts"
        else:
            fix = "give both inputs the same shape: `.squeeze()`, `.unsqueeze()` or `.view_as()` one of them"
        size = bytes_of(members)
        saves = _without_broadcast(peak, shape, line)
        yield finding(
            peak,
            "broadcast to a large result" if meant else "accidental broadcast",
            members,
            f"`{op.short}` of {shapes} makes {list(shape)}: {blocks_and_bytes(len(members), size)} of that size, from "
            f"inputs of {format_bytes(inputs)}",
            fix,
            line,
            avoidable=max(size - inputs, 0) if meant else saves,
            verified=not meant,
            value=block_label(peak, peak.blocks[op.makes[0].block]) if op.makes else operator_path(op),
        )


def _without_broadcast(peak: PeakState, shape: tuple[int, ...], line: SourceLine | None) -> int:
    """Return by how many bytes the peak falls if the values of a broadcast have the size of its largest input."""
    recording = peak.recording
    count = element_count(shape)
    resized = {}
    for allocation, number in enumerate(recording.block_of):
        block = recording.blocks[number] if number >= 0 else None
        if block is None or block.role or block.maker < 0 or block.step != peak.step:
            continue
        if elements_of(block.operand) != count:
            continue
        source = _broadcast_behind(peak, peak.operators[block.maker])
        if source is not None and source.line == line:
            largest = max(peak.blocks[operand.block].size for operand in source.reads)
            resized[allocation] = min(largest, block.size)
    return max(recording.allocations.peak - recording.peak_without({}, (), {}, resized), 0)


def _broadcast_behind(peak: PeakState, op: Operator | None) -> Operator | None:
    """Return the broadcasting operator that an operator's result comes from; None if there is none.

    The gradient of a reduction has the size of what was reduced.
    """

    def wanted(one: Operator) -> bool:
        return _broadcast(peak, one) is not None

    forward = peak.forward_of(op)
    found = nearest_source(peak, forward, wanted)
    if found is not None or forward is None or op is None or op.phase is not Phase.BACKWARD:
        return found
    makers = [peak.blocks[o.block].maker for o in forward.reads]
    sources = (nearest_source(peak, peak.operators[maker], wanted) for maker in makers if 0 <= maker < forward.number)
    return next((source for source in sources if source is not None), None)


def _broadcast(peak: PeakState, op: Operator) -> tuple[int, ...] | None:
    """Return the shape to which an elementwise operator or loss broadcasts its inputs.

    Return None for other operators, and for operators of the backward pass.
    At least two inputs must have more than one element, and the shape must be large in the sense of :func:`broadcasts`.
    """
    if not (op.pointwise or op.short.endswith("_loss")) or len(op.reads) < 2 or op.phase is Phase.BACKWARD:
        return None
    stored = [peak.blocks[o.block].size // item_bytes(o) for o in op.reads]
    if sum(count > 1 for count in stored) < 2:
        return None
    shape = max([o.shape for o in (*op.reads, *op.makes)], key=element_count)
    return shape if element_count(shape) >= BROADCAST_FACTOR * max(stored) else None


def optimizer_first_step(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield up to two findings about memory that an optimizer allocates in the training step of the peak.

    One finding is about the optimizer's state, if only one step was recorded and the state is made in it. The other
    finding is about temporary values of the update; it is marked as surprising if the optimizer updates all parameters
    together (``foreach``).
    """
    state = [
        (i, live)
        for i, live in rows
        if live.block and live.block.role == "optimizer state" and peak.age(live) == 0 and live.operator is not None
    ]
    if state and len(peak.recording.steps.step_starts) == 1:
        kinds = sorted({live.block.name.split(" of ")[0] for _, live in state if live.block is not None})
        name = next((live.operator.optimizer for _, live in state if live.operator), "") or "the optimizer"
        yield finding(
            peak,
            "optimizer state made at its first step",
            state,
            f"{name} allocates {' and '.join(kinds)} for each parameter in its first step: "
            f"{blocks_and_bytes(len(state), bytes_of(state))}, which stay allocated",
            "plan for this memory from the start, or use an optimizer with less state (SGD, Adafactor, 8-bit Adam)",
        )
    temporaries: LiveRows = [
        (i, live) for i, live in rows if live.operator is not None and live.operator.optimizer and not has_role(live)
    ]
    if temporaries:
        name = next(live.operator.optimizer for _, live in temporaries if live.operator)
        together = any("_foreach_" in live.operator.short for _, live in temporaries if live.operator)
        recording = peak.recording
        births = recording.allocations.at[recording.allocations.birth].tolist()
        inside = {i for i, at in enumerate(births) if at >= 0 and peak.operators[at].optimizer}
        kept = {i for i in inside if (n := recording.block_of[i]) >= 0 and recording.blocks[n].role}
        largest = max((live.size for _, live in temporaries), default=0)
        after = recording.peak_without({}, inside - kept) + 2 * largest
        saves = max(recording.allocations.peak - after, 0)
        yield finding(
            peak,
            "temporaries of the optimizer",
            temporaries,
            f"{name} updates {'all parameters together' if together else 'the parameters'} with temporaries of "
            f"{blocks_and_bytes(len(temporaries), bytes_of(temporaries))}",
            f"make {name} with `foreach=False`, which needs temporaries for one parameter at a time" * together,
            avoidable=saves if together else 0,
            verified=together and saves > 0,
            surprising=together,
        )


def dense_embedding_gradients(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each dense gradient of an embedding.

    An embedding is left out if the batch has so many indices that it may use more than half of the embedding's rows.
    """
    for i, live in rows:
        op = live.operator
        if op is None or live.block is None or op.short not in ("embedding_dense_backward", "_embedding_bag_backward"):
            continue
        if op.phase is not Phase.BACKWARD or len(live.block.operand.shape) != 2:
            continue
        count, width = live.block.operand.shape
        indices = [o for o in op.reads if o.dtype in ("int64", "int32")]
        looked_up = min(count, element_count(indices[0].shape)) if indices else count
        if looked_up > count // 2:
            continue
        forward = peak.forward_of(op)
        names = [peak.blocks[o.block].name for o in forward.reads] if forward is not None else []
        weight = next((name for name in names if name), "")
        touched = live.size * looked_up // count
        yield finding(
            peak,
            "dense gradient of an embedding",
            [(i, live)],
            f"the gradient of {weight or 'the embedding'} is {count:,}×{width}, of which the batch touches at most "
            f"{looked_up:,} rows ({format_bytes(touched)})",
            "use `sparse=True` with SparseAdam or SGD, a smaller vocabulary, or weights shared with the output layer",
            op.line,
            avoidable=live.size - touched,
            value=f"gradient of {weight}" if weight else "",
        )
