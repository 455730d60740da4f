"""What the causes have in common: how to make a finding, and questions about operators and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.debugging.peak.description import label
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operand, Operator
from recompviz.pytorch.internals.user_lines import OUTSIDE

# (position in the report's rows, block)
LiveRow = tuple[int, LiveBlock]
LiveRows = list[LiveRow]


def finding(
    peak: PeakState,
    cause: str,
    rows: LiveRows,
    why: str,
    fix: str,
    line: SourceLine | None = None,
    avoidable: int | None = None,
    growth: int = 0,
    surprising: bool = True,
    value: str = "",
    retainer: str = "",
) -> Finding:
    """A finding about live blocks.

    Parameters
    ----------
    value, line
        Default: name and line of the largest block.
    avoidable : int, optional
        Bytes; default: all of them.
    cause, why, fix, growth, surprising, retainer
        As in :class:`~recompviz.core.reports.findings.Finding`.
    """
    largest = largest_of(rows)
    if line is None and largest.operator is not None:
        line = largest.operator.line
    size = bytes_of(rows)
    return Finding(
        cause=cause,
        value=value or label(peak, largest),
        line=line,
        size=size,
        avoidable=size if avoidable is None else avoidable,
        why=why,
        fix=fix,
        rows=tuple(i for i, _ in rows),
        surprising=surprising,
        growth=growth,
        retainer=retainer,
    )


def largest_of(rows: LiveRows) -> LiveBlock:
    """The largest block."""
    return max(rows, key=lambda row: row[1].size)[1]


def bytes_of(rows: LiveRows) -> int:
    """Bytes of all blocks."""
    return sum(live.size for _, live in rows)


def peak_reduction(peak: PeakState, rows: LiveRows, after: bool) -> int:
    """Bytes by which the peak would fall if blocks were freed earlier.

    Parameters
    ----------
    after : bool
        Whether they would be free after the operator that read them last, or already before it.
    """
    freed = {}
    for _, live in rows:
        last = peak.last_read(live)
        number = last.number + after if last is not None else live.operator.number + 1 if live.operator else 0
        freed[live.allocation] = number
    return max(peak.recording.allocations.peak - peak.recording.peak_without(freed), 0)


def has_role(live: LiveBlock) -> bool:
    """Whether a block is a parameter, buffer, gradient, optimizer state, input or target."""
    return live.block is not None and bool(live.block.role)


def nearest_source(
    peak: PeakState, op: Operator | None, wanted: Callable[[Operator], bool], most_steps: int = 6
) -> Operator | None:
    """The nearest operator for which ``wanted`` is true, from ``op`` back through the operators that made its inputs.

    Only inputs with as many elements as the result are followed, ``most_steps`` times at most.
    """
    while op is not None and most_steps:
        if wanted(op):
            return op
        results = max([elements_of(o) for o in (*op.makes, *op.views)], default=0)
        count = results or max(map(elements_of, op.reads), default=0)
        inputs = [peak.blocks[o.block] for o in op.reads]
        makers = [block.maker for block in inputs if block.maker >= 0 and elements_of(block.operand) == count]
        makers = [maker for maker in makers if maker < op.number]
        op = peak.operators[makers[0]] if makers else None
        most_steps -= 1
    return None


def common_line(operators: Iterable[Operator | None]) -> SourceLine | None:
    """The innermost line of the step from which all operators were called; else the line of the first."""
    stacks = [op.stack for op in operators if op is not None and op.stack]
    if not stacks:
        return None
    shared = set(stacks[0]).intersection(*map(set, stacks[1:]))
    own = (line for line in stacks[0] if line in shared and line.function != OUTSIDE)
    return next(own, stacks[0][0])


def elements_of(operand: Operand) -> int:
    """Number of elements of a tensor."""
    return element_count(operand.shape)


def element_count(shape: Iterable[int]) -> int:
    """Number of elements of a shape."""
    total = 1
    for size in shape:
        total *= size
    return total


def item_bytes(operand: Operand) -> int:
    """Bytes of one element."""
    return int(getattr(torch, operand.dtype).itemsize)
