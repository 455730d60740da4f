"""Causes of memory at the peak: autograd graphs that no backward pass uses, or that one backward pass uses together.

The training step may train, validate and retry. Each graph of the step is looked at alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import (
    LiveRow,
    LiveRows,
    bytes_of,
    common_line,
    elements_of,
    finding,
    has_role,
    item_bytes,
    largest_of,
)
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.peak.step_graph import StepGraph
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Block, Operator
from recompviz.pytorch.debugging.references.reference_path import ReferencePath
from recompviz.pytorch.debugging.references.walk import HANDLED
from recompviz.pytorch.internals.user_lines import OUTSIDE

NO_BACKWARD = "graph built without a backward"
FAILED = "failed attempt kept alive by its exception"
SUMMED = "losses summed before one backward"
UNUSED_BRANCH = "branch that the loss does not use"

# the smallest number of parts that a summed loss must have to be reported as a surprise
LEAST_PARTS = 3


def graph_without_backward(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield findings about values saved for backward passes that the recorded steps never run.

    There are separate findings for values of a failed attempt that a handled exception keeps alive, for graphs of
    earlier iterations, and for branches whose result the loss does not use. If the step has a backward pass, one graph
    that is freed after its own forward pass is not marked as surprising.
    """
    graph = StepGraph(peak)
    members = [(i, live) for i, live in rows if not has_role(live) and peak.age(live) == 0 and _never_used(peak, live)]
    if not members:
        return
    parts: dict[int, LiveRows] = defaultdict(list)
    for row in members:
        part = _part(graph, row)
        if part is not None:
            parts[part].append(row)
    if not peak.has_backward:
        yield _without_backward(peak, graph, members, True)
        return
    failed = {p: rows for p, rows in parts.items() if any(_by_exception(peak, row) for row in rows)}
    used = {p: rows for p, rows in parts.items() if p not in failed and p in graph.backward_of_part}
    unused = {p: rows for p, rows in parts.items() if p not in failed and p not in used}
    if failed:
        yield _failed_attempt(peak, graph, failed)
    if used:
        yield _unused_branch(peak, graph, [row for rows in used.values() for row in rows])
    if unused:
        rest = [row for rows in unused.values() for row in rows]
        piles_up = _piles_up(peak, graph, unused)
        innermost = common_line([live.operator for _, live in rest])
        # if a used graph is built at the same line, ``no_grad`` around a caller may break its backward pass
        if piles_up or (innermost is not None and innermost == _own_line(graph, rest)):
            yield _without_backward(peak, graph, rest, piles_up)


def _never_used(peak: PeakState, live: LiveBlock) -> bool:
    waiting = peak.waiting(live)
    runs = peak.recording.steps.runs
    return bool(waiting) and all(saved.sequence not in runs for saved in waiting)


def _part(graph: StepGraph, row: LiveRow) -> int | None:
    saved = graph.peak.waiting(row[1])
    numbers = [graph.node_operator.get(one.sequence) for one in saved]
    return next((graph.parts[number] for number in numbers if number is not None), None)


def _by_exception(peak: PeakState, row: LiveRow) -> bool:
    return _only_exception(peak.paths_to(row[1]))


def _only_exception(paths: Sequence[ReferencePath]) -> bool:
    """Return whether only an exception that is being handled holds a block, by its traceback."""
    return bool(paths) and all(path.root == HANDLED or "__traceback__" in path.expression for path in paths)


def _piles_up(peak: PeakState, graph: StepGraph, parts: dict[int, LiveRows]) -> bool:
    """Return whether graphs stay alive after their own forward pass, other than the one of the iteration before."""
    current = graph.part_of_operator(peak.recording.peak_operator)
    if current is None:
        before = [op.number for op in graph.operators if op.number <= peak.at]
        current = graph.parts[before[-1]] if before else None
    outlived = {part: rows for part, rows in parts.items() if part != current}
    if len(outlived) > 1:
        return True
    for part, rows in outlived.items():
        local = all(path.local for row in rows for path in peak.paths_to(row[1]))
        repeats = current is not None and _line_of_part(graph, part) == _line_of_part(graph, current)
        if not local or not repeats:
            return True
    return False


