"""Causes of memory at the peak: autograd graphs.

A graph is retained, every backward pass runs through the graphs of the passes before it, or a checkpoint recomputes
many values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

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
from recompviz.pytorch.debugging.causes.unneeded_gradients import dead_operators
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes, operator_path, saved_for
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock

RECURRENT = "every backward pass runs through the earlier ones"

# the smallest number of backward passes that make a recurrence
LEAST_PASSES = 3
# a checkpoint is no surprise if at most this share of all recomputed bytes is alive at once
LARGE_SHARE = 0.5


def retained_graph(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if a graph was retained, so that autograd nodes keep saved values after their backward ran.

    Blocks that a variable or another object holds too are left out, because they would stay alive without the graph.
    """
    members = [
        (i, live) for i, live in rows if not has_role(live) and peak.retained(live) and not _held_directly(peak, live)
    ]
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
        # with create_graph, the backward pass has a graph of its own; what it saves would not exist either
        verified=not any(
            op.phase is Phase.BACKWARD and op.grad_enabled for op in peak.operators[run.first : run.last + 1]
        ),
    )


def _held_directly(peak: PeakState, live: LiveBlock) -> bool:
    return any(not path.through_graph for path in peak.paths_to(live))


def recurrent_passes(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if each backward pass of a step runs again through the graphs of all passes before it.

    This happens if a state is carried from one part of a sequence to the next with its graph, as in truncated
    backpropagation through time without ``detach``. In such a step, the number of nodes that run again rises from pass
    to pass. Several backward passes may share one graph, for example one pass for each of several tasks. They run
    through the same nodes each time, and are not reported. Passes that are differentiated again are left out.
    """
    passes = _backward_passes(peak)
    again = [len(before.keys() & after.keys()) for before, after in pairwise(passes)]
    if len(passes) < LEAST_PASSES or any(after <= before for before, after in pairwise([0, *again])):
        return
    ends: dict[int, int] = {}  # node → the last operator of the first pass that runs it
    for nodes in passes:
        end = max(nodes.values())
        for sequence in nodes:
            ends.setdefault(sequence, end)
    repeated = {s for before, after in pairwise(passes) for s in before.keys() & after.keys()}
    members = [
        (i, live)
        for i, live in rows
        if not has_role(live) and any(s.sequence in repeated and ends[s.sequence] < peak.at for s in peak.waiting(live))
    ]
    if not members:
        return
    recording = peak.recording
    freed = {
        i: max(ends[saved.sequence] for saved in block.saved) + 1
        for i, number in enumerate(recording.block_of)
        if number >= 0
        and not (block := recording.blocks[number]).role
        and block.saved
        and all(saved.sequence in ends for saved in block.saved)
    }
    again_run = frozenset(
        op.number
        for op in peak.operators[peak.start : peak.end]
        if op.phase is Phase.BACKWARD and op.number > ends.get(op.sequence, op.number)
    )
    gone = dead_operators(peak, set(again_run))
    removed = {
        i
        for i, n in enumerate(recording.block_of)
        if n >= 0 and not recording.blocks[n].role and recording.blocks[n].maker in gone
    }
    lines = (recording.steps.backward_lines.get(n) for n in sorted(passes[-1].values()))
    yield finding(
        peak,
        RECURRENT,
        members,
        f"{len(passes)} backward passes: the last one runs again through {again[-1]} nodes of the passes before it, "
        f"for which {blocks_and_bytes(len(members), bytes_of(members))} are kept",
        "if gradients are to end at the part that is trained, detach what is carried into the next part "
        "(`state = state.detach()`) and call backward without retain_graph",
        next((line for line in lines if line is not None), None),
        avoidable=max(recording.allocations.peak - recording.peak_without(freed, removed), 0),
        verified=True,
    )


def _backward_passes(peak: PeakState) -> list[dict[int, int]]:
    """Return, for each backward pass of the step, the autograd nodes that ran, each with its last operator.

    A forward operator ends a pass. The result is empty if a pass makes a graph of its own.
    """
    passes: list[dict[int, int]] = []
    running = False
    for op in peak.operators[peak.start : peak.end]:
        if op.phase is Phase.BACKWARD and op.node:
            if op.grad_enabled:
                return []
            if not running:
                passes.append({})
            running = True
            passes[-1][op.sequence] = op.number
        elif op.phase is Phase.FORWARD:
            running = False
    return passes


def recomputed_too_early(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each checkpoint whose recomputed blocks take much more memory than the step keeps.

    Memory is least if the recomputed blocks of one checkpoint take about as much as all blocks that the forward pass
    keeps. A checkpoint is reported if at least three of its recomputed blocks are alive at the peak, and if they take
    more than twice the bytes that are kept. All these blocks except the largest count as avoidable. If these blocks
    are at most half of all bytes that the step recomputes, the finding is not marked as surprising: this is usual for
    models with a checkpoint around each layer.
    """
    recomputed = sum(
        peak.recording.rounded(block.size)
        for block in peak.blocks
        if block.step == peak.step and block.maker >= 0 and peak.operators[block.maker].phase is Phase.RECOMPUTE
    )
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
            f"peak, {operator_path(peak.recording.peak_operator)}, needs one or two of them",
            f"checkpoint shorter parts: about {max(2, round(len(members) ** 0.5))} instead of one",
            line,
            avoidable=size - largest_of(members).size,
            surprising=size > LARGE_SHARE * recomputed,
        )


def _kept(peak: PeakState, live: LiveBlock) -> bool:
    """Return whether a block of the forward pass waits for its backward pass."""
    recomputed = live.operator is not None and live.operator.phase is Phase.RECOMPUTE
    return not has_role(live) and peak.age(live) == 0 and not recomputed and bool(peak.waiting(live))
