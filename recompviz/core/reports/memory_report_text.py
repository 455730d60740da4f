"""A memory report as plain text: findings, the blocks alive at the peak, advice, differences and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes

if TYPE_CHECKING:
    from recompviz.core.reports.memory_report import MemoryReport

# Largest number of entries shown in each part.
FINDINGS, ROWS, DIFFERENCES = 6, 12, 5


def report_text(report: MemoryReport) -> str:
    """Return the report as text, with at most 6 findings, 12 groups of rows and 5 differences."""
    lines = [
        report.sentence,
        f"{report.title} on {report.device}: peak {format_bytes(report.peak)} at {report.reached_at}; "
        f"origin known of {report.coverage:.1%}",
    ]
    if report.outside_bytes:
        count = f"{len(report.outside):,} tensor{'s' if len(report.outside) > 1 else ''}"
        lines.append(f"{format_bytes(report.outside_bytes)} more are in {count} that the step does not touch")
    if report.process is not None:
        lines.append(report.process.text)
    lines.append("")
    for finding in report.findings[:FINDINGS]:
        lines.append(finding.text)
    lines += _more(len(report.findings), FINDINGS, "findings")
    lines += ["", "alive at the peak:"]
    for group in report.groups[:ROWS]:
        shapes = {report.rows[i].shown_shape for i in group.rows}
        parts = (
            group.label,
            shapes.pop() if len(shapes) == 1 else "",
            group.line.place if group.line else "",
            group.why,
        )
        lines.append(f"{format_bytes(group.size):>10}  " + "  ".join(part for part in parts if part))
    lines += _more(len(report.groups), ROWS, "groups")
    if len(report.phases) > 1 or any(phase.times > 1 for phase in report.phases):
        lines += ["", "phases of the step:", *(f"  {phase.text}" for phase in report.phases[:ROWS])]
        lines += _more(len(report.phases), ROWS, "phases")
    if report.advice:
        lines += ["", "advice:", *(f"  {advice.text}" for advice in report.advice)]
    if report.differences:
        lines += ["", "differences between measured and expected memory:"]
        for change in report.differences[:DIFFERENCES]:
            lines.append(
                f"{format_bytes(change.change):>10}  {change.step}: "
                f"expected {format_bytes(change.expected)}, measured {format_bytes(change.measured)}"
            )
        lines += _more(len(report.differences), DIFFERENCES, "steps")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def _more(count: int, shown: int, what: str) -> list[str]:
    return [f"{'':>12}showing {shown:,} of {count:,} {what}"] if count > shown else []
