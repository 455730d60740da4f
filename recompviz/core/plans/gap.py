"""The gap between the formula peak of a plan and its simulated or measured peak, as parts that add up exactly.

The paper's formula does not count parameters and workspace, does not round sizes, and assumes other lifetimes than a
real training step has. The allocator reserves more memory than is in use. A gap has one part for each of these reasons.
A part has the bytes that it adds, and names the blocks or operators that contribute to them. In code, a part is a
:class:`GapStep`; it is not a step of a schedule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.rendering import render
from recompviz.core.base.units import format_bytes
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.schedule import Phase, Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable

# number of blocks or operators named per step
SHOWN = 6


@dataclass(frozen=True)
class GapStep:
    """One part of a gap: the difference of two totals, and its reason.

    Attributes
    ----------
    name : str
        ``"formula"``: the peak by the paper's formula (:attr:`Plan.peak`). ``"static"``: parameters and other static
        memory. ``"liveness"``: the difference between the blocks that are alive at the simulated peak and the terms of
        the formula. ``"rounding"``: sizes rounded by the allocator. ``"workspace"``: scratch memory inside operators.
        ``"measured"``: the difference of measured and simulated peak. ``"reserved"``: memory that the allocator
        reserves and that is not in use.
    change : int
        The bytes that the part adds to the total; negative if it lowers the total.
    total : int
        The total after this part, in bytes.
    why : str
        The reason, in words.
    behind : tuple of (str, int)
        Pairs (name, bytes): what contributes to the change, and how much. The name is the name of a category, a block,
        an operator or a step of the schedule. At most six blocks or steps are named, so the bytes need not add up to
        ``change``.
    """

    name: str
    change: int
    total: int
    why: str
    behind: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Gap:
    """The difference between :attr:`Plan.peak` and the simulated, measured or reserved peak of a plan, by cause.

    The first part is :attr:`Plan.peak`. The last part ends at the reserved peak if it is known, otherwise at the
    measured peak if it is known, otherwise at the simulated peak. The changes of all parts add up to the total of the
    last part. ``print`` shows the parts as a table. Frozen.

    Attributes
    ----------
    steps : tuple of GapStep
    """

    steps: tuple[GapStep, ...]

    @property
    def text(self) -> str:
        """The parts as a table, one part on each line."""
        lines = []
        for step in self.steps:
            first = f", most of it {step.behind[0][0]}" if step.behind and step.change else ""
            sign = "−" if step.change < 0 else "+"
            lines.append(
                f"{step.name:>10} {sign}{format_bytes(abs(step.change)):>10} = {format_bytes(step.total):>10}  "
                f"{step.why}{first}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text

    def figure(self) -> Any:
        """Return the parts as a Plotly waterfall chart, in MiB."""
        return render("gap_figure", self)


def gap_of(joint: JointGraph, plan: Plan, measured: Timeline | None = None) -> Gap:
    """Return the gap of a plan: the parts that lead from :attr:`Plan.peak` to the simulated and the measured peak.

    Parameters
    ----------
    joint : JointGraph
        The training step to simulate. If its ``workspace`` is empty, no scratch memory is counted.
    plan : Plan
        A plan of the graph of the same training step. This is not checked.
    measured : Timeline, optional
        A measurement of the same plan by :func:`recompviz.measure`. If left out, the gap ends at the simulated peak.

    Returns
    -------
    Gap
        With ``measured``, the part ``"measured"`` is added, and then ``"reserved"`` if ``measured.reserved_peak`` is
        not None.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> graph, joint = chain_step([4, 2, 1])
    >>> gap = gap_of(joint, Plan.keep_all(graph))
    >>> sum(step.change for step in gap.steps) == gap.steps[-1].total
    True
    """
    bare = replace(joint, alignment=1, workspace=())
    schedule = make_schedule(joint, plan.keep_mask.tolist())
    exact = simulate_schedule(replace(schedule, joint=bare))
    rounded = simulate_schedule(replace(schedule, joint=replace(joint, workspace=())))
    whole = simulate_schedule(schedule)
    steps = [GapStep("formula", plan.peak, plan.peak, "values and gradients of the paper's model")]

    def step(name: str, total: int, why: str, behind: Iterable[tuple[str, int]] = ()) -> None:
        steps.append(GapStep(name, total - steps[-1].total, total, why, tuple(behind)))

    static = exact.static_bytes
    step(
        "static",
        plan.peak + exact.static,
        "allocated before the step and after it",
        ((category.label, size) for category, size in sorted(static.items(), key=lambda item: -item[1])),
    )
    step(
        "liveness",
        exact.peak,
        "blocks alive at the peak of the real step, instead of the formula's terms",
        [*_alive_by_category(exact), ("counted by the formula", -plan.peak)],
    )
    rounding = f"sizes are multiples of {joint.alignment} bytes" if joint.alignment > 1 else "sizes are not rounded"
    step("rounding", rounded.peak, rounding, _rounded_blocks(joint, rounded))
    step("workspace", whole.peak, *_workspace(joint, schedule, rounded, whole))
    if measured is not None:
        why = "difference not explained by the simulation"
        step("measured", measured.peak, why, _largest_differences(whole, measured))
        if measured.reserved_peak is not None:
            step("reserved", measured.reserved_peak, "reserved by the allocator and not in use")
    return Gap(tuple(steps))


def _alive_by_category(timeline: Timeline) -> list[tuple[str, int]]:
    totals: Counter[str] = Counter()
    for block in timeline.at_peak():
        totals[block.category.label] += block.size
    return totals.most_common()


def _rounded_blocks(joint: JointGraph, rounded: Timeline) -> list[tuple[str, int]]:
    """Return the blocks alive at the peak to which rounding adds most, with the added bytes."""
    storages = joint.storages
    alive = [block for block in rounded.at_peak() if block.storage < len(storages)]
    extra = [(block.label, block.size - storages[block.storage].size) for block in alive]
    return sorted((row for row in extra if row[1] > 0), key=lambda row: -row[1])[:SHOWN]


def _workspace(
    joint: JointGraph, schedule: Schedule, rounded: Timeline, whole: Timeline
) -> tuple[str, list[tuple[str, int]]]:
    """Return the reason and what is behind it. The bytes add up to the difference of the two peaks.

    Workspace can move the peak to another step, at which fewer tensors are alive. The difference of the peaks is then
    less than the workspace.
    """
    if not joint.workspace:
        return "not calibrated, so not counted; run recompviz.calibrate(trace) first", []
    why, at = "scratch memory inside the operator at the peak", whole.peak_step
    size = sum(block.size for block in whole.at_peak() if block.category is Category.WORKSPACE)
    if not 0 <= at < len(schedule) or not size:
        return why, []
    behind = [(f"{joint.calls[schedule.calls[at]].info.key} ({Phase(int(whole.phases[at])).label})", size)]
    fewer = whole.peak - rounded.peak - size
    if fewer:
        why += f", where {format_bytes(-fewer)} less of tensors are alive than at the peak without scratch memory"
        behind.append(("tensors", fewer))
    return why, behind


def _largest_differences(simulated: Timeline, measured: Timeline) -> list[tuple[str, int]]:
    """Return the steps of the schedule whose measured and simulated peaks differ most, with the difference in bytes."""
    shared = min(len(simulated.phases), len(measured.phases))
    difference = measured.step_peaks[:shared] - simulated.step_peaks[:shared]
    order = np.argsort(-np.abs(difference), kind="stable")[:SHOWN]
    return [(simulated.step_labels[i], int(difference[i])) for i in order.tolist() if difference[i]]