def _line_of_part(graph: StepGraph, part: int) -> SourceLine | None:
    return common_line([op for op in graph.operators if graph.parts[op.number] == part])


def _without_backward(peak: PeakState, graph: StepGraph, members: LiveRows, surprising: bool) -> Finding:
    saves = saved_without_graph(peak, graph)
    count = len({_part(graph, row) for row in members})
    graphs = f" by {count} graphs" if count > 1 else ""
    holder = next((path for row in members for path in peak.paths_to(row[1]) if path.through_graph), None)
    held = f"; `{holder.expression}` ({holder.root}) keeps them alive" if holder is not None and count > 1 else ""
    instead = ""
    if holder is not None and holder.number and count > 1:
        instead = f", and add up numbers: `.item()` of what goes into `{holder.expression}`"
    line = _own_line(graph, members)
    return finding(
        peak,
        NO_BACKWARD if surprising else "graph freed without a backward",
        members,
        f"{blocks_and_bytes(len(members), bytes_of(members))} are saved{graphs} for backward passes that "
        f"this step does not run{held}",
        f"run it under `torch.no_grad()`{instead}",
        line or common_line([live.operator for _, live in members]),
        avoidable=saves,
        verified=line is not None,
        surprising=surprising,
    )


def _own_line(graph: StepGraph, members: LiveRows) -> SourceLine | None:
    """Return the innermost line that calls all operators of unused graphs and no operator of a used graph."""
    used = {line for op in graph.operators if graph.parts[op.number] in graph.backward_of_part for line in op.stack}
    stacks = [live.operator.stack for _, live in members if live.operator is not None and live.operator.stack]
    if not stacks:
        return None
    shared = set(stacks[0]).intersection(*map(set, stacks[1:])) - used
    return next((line for line in stacks[0] if line in shared and line.function != OUTSIDE), None)


def saved_without_graph(peak: PeakState, graph: StepGraph) -> int:
    """Return by how many bytes the peak falls if graphs that no backward pass uses are not built."""
    runs = peak.recording.steps.runs
    unused = {sequence for sequence in graph.node_operator if sequence not in runs}
    return without_nodes(peak, unused)


def without_nodes(peak: PeakState, nodes: set[int], removed: frozenset[int] = frozenset()) -> int:
    """Return by how many bytes the peak falls if some autograd nodes are not made.

    A block that only these nodes saved is freed after the last operator outside the backward pass that reads it, unless
    an object of the user's program holds the block. Only blocks made in the training step of the peak are considered.

    Parameters
    ----------
    peak : PeakState
        The state at the peak.
    nodes : set of int
        Sequence numbers of the nodes.
    removed : frozenset of int
        Allocations that are not made any more, such as results of backward operators.
    """
    recording = peak.recording
    freed = {}
    for allocation, number in enumerate(recording.block_of):
        block = recording.blocks[number] if number >= 0 else None
        if block is None or block.role or not block.saved or block.step != peak.step:
            continue
        if all(saved.sequence in nodes for saved in block.saved):
            direct = [path for path in peak.paths.get(number, []) if not path.through_graph]
            if direct:
                continue
            freed[allocation] = _last_forward_use(peak, block) + 1
    return max(recording.allocations.peak - recording.peak_without(freed, removed), 0)


def _last_forward_use(peak: PeakState, block: Block) -> int:
    operators = peak.operators
    reads = [n for n in peak.reads.get(block.number, []) if n < peak.end and operators[n].phase is not Phase.BACKWARD]
    return max([block.maker, *reads])


