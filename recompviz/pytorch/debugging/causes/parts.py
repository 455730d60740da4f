"""What the causes of a peak share: a finding over rows of live blocks, and questions asked of operators and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from recompviz.core.reports.memory_report import Finding, SourceLine
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operand, Operator
from recompviz.pytorch.internals.user_lines import OUTSIDE

Live = list[tuple[int, LiveBlock]]  # positions in the report's rows, and the blocks


def finding(
    peak: PeakState,
    cause: str,
    rows: Live,
    why: str,
    fix: str,
    line: SourceLine | None = None,
    avoidable: int | None = None,
    growth: int = 0,
    surprising: bool = True,
    value: str = "",
) -> Finding:
    """A finding about rows of live blocks: named after the largest, at its line, unless said otherwise."""
    size = sum(live.size for _, live in rows)
    largest = max(rows, key=lambda row: row[1].size)[1]
    return Finding(
        cause,
        value or peak.label(largest),
        line if line is not None else largest.operator.line if largest.operator else None,
        size,
        size if avoidable is None else avoidable,
        why,
        fix,
        tuple(i for i, _ in rows),
        surprising,
        growth,
    )


def fall_without(peak: PeakState, rows: Live, after: bool) -> int:
    """By how much the peak would fall if blocks were free after, or before, the operator that reads them last."""
    freed = {}
    for _, one in rows:
        last = peak.last_read(one)
        number = last.number + after if last is not None else one.operator.number + 1 if one.operator else 0
        freed[one.event] = number
    return max(int(peak.recording.live.max()) - peak.recording.peak_without(freed), 0)


def is_own(one: LiveBlock) -> bool:
    """Whether a block belongs to the model or the caller by itself."""
    return one.block is not None and bool(one.block.role)


def ancestor(
    peak: PeakState, op: Operator | None, wanted: Callable[[Operator], bool], through: int = 6
) -> Operator | None:
    """The nearest operator that is wanted on the way back through results of the same number of elements."""
    blocks = peak.recording.watcher.blocks
    while op is not None and through:
        if wanted(op):
            return op
        counts = max([elements(o) for o in (*op.makes, *op.views)], default=0) or max(
            map(elements, op.reads), default=0
        )
        makers = [
            blocks[o.block].maker
            for o in op.reads
            if blocks[o.block].maker >= 0 and elements(blocks[o.block].operand) == counts
        ]
        makers = [m for m in makers if m < op.number]
        op = peak.operators[makers[0]] if makers else None
        through -= 1
    return None


def common_line(operators: Iterable[Operator | None]) -> SourceLine | None:
    """The innermost line of the step that all operators were called from; else the first one's."""
    stacks = [op.stack for op in operators if op is not None and op.stack]
    if not stacks:
        return None
    shared = set(stacks[0]).intersection(*map(set, stacks[1:]))
    own = (line for line in stacks[0] if line in shared and line.function != OUTSIDE)
    return next(own, stacks[0][0])


def elements(operand: Operand) -> int:
    """How many elements a tensor has."""
    return product(operand.shape)


def product(shape: Iterable[int]) -> int:
    """How many elements a shape has."""
    total = 1
    for size in shape:
        total *= size
    return total


def item_bytes(operand: Operand) -> int:
    """Bytes of one element."""
    return int(getattr(torch, operand.dtype).itemsize)
