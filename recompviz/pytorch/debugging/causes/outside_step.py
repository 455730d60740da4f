"""Causes outside one training step: memory that the step does not touch, gradients of an earlier phase, and growth.

These findings are about static memory, about tensors outside the steps, about autograd nodes in host memory, and about
reference cycles. Each function here gets the state at the peak, and some also get rows or bytes of the report.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import LEAST_GROWTH, Finding, PeakRow
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category
from recompviz.pytorch.debugging.causes.shared import LiveRows, bytes_of, finding
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.watched import Block
from recompviz.pytorch.debugging.references.held import collection_of
from recompviz.pytorch.debugging.references.process_tensors import OutsideTensor, by_variable
from recompviz.pytorch.debugging.references.reference_path import Key
from recompviz.pytorch.debugging.references.walk import LAST_ERROR
from recompviz.pytorch.debugging.source_text import assignment_line, call_line
from recompviz.pytorch.internals.user_lines import in_packages, source_line

LEFT_GRADIENTS = "gradients left from an earlier phase"
UNTOUCHED = "memory that the step does not touch"
GRAPH_GROWS = "autograd graph that grows from step to step"
CYCLE = "reference cycle that only the garbage collector frees"
HISTORY = "history of the optimizer"
FROZEN_STATE = "optimizer state of frozen parameters"

# host memory of one autograd node, in bytes, an estimate: chains of six operators took 560 to 1,360 a node (torch 2.13)
NODE_BYTES = 512
# least share of the process's tensors that an untouched model, or untouched other tensors, must have
LEAST_MODEL, LEAST_DATA = 0.10, 0.50
# number of past directions that do not count as a long history
SHORT_HISTORY = 2


def left_gradients(peak: PeakState, entries: list[tuple[int, Block, int]]) -> Iterator[Finding]:
    """Yield a finding about gradients that are older than the recorded steps and are not read in the step of the peak.

    Parameters
    ----------
    peak : PeakState
    entries : list of (int, Block, int)
        The static blocks, each with its position in the report's rows and its bytes.
    """
    members = [
        (i, block, size)
        for i, block, size in entries
        if block.role == "gradient" and not peak.number_read_in_step(block.number)
    ]
    if not members:
        return
    first = next((op for op in peak.operators[peak.start : peak.end] if op.stack), None)
    own = [line for line in first.stack if line.function != "(outside the step)"] if first is not None else []
    line = own[-1] if own else None
    size = sum(size for *_, size in members)
    owner = next((block.owner for _, block, _ in members if block.owner), "")
    largest = max(members, key=lambda member: member[2])[1]
    yield Finding(
        LEFT_GRADIENTS,
        largest.name,
        line,
        size,
        size,
        f"{blocks_and_bytes(len(members), size)} of gradients exist before the step begins, and nothing in it reads "
        "them",
        f"call `{owner or 'optimizer'}.zero_grad(set_to_none=True)` at the end of the phase that made them",
        tuple(i for i, *_ in members),
        surprising=True,
        verified=True,
    )


def frozen_state(peak: PeakState, entries: list[tuple[int, Block, int]]) -> Iterator[Finding]:
    """Yield a finding about the state that an optimizer keeps for parameters that were frozen later.

    The step of the peak must update other parameters, and read the frozen ones without needing their gradients.

    Parameters
    ----------
    peak : PeakState
    entries : list of (int, Block, int)
        The static blocks, each with its position in the report's rows and its bytes.
    """
    steps = peak.recording.steps
    name = next((op.optimizer for op in peak.operators[peak.start : peak.end] if op.optimizer), "")
    trained = {block.gradient_of for block in peak.blocks if block.role == "gradient"} | steps.leaves
    frozen = {
        block.name: block
        for block in peak.blocks
        if block.role == "parameter"
        and block.number in steps.stepped
        and block.number not in trained
        and peak.number_read_in_step(block.number)
    }
    members = [
        (i, block, size)
        for i, block, size in entries
        if block.role == "optimizer state"
        and block.name.partition(" of ")[2] in frozen
        and not peak.number_read_in_step(block.number)
    ]
    if not name or not members:
        return
    size = sum(size for *_, size in members)
    largest = max(members, key=lambda member: member[2])[1]
    owner = next((frozen[block.name.partition(" of ")[2]].owner for _, block, _ in members), "")
    parameters = f"`{owner}.parameters()`" if owner else "the frozen parameters"
    yield Finding(
        FROZEN_STATE,
        largest.name,
        next((found for file in peak.files if (found := call_line(file, name)) is not None), None),
        size,
        size,
        f"{name} keeps {blocks_and_bytes(len(members), size)} for parameters that require no gradient any more",
        f"remove it, `optimizer.state.pop(p, None)` for each `p` of {parameters} that is frozen; or make {name} after "
        "freezing, from the parameters that require gradients",
        tuple(i for i, *_ in members),
        surprising=True,
        verified=True,
    )


def untouched_memory(peak: PeakState, step_bytes: int) -> Iterator[Finding]:
    """Yield a finding about tensors of the process that the recorded steps do not touch.

    There are two kinds of untouched tensors. Tensors of the first kind belong to models, or are held by the traceback
    of the last error. All others are of the second kind, for example cached batches. A finding is made if the first
    kind takes at least a tenth of all bytes (of the steps and of all untouched tensors), or the second kind at least
    half. The finding names both kinds if together they take at least half of all bytes, and otherwise the first kind.

    A tensor is left out if the steps read other tensors of the same variable, because it is then the rest of a data
    set. A variable whose tensors take less than 1 % of all bytes is left out, too.

    Parameters
    ----------
    peak : PeakState
    step_bytes : int
        Bytes at the peak of the steps: the sum of all rows of the report.
    """
    total = step_bytes + sum(one.size for one in peak.outside)
    used = peak.touched - {LAST_ERROR}  # the functions that failed may have had tensors that the steps use
    groups = [(name, members) for name, members in by_variable(peak.outside) if name and name not in used]
    models = [g for g in groups if g[0] == LAST_ERROR or any(one.of_module or one.twice for one in g[1])]
    others = [group for group in groups if group not in models]
    reported = []
    for chosen, share in ((models, LEAST_MODEL), (others, LEAST_DATA)):
        if sum(_bytes(members) for _, members in chosen) >= share * total:
            reported += chosen
    if not reported:
        return
    if sum(_bytes(members) for _, members in groups) >= LEAST_DATA * total:
        reported = groups
    reported = [group for group in reported if _bytes(group[1]) >= 0.01 * total]
    reported.sort(key=lambda group: -_bytes(group[1]))
    size = sum(_bytes(members) for _, members in reported)
    names = ", ".join(f"`{name}` ({format_bytes(_bytes(members))})" for name, members in reported[:4])
    line = _line_of(peak, reported[0][0], reported[0][1])
    variables = [(n, _bytes(members)) for n, members in reported[:4] if members[0].variable and n != LAST_ERROR]
    deleted, freed = ", ".join(name for name, _ in variables), format_bytes(sum(taken for _, taken in variables))
    if reported[0][0] == LAST_ERROR:
        line = _failed_line()
        # `del sys.last_value` is not enough: IPython holds the traceback too
        fix = "run a cell that fails at once, such as `1/0`: its error replaces this one, whose traceback holds the "
        fix += f"variables of the functions that failed; that frees {format_bytes(_bytes(reported[0][1]))}"
    elif variables:
        fix = f"`del {deleted}` frees {freed}, if nothing else needs that memory"
    else:
        fix = f"drop the references to them, which frees {format_bytes(size)}, if they are not needed any more"
    yield Finding(
        UNTOUCHED,
        reported[0][0],
        line,
        size,
        size,
        f"{names} {'stays' if len(reported) == 1 else 'stay'} alive beside the step, which uses none of their tensors",
        fix,
        surprising=True,
        retainer=reported[0][0],
    )


def _failed_line() -> SourceLine | None:
    """Return the user's innermost line on the traceback of the last error."""
    trace = getattr(getattr(sys, "last_value", None), "__traceback__", None)
    own = [f for f in traceback.extract_tb(trace) if not in_packages(f.filename)]
    return source_line(own[-1].filename, own[-1].lineno or 0, own[-1].name) if own else None