def _failed_attempt(peak: PeakState, graph: StepGraph, parts: dict[int, LiveRows]) -> Finding:
    members = [row for rows in parts.values() for row in rows]
    recording = peak.recording
    nodes = {s for s, number in graph.node_operator.items() if graph.parts[number] in parts}
    last = max(op.number for op in graph.operators if graph.parts[op.number] in parts)
    retry = next((op for op in peak.operators[last + 1 : peak.end] if op.stack), None)
    freed = {}
    for allocation, number in enumerate(recording.block_of):
        block = recording.blocks[number] if number >= 0 else None
        if block is not None and not block.role and block.step == peak.step:
            held = _only_exception(peak.paths.get(number, []))
            if held or (block.saved and all(saved.sequence in nodes for saved in block.saved)):
                freed[allocation] = last + 1
    saves = max(recording.allocations.peak - recording.peak_without(freed), 0)
    path = peak.paths_to(largest_of(members))[0]
    line = _where_paths_part(peak.operators[last].stack, retry.stack) if retry is not None else None
    # a local variable that names the exception ends with the `except` block
    stored = next((p for row in members for p in peak.paths_to(row[1]) if p.outlives), None)
    if stored is not None:
        return _stored_exception(peak, members, stored, saves)
    return finding(
        peak,
        FAILED,
        members,
        f"{blocks_and_bytes(len(members), bytes_of(members))} belong to an attempt that raised `{path.exception}`; "
        "inside its `except` block the exception holds the variables of the failed calls",
        "leave the `except` block before the retry: set a flag inside it, and retry after it",
        line,
        avoidable=saves,
        verified=True,
    )


def _where_paths_part(failed: Sequence[SourceLine], retry: Sequence[SourceLine]) -> SourceLine | None:
    """Return the outermost line of the retry that is not also a line of the failed attempt."""
    own = [line for line in retry if line.function != OUTSIDE]
    return next((line for line in reversed(own) if line not in failed), own[-1] if own else None)


def _stored_exception(peak: PeakState, members: LiveRows, path: ReferencePath, saves: int) -> Finding:
    """Return the finding about a failed attempt whose exception the program has stored."""
    where = path.expression.partition(".__traceback__")[0]
    keys = ((path.root, where), (path.root, where.rpartition("[")[0]))
    return finding(
        peak,
        FAILED,
        members,
        f"{blocks_and_bytes(len(members), bytes_of(members))} belong to an attempt that raised an error; `{where}` "
        f"({path.root}) stores the exception, which holds the variables of the failed calls",
        f"store the text, `str(error)`, instead of the exception in `{where}`",
        next((peak.stored_at[key] for key in keys if key in peak.stored_at), None),
        avoidable=saves,
        verified=True,
        retainer=f"`{where}` ({path.root})",
    )


def _unused_branch(peak: PeakState, graph: StepGraph, members: LiveRows) -> Finding:
    runs = peak.recording.steps.runs
    nodes = {s for s in graph.node_operator if s not in runs}
    holder = next((path for row in members for path in peak.paths_to(row[1]) if path.through_graph), None)
    name = f", of `{holder.expression}`," if holder is not None else ""
    return finding(
        peak,
        UNUSED_BRANCH,
        members,
        f"{blocks_and_bytes(len(members), bytes_of(members))} are saved for a part of the graph{name} that this "
        "backward pass does not reach",
        "compute this part under `torch.no_grad()`, or only when it is needed",
        common_line([live.operator for _, live in members]),
        avoidable=without_nodes(peak, nodes),
        verified=True,
    )


