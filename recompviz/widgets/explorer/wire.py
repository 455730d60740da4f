"""The values of the widget's traits: dictionaries of numbers, texts and binary buffers.

``wire.md`` lists every field; ``js/data/wire.js`` reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz import __version__
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline
from recompviz.core.steps.transient_blocks import blocks_of
from recompviz.widgets.base.interactive import with_cell_name
from recompviz.widgets.explorer.labels import node_labels
from recompviz.widgets.explorer.script_names import ScriptNames
from recompviz.widgets.layout.layout import NODE, Layout
from recompviz.widgets.layout.module_layout import lay_out_modules
from recompviz.widgets.layout.modules import collapse_above, module_tree

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph
    from recompviz.widgets.explorer.runs import RunRequest
    from recompviz.widgets.explorer.tables import Shown
    from recompviz.widgets.layout.step_nodes import LabelNumbers

Message = dict[str, Any]


def graph_message(
    graph: Graph,
    title: str,
    device: str,
    capacity: int | None = None,
    time_unit: str = "time units",
    step_time: float | None = None,
    names: ScriptNames | None = None,
) -> Message:
    """Return the value of the Explorer's trait ``_graph``; ``wire.md`` lists its fields.

    ``capacity`` is the memory of the device in bytes; None if it is not known. ``time_unit`` is the unit of the costs,
    ``step_time`` the time of the step without recomputation in this unit; None if it is not known.
    """
    nodes = [
        [
            label,
            info.key or str(name),
            info.op,
            info.module,
            _source(info.source),
            "×".join(map(str, info.shape)),
            info.dtype,
            "".join(letter for letter, on in zip("nom", (info.needed, info.output, info.mutation), strict=True) if on),
            info.block,
        ]
        for label, name, info in zip(node_labels(graph), graph.names, graph.info, strict=True)
    ]
    return {
        "fingerprint": graph.fingerprint,
        "version": __version__,
        "title": title,
        "device": device,
        "capacity": None if capacity is None else float(capacity),
        "time_unit": time_unit,
        "step_time": step_time,
        "script": (names or ScriptNames()).message(),
        "count": len(graph),
        "edges": graph.edges.astype("<u4").tobytes(),
        "memory": graph.memory.astype("<f8").tobytes(),
        "time": graph.time.astype("<f8").tobytes(),
        "nodes": nodes,
    }


def _source(text: str) -> str:
    """Return the place and the text of a source line, with the name of a notebook cell in place of its file."""
    place, tab, line = text.partition("\t")
    return f"{with_cell_name(place)}{tab}{line}"


def layout_message(layout: Layout) -> Message:
    """Return the value of the Explorer's trait ``_layout``; ``wire.md`` lists its fields."""
    return {
        "mode": layout.mode,
        "engine": layout.engine,
        "nodes": layout.nodes.astype("<f4").tobytes(),
        "points": layout.points.astype("<f4").tobytes(),
        "offsets": layout.offsets.astype("<u4").tobytes(),
        "size": [layout.width, layout.height],
        "node": list(NODE),
    }


def modules_message(graph: Graph) -> Message:
    """Return the value of the Explorer's trait ``_modules``; ``wire.md`` lists its fields."""
    modules = module_tree(graph)
    layout = lay_out_modules(graph, modules)
    return {
        "names": list(modules.names),
        "paths": list(modules.paths),
        "parent": np.array(modules.parent, "<i4").tobytes(),
        "times": np.array(modules.times, "<u4").tobytes(),
        "owner": np.array(modules.owner, "<i4").tobytes(),
        "rank": layout.rank.astype("<u2").tobytes(),
        "across": layout.across.astype("<f4").tobytes(),
        "ports": layout.ports.astype("<f4").tobytes(),
        "lines": layout.lines.astype("<i4").tobytes(),
        "passed": layout.passed.astype("<f4").tobytes(),
        "offsets": layout.offsets.astype("<u4").tobytes(),
        "skips": layout.skips.astype("<u4").tobytes(),
        "collapse_above": collapse_above(graph, modules),
    }


