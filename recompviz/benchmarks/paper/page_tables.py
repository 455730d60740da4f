"""The tables of the page, in Markdown. ``data`` maps the name of a network to its parts, as in ``results/data``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from recompviz.benchmarks.paper.figures import (
    GB,
    Data,
    by_method,
    reduction,
    totals,
)
from recompviz.benchmarks.paper.methods import CHECKPOINT, CHEN, FORMULA, KEEP_ALL, LIVE
from recompviz.benchmarks.paper.reported import REPORTED

ORDER = (KEEP_ALL, CHEN, *FORMULA, LIVE)


def having(data: Data, part: str) -> list[str]:
    """Return the names of the networks that have the part ``part``."""
    return [name for name in data if part in data[name]]


def measured_parts(network: Mapping[str, Any]) -> list[str]:
    """Return the names of the measured parts of a network's data, such as ``"measured on cpu"``."""
    return [part for part in ("measured on cuda", "measured on cpu") if part in network]


# -------------------------------------------------------------------- the page


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def peaks_table(data: Data) -> str:
    """Return the table of the paper's peaks and the peaks of recompviz, in GB and in percent of keep-all."""
    rows = []
    for name in having(data, "predicted"):
        found, paper = totals(data[name]), REPORTED[name]
        keep_all = found[KEEP_ALL]
        gained = reduction(found[LIVE], keep_all)
        rows.append(
            [
                f"{paper.title}, {data[name]['predicted']['batch']}×{paper.image}",
                f"{paper.vanilla}",
                f"{min(paper.approximate, paper.exact)} (−{paper.goal}%)",
                f"{paper.chen}",
                f"{keep_all / GB:.2f}",
                *(cell(found.get(method), keep_all) for method in (CHEN, *FORMULA)),
                f"**{found[LIVE] / GB:.2f} (−{gained:.0f}%)**",
                "✓" if gained >= paper.goal else f"✗ {gained - paper.goal:.1f}",
            ]
        )
    head = [
        "network", "paper: vanilla", "paper: its better plan", "paper: Chen", "keep-all", "Chen", *FORMULA, "live",
        "paper's reduction reached",
    ]  # fmt: skip
    return markdown(head, rows)


