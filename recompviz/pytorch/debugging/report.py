"""Make the memory report of a peak state: a row for each block alive at the peak, the findings, and the timeline."""

from __future__ import annotations

from collections import defaultdict

from recompviz.core.reports.findings import LEAST_SHARE, PeakRow
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.ranking import ranked
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.all_causes import ordinary_findings, surprising_findings
from recompviz.pytorch.debugging.causes.outside_step import (
    frozen_state,
    growing_graphs,
    left_gradients,
    outside_rows,
    untouched_memory,
)
from recompviz.pytorch.debugging.peak.description import (
    block_category,
    block_label,
    category,
    label,
    operator_path,
    why,
)
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.peak.phases import phases_of
from recompviz.pytorch.debugging.recorder.recording import LiveBlock, operator_label
from recompviz.pytorch.debugging.recorder.watched import Block


def report_of(peak: PeakState, title: str) -> MemoryReport:
    """Return the memory report of a peak state, without differences from simulated memory and without advice.

    Parameters
    ----------
    peak : PeakState
        The state at the measured peak.
    title : str
        The title of the report.
    """
    recording = peak.recording
    static = [
        (block, recording.rounded(block.size))
        for block in recording.static_blocks
        if block_category(peak, block).static or block.role == "gradient"
    ]
    entries: list[tuple[PeakRow, LiveBlock | Block]] = [
        (_static_row(peak, block, size), block) for block, size in static
    ]
    entries += [(_live_row(peak, one), one) for one in peak.live]
    entries.sort(key=lambda entry: -entry[0].size)
    rows = tuple(row for row, _ in entries)
    total = sum(row.size for row in rows)
    live = [(i, one) for i, (_, one) in enumerate(entries) if isinstance(one, LiveBlock)]
    fixed = [(i, one, rows[i].size) for i, (_, one) in enumerate(entries) if isinstance(one, Block)]
    found = [
        *surprising_findings(peak, live),
        *left_gradients(peak, fixed),
        *frozen_state(peak, fixed),
        *untouched_memory(peak, total),
        *growing_graphs(peak),
    ]
    surprising = ranked([one for one in found if one.surprising or one.avoidable >= LEAST_SHARE * total], total)
    explained = {i for one in surprising if one.matters(total) or not one.surprising for i in one.rows}
    ordinary = ordinary_findings(peak, [(i, one) for i, one in live if i not in explained])
    static_bytes: dict[Category, int] = defaultdict(int)
    for block, size in static:
        static_bytes[block_category(peak, block)] += size
    timeline = recording.timeline(
        [block_label(peak, block) for block in peak.blocks],
        [block_category(peak, block) for block in peak.blocks],
        dict(static_bytes),
    )
    not_searched = dict.fromkeys(held.not_searched for held in peak.between if held.not_searched)
    return MemoryReport(
        title,
        timeline,
        rows,
        ranked([*surprising, *ordinary], total),
        notes=(*recording.notes, *not_searched),
        growth=recording.step_ends,
        outside=outside_rows(peak),
        phases=phases_of(peak, sum(static_bytes.values())),
        process=peak.process,
    )


_WHY_STATIC = {
    Category.PARAMETER: "parameter of the model",
    Category.BUFFER: "buffer of the model",
    Category.OPTIMIZER: "state of the optimizer",
    Category.PARAMETER_GRADIENT: "gradient from before the step, kept until it is set to None",
}


def _static_row(peak: PeakState, block: Block, size: int) -> PeakRow:
    kind = block_category(peak, block)
    return PeakRow(
        block_label(peak, block),
        size,
        kind,
        _WHY_STATIC.get(kind, "held by the caller"),
        module=block.name.rpartition(".")[0],
        shape=block.operand.shape,
        dtype=block.operand.dtype,
    )


def _live_row(peak: PeakState, one: LiveBlock) -> PeakRow:
    op, block, last = one.operator, one.block, peak.last_read(one)
    return PeakRow(
        value=label(peak, one),
        size=one.size,
        category=category(peak, one),
        why=why(peak, one),
        operator=op.name if op is not None else "",
        module=op.module if op is not None else "",
        line=op.line if op is not None else None,
        stack=op.stack if op is not None else (),
        shape=block.operand.shape if block is not None else (),
        dtype=block.operand.dtype if block is not None else "",
        born=operator_label(op) if op is not None else "",
        last_use=operator_path(last) if last is not None else "",
        age=peak.age(one),
        attributed=op is not None or block is not None,
        retainer=_retainer(peak, one),
        event=int(peak.recording.allocations.birth[one.allocation]),
    )


def _retainer(peak: PeakState, one: LiveBlock) -> str:
    """Return the object that keeps a block alive beyond its function; empty if there is none."""
    held = None if one.block is None or one.block.role else peak.retainer(one)
    if held is None or held[0].local:
        return ""
    root, expression = held[1].key
    return f"`{expression}` ({root})"
