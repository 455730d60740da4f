"""Plotly figures of trade-off curves, timelines and gaps, for the ``.figure()`` methods of these classes.

Plotly is imported when the first figure is made. The Explorer draws its own charts in the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base import palette
from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase

if TYPE_CHECKING:
    from recompviz.core.plans.curve import Tradeoff
    from recompviz.core.plans.gap import Gap
    from recompviz.core.steps.timeline import Timeline

MIB = 2**20
COLOURS = {category: palette.CATEGORIES[category.name] for category in Category}


def tradeoff_figure(tradeoff: Tradeoff) -> Any:
    """Draw overhead against peak for the plans of least (time-centric) and of largest (memory-centric) overhead.

    The overhead is the cost of the recomputation. Peaks are computed by the paper's formula, and drawn in MiB. A large
    open circle marks the plan that keeps every value.

    Parameters
    ----------
    tradeoff : Tradeoff
        A solved trade-off curve.

    Returns
    -------
    plotly.graph_objects.Figure

    Examples
    --------
    >>> from recompviz.core.graphs.graph import Graph
    >>> from recompviz.core.exact.solver import solve
    >>> len(tradeoff_figure(solve(Graph.from_edges([(0, 1)], memory=[1, 1]))).data)
    3
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    total = float(tradeoff.graph.time.sum())
    curves = (
        ("time-centric", tradeoff.time_centric, palette.ORANGE, "circle"),
        ("memory-centric", tradeoff.memory_centric, palette.BLUE, "square"),
    )
    for name, front, colour, symbol in curves:
        figure.add_scatter(
            x=front.peaks / MIB,
            y=front.overheads,
            name=name,
            mode="lines+markers",
            line={"shape": "vh", "color": colour},
            marker={"symbol": symbol, "size": 5},
            text=[format_bytes(peak) for peak in front.peaks.tolist()],
            hovertemplate=f"{name}<br>peak %{{text}} (formula bytes)<br>overhead %{{y:g}} of {total:g}<extra></extra>",
        )
    figure.add_scatter(
        x=[2 * float(tradeoff.graph.memory.sum()) / MIB],
        y=[0],
        name="keep all",
        mode="markers",
        marker={"symbol": "circle-open", "size": 10, "color": palette.LIGHT["muted"], "line": {"width": 2}},
        hovertemplate="keep all: peak %{x:.1f} MiB (formula bytes)<extra></extra>",
    )
    figure.update_layout(
        template="plotly_white",
        title=f"Trade-off over {tradeoff.lower_set_count:,} lower sets ({tradeoff.family})",
        xaxis_title="peak, MiB (formula bytes)",
        yaxis_title="overhead T(V ∖ U_k), in the unit of T",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    return figure


def timeline_figure(timeline: Timeline, other: Timeline | None = None) -> Any:
    """Draw the memory at the peak of each step of a timeline, stacked by category, in MiB.

    The height of the stack is all memory, parameters and optimizer state included.

    Parameters
    ----------
    timeline : Timeline
        Drawn as stacked areas.
    other : Timeline, optional
        A second timeline, for example a measured one. The sum of its memory is drawn as a line over the areas. If the
        two timelines have different numbers of steps, ``other`` is scaled to the same width.

    Returns
    -------
    plotly.graph_objects.Figure

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> timeline = simulate_schedule(make_schedule(chain_step([4, 4, 4])[1], [True] * 3))
    >>> [trace.name for trace in timeline_figure(timeline, timeline).data]
    ['kept values', 'gradients in flight', 'loss', 'simulated on cpu']
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    steps = np.arange(len(timeline.phases))
    hover = [
        f"{Phase(int(phase)).label}: {label}"
        for phase, label in zip(timeline.phases, timeline.step_labels, strict=True)
    ]
    for category in Category:
        values = timeline.bands[:, category] + timeline.static_bytes.get(category, 0)
        if values.any():
            figure.add_scatter(
                x=steps,
                y=values / MIB,
                name=category.label,
                mode="lines",
                line={"width": 0, "shape": "hv", "color": COLOURS[category]},
                fillcolor=COLOURS[category],
                stackgroup="total",
                text=hover,
                hovertemplate=f"%{{text}}<br>{category.label} %{{y:.1f}} MiB<extra></extra>",
            )
    if other is not None:
        points = len(other.phases)
        figure.add_scatter(
            x=np.arange(points) * (len(steps) / max(points, 1)),
            y=(other.step_peaks + other.static) / MIB,
            name=f"{other.kind} on {other.device}",
            mode="lines",
            line={"shape": "hv", "color": palette.VERMILION, "width": 2},
            hovertemplate="%{y:.1f} MiB<extra></extra>",
        )
    title = f"{timeline.kind} on {timeline.device}: peak {format_bytes(timeline.peak)} (total bytes)"
    if other is not None:
        title += f"; {other.kind} {format_bytes(other.peak)}"
    figure.update_layout(
        template="plotly_white",
        title=title,
        xaxis_title="step of the schedule",
        yaxis_title="MiB (total bytes)",
        hovermode="closest",
    )
    return figure


def gap_figure(gap: Gap) -> Any:
    """Draw a waterfall chart that explains the difference between the formula peak and the simulated or measured peak.

    Parameters
    ----------
    gap : Gap
        Each of its parts becomes one bar, in MiB.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Waterfall(
            x=[step.name for step in gap.steps],
            y=[step.change / MIB for step in gap.steps],
            measure=["absolute", *["relative"] * (len(gap.steps) - 1)],
            customdata=[[step.why, step.total / MIB] for step in gap.steps],
            hovertemplate="%{x}: %{y:+,.2f} MiB, then %{customdata[1]:,.2f} MiB<br>%{customdata[0]}<extra></extra>",
            increasing={"marker": {"color": COLOURS[Category.WORKSPACE]}},
            decreasing={"marker": {"color": COLOURS[Category.GRADIENT]}},
            totals={"marker": {"color": COLOURS[Category.KEPT]}},
        )
    )
    figure.update_layout(title="From the formula to the device", yaxis_title="MiB", showlegend=False)
    return figure
