"""Figures of the memory over the events of a recording: for one recording, and for several in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base import palette
from recompviz.core.reports.plotly_figures import MIB

if TYPE_CHECKING:
    from recompviz.core.snapshots.snapshot_report import SnapshotReport

# points of a line, and marks that are drawn
MOST_POINTS, MOST_MARKS = 2000, 40
_LINES = ("solid", "dash", "dot", "dashdot")


def recording_figure(report: SnapshotReport, figure: Any) -> Any:
    """Add the reserved memory and the first 40 marks of a recording to a figure of its allocated memory.

    The figure is changed in place and returned.

    Parameters
    ----------
    report : SnapshotReport
        The report of the recording.
    figure : plotly.graph_objects.Figure
        The figure of the report's allocated memory. A position on its horizontal axis is one or several events.
    """
    allocations = report.history.allocations
    before = len(report.history.records_before)
    steps = report.timeline.step

    def step_of(position: int) -> int:
        event = before - 1 + int(np.searchsorted(allocations.at[before:], position, side="right"))
        return int(steps[event]) if 0 <= event < len(steps) else 0

    reserved = np.array(report.history.reserved, np.int64)
    if len(reserved):
        ends = np.flatnonzero(np.append(np.diff(steps) > 0, True))
        figure.add_scatter(
            x=steps[ends],
            y=reserved[ends] / MIB,
            name="reserved",
            mode="lines",
            line={"color": palette.BLACK, "width": 1},
        )
    for mark in report.marks[:MOST_MARKS]:
        if mark.kind == "annotation":
            figure.add_vrect(
                x0=step_of(mark.first - 1), x1=step_of(mark.last), fillcolor=palette.BLACK, opacity=0.05, line_width=0,
                annotation_text=mark.name[:60], annotation_position="top left",
            )  # fmt: skip
        else:
            figure.add_vline(x=step_of(mark.first), line_width=1, line_dash="dot", annotation_text=mark.kind)
    figure.update_layout(xaxis_title="events")
    return figure


def overlay_figure(reports: Sequence[SnapshotReport]) -> Any:
    """Draw the allocated and the reserved memory of several recordings over their events.

    Parameters
    ----------
    reports : sequence of SnapshotReport
        The recordings. If there are several, the name of each gets a number.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, report in enumerate(reports):
        name = f"{report.title} on {report.device}" + (f" ({i + 1})" if len(reports) > 1 else "")
        for what, values, width in (("allocated", report.allocated, 2), ("reserved", report.reserved, 1)):
            x, y = _thinned(values)
            figure.add_scatter(
                x=x, y=y / MIB, name=f"{name}: {what}", mode="lines",
                line={"width": width, "dash": _LINES[i % len(_LINES)], "shape": "hv"},
            )  # fmt: skip
    figure.update_layout(xaxis_title="events", yaxis={"title": "MiB", "rangemode": "tozero"})
    return figure


def _thinned(values: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Any, Any]:
    """Return positions and values of at most ``MOST_POINTS`` points, with the largest value of each stretch."""
    stretch = max(1, -(-len(values) // MOST_POINTS))
    starts = np.arange(0, len(values), stretch)
    return starts, np.maximum.reduceat(values, starts) if len(values) else values
