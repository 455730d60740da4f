"""The figure of a memory report: memory by category over the operators, with a mark at the peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recompviz.core.base import palette
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.plotly_figures import MIB, timeline_figure

if TYPE_CHECKING:
    from recompviz.core.reports.memory_report import MemoryReport


def peak_figure(report: MemoryReport) -> Any:
    """Draw the memory of each category over the operators. A label at the peak names the most important finding.

    Parameters
    ----------
    report : MemoryReport
        The report to draw.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    timeline = report.timeline
    figure = timeline_figure(timeline)
    label = f"peak {format_bytes(report.peak)}"
    if report.top is not None:
        label += f"<br>{report.top.cause}: {report.top.value}"
    figure.add_scatter(
        x=[max(timeline.peak_step, 0)],
        y=[timeline.peak / MIB],
        name="peak",
        mode="markers+text",
        marker={"size": 9, "color": palette.BLACK, "symbol": "diamond"},
        text=[label],
        textposition="top left" if timeline.peak_step * 2 > len(timeline.phases) else "top right",
        hovertemplate=f"{label}<br>at {report.reached_at}<extra></extra>",
    )
    figure.update_layout(title=report.title, xaxis_title="operator", yaxis={"rangemode": "tozero"})
    return figure
