"""A recorded training step as plain text: captured graphs and the eager code between them, with all graph breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes, format_time

if TYPE_CHECKING:
    from recompviz.core.reports.training_step import GraphBreak, Island, StepReport

# Largest number of characters of a region's name.
NAME = 34


def step_text(report: StepReport) -> str:
    """Return the report as text: peaks, a table of the regions and the eager code between them, hints and notes."""
    lines = [
        f"{report.title} on {report.device}: {report.summary}",
        f"total {format_bytes(report.total)}: planned peak {format_bytes(report.peak())}, of which "
        f"{format_bytes(report.resident)} are in use before the step; "
        f"{added_time(report.front.overhead[report.point], report.step_time, report.forward_time)}",
        f"least total {format_bytes(report.least_total)}; {format_bytes(report.peak(0))} keeps every value",
        "",
        f"{'':4}{'region':<{NAME}}  {'values':>6}  {'kept of keep-all':>22}  {'extra':>8}  starts at",
    ]
    seen: set[GraphBreak] = set()
    before = report.islands[0]
    lines += [_island(before, seen)] if before.most or before.breaks else []
    for i, region in enumerate(report.regions):
        name = region.name if len(region.name) <= NAME else region.name[: NAME - 1] + "…"
        line = region.line.place if region.line else ""
        extra = float(region.plans.overhead[report.row(i)])
        numbers = f"{len(region.graph):>6}  {report.kept(i):>22}  {extra:>5.2f} ms"
        lines.append(f"{i + 1:>3} {name:<{NAME}}  {numbers}  {line}".rstrip())
        lines.append(_island(report.islands[i + 1], seen))
    lines += ["", "The backward passes run in reverse order."]
    if hints := [(found, hint) for found in report.breaks for hint in found.hints[:1]]:
        lines += ["", "To remove a break, the compiler suggests:"]
        lines += [f"    {found.line.place if found.line else ''}: {hint}" for found, hint in hints]
    return "\n".join([*lines, *(f"note: {note}" for note in report.notes)])


def added_time(overhead: float, step: float, forward: float) -> str:
    """Return the time that recomputation adds, as text with the same bases as in the Explorer.

    Parameters
    ----------
    overhead, step, forward : float
        Milliseconds of the recomputation, of the step, and of its forward passes. 0 if a time is not known.

    Examples
    --------
    >>> added_time(5.0, 200.0, 50.0)
    'recomputation adds 5.00 ms, 2.5% of the step (10.0% of the forward passes)'
    >>> added_time(0.0, 200.0, 50.0)
    'nothing is recomputed'
    """
    if not overhead:
        return "nothing is recomputed"
    text = f"recomputation adds {format_time(overhead)}"
    of_forward = f"{overhead / forward:.1%} of the forward passes" if forward else ""
    if step:
        return f"{text}, {overhead / step:.1%} of the step ({of_forward})"
    return f"{text}, {of_forward}" if of_forward else text


def _island(island: Island, seen: set[GraphBreak]) -> str:
    """Return the line of an island, and add its graph breaks to ``seen``. Reasons already seen are not repeated."""
    where = island.where
    if island.breaks:
        new = [found.text for found in island.breaks if found not in seen]
        known = dict.fromkeys(found.line.place for found in island.breaks if found in seen and found.line)
        where = "; ".join([*(f"{place} (as above)" for place in known), *new])
        seen.update(island.breaks)
    return f"{'':6}eager: holds {format_bytes(island.held)}, at most {format_bytes(island.most)}; {where}"
