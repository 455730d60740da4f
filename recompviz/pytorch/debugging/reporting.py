"""The report of a moment: a row for each block alive at the peak, the findings about them, and the timeline."""

from __future__ import annotations

from recompviz.core.reports.memory_report import MemoryReport, PeakRow, ranked
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.all_causes import ordinary_causes, surprising_causes
from recompviz.pytorch.debugging.moment import Moment, operator_name
from recompviz.pytorch.debugging.recording import LiveBlock, operator_label
from recompviz.pytorch.debugging.watched import Block


def report_of(moment: Moment, title: str) -> MemoryReport:
    """The report of a moment: rows, findings, timeline."""
    recording = moment.recording
    static = [
        (block, recording.rounded(block.size))
        for block in recording.static_blocks
        if moment.block_category(block).static
    ]
    entries: list[tuple[PeakRow, LiveBlock | None]] = [
        (_static_row(moment, block, size), None) for block, size in static
    ]
    entries += [(_row(moment, one), one) for one in moment.live]
    entries.sort(key=lambda entry: -entry[0].size)
    live = [(i, one) for i, (_, one) in enumerate(entries) if one is not None]
    rows = tuple(row for row, _ in entries)
    peak = sum(row.size for row in rows)
    surprising = ranked(surprising_causes(moment, live), peak)
    told = {i for finding in surprising if finding.matters(peak) for i in finding.rows}
    ordinary = ordinary_causes(moment, [(i, one) for i, one in live if i not in told])
    blocks = recording.watcher.blocks
    sums: dict[Category, int] = {}
    for block, size in static:
        category = moment.block_category(block)
        sums[category] = sums.get(category, 0) + size
    timeline = recording.timeline(
        [moment.block_label(block) for block in blocks], [moment.block_category(block) for block in blocks], sums
    )
    notes = [*recording.notes, *dict.fromkeys(held.cut for held in moment.between if held.cut)]
    findings = ranked([*surprising, *ordinary], peak)
    return MemoryReport(title, timeline, rows, findings, notes=tuple(notes), growth=recording.step_ends)


def _static_row(moment: Moment, block: Block, size: int) -> PeakRow:
    category = moment.block_category(block)
    why = {
        Category.PARAMETER: "parameter of the model",
        Category.BUFFER: "buffer of the model",
        Category.OPTIMIZER: "state of the optimiser",
    }.get(category, "held by the caller")
    return PeakRow(
        moment.block_label(block),
        size,
        category,
        why,
        module=block.name.rpartition(".")[0],
        shape=block.operand.shape,
        dtype=block.operand.dtype,
    )


def _row(moment: Moment, one: LiveBlock) -> PeakRow:
    op, block = one.operator, one.block
    last = moment.last_read(one)
    return PeakRow(
        moment.label(one),
        one.size,
        moment.category(one),
        moment.why(one),
        op.name if op is not None else "",
        op.module if op is not None else "",
        op.line if op is not None else None,
        op.stack if op is not None else (),
        block.operand.shape if block is not None else (),
        block.operand.dtype if block is not None else "",
        operator_label(op) if op is not None else "",
        operator_name(last) if last is not None else "",
        moment.age(one),
        op is not None or (block is not None and bool(block.role or block.operand)),
    )
