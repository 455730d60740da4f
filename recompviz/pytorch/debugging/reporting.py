"""The report of a peak: a row for each block alive at the peak, the findings about them, and the timeline."""

from __future__ import annotations

from recompviz.core.reports.memory_report import MemoryReport, PeakRow, ranked
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.all_causes import ordinary_causes, surprising_causes
from recompviz.pytorch.debugging.peak.peak_state import PeakState, operator_name
from recompviz.pytorch.debugging.recorder.recording import LiveBlock, operator_label
from recompviz.pytorch.debugging.recorder.watched import Block


def report_of(peak: PeakState, title: str) -> MemoryReport:
    """The report of a peak: rows, findings, timeline."""
    recording = peak.recording
    static = [
        (block, recording.rounded(block.size)) for block in recording.static_blocks if peak.block_category(block).static
    ]
    entries: list[tuple[PeakRow, LiveBlock | None]] = [(_static_row(peak, block, size), None) for block, size in static]
    entries += [(_row(peak, one), one) for one in peak.live]
    entries.sort(key=lambda entry: -entry[0].size)
    live = [(i, one) for i, (_, one) in enumerate(entries) if one is not None]
    rows = tuple(row for row, _ in entries)
    total = sum(row.size for row in rows)
    surprising = ranked(surprising_causes(peak, live), total)
    told = {i for finding in surprising if finding.matters(total) for i in finding.rows}
    ordinary = ordinary_causes(peak, [(i, one) for i, one in live if i not in told])
    blocks = recording.watcher.blocks
    sums: dict[Category, int] = {}
    for block, size in static:
        category = peak.block_category(block)
        sums[category] = sums.get(category, 0) + size
    timeline = recording.timeline(
        [peak.block_label(block) for block in blocks], [peak.block_category(block) for block in blocks], sums
    )
    notes = [*recording.notes, *dict.fromkeys(held.not_searched for held in peak.between if held.not_searched)]
    findings = ranked([*surprising, *ordinary], total)
    return MemoryReport(title, timeline, rows, findings, notes=tuple(notes), growth=recording.step_ends)


def _static_row(peak: PeakState, block: Block, size: int) -> PeakRow:
    category = peak.block_category(block)
    why = {
        Category.PARAMETER: "parameter of the model",
        Category.BUFFER: "buffer of the model",
        Category.OPTIMIZER: "state of the optimiser",
    }.get(category, "held by the caller")
    return PeakRow(
        peak.block_label(block),
        size,
        category,
        why,
        module=block.name.rpartition(".")[0],
        shape=block.operand.shape,
        dtype=block.operand.dtype,
    )


def _row(peak: PeakState, one: LiveBlock) -> PeakRow:
    op, block = one.operator, one.block
    last = peak.last_read(one)
    return PeakRow(
        peak.label(one),
        one.size,
        peak.category(one),
        peak.why(one),
        op.name if op is not None else "",
        op.module if op is not None else "",
        op.line if op is not None else None,
        op.stack if op is not None else (),
        block.operand.shape if block is not None else (),
        block.operand.dtype if block is not None else "",
        operator_label(op) if op is not None else "",
        operator_name(last) if last is not None else "",
        peak.age(one),
        op is not None or (block is not None and bool(block.role or block.operand)),
    )