def summed_losses(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if one backward pass runs through several graphs that meet only in a sum of losses.

    The graphs must share parameters. If each graph had a backward pass of its own, right after its forward pass, the
    saved values of only one graph would be alive at a time. The finding is marked as surprising only if there are at
    least three graphs, and all are built at the same line.
    """
    graph = StepGraph(peak)
    members: dict[int, LiveRows] = defaultdict(list)
    for row in rows:
        if not has_role(row[1]) and peak.age(row[1]) == 0 and peak.waiting(row[1]):
            part = _part(graph, row)
            if part is not None and part in graph.backward_of_part and not _never_used(peak, row[1]):
                members[part].append(row)
    parts = _of_one_backward(peak, graph, set(members))
    if len(parts) < 2:
        return
    found = [row for part in parts if part in members for row in members[part]]
    lines = {_line_of_part(graph, part) for part in parts}
    saves = _one_at_a_time(peak, graph, parts)
    line = common_line([op for op in graph.operators if graph.parts[op.number] in parts])
    yield finding(
        peak,
        SUMMED,
        found,
        f"{blocks_and_bytes(len(found), bytes_of(found))} are saved by {len(parts)} graphs that meet only in the sum "
        "of their losses",
        "call `backward()` on each loss where it is computed, and do not add the losses: the gradients add up",
        line,
        avoidable=saves,
        verified=True,
        surprising=len(parts) >= LEAST_PARTS and len(lines) == 1,
    )


def _of_one_backward(peak: PeakState, graph: StepGraph, members: set[int]) -> set[int]:
    """Return the parts that the same backward pass runs through, that end before it, and that share parameters.

    A transposed weight and the sum of the losses are no parts: such a part makes no result from a parameter.
    """
    if not members:
        return set()
    start = min(graph.backward_of_part[part][0].number for part in members)
    while start > peak.start and peak.operators[start - 1].phase is Phase.BACKWARD:
        start -= 1
    last: dict[int, int] = {}
    makes: set[int] = set()
    for op in graph.operators:
        part = graph.parts[op.number]
        last[part] = op.number
        if any(operand.block in peak.recording.steps.leaves for operand in op.reads) and op.makes:
            makes.add(part)
    before = {part for part in graph.backward_of_part if part in makes and last[part] < start}
    before = {part for part in before if graph.backward_of_part[part][0].number >= start}
    chosen = max(members & before, default=None)
    if chosen is None:
        return set()
    leaves = _leaves_of(graph, chosen)
    return {part for part in before if _leaves_of(graph, part) & leaves}


def _leaves_of(graph: StepGraph, part: int) -> frozenset[int]:
    found: frozenset[int] = frozenset()
    for op in graph.operators:
        if graph.parts[op.number] == part:
            found |= graph.leaves_behind[op.number]
    return found


def _one_at_a_time(peak: PeakState, graph: StepGraph, parts: set[int]) -> int:
    """Return by how many bytes the peak falls if the backward pass of each part runs right after its forward pass."""
    recording = peak.recording
    last = max(parts)
    others = parts - {last}
    gone = {op.number for op in graph.operators if graph.parts[op.number] in others}
    for part in others:
        gone |= {op.number for op in graph.backward_of_part[part]}
    removed = set(graph.allocations_of(frozenset(gone)))
    nodes = {s for s, number in graph.node_operator.items() if number in gone}
    for allocation, number in enumerate(recording.block_of):
        block = recording.blocks[number] if number >= 0 else None
        if block is None or not block.saved or block.role or block.step != peak.step:
            continue
        if all(saved.sequence in nodes for saved in block.saved):
            removed.add(allocation)  # such as a part of the batch that was copied for another graph
    backward = [op for op in peak.operators[peak.start : peak.end] if op.phase is Phase.BACKWARD and op.node]
    gradients = leaf_gradients(peak, backward)
    removed |= gradients
    leaves = _leaves_of(graph, last)
    sizes = {block.number: recording.rounded(block.size) for block in recording.blocks if block.number in leaves}
    accumulated = {
        i: 0
        for i, number in enumerate(recording.block_of)
        if number >= 0 and recording.blocks[number].role == "gradient" and recording.blocks[number].step == peak.step
    }
    removed |= set(accumulated)
    after = recording.peak_without({}, removed) + sum(sizes.values())
    return max(recording.allocations.peak - after, 0)


def leaf_gradients(peak: PeakState, backward: list[Operator]) -> set[int]:
    """Return the numbers of the allocations that backward operators make for gradients of leaf tensors.

    A result of a backward operator counts as such a gradient if it has as many bytes as a leaf tensor that the
    corresponding forward operator reads.
    """
    leaves = peak.recording.steps.leaves
    found = set()
    of_block = peak.recording.allocation_of
    for op in backward:
        forward = peak.forward_of(op)
        shapes = {elements_of(o) * item_bytes(o) for o in forward.reads if o.block in leaves} if forward else set()
        if len(op.makes) == 1 and any(operand.block in leaves for operand in op.reads):
            continue  # the gradient of the input, which is computed from the parameter
        for operand in op.makes:
            if elements_of(operand) * item_bytes(operand) in shapes and operand.block in of_block:
                found.add(of_block[operand.block])
    return found
