"""Causes of memory at the peak: autograd graphs.

A graph is retained or never used, or a checkpoint recomputes many values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import (
    LiveRows,
    bytes_of,
    common_line,
    finding,
    has_role,
    largest_of,
    peak_reduction,
)
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes, operator_name, saved_for
from recompviz.pytorch.debugging.peak.peak_state import PeakState


def retained_graph(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if a graph was retained, so that autograd nodes keep saved values after their backward ran."""
    members = [(i, live) for i, live in rows if not has_role(live) and peak.retained(live)]
    if not members:
        return
    steps = peak.recording.steps
    saved = peak.retained(largest_of(members))
    run = steps.runs[saved[0].sequence]
    lines = (steps.backward_lines.get(n) for n in range(run.first, run.last + 1))
    yield finding(
        peak,
        "graph retained after backward",
        members,
        f"{blocks_and_bytes(len(members), bytes_of(members))} were saved for a backward pass that has run "
        f"(the largest for {saved_for(peak, saved)}); `retain_graph=True` or `create_graph=True` keeps them",
        "add the losses and call backward once, or call the last backward without retain_graph and create_graph",
        next((line for line in lines if line is not None), None),
        avoidable=peak_reduction(peak, members, after=True),
    )


def graph_without_backward(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if values are saved for backward in a training step without a backward pass."""
    if peak.has_backward:
        return
    members = [(i, live) for i, live in rows if not has_role(live) and peak.age(live) == 0 and peak.waiting(live)]
    if members:
        yield finding(
            peak,
            "graph built without a backward",
            members,
            f"{blocks_and_bytes(len(members), bytes_of(members))} are saved for a backward pass that this step does "
            "not run",
            "run it under `torch.no_grad()` or `torch.inference_mode()`",
            common_line([live.operator for _, live in members]),
        )


def recomputed_too_early(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each checkpoint that has at least three recomputed blocks alive at the peak.

    All these blocks except the largest count as avoidable.
    """
    groups: dict[SourceLine, LiveRows] = defaultdict(list)
    for i, live in rows:
        op = live.operator
        if live.block is not None and not live.block.role and op and op.phase is Phase.RECOMPUTE and op.checkpoint:
            groups[op.checkpoint].append((i, live))
    for line, members in groups.items():
        if len(members) < 3:
            continue
        size = bytes_of(members)
        yield finding(
            peak,
            "recomputed too early",
            members,
            f"the checkpoint recomputes {blocks_and_bytes(len(members), size)} together; the operator running at the "
            f"peak, {operator_name(peak.recording.peak_operator)}, needs one or two of them",
            f"checkpoint shorter parts: about {max(2, round(len(members) ** 0.5))} instead of one",
            line,
            avoidable=size - largest_of(members).size,
        )