def _bytes(members: list[OutsideTensor]) -> int:
    return sum(one.size for one in members)


def _line_of(peak: PeakState, name: str, members: list[OutsideTensor]) -> SourceLine | None:
    if not any(one.root == "global" for one in members):
        return None
    return next((line for file in peak.files if (line := assignment_line(file, name)) is not None), None)


def outside_rows(peak: PeakState) -> tuple[PeakRow, ...]:
    """Return a row of the report for each tensor of the process that the steps do not touch."""
    return tuple(
        PeakRow(
            f"`{one.expression}`" if _is_name(one) else one.expression or "unattributed",
            one.size,
            Category.OTHER,
            f"the step does not touch it; {one.root or 'no reference to it was found'}",
            shape=one.shape,
            dtype=one.dtype,
            attributed=bool(one.expression),
        )
        for one in peak.outside
    )


def _is_name(one: OutsideTensor) -> bool:
    return bool(one.expression) and bool(one.root) and one.root != "another object"


def growing_graphs(peak: PeakState) -> Iterator[Finding]:
    """Yield a finding for each object whose autograd graph grows from step to step without more memory for tensors.

    On average, the graph gets at least two more nodes in each step, and the object less than 1 KiB more.
    """
    keys: set[Key] = set().union(*(held.nodes for held in peak.between[1:]))
    last = peak.between[-1].nodes if peak.between else {}
    collections = Counter((root, collection_of(expression)) for root, expression in last)
    whole = {key for key, count in collections.items() if key[1] and count > 1}
    keys = {key for key in keys if (key[0], collection_of(key[1])) not in whole} | whole
    for key in sorted(keys):
        nodes = peak.node_growth(key)
        growth = nodes * NODE_BYTES
        if growth < LEAST_GROWTH or peak.growth(key) >= LEAST_GROWTH:
            continue
        count = peak.between[-1].nodes_in(key)
        root, expression = key
        yield Finding(
            GRAPH_GROWS,
            f"`{expression}`",
            peak.stored_at.get(key) or peak.stored_at.get((root, expression.rpartition("[")[0])),
            count * NODE_BYTES,
            0,
            f"`{expression}` ({root}) carries the autograd graphs of earlier steps: {nodes} more nodes with each step, "
            f"about {format_bytes(growth)} of host memory, without any tensor",
            f"store a number or a detached value: `.item()` or `.detach()` of what goes into `{expression}`",
            surprising=True,
            growth=growth,
            retainer=f"`{expression}` ({root})",
        )