def table_message(shown: Shown | None) -> Message:
    """Return one entry of the Explorer's traits ``_tables`` and ``_more``. For None, return ``{}``: no table."""
    if shown is None:
        return {}
    table = shown.table
    kept = np.stack([packed(plan.keep_mask) for plan in table.plans])
    segments = np.stack([plan.segment for plan in table.plans]).astype("<u2")
    return {
        "objective": table.objective,
        "family": shown.family,
        "base": shown.base,
        "names": list(shown.names),
        "binding": shown.binding,
        "little": shown.little,
        "rows": len(table),
        "formula_peaks": table.formula_peaks.astype("<f8").tobytes(),
        "total_peaks": table.total_peaks.astype("<f8").tobytes(),
        "overheads": np.array([plan.overhead for plan in table.plans], "<f8").tobytes(),
        "kept": kept.tobytes(),
        "segments": segments.tobytes(),
        "outlines": table.outlines.astype("<f4").tobytes(),
        "outline_points": table.outlines.shape[1],
    }


def packed(kept: Any) -> Any:
    """Pack a keep mask (one bool for each node) into bytes. Eight nodes share a byte; the first has the lowest bit."""
    return np.packbits(kept, bitorder="little")


def timeline_message(timeline: Timeline, numbers: LabelNumbers) -> Message:
    """Return the fields of the Explorer's trait ``_reply`` that describe a timeline; ``wire.md`` lists them.

    Parameters
    ----------
    timeline : Timeline
    numbers : LabelNumbers
        The numbers of all labels sent so far. Labels that are new get numbers here.
    """
    blocks = blocks_of(timeline)
    moving = set(np.unique(blocks.category).tolist())
    shown = [category for category in Category if timeline.static_bytes.get(category) or int(category) in moving]
    steps = numbers.of(timeline.step_labels)
    storages = numbers.of(timeline.storage_labels)
    return {
        "steps": len(timeline.phases),
        "categories": [
            [int(category), category.label, category.static, float(timeline.static_bytes.get(category, 0))]
            for category in shown
        ],
        "block_labels": storages[blocks.storage].astype("<u4").tobytes(),
        "block_categories": blocks.category.astype("<u1").tobytes(),
        "block_bytes": blocks.size.astype("<f8").tobytes(),
        "block_first": blocks.first.astype("<u4").tobytes(),
        "block_stop": blocks.stop.astype("<u4").tobytes(),
        "phases": timeline.phases.astype("<u1").tobytes(),
        "step_nodes": numbers.nodes(timeline.step_labels, steps).astype("<i4").tobytes(),
        "step_labels": steps.astype("<u4").tobytes(),
        "peak": float(timeline.peak),
        "peak_step": timeline.peak_step,
        "reserved": float(timeline.reserved_peak or 0),
    }


def run_message(report: RunReport, run: RunRequest) -> Message:
    """Return one entry of the Explorer's trait ``_runs``: the message about one measured run.

    Parameters
    ----------
    report : RunReport
    run : RunRequest
        The selection at the start of the run.
    """
    measured, times = report.measured, report.times
    return {
        "number": run.number,
        "table": run.table,
        "row": run.row,
        "kept": packed(report.plan.keep_mask).tobytes(),
        "name": report.plan.kind,
        "overhead": report.plan.overhead,
        "budget": float(run.budget),
        "wanted": float(run.wanted),
        "measured": (measured.step_peaks + measured.static).astype("<f4").tobytes(),
        "measured_peak": float(measured.peak),
        "predicted_peak": float(run.predicted.peak),
        "device": report.device,
        "seconds": report.seconds,
        "certified": report.certified,
        "certificate": report.certificate,
        "eager_step": None if times is None else times.eager_step,
        "planned_step": None if times is None else times.planned_step,
        "predicted_step": None if times is None else times.predicted_step,
        "predicted_eager": None if times is None else times.predicted_eager,
        "too_high": times is not None and times.too_high,
        "too_low": times is not None and times.too_low,
        "predicted_share": None if times is None else times.predicted_share,
        "resolved": times is not None and times.resolved,
        "spread": None if times is None else list(times.spread),
        "pairs": 0 if times is None else times.pairs,
        "notes": list(measured.notes),
        "gap": [
            [step.name, float(step.change), float(step.total), step.why, [list(row) for row in step.behind]]
            for step in (report.gap.steps if report.gap else ())
        ],
    }
