"""A memory report as an HTML page of bounded size: plain tables that need no script, so that they show anywhere.

Whatever comes from a file or a model is escaped. A table never has more than ``MOST_SHOWN`` rows and says of how many.
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

# longer texts are cut: a page stays small whatever a file holds
MOST_CHARACTERS = 300


def report_html(report: MemoryReport) -> str:
    """The report as HTML."""
    parts = [
        f"<h4>{_text(report.title)} on {_text(report.device)}: peak {format_bytes(report.peak)}</h4>",
        f"<p>reached at <b>{_text(report.reached_at)}</b>; {report.coverage:.1%} of the bytes attributed</p>",
    ]
    parts += [_finding(finding, first=i == 0) for i, finding in enumerate(report.findings[:6])]
    parts.append(
        _table(
            "Alive at the peak",
            ("bytes", "", "value", "made by", "line", "kept because"),
            (_row(row, report.peak) for row in report.rows[:MOST_SHOWN]),
            len(report.rows),
        )
    )
    if report.advice:
        items = "".join(f"<li>{_text(advice.text)}</li>" for advice in report.advice)
        parts.append(f"<p><b>What would help</b></p><ul>{items}</ul>")
    if report.differences:
        parts.append(
            _table(
                "Measured otherwise than expected",
                ("more than expected", "step", "expected change", "measured change", "line"),
                (
                    (
                        format_bytes(d.change),
                        _text(d.step),
                        format_bytes(d.expected),
                        format_bytes(d.measured),
                        _line(d.line),
                    )
                    for d in report.differences[:MOST_SHOWN]
                ),
                len(report.differences),
            )
        )
    if len(report.growth) > 1:
        values = " → ".join(format_bytes(size) for size in report.growth[:20])
        parts.append(f"<p>alive at the end of each step: {values}</p>")
    parts += [f"<p><i>{_text(note)}</i></p>" for note in report.notes]
    return "<div>" + "\n".join(parts) + "</div>"


def _finding(finding: Finding, first: bool) -> str:
    head = f"<b>{_text(finding.cause)}</b>: <code>{_text(finding.value)}</code>, {format_bytes(finding.size)}"
    where = f" at {_line(finding.line)}" if finding.line else ""
    fix = f"<br>→ {_text(finding.fix)}" if finding.fix else ""
    body = f"{head}{where}<br>{_text(finding.why)}{fix}"
    return f"<blockquote>{body}</blockquote>" if first else f"<p>{body}</p>"


def _row(row: PeakRow, peak: int) -> Sequence[str]:
    bar = "█" * round(12 * row.size / peak) if peak else ""
    shape = f"<br><small>{_text(row.shown_shape)}</small>" if row.shown_shape else ""
    made = f"{row.born}" if row.born else row.category.label
    return (
        format_bytes(row.size),
        f"{row.size / peak:.0%} {bar}" if peak else "",
        _text(row.value) + shape,
        _text(made),
        _line(row.line),
        _text(row.why),
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], count: int) -> str:
    bounded = f" (showing {MOST_SHOWN:,} of {count:,})" if count > MOST_SHOWN else ""
    cells = "".join(f'<th style="text-align:left">{name}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<p><b>{title}</b>{bounded}</p><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _line(line: SourceLine | None) -> str:
    return f"{_text(line.place)} <code>{_text(line.text.strip())}</code>" if line else ""


def _text(text: str) -> str:
    return escape(shortened(text, MOST_CHARACTERS))
