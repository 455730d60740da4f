"""A memory report as HTML of limited size. It has no scripts, so every viewer of notebooks shows it.

The report begins with one sentence that says what to do. Then come the memory landscape with the most important cause
highlighted, the findings, and the blocks at the peak in groups that can be opened. The colours are legible on light and
on dark pages. All text from files and models is escaped. Text between back-ticks is shown as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from recompviz.core.base import palette
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.landscape import LIT, OTHER, landscape_image
from recompviz.core.reports.landscape_axis import last_parts, step_widths, stretches
from recompviz.core.reports.memory_report import MOST_SHOWN

if TYPE_CHECKING:
    from recompviz.core.reports.findings import Finding, PeakRow
    from recompviz.core.reports.memory_report import MemoryReport
    from recompviz.core.reports.row_groups import RowGroup
    from recompviz.core.reports.source_line import SourceLine

# Longer texts are shortened, so that the page stays small.
MOST_CHARACTERS = 300
# Largest number of findings and phases shown.
FINDINGS, PHASES = 6, 12
_LINE = "1px solid rgba(128,128,128,.35)"
_QUIET = "opacity:.75"
# width of the column of bytes
_BYTES = "display:inline-block;width:6em;text-align:right;font-variant-numeric:tabular-nums"


def report_html(report: MemoryReport) -> str:
    """Return the report as an HTML fragment, with at most six findings."""
    top = report.top
    alarm = top is not None and top.matters(report.peak)
    colour = LIT if alarm else palette.GREEN
    parts = [
        f'<p style="border-left:4px solid {colour};padding:.2em .8em;margin:.4em 0;font-size:1.15em">'
        f"<b>{formatted(report.sentence)}</b></p>",
        f'<p style="margin:.4em 0;{_QUIET}">{escaped(report.title)} on {escaped(report.device)}: peak '
        f"{format_bytes(report.peak)}, reached at {formatted(report.reached_at)}; the origin of {report.coverage:.1%} "
        f"of {'all tensor memory' if report.outside else 'its bytes'} is known{_outside(report)}</p>",
        *_landscape(report, top if alarm else None),
    ]
    parts += [_finding_html(finding, i == 0 and alarm) for i, finding in enumerate(report.findings[:FINDINGS])]
    parts += _groups(report, top if alarm else None)
    parts += _phases(report)
    if report.advice:
        items = "".join(f"<li>{formatted(advice.text)}</li>" for advice in report.advice)
        parts.append(f"<p><b>Advice</b></p><ul>{items}</ul>")
    if report.differences:
        parts.append(
            table(
                "Differences between measured and expected memory",
                ("difference", "step", "expected change", "measured change", "line"),
                (
                    (
                        format_bytes(d.change),
                        escaped(d.step),
                        format_bytes(d.expected),
                        format_bytes(d.measured),
                        _line_html(d.line),
                    )
                    for d in report.differences[:MOST_SHOWN]
                ),
                len(report.differences),
            )
        )
    if len(report.growth) > 1:
        values = " → ".join(format_bytes(size) for size in report.growth[:20])
        parts.append(f"<p>bytes alive at the end of each step: {values}</p>")
    parts += _beside(report)
    parts += [f"<p><i>{formatted(note)}</i></p>" for note in report.notes]
    return '<div style="max-width:76em;line-height:1.45">' + "\n".join(parts) + "</div>"


def _outside(report: MemoryReport) -> str:
    if not report.outside:
        return ""
    nameless = sum(row.size for row in report.outside if not row.attributed)
    unknown = f", {format_bytes(nameless)} of them of unknown origin" if nameless else ""
    return f"; {format_bytes(report.outside_bytes)} more lie in tensors that the step does not touch{unknown}"


def _landscape(report: MemoryReport, cause: Finding | None) -> Iterator[str]:
    """Yield the memory landscape with a legend. The blocks of the cause are highlighted."""
    if len(report.timeline.phases) < 2 or not report.peak:
        return
    lit = [report.rows[i].event for i in cause.rows] if cause is not None else []
    lit = [event for event in lit if event >= 0]
    words = f"memory over the steps, peak {format_bytes(report.peak)} at {report.reached_at}"
    if lit and cause is not None:
        rest = report.peak - cause.size
        entries = [(LIT, f"{cause.cause} {format_bytes(cause.size)}"), (OTHER, f"all else {format_bytes(rest)}")]
        words += f", with {cause.cause} highlighted"
    else:
        entries = [
            (palette.CATEGORIES[category.name], f"{category.label} {format_bytes(size)}")
            for category, size in report.by_category.items()
        ]
    swatch = "display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em;background:"
    legend = "".join(
        f'<span style="margin-right:1.2em;white-space:nowrap"><span style="{swatch}{colour}"></span>{escaped(text)}'
        "</span>"
        for colour, text in entries[:8]
    )
    steps = f"{len(report.growth)} steps" if len(report.growth) > 1 else "the step"
    yield f'<div style="border-bottom:{_LINE};border-left:{_LINE};margin:.6em 0 .2em">'
    focus = _peak_step(report)
    yield landscape_image(report.timeline, lit, words, focus) + "</div>"
    if focus is not None:
        yield _axis(report, focus)
    yield (
        f'<p style="margin:.2em 0 .6em;font-size:.9em">{legend}<span style="{_QUIET}">memory over {steps}; the dashed '
        f"line is the peak, {format_bytes(report.peak)}</span></p>"
    )


def _peak_step(report: MemoryReport) -> tuple[int, int] | None:
    """The part of the timeline that is the training step with the peak; None if it is not known."""
    if not report.phases:
        return None
    first, stop = report.phases[0].first, min(report.phases[-1].last + 1, len(report.timeline.phases))
    return (first, stop) if 0 <= first <= report.timeline.peak_step < stop else None


def _axis(report: MemoryReport, focus: tuple[int, int]) -> str:
    """The modules of the training step with the peak, below the landscape; the steps before and after it are narrow."""
    widths = step_widths(report.timeline, focus)
    labels, (first, stop) = report.timeline.step_labels, focus
    turns = sorted({first, stop, *(phase.first for phase in report.phases if first < phase.first < stop)})
    named = [(name, share) for a, b in pairwise(turns) for name, share in stretches(labels, widths, a, b)]
    before, after = float(widths[:first].sum()), float(widths[stop:].sum())
    parts = [("steps before", before), *named, ("steps after", after)]
    cell = "overflow:hidden;white-space:nowrap;text-overflow:ellipsis;text-align:center;box-sizing:border-box;"
    spans = "".join(
        f'<span style="{cell}width:{share:.2%};border-left:{_LINE}" title="{escaped(name)}">'
        f"{escaped(last_parts(name))}</span>"
        for name, share in parts
        if share > 0
    )
    return f'<div style="display:flex;font-size:.8em;{_QUIET}" aria-hidden="true">{spans}</div>'


def _finding_html(finding: Finding, first: bool) -> str:
    head = f"<b>{formatted(finding.cause)}</b>: {_code(finding.value)}, {format_bytes(finding.size)}"
    where = f" at {_line_html(finding.line)}" if finding.line else ""
    fix = f"<br>→ {formatted(finding.advice)}" if finding.fix else ""
    style = f"border-left:4px solid {LIT}" if first else f"border-left:{_LINE}"
    return f'<p style="{style};padding:.1em .8em;margin:.5em 0">{head}{where}<br>{formatted(finding.why)}{fix}</p>'


def _groups(report: MemoryReport, cause: Finding | None) -> Iterator[str]:
    shown = report.groups[:MOST_SHOWN]
    more = f" (showing {len(shown):,} of {len(report.groups):,} groups)" if len(report.groups) > len(shown) else ""
    yield f"<p><b>Alive at the peak</b>{more}</p>"
    yield from (_group_html(group, report, cause) for group in shown)


def _group_html(group: RowGroup, report: MemoryReport, cause: Finding | None) -> str:
    share = group.size / report.peak if report.peak else 0.0
    colour = palette.CATEGORIES[group.category.name]
    if cause is not None and cause.rows:
        colour = LIT if set(cause.rows) & set(group.rows) else OTHER
    bar = (
        f'<span style="display:inline-block;width:6em;margin:0 .8em"><span style="display:inline-block;height:.7em;'
        f'min-width:1px;width:{100 * share:.1f}%;background:{colour}"></span></span>'
    )
    head = f'<span style="{_BYTES}">{format_bytes(group.size)}</span>{bar}<b>{formatted(group.label)}</b>'
    where = f" · {_line_html(group.line)}" if group.line else ""
    why = f' <span style="{_QUIET}">· {formatted(group.why)}</span>' if group.why else ""
    members = [report.rows[i] for i in group.rows]
    more = f"<p>showing {MOST_SHOWN:,} of {len(members):,} blocks</p>" if len(members) > MOST_SHOWN else ""
    items = "".join(_row_html(row) for row in members[:MOST_SHOWN])
    return (
        f'<details style="border-top:{_LINE};padding:.15em 0"><summary>{head}{where}{why}</summary>'
        f'<ul style="margin:.2em 0 .4em">{items}</ul>{more}</details>'
    )


def _row_html(row: PeakRow) -> str:
    made = row.born or row.category.label
    parts = [f"{format_bytes(row.size)} {formatted(row.value)}", escaped(row.shown_shape), f"made by {escaped(made)}"]
    parts += [f"last read by {escaped(row.last_use)}"] if row.last_use else []
    parts.append(formatted(row.why))
    return f"<li>{' · '.join(part for part in parts if part)}</li>"


def _beside(report: MemoryReport) -> Iterator[str]:
    """Yield the tensors that the step does not touch, in groups, and the memory of the process."""
    if report.outside:
        rows = report.outside[:MOST_SHOWN]
        cells = ((format_bytes(row.size), formatted(row.value), escaped(row.shown_shape)) for row in rows)
        whys = (formatted(row.why) for row in rows)
        items = "".join(f"<li>{' '.join(cell)} · {why}</li>" for cell, why in zip(cells, whys, strict=True))
        more = f", {MOST_SHOWN:,} of {len(report.outside):,} shown" if len(report.outside) > MOST_SHOWN else ""
        yield (
            f"<details><summary><b>Beside the step</b>: {format_bytes(report.outside_bytes)}{more}</summary>"
            f'<ul style="margin:.2em 0">{items}</ul></details>'
        )
    if report.process is not None:
        yield f'<p style="{_QUIET}">{escaped(report.process.text)}</p>'


def _phases(report: MemoryReport) -> Iterator[str]:
    phases = report.phases
    if len(phases) < 2 and not any(phase.times > 1 for phase in phases):
        return
    items = "".join(f"<li>{escaped(phase.text)}</li>" for phase in phases[:PHASES])
    more = f" (showing {PHASES:,} of {len(phases):,})" if len(phases) > PHASES else ""
    yield f'<p><b>Phases of the step</b>{more}</p><ul style="margin:.2em 0">{items}</ul>'


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], count: int) -> str:
    """Return an HTML table with a title.

    Parameters
    ----------
    title : str
        Shown in bold above the table. Title, column titles and cells are inserted as they are, so they must be escaped
        already.
    head : sequence of str
        Column titles.
    rows : iterable of sequence of str
        The rows to show. The caller gives at most ``MOST_SHOWN`` (30).
    count : int
        The number of all rows, shown or not. If it is more than 30, the title says it.
    """
    bounded = f" (showing {MOST_SHOWN:,} of {count:,})" if count > MOST_SHOWN else ""
    cells = "".join(f'<th style="text-align:left">{name}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<p><b>{title}</b>{bounded}</p><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _line_html(line: SourceLine | None) -> str:
    return f"{escaped(line.place)} <code>{escaped(line.text.strip())}</code>" if line else ""


def _code(value: str) -> str:
    return formatted(value) if "`" in value else f"<code>{escaped(value)}</code>"


def escaped(text: str) -> str:
    """Return a text shortened to at most 300 characters and escaped for HTML."""
    return escape(shortened(text, MOST_CHARACTERS))


def formatted(text: str) -> str:
    """Return a text as HTML: shortened to at most 300 characters, escaped, and with text between back-ticks as code.

    Examples
    --------
    >>> formatted("store `x < 3` in `log`")
    'store <code>x &lt; 3</code> in <code>log</code>'
    """
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped(text)).replace("`", "&#96;")
