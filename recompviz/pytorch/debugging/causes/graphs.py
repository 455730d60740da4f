"""Causes of memory at the peak: autograd graphs.

A graph is retained, or a checkpoint recomputes many values.
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
    finding,
    has_role,
    largest_of,
    peak_reduction,
)
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes, operator_name, saved_for
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock


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
        verified=True,
    )


def recomputed_too_early(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each checkpoint that recomputes much more than the other checkpoints keep.

    If checkpoints have the best length, about as much is recomputed as kept. A checkpoint is reported if at least three
    of its recomputed blocks are alive at the peak, with more than twice the bytes that are kept. All these blocks
    except the largest count as avoidable.
    """
    kept = sum(live.size for _, live in rows if _kept(peak, live))
    groups: dict[SourceLine, LiveRows] = defaultdict(list)
    for i, live in rows:
        op = live.operator
        if live.block is not None and not live.block.role and op and op.phase is Phase.RECOMPUTE and op.checkpoint:
            groups[op.checkpoint].append((i, live))
    for line, members in groups.items():
        size = bytes_of(members)
        if len(members) < 3 or size <= 2 * kept:
            continue
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


def _kept(peak: PeakState, live: LiveBlock) -> bool:
    """Return whether a block of the forward pass waits for its backward pass."""
    recomputed = live.operator is not None and live.operator.phase is Phase.RECOMPUTE
    return not has_role(live) and peak.age(live) == 0 and not recomputed and bool(peak.waiting(live))
