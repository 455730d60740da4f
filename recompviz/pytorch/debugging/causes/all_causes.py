"""Why memory is alive at the peak: one function a cause, each reading facts of the peak and none a name of a model.

A cause claims live blocks and says how many of their bytes would be gone without it. What several claim,
:func:`recompviz.core.reports.memory_report.ranked` gives to the one that explains more.
"""

from __future__ import annotations

from collections import defaultdict

from recompviz.core.reports.memory_report import Finding
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.copies import full_precision_copies, out_of_place, pinned_bases
from recompviz.pytorch.debugging.causes.gradients import double_precision, unstepped_gradients
from recompviz.pytorch.debugging.causes.parts import (
    Live,
    finding,
)
from recompviz.pytorch.debugging.causes.references import (
    graph_without_backward,
    held_by_what_was_not_found,
    held_references,
    recomputed_at_once,
    retained_graph,
)
from recompviz.pytorch.debugging.causes.sizes import (
    attention_matrices,
    broadcasts,
    dense_embedding_gradients,
    optimizer_first_step,
)
from recompviz.pytorch.debugging.peak.peak_state import PeakState, times
from recompviz.pytorch.debugging.recorder.recording import LiveBlock


def surprising_causes(peak: PeakState, live: Live) -> list[Finding]:
    """Every finding of every cause; they may overlap."""
    return [
        finding
        for cause in (
            held_references,
            held_by_what_was_not_found,
            retained_graph,
            graph_without_backward,
            pinned_bases,
            out_of_place,
            full_precision_copies,
            attention_matrices,
            broadcasts,
            optimizer_first_step,
            recomputed_at_once,
            dense_embedding_gradients,
            unstepped_gradients,
            double_precision,
        )
        for finding in cause(peak, live)
    ]


def ordinary_causes(peak: PeakState, live: Live) -> list[Finding]:
    """What is there for no surprising reason, by kind; each with its largest value."""
    groups: dict[str, Live] = defaultdict(list)
    for i, one in live:
        groups[_ordinary(peak, one)].append((i, one))
    found = []
    for cause, rows in groups.items():
        largest = max(rows, key=lambda row: row[1].size)[1]
        size = sum(o.size for _, o in rows)
        why = f"{times(len(rows), size)}; the largest: {peak.why(largest)}"
        found.append(finding(peak, cause, rows, why, _FIXES.get(cause, ""), avoidable=0, surprising=False))
    return found


def _ordinary(peak: PeakState, one: LiveBlock) -> str:
    category = peak.category(one)
    if peak.age(one) and one.block is not None and not one.block.role and peak.read_in_step(one):
        return "carried over from the step before"
    if peak.age(one) and one.block is not None and not one.block.role:
        return "kept from an older step"
    if category is Category.PARAMETER_GRADIENT and peak.age(one):
        return "gradient accumulated"
    if category is Category.KEPT:
        return "saved for backward" if peak.waiting(one) else "not freed yet"
    return _ORDINARY.get(category, category.label)


_ORDINARY = {
    Category.TRANSIENT: "not freed yet",
    Category.GRADIENT: "gradient in flight",
    Category.PARAMETER_GRADIENT: "parameter gradient",
    Category.WORKSPACE: "workspace of an operator",
    Category.RECOMPUTED: "recomputed",
}
_FIXES = {
    "saved for backward": "checkpoint it: `rv.fit_in` finds what to recompute for the least time",
    "gradient accumulated": "`zero_grad(set_to_none=True)` of optimizer or module, before the forward pass, frees it",
}