def cycles(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each kind of reference cycle that keeps tensors alive after their step.

    Cycles of the same objects are one kind. A kind that keeps less than 1 KiB per step is left out.
    """
    groups: dict[str, set[int]] = defaultdict(set)
    for cycle in peak.cycles:
        groups[cycle.text] |= cycle.blocks
    for text, blocks in groups.items():
        cycle = next(one for one in peak.cycles if one.text == text)
        members = [(i, live) for i, live in rows if live.block is not None and live.block.number in blocks]
        sizes = [peak.recording.rounded(peak.blocks[number].size) for number in blocks]
        rounds = sum(one.text == text for one in peak.cycles)
        growth = sum(sizes) // max(rounds, 1)
        if growth < LEAST_GROWTH or not members:
            continue
        if cycle.function:
            fix = f"use `ctx.save_for_backward(…)` instead of `ctx.{cycle.attribute}`, and read `ctx.saved_tensors`"
        else:
            fix = "break the cycle: set one of these references to None when the work is done, or use `weakref`"
        old = [(i, live) for i, live in members if peak.age(live) > 0]
        freed = {live.allocation: peak.start for _, live in old}
        saves = max(peak.recording.allocations.peak - peak.recording.peak_without(freed), 0)
        yield finding(
            peak,
            CYCLE,
            members,
            f"{format_bytes(growth)} of each step stay until Python's garbage collector runs: {text}",
            fix,
            cycle.line,
            avoidable=saves,
            growth=growth,
            verified=saves > 0,
        )


def optimizer_history(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if an optimizer keeps lists of past directions, as L-BFGS does, with more than four entries."""
    listed = [
        (i, live)
        for i, live in rows
        if live.block is not None
        and live.block.role == "optimizer state"
        and "[" in live.block.name.partition(" of ")[0]
    ]
    lists: dict[str, LiveRows] = defaultdict(list)
    for row in listed:
        assert row[1].block is not None
        lists[row[1].block.name.partition("[")[0]].append(row)
    older: LiveRows = []
    for members in lists.values():
        members.sort(key=lambda row: row[1].allocation)
        older += members[:-SHORT_HISTORY]
    count = max((len(members) for members in lists.values()), default=0)
    if not older or count <= 2 * SHORT_HISTORY:
        return
    freed = {live.allocation: peak.start for _, live in older}
    saves = max(peak.recording.allocations.peak - peak.recording.peak_without(freed), 0)
    maker = next((live.operator for _, live in listed if live.operator is not None), None)
    name = maker.optimizer if maker is not None and maker.optimizer else "LBFGS"
    line = next((found for file in peak.files if (found := call_line(file, name)) is not None), None)
    each = bytes_of(listed) // count
    yield finding(
        peak,
        HISTORY,
        listed,
        f"{name} keeps {count} past directions and gradients, {format_bytes(each)} each, and up to its `history_size`: "
        f"100 by default, {format_bytes(100 * each)}",
        f"make {name} with a small history, `history_size={SHORT_HISTORY}`",
        line,
        avoidable=saves,
        verified=True,
        value=" and ".join(lists),
    )
