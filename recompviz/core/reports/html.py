"""A memory report as HTML of limited size. It has plain tables and no scripts, so every viewer of notebooks shows it.

All text from files and models is escaped. A table shows at most 30 rows. If there are more, its title says how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from recompviz.core.base.text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import MOST_SHOWN

if TYPE_CHECKING:
    from recompviz.core.reports.findings import Finding, PeakRow
    from recompviz.core.reports.memory_report import MemoryReport
    from recompviz.core.reports.source_line import SourceLine

# Longer texts are shortened, so that the page stays small.
MOST_CHARACTERS = 300


def report_html(report: MemoryReport) -> str:
    """Return the report as an HTML fragment, with at most six findings."""
    parts = [
        f"<h4>{escaped(report.title)} on {escaped(report.device)}: peak {format_bytes(report.peak)}</h4>",
        f"<p>the peak is reached at <b>{escaped(report.reached_at)}</b>; "
        f"the origin of {report.coverage:.1%} of its bytes is known</p>",
    ]
    parts += [_finding_html(finding, first=i == 0) for i, finding in enumerate(report.findings[:6])]
    parts.append(
        table(
            "Alive at the peak",
            ("bytes", "", "value", "made by", "line", "alive because"),
            (_cells(row, report.peak) for row in report.rows[:MOST_SHOWN]),
            len(report.rows),
        )
    )
    if report.advice:
        items = "".join(f"<li>{escaped(advice.text)}</li>" for advice in report.advice)
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
    parts += [f"<p><i>{escaped(note)}</i></p>" for note in report.notes]
    return "<div>" + "\n".join(parts) + "</div>"


def _finding_html(finding: Finding, first: bool) -> str:
    head = f"<b>{escaped(finding.cause)}</b>: <code>{escaped(finding.value)}</code>, {format_bytes(finding.size)}"
    where = f" at {_line_html(finding.line)}" if finding.line else ""
    fix = f"<br>→ {escaped(finding.advice)}" if finding.fix else ""
    body = f"{head}{where}<br>{escaped(finding.why)}{fix}"
    return f"<blockquote>{body}</blockquote>" if first else f"<p>{body}</p>"


def _cells(row: PeakRow, peak: int) -> Sequence[str]:
    bar = "█" * round(12 * row.size / peak) if peak else ""
    shape = f"<br><small>{escaped(row.shown_shape)}</small>" if row.shown_shape else ""
    made = f"{row.born}" if row.born else row.category.label
    return (
        format_bytes(row.size),
        f"{row.size / peak:.0%} {bar}" if peak else "",
        escaped(row.value) + shape,
        escaped(made),
        _line_html(row.line),
        escaped(row.why),
    )


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], count: int) -> str:
    """Return an HTML table with a title.

    Parameters
    ----------
    title : str
        Shown in bold above the table.
    head : sequence of str
        Column titles.
    rows : iterable of sequence of str
        The rows to show, at most ``MOST_SHOWN`` (30). Cells are inserted as they are: they must be escaped already.
    count : int
        Number of rows before the limit of 30. If there are more than 30, the title says how many rows there are.
    """
    bounded = f" (showing {MOST_SHOWN:,} of {count:,})" if count > MOST_SHOWN else ""
    cells = "".join(f'<th style="text-align:left">{name}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<p><b>{title}</b>{bounded}</p><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _line_html(line: SourceLine | None) -> str:
    return f"{escaped(line.place)} <code>{escaped(line.text.strip())}</code>" if line else ""


def escaped(text: str) -> str:
    """Shorten a text to at most 300 characters and escape it for HTML."""
    return escape(shortened(text, MOST_CHARACTERS))
