"""Functions that the causes share. They make a finding, add up sizes, and trace a value back to an operator."""

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
    verified: bool = False,
) -> Finding:
    """Return a finding about live allocations.

    Parameters
    ----------
    peak : PeakState
        The state at the peak.
    rows : list of (int, LiveBlock)
        The allocations, at least one, each with its position in ``MemoryReport.rows``.
    line : SourceLine, optional
        The line to change. Default: the line that made the largest allocation.
    avoidable : int, optional
        Bytes that the fix would free. Default: the bytes of all allocations.
    value : str
        A name for the allocations. Default: the name of the largest allocation.
    cause, why, fix, growth, surprising, retainer, verified
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
        verified=verified,
    )


def largest_of(rows: LiveRows) -> LiveBlock:
    """Return the allocation with the most bytes; ``rows`` must not be empty."""
    return max(rows, key=lambda row: row[1].size)[1]


def bytes_of(rows: LiveRows) -> int:
    """Return the sum of the bytes of all allocations."""
    return sum(live.size for _, live in rows)


def peak_reduction(peak: PeakState, rows: LiveRows, after: bool) -> int:
    """Return the bytes by which the peak would fall if some allocations were freed as early as possible.

    The last reader of an allocation is the last operator, up to the peak, that read it. An allocation without a reader
    is freed right after the operator that made it.

    Parameters
    ----------
    peak : PeakState
        The state at the peak.
    rows : list of (int, LiveBlock)
        The allocations that would be freed.
    after : bool
        If True, each allocation is freed after its last reader has run. If False, it is freed before its last reader
        runs, because the reader would overwrite it with the result.
    """
    freed = {}
    for _, live in rows:
        last = peak.last_read(live)
        number = last.number + after if last is not None else live.operator.number + 1 if live.operator else 0
        freed[live.allocation] = number
    return max(peak.recording.allocations.peak - peak.recording.peak_without(freed), 0)


def has_role(live: LiveBlock) -> bool:
    """Return whether a block is a parameter, buffer, gradient, optimizer state, input or target."""
    return live.block is not None and bool(live.block.role)


def nearest_source(
    peak: PeakState, op: Operator | None, wanted: Callable[[Operator], bool], most_steps: int = 6
) -> Operator | None:
    """Return the nearest operator for which ``wanted`` is true, from ``op`` back through the makers of its inputs.

    From each operator, the search goes to the operator that made the first input with as many elements as the result.
    At most ``most_steps`` operators are tried. If ``wanted`` is false for all of them, None is returned.
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
    """Return the innermost source line, inside the training step, from which all operators were called.

    If there is no such line, return the line of the first operator; None if no operator has a line.
    """
    stacks = [op.stack for op in operators if op is not None and op.stack]
    if not stacks:
        return None
    shared = set(stacks[0]).intersection(*map(set, stacks[1:]))
    own = (line for line in stacks[0] if line in shared and line.function != OUTSIDE)
    return next(own, stacks[0][0])


def elements_of(operand: Operand) -> int:
    """Return the number of elements of a tensor."""
    return element_count(operand.shape)


def element_count(shape: Iterable[int]) -> int:
    """Return the number of elements of a shape; 1 for an empty shape."""
    total = 1
    for size in shape:
        total *= size
    return total


def item_bytes(operand: Operand) -> int:
    """Return the bytes of one element of a tensor."""
    return int(getattr(torch, operand.dtype).itemsize)
