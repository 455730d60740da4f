"""The first sentence of a memory report: what to do, for a reader who reads nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import LEAST_GROWTH, Finding

if TYPE_CHECKING:
    from recompviz.core.reports.memory_report import MemoryReport

# the line of code is cut to this length
MOST_CODE = 60


def first_sentence(report: MemoryReport) -> str:
    """Return what to change, where, and what it saves; or that nothing is wasted, and what takes the most memory.

    Names of code stand in back-ticks. If the report has no findings, the sentence says that no block is alive.
    """
    top = report.top
    if top is None:
        return "No block is alive at the peak."
    if not top.matters(report.peak):
        return _nothing_wasted(report)
    where = _where(top)
    if top.growth >= LEAST_GROWTH:
        return f"Memory grows by {format_bytes(top.growth)} with each step. {where}{_how(top)}."
    if top.verified and top.avoidable:
        left = max(report.peak - top.avoidable, 0)
        share = f" (−{top.avoidable / report.peak:.0%})" if report.peak else ""
        return f"{where}{_how(top)}; the peak falls from {format_bytes(report.peak)} to {format_bytes(left)}{share}."
    sentence = f"{where}{_how(top)}; {format_bytes(top.size)} are at stake ({top.cause})."
    return sentence[0].upper() + sentence[1:]


def _where(top: Finding) -> str:
    if top.line is None:
        return ""
    text = shortened(top.line.text.strip().rstrip(":"), MOST_CODE)
    return f"At {top.line.place}, `{text}`: " if text and "`" not in text else f"At {top.line.place}: "


def _how(top: Finding) -> str:
    if not top.fix:
        return top.why
    return top.fix if top.verified else f"perhaps {top.fix}"


def _nothing_wasted(report: MemoryReport) -> str:
    category, size = next(iter(report.by_category.items()))
    share = f" ({size / report.peak:.0%})" if report.peak else ""
    verb = "take" if category.label.endswith("s") else "takes"
    largest = f"{category.label} {verb} the most, {format_bytes(size)} of {format_bytes(report.peak)}{share}"
    if report.advice:
        return f"Nothing looks wasted; {largest}. To lower the peak: {report.advice[0].text}."
    return f"Nothing looks wasted; {largest}."
