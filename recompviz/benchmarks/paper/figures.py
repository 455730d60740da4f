"""The figures of the page, as SVG: reductions of the peak, step time against peak, and step time against batch size.

``networks`` maps the name of a network to its data. The data of a network map the name of a part, such as
``"predicted"``, to the part, as stored in ``results/data``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recompviz.benchmarks.paper.drawing import Panel, figure
from recompviz.benchmarks.paper.methods import CHECKPOINT, CHEN, KEEP_ALL, LIVE, RATIOS
from recompviz.benchmarks.paper.reported import K40C, REPORTED
from recompviz.core.base.palette import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION

Data = Mapping[str, Mapping[str, Any]]

GB = 1e9
# The colour and the marker of each method.
STYLES: dict[str, tuple[str, str]] = {
    "eager": (GREY, "circle"),
    KEEP_ALL: (GREY, "diamond"),
    CHEN: (ORANGE, "square"),
    CHECKPOINT: (PINK, "triangle"),
    **{f"memory budget {ratio:g}": (SKY, "circle") for ratio in RATIOS},
    "approximate, time-centric": (GREEN, "circle"),
    "approximate, memory-centric": (GREEN, "square"),
    "exact, time-centric": (VERMILION, "diamond"),
    "exact, memory-centric": (VERMILION, "triangle"),
    LIVE: (BLUE, "diamond"),
}


def by_method(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of one part of a network's data, by the name of the method."""
    return {row["method"]: row for row in part["rows"]}


def reduction(peak: float, keep_all: float) -> float:
    """Return by how many percent a peak is below the peak of keep-all; negative if it is above."""
    return 100 * (1 - peak / keep_all)


def totals(data: Mapping[str, Any]) -> dict[str, float]:
    """Return the peak of each method in total bytes; simulated if it was not measured on CUDA."""
    measured = data.get("measured on cuda")
    if measured:
        return {row["method"]: row["measured"] for row in measured["rows"]}
    return {row["method"]: row["simulated"] for row in data["predicted"]["rows"]}


def reduction_bars(networks: Data) -> str:
    """Return a figure with four bars for each network: how much four methods reduce the peak, in percent."""
    series = (
        ("paper: its better plan", GREY),
        ("here: exact, memory-centric", VERMILION),
        ("here: Chen", ORANGE),
        ("here: live", BLUE),
    )
    names = [name for name in REPORTED if "predicted" in networks.get(name, {})]
    panel = Panel(56, 44, 860, 250, (-0.5, len(names) - 0.5), (0, 100))
    panel.axes("Peak memory below keep-all, percent (parameters included)", "", "percent", x_ticks=False)
    for k, name in enumerate(names):
        found = totals(networks[name])
        keep_all = found[KEEP_ALL]
        exact = found.get("exact, memory-centric", keep_all)
        values = (
            REPORTED[name].goal,
            *(reduction(peak, keep_all) for peak in (exact, found[CHEN], found[LIVE])),
        )
        for i, ((_, colour), value) in enumerate(zip(series, values, strict=True)):
            left = k - 0.42 + 0.21 * i
            panel.bar(left, left + 0.19, value, colour, f"{value:.0f}")
        x, _ = panel.at(k, 0)
        panel.text(x, panel.top + panel.height + 18, REPORTED[name].title)
    legend = [(name, colour, "square") for name, colour in series]
    return figure(940, 360, [panel], legend, "Reductions of peak memory, network by network")


def step_curve(name: str, part: Mapping[str, Any]) -> str:
    """Return a figure of measured step time against measured peak, with the predicted curve of the live plans.

    Parameters
    ----------
    name : str
        Name of the network.
    part : mapping
        A measured part of the network's data, such as ``"measured on cpu"``.
    """
    rows = [*part["rows"], *({"method": LIVE, "measured": row["ours_measured"], "seconds": row["ours_seconds"]}
                             for row in part["at_equal_peak"] if row["ours_measured"])]  # fmt: skip
    curve = [(peak / 1e6, seconds) for seconds, peak in part["curve"]]
    xs = [row["measured"] / 1e6 for row in rows] + [x for x, _ in curve]
    ys = [row["seconds"] for row in rows] + [y for _, y in curve]
    gap = 0.05 * (max(xs) - min(xs)) or 1
    panel = Panel(70, 44, 700, 300, (min(xs) - gap, max(xs) + gap), (0, 1.12 * max(ys)))
    where = f"{part['device'].split(',')[0]}, batch {part['batch']}, {part['image']}"
    panel.axes(f"{REPORTED[name].title}: {where}", "measured peak, MB (total)", "measured step, s")
    panel.line(sorted(curve), BLUE, dashed=True)
    for row in rows:
        colour, shape = STYLES[row["method"]]
        about = f"{row['method']}: {row['measured'] / 1e6:,.0f} MB, {row['seconds']:.2f} s"
        panel.mark(row["measured"] / 1e6, row["seconds"], colour, shape, about)
    legend = [
        ("eager PyTorch", *STYLES["eager"]),
        ("keep-all as a plan", *STYLES[KEEP_ALL]),
        ("Chen", *STYLES[CHEN]),
        (CHECKPOINT, *STYLES[CHECKPOINT]),
        ("PyTorch's memory budget", SKY, "circle"),
        ("approximate, time-centric", *STYLES["approximate, time-centric"]),
        ("approximate, memory-centric", *STYLES["approximate, memory-centric"]),
        ("exact, time-centric", *STYLES["exact, time-centric"]),
        ("exact, memory-centric", *STYLES["exact, memory-centric"]),
        ("live", *STYLES[LIVE]),
        ("live, predicted by call times", BLUE, "dashes"),
    ]
    return figure(800, 490, [panel], legend, f"{REPORTED[name].title}: step time against peak memory", per_row=3)


def batch_curves(networks: Data) -> str:
    """Return a figure of predicted milliseconds per sample against batch size, with a panel for each network."""
    shown = {name: data["batches"] for name, data in networks.items() if "batches" in data}
    styles = ((KEEP_ALL, GREY), (CHECKPOINT, PINK), (CHEN, ORANGE), (LIVE, BLUE))
    panels = []
    width = 250
    for k, (name, part) in enumerate(shown.items()):
        points = [point for curve in part["curves"].values() for point in curve]
        most, highest = max(p[0] for p in points), max(p[1] for p in points)
        lowest = min(p[1] for p in points)
        panel = Panel(64 + k * (width + 62), 44, width, 240, (0, 1.08 * most), (0.9 * lowest, 1.05 * highest))
        panel.axes(REPORTED[name].title, "batch size", "ms per sample (roofline)" if k == 0 else "")
        for method, colour in styles:
            curve = [point[:2] for point in part["curves"].get(method, [])]
            if curve:
                panel.line(curve, colour)
                batch, spent = curve[-1]
                panel.mark(batch, spent, colour, "circle", f"{method}: batch {batch} at most")
        panels.append(panel)
    legend = [(name, colour, "line") for name, colour in styles]
    describe = f"Step time against batch size in {K40C / GB:g} GB"
    return figure(64 + len(shown) * (width + 62), 370, panels, legend, describe)
