"""The page of recordings: memory snapshots in one HTML file, which needs neither a kernel nor a network.

The page has the blocks and segments of each recording, with the events at which each of them began and ended. From this
data the page shows any moment of a recording. Several recordings, for example of several ranks, are shown side by side,
and their memory curves are drawn in one chart.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from recompviz.core.base import palette
from recompviz.core.base.files import write_file
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.snapshots.snapshot_report import SnapshotReport
from recompviz.widgets.base import assets

# colours of recordings side by side; the first one is also that of blocks, the second one of blocks awaiting their free
SERIES = (palette.BLUE, palette.VERMILION, palette.GREEN, palette.PINK, palette.ORANGE, palette.SKY)
# characters of a stack, and lines of it
MOST_CHARACTERS, MOST_LINES = 300, 6

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; {series} }}
:root {{ --text: {light[text]}; --surface: {light[surface]}; --line: {light[line]}; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: {dark[text]}; --surface: {dark[surface]}; --line: {dark[line]}; }}
}}
body {{ margin: 16px; color: var(--text); background: var(--surface); font: 13px/1.4 system-ui, sans-serif; }}
h1 {{ font-size: 18px; }} h2 {{ font-size: 15px; }} h3 {{ font-size: 13px; }}
.rec-panes {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 20px; }}
.rec-pane {{ min-width: 0; }}
.rec-warning {{ font-weight: bold; border-left: 4px solid var(--series-1); padding-left: 8px; }}
canvas {{ width: 100%; display: block; color: var(--text); }}
.rec-slider {{ display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }}
.rec-slider input {{ flex: 1 1 100%; margin: 0; }}
.rec-frame {{ max-height: 260px; overflow-y: auto; }}
td:first-child {{ white-space: nowrap; }}
table {{ border-collapse: collapse; margin: 8px 0; }}
th, td {{ text-align: left; padding: 2px 10px 2px 4px; border-bottom: 1px solid var(--line); vertical-align: top; }}
caption {{ text-align: left; }}
</style>
</head>
<body>
<main id="recordings"></main>
<noscript><pre>{text}</pre></noscript>
<script id="recordings-data" type="application/octet-stream">{data}</script>
<script type="module">
{script}
</script>
</body>
</html>
"""


def recordings_page(reports: Sequence[SnapshotReport], path: str | Path | None = None) -> str:
    """Return the HTML page of one or several recordings.

    Parameters
    ----------
    reports : sequence of SnapshotReport
        The recordings, from :func:`recompviz.load_snapshot`.
    path : str or Path, optional
        A file to which the page is also written.

    Raises
    ------
    FileError
        If the file cannot be written.
    TypeError
        If ``path`` is not a path.
    """
    text = json.dumps([recording_message(report) for report in reports], separators=(",", ":"), ensure_ascii=False)
    page = _PAGE.format(
        title=escape(", ".join(dict.fromkeys(report.title for report in reports))[:200]),
        series="; ".join(f"--series-{i}: {colour}" for i, colour in enumerate(SERIES)),
        light=palette.LIGHT,
        dark=palette.DARK,
        text=escape("\n\n".join(report.text for report in reports)),
        data=base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode(),
        script=assets.esm("recordings/standalone.js").replace("</script", "<\\/script"),
    )
    if path is not None:
        write_file(path, page)
    return page


def recording_message(report: SnapshotReport) -> dict[str, Any]:
    """Return the data of a recording for the page.

    Blocks and parts of the reserved memory have the columns ``born`` and ``died``: the positions of the events at which
    they began and ended. Blocks also have the column ``free``: the event after which the memory is free again, which
    comes later than ``died`` if the block waits for another stream. −1 stands for an event before the recording, and a
    number larger than all positions for an event after it. Addresses are differences from ``base``, because numbers of
    JavaScript are exact only up to 2⁵³.
    """
    history = report.history
    allocations = history.allocations
    at = allocations.at.tolist()
    numbers: dict[tuple[str, tuple[str, ...]], int] = {}
    places = []
    for stack, unnamed in report.stacks():
        lines = tuple(f"{line.place} {line.function}".strip() for line in stack.lines[:MOST_LINES])
        label = shortened(stack.label or unnamed, MOST_CHARACTERS)
        places.append(numbers.setdefault((label, lines), len(numbers)))
    never = report.events + 1
    died = np.array([at[death] if death >= 0 else never for death in allocations.death.tolist()], np.int64)
    free = died.copy()
    for block, position in history.completed.items():
        free[block] = position if position < report.events else never
    waiting = history.waiting_before
    addresses = [*allocations.address.tolist(), *(one[0] for one in waiting), *(part.address for part in history.parts)]
    base = min(addresses, default=0)
    born = np.array([max(at[birth], -1) for birth in allocations.birth.tolist()], np.int64)
    other = numbers.setdefault(("released before the recording", ()), len(numbers)) if waiting else 0
    return {
        "title": shortened(report.title, MOST_CHARACTERS),
        "device": report.device,
        "peak": report.peak,
        "peak_at": report.peak_at,
        "reached_at": shortened(report.reached_at, MOST_CHARACTERS),
        "events": report.events,
        "base": str(base),
        "warning": report.warning,
        "check": report.check.text,
        "findings": [
            {"cause": one.cause, "value": shortened(one.value, MOST_CHARACTERS), "size": one.size, "why": one.why}
            for one in report.findings[:6]
        ],
        "marks": [{"name": m.name, "first": m.first, "last": m.last, "kind": m.kind} for m in report.marks],
        "stacks": [{"label": label, "lines": [*lines]} for label, lines in numbers],
        "blocks": {
            "address": _column(allocations.address - base, (address - base for address, _, _ in waiting)),
            "size": _column(allocations.size, (size for _, size, _ in waiting)),
            "born": _column(born, (-1 for _ in waiting)),
            "died": _column(died, (-1 for _ in waiting)),
            "free": _column(free, (position if position < report.events else never for _, _, position in waiting)),
            "stack": [*places, *(other for _ in waiting)],
        },
        "parts": {
            "address": [part.address - base for part in history.parts],
            "size": [part.size for part in history.parts],
            "born": [part.born for part in history.parts],
            "died": [never if part.died is None else part.died for part in history.parts],
            "expandable": [part.kind.expandable for part in history.parts],
            "kind": [str(tuple(part.kind)) for part in history.parts],
        },
    }


def comparison(reports: Sequence[SnapshotReport]) -> str:
    """Return a table of recordings as text, the highest peak first. Lines below the table have their warnings.

    There must be at least one recording.
    """
    least = min(report.peak for report in reports)
    width = max(len(report.title) for report in reports)
    lines = [f"{'recording':<{width}}  {'device':<18} {'peak':>10} {'+ least':>10} {'reserved':>10}  top finding"]
    for report in sorted(reports, key=lambda one: -one.peak):
        top = f"{report.top.cause}: {report.top.value}" if report.top is not None else ""
        lines.append(
            f"{report.title:<{width}}  {report.device:<18} {format_bytes(report.peak):>10} "
            f"{format_bytes(report.peak - least):>10} {format_bytes(report.timeline.reserved_peak or 0):>10}  {top}"
        )
    return "\n".join([*lines, *(f"{one.title}: {one.warning}" for one in reports if one.warning)])


def _column(values: Any, more: Iterable[int]) -> list[int]:
    return [*values.tolist(), *more]
