"""The list of the causes that look at live allocations, and the findings about memory without a surprising cause.

A finding names live blocks and the bytes that a fix would free. A cause uses only facts about the state at the peak,
not names of models. Findings of several causes may contain the same block.
:func:`recompviz.core.reports.ranking.ranked` drops the less important ones of such findings.
"""

from __future__ import annotations

from collections import defaultdict

from recompviz.core.reports.findings import Finding
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.copies import full_precision_copies, out_of_place, pinned_bases
from recompviz.pytorch.debugging.causes.graphs import recomputed_too_early, recurrent_passes, retained_graph
from recompviz.pytorch.debugging.causes.large_encodings import (
    cat_caches,
    log_softmax_over_vocabulary,
    one_hot,
    repeated_values,
    wide_masks,
)
from recompviz.pytorch.debugging.causes.large_results import (
    attention_matrices,
    broadcasts,
    dense_embedding_gradients,
    optimizer_first_step,
)
from recompviz.pytorch.debugging.causes.leaks import held_references, unexplained_growth
from recompviz.pytorch.debugging.causes.outside_step import cycles, optimizer_history
from recompviz.pytorch.debugging.causes.shared import LiveRows, bytes_of, finding, largest_of
from recompviz.pytorch.debugging.causes.unneeded_gradients import unstepped_gradients
from recompviz.pytorch.debugging.causes.unused_computation import double_precision
from recompviz.pytorch.debugging.causes.unused_graphs import graph_without_backward, summed_losses
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes, category, why
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock

CAUSES = (
    held_references,
    unexplained_growth,
    retained_graph,
    recurrent_passes,
    graph_without_backward,
    summed_losses,
    unstepped_gradients,
    one_hot,
    wide_masks,
    repeated_values,
    log_softmax_over_vocabulary,
    cat_caches,
    cycles,
    optimizer_history,
    pinned_bases,
    out_of_place,
    full_precision_copies,
    attention_matrices,
    broadcasts,
    optimizer_first_step,
    recomputed_too_early,
    dense_embedding_gradients,
    double_precision,
)


def surprising_findings(peak: PeakState, rows: LiveRows) -> list[Finding]:
    """Return the findings of all functions in ``CAUSES``. One block may be in several findings.

    Parameters
    ----------
    peak : PeakState
        The state at the peak.
    rows : list of (int, LiveBlock)
        The allocations alive at the peak, each with its position in ``MemoryReport.rows``.
    """
    return [finding for cause in CAUSES for finding in cause(peak, rows)]


def ordinary_findings(peak: PeakState, rows: LiveRows) -> list[Finding]:
    """Return one finding for each kind of the given allocations, such as ``"saved for backward"``.

    Parameters
    ----------
    peak : PeakState
        The state at the peak.
    rows : list of (int, LiveBlock)
        The allocations that no other finding explains, each with its position in ``MemoryReport.rows``.
    """
    groups: dict[str, LiveRows] = defaultdict(list)
    for i, live in rows:
        groups[_ordinary(peak, live)].append((i, live))
    found = []
    for cause, members in groups.items():
        count = blocks_and_bytes(len(members), bytes_of(members))
        text = f"{count}; the largest: {why(peak, largest_of(members))}"
        found.append(finding(peak, cause, members, text, _FIXES.get(cause, ""), avoidable=0, surprising=False))
    return found


def _ordinary(peak: PeakState, live: LiveBlock) -> str:
    kind = category(peak, live)
    older = peak.age(live) > 0
    if older and live.block is not None and not live.block.role:
        return "carried over from the step before" if peak.read_in_step(live) else "kept from an older step"
    if kind is Category.PARAMETER_GRADIENT and older:
        return "gradient accumulated"
    if kind is Category.KEPT:
        return "saved for backward" if peak.waiting(live) else "not freed yet"
    return _ORDINARY.get(kind, kind.label)


_ORDINARY = {
    Category.TRANSIENT: "not freed yet",
    Category.GRADIENT: "gradient in flight",
    Category.PARAMETER_GRADIENT: "parameter gradient",
    Category.WORKSPACE: "workspace of an operator",
    Category.RECOMPUTED: "recomputed",
}
_FIXES = {
    "saved for backward": "recompute a part of them in the backward pass; for a model, `rv.fit_in` finds which",
    "gradient accumulated": (
        "if no gradients are accumulated on purpose, call `zero_grad(set_to_none=True)` before the forward pass"
    ),
}
