"""What Python sends to the page: values as dictionaries with binary buffers.

The fields are written down in ``wire.md``, field by field; ``js/wire.js`` reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.joint import Category
from recompviz.core.plan_table import PlanTable
from recompviz.core.run_report import RunReport
from recompviz.core.timeline import Timeline
from recompviz.widgets.labels import short_label
from recompviz.widgets.layout import NODE, Layout
from recompviz.widgets.module_layout import lay_out_modules
from recompviz.widgets.modules import COLLAPSE_ABOVE, module_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recompviz.core.graph import Graph

Message = dict[str, Any]


def graph_message(graph: Graph, title: str, device: str) -> Message:
    """The ``_graph`` trait."""
    nodes = [
        [
            short_label(info.op) if info.op else str(name)[:6],
            info.key or str(name),
            info.op,
            info.module,
            info.source,
            "×".join(map(str, info.shape)),
            info.dtype,
            "".join(letter for letter, on in zip("nom", (info.needed, info.output, info.mutation), strict=True) if on),
            info.block,
        ]
        for name, info in zip(graph.names, graph.info, strict=True)
    ]
    return {
        "fingerprint": graph.fingerprint,
        "title": title,
        "device": device,
        "count": len(graph),
        "edges": graph.edges.astype("<u4").tobytes(),
        "memory": graph.memory.astype("<f8").tobytes(),
        "time": graph.time.astype("<f8").tobytes(),
        "nodes": nodes,
    }


def layout_message(layout: Layout) -> Message:
    """The ``_layout`` trait."""
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
    """The ``_modules`` trait."""
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
        "collapse_above": COLLAPSE_ABOVE,
    }


def table_message(table: PlanTable) -> Message:
    """An entry of the ``_tables`` trait."""
    kept = np.stack([np.packbits(plan.kept, bitorder="little") for plan in table.plans])
    segments = np.stack([plan.segment for plan in table.plans]).astype("<u2")
    return {
        "objective": table.objective,
        "rows": len(table),
        "formula_peaks": table.formula_peaks.astype("<f8").tobytes(),
        "total_peaks": table.total_peaks.astype("<f8").tobytes(),
        "overheads": np.array([plan.overhead for plan in table.plans], "<f8").tobytes(),
        "kept": kept.tobytes(),
        "segments": segments.tobytes(),
        "outlines": table.outlines.astype("<f4").tobytes(),
        "outline_points": table.outlines.shape[1],
    }


def timeline_message(timeline: Timeline, labels: dict[str, int], nodes: Sequence[int]) -> Message:
    """The timeline's part of the ``_reply`` trait.

    Parameters
    ----------
    timeline : Timeline
    labels : dict from step label to its number
        Labels not met before are added to it.
    nodes : sequence of int
        The node of each step, −1 for none.
    """
    steps = len(timeline.phases)
    bands = timeline.bands
    shown: list[tuple[Category, Any]] = []
    for category in Category:
        static = timeline.static_bytes.get(category, 0)
        moving = bands[:, category]
        if static or (steps and moving.any()):
            shown.append((category, moving + static))
    stacked = np.stack([values for _, values in shown]) if shown else np.zeros((0, steps))
    return {
        "steps": steps,
        "categories": [[int(category), category.label, category.static] for category, _ in shown],
        "bands": stacked.astype("<f4").tobytes(),
        "phases": timeline.phases.astype("<u1").tobytes(),
        "step_nodes": np.array(nodes, "<i4").tobytes(),
        "step_labels": np.array([labels.setdefault(x, len(labels)) for x in timeline.step_labels], "<u4").tobytes(),
        "peak": float(timeline.peak),
        "peak_step": timeline.peak_step,
    }


def run_message(report: RunReport, number: int, table: int, row: int, predicted: Timeline) -> Message:
    """An entry of the ``_runs`` trait."""
    measured = report.measured
    return {
        "number": number,
        "table": table,
        "row": row,
        "measured": (measured.step_peaks + measured.static).astype("<f4").tobytes(),
        "measured_peak": float(measured.peak),
        "predicted_peak": float(predicted.peak),
        "keep_all_peak": None if report.keep_all_peak is None else float(report.keep_all_peak),
        "device": report.device,
        "seconds": report.seconds,
        "certified": report.certified,
        "certificate": report.certificate,
        "notes": list(measured.notes),
    }
