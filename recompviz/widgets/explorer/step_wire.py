"""The value of the trait ``_step`` in the view of a recorded step.

``step_wire.md`` lists every field; ``js/data/step.js`` reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.reports.training_step import Island, StepRegion, StepReport

if TYPE_CHECKING:
    from recompviz.core.reports.source_line import SourceLine


def step_message(report: StepReport) -> dict[str, Any]:
    """Return the value of the ``_step`` trait for a report; ``step_wire.md`` lists its fields."""
    breaks = report.breaks
    number = {found: i for i, found in enumerate(breaks)}
    plans = [region.plans for region in report.regions]
    rows = [np.stack([p.overhead, p.forward_peak, p.saved, p.backward_peak], axis=1) for p in plans]
    outside = [
        [r.outside.forward, r.outside.after_forward, r.outside.backward, r.outside.after_backward]
        for r in report.regions
    ]
    return {
        "title": report.title,
        "device": report.device,
        "summary": report.summary,
        "total": float(report.total),
        "resident": float(report.resident),
        "forward_time": report.forward_time,
        "step_time": report.step_time,
        "notes": list(report.notes),
        "regions": [_region(region) for region in report.regions],
        "plans": np.concatenate(rows).astype("<f8").tobytes(),
        "outside": np.array(outside, "<f8").tobytes(),
        "islands": [_island(island, [number[found] for found in island.breaks]) for island in report.islands],
        "breaks": [[_place(found.line), _code(found.line), found.reason, list(found.hints)] for found in breaks],
        "overheads": np.array(report.front.overhead, "<f8").tobytes(),
        "peaks": np.array(report.front.peak, "<f8").tobytes(),
        "choices": np.array(report.front.choices, "<u4").tobytes(),
    }


def _region(region: StepRegion) -> list[Any]:
    rows, time = len(region.masks), float(region.graph.time.sum())
    return [region.name, _place(region.line), _code(region.line), len(region.graph), rows, time]


def _island(island: Island, breaks: list[int]) -> list[Any]:
    return [float(island.held), float(island.most), _place(island.line), breaks]


def _place(line: SourceLine | None) -> str:
    return line.place if line is not None else ""


def _code(line: SourceLine | None) -> str:
    return line.text if line is not None else ""