def cost_cell(part: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return the overhead of a row and its percentage of a forward pass, for example ``435 (67%)``."""
    return f"{row['overhead']:g} ({100 * row['overhead'] / part['forward_units']:.0f}%)"


def cell(peak: float | None, keep_all: float) -> str:
    """Return a peak in GB and its change from keep-all, for example ``2.31 (−62%)``; a dash for None."""
    if peak is None:
        return "—"
    gained = reduction(peak, keep_all)
    return f"{peak / GB:.2f} ({'−' if gained >= 0 else '+'}{abs(gained):.0f}%)"


def method_table(data: Data, of: Callable[[Mapping[str, Any], Mapping[str, Any]], str]) -> str:
    """Return a table with a row for each network and a column for each method.

    Parameters
    ----------
    data : mapping
    of : callable (predicted part, row of the method) → str
        Returns the text of a cell.
    """
    rows = []
    for name in having(data, "predicted"):
        part = data[name]["predicted"]
        found = by_method(part)
        cells = [of(part, found[method]) if method in found else "—" for method in ORDER]
        rows.append([REPORTED[name].title, *cells])
    return markdown(["network", *ORDER], rows)


def binding_table(data: Data) -> str:
    """Return a table about the peak of the live plan of least peak: its operator, and the largest blocks alive."""
    rows = []
    for name in having(data, "predicted"):
        part = data[name]["predicted"]
        peak = part["at_peak"][LIVE]
        sums = ", ".join(f"{label} {size / 1e6:,.0f}" for label, size in list(peak["by_category"].items())[:4])
        largest = ", ".join(f"{label} {size / 1e6:,.0f}" for label, _, size in peak["largest"][:3])
        rows.append([REPORTED[name].title, f"`{peak['step']}`", f"{part['static'] / 1e6:,.0f}", sums, largest])
    return markdown(["network", "in the step of", "static", "by category", "largest blocks"], rows)


def neighbours_predicted(data: Data) -> str:
    """Return the table that compares simulated peak and overhead of other methods with those of recompviz."""
    rows = []
    for name in having(data, "predicted"):
        for row in data[name]["predicted"]["at_equal_peak"]:
            ours = "no plan fits" if row["ours"] is None else f"{row['ours']:g}"
            rows.append(
                [
                    REPORTED[name].title,
                    row["method"],
                    f"{row['simulated'] / GB:.2f}",
                    f"{row['overhead']:g}",
                    ours,
                    compared(row["ours"], row["overhead"]),
                ]
            )
    return markdown(["network", "neighbour", "GB", "recomputes", "ours", ""], rows)


def neighbours_measured(data: Data) -> str:
    """Return the table that compares peak, step time and recomputation of other methods with those of recompviz."""
    rows = []
    for name in data:
        for part in measured_parts(data[name]):
            for row in data[name][part]["at_equal_peak"]:
                rows.append(
                    [
                        f"{REPORTED[name].title}, {part.split()[-1]}",
                        row["method"],
                        f"{row['measured'] / 1e6:,.0f} MB",
                        milliseconds(row["seconds"]),
                        milliseconds(row["recompute_seconds"]),
                        "—" if row["ours_measured"] is None else f"{row['ours_measured'] / 1e6:,.0f} MB",
                        milliseconds(row["ours_seconds"]),
                        milliseconds(row["ours_recompute_seconds"]),
                        compared(row["ours_recompute_seconds"], row["recompute_seconds"]),
                    ]
                )
    head = ["network", "neighbour", "peak", "step", "recomputes", "ours: peak", "step", "recomputes", ""]
    return markdown(head, rows)


def compared(ours: float | None, theirs: float) -> str:
    """Return in words how ``ours`` compares with ``theirs``; ``ours`` is None if no plan of recompviz fits."""
    if ours is None:
        return "no plan of ours fits"
    return "less" if ours < theirs else "equal" if ours == theirs else "MORE"


def milliseconds(seconds: float | None) -> str:
    """Return seconds as whole milliseconds with the unit; a dash for None."""
    return "—" if seconds is None else f"{1000 * seconds:,.0f} ms"


def accuracy_table(data: Data) -> str:
    """Return the table of measured peaks and of the largest error of the simulation."""
    rows = []
    for name in data:
        for part in measured_parts(data[name]):
            found = data[name][part]
            methods = by_method(found)
            keep_all, live = methods["eager"]["measured"], methods[LIVE]["measured"]
            off = worst_off(found)
            rows.append(
                [
                    REPORTED[name].title,
                    f"{part.split()[-1]}, batch {found['batch']}, {found['image']}",
                    f"{keep_all / 1e6:,.0f} MB",
                    f"{live / 1e6:,.0f} MB (−{reduction(live, keep_all):.0f}%)",
                    f"{found['static'] / 1e6:,.0f} MB",
                    f"{off[1]:+.3f}% ({off[0]})",
                ]
            )
    head = ["network", "on", "eager, measured", "live, measured", "of it static", "simulation's worst error"]
    return markdown(head, rows)


def worst_off(part: Mapping[str, Any]) -> tuple[str, float]:
    """Return the method whose measured peak differs most from its simulated peak, and the difference in percent."""
    planned = [row for row in part["rows"] if row["method"] not in ("eager", CHECKPOINT)]
    off = [(row["method"], 100 * (row["measured"] / row["simulated"] - 1)) for row in planned]
    return max(off, key=lambda item: abs(item[1]))


def batches_table(data: Data) -> str:
    """Return the table of the largest batch size of each method."""
    rows = []
    for name in having(data, "batches"):
        largest = data[name]["batches"]["largest"]
        rows.append([REPORTED[name].title, *(str(largest[m]) for m in (KEEP_ALL, CHECKPOINT, CHEN, LIVE))])
    return markdown(["network", KEEP_ALL, CHECKPOINT, CHEN, LIVE], rows)
