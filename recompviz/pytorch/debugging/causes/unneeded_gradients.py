"""Causes of memory at the peak: gradients of parameters that no optimizer updates.

There are two cases. A network is used as if it were frozen, but its parameters require gradients, so autograd saves
values for these gradients and computes them. Or a backward pass runs into a network that is trained in another step.
"""

from __future__ import annotations

from collections.abc import Iterator

from recompviz.core.reports.findings import Finding
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import LiveRows, common_line, finding, has_role
from recompviz.pytorch.debugging.causes.unused_graphs import leaf_gradients, without_nodes
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.peak.step_graph import StepGraph
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operator

UNSTEPPED = "gradients that nothing steps"

# operators that save their input only for the gradient of their weight
_SAVES_FOR_WEIGHT = ("addmm", "mm", "convolution", "linear", "bmm", "baddbmm")


def unstepped_gradients(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if parameters get gradients but no optimizer of the recorded steps updates them.

    Nothing is yielded if no optimizer is known, or if the training step that contains the peak has no backward pass.
    """
    stepped = peak.recording.steps.stepped
    if not stepped or not peak.has_backward:
        return
    graph = StepGraph(peak)
    blocks = peak.blocks
    ran = {op.number for operators in graph.backward_of_part.values() for op in operators}
    parts = set(graph.backward_of_part)
    in_backward = [op for op in graph.operators if graph.parts[op.number] in parts]
    useless = [op for op in in_backward if not graph.leaves_behind[op.number] & stepped]
    idle = {b for op in in_backward for b in graph.leaves_behind[op.number]} - stepped
    idle = {b for b in idle if blocks[b].role in ("parameter", "buffer")}
    if not idle or not ran:
        return
    mixed = [
        op
        for op in in_backward
        if graph.leaves_behind[op.number] & stepped and any(o.block in idle and o.needs_grad for o in op.reads)
    ]
    numbers = {op.number for op in useless}
    nodes = {s for s, number in graph.node_operator.items() if number in numbers}
    weighed = {op.number for op in mixed if op.short in _SAVES_FOR_WEIGHT}
    weights = {s for s, number in graph.node_operator.items() if number in weighed}
    backward = [op for operators in graph.backward_of_part.values() for op in operators]
    gone = [op for op in backward if _forward_number(peak, op) in numbers]
    of_mixed = [op for op in backward if _forward_number(peak, op) in {op.number for op in mixed}]
    removed = frozenset(graph.allocations_of(dead_operators(peak, {op.number for op in gone})))
    removed |= frozenset(leaf_gradients(peak, of_mixed))
    removed |= _gradients_of(peak, idle)
    saves = without_nodes(peak, nodes | weights, removed)
    members = [(i, live) for i, live in rows if live.allocation in removed or _saved_by(live, nodes)]
    if not members:
        return
    largest = sorted(idle, key=lambda b: -blocks[b].size)
    owner = next((blocks[b].owner for b in largest if blocks[b].owner), "")
    name = f"`{owner}`" if owner else "a module"
    passes = bool(mixed)
    trained = [b for b in stepped if owner and blocks[b].owner == owner]
    if trained:  # an optimizer updates other parameters of the same module
        name, fix = _partly_trained(owner, [blocks[b].name for b in largest], [blocks[b].name for b in trained])
    elif passes:
        fix = f"call `{owner or 'module'}.requires_grad_(False)` once, where {name} is made"
    else:
        fix = f"run {name} under `torch.no_grad()`"
    source: list[Operator | None] = [*(useless or mixed)]
    lasts = [op for op in source if op is not None and op.line is not None]
    yield finding(
        peak,
        UNSTEPPED,
        members,
        f"no optimizer of this step updates {name} but {'they' if trained else 'its parameters'} require gradients: "
        f"{blocks_and_bytes(len(members), sum(live.size for _, live in members))} at the peak are saved or computed "
        "for them",
        fix,
        common_line(lasts) if lasts else None,
        avoidable=saves,
        verified=True,
    )


def _partly_trained(owner: str, idle: list[str], trained: list[str]) -> tuple[str, str]:
    """Return a name and an advice for the parameters of a module that no optimizer updates, beside those that one does.

    If they are all parameters of a part of the module, the part is named.

    Examples
    --------
    >>> _partly_trained("net", ["decoder.0.weight", "decoder.0.bias"], ["encoder.weight"])[1]
    'call `net.decoder[0].requires_grad_(False)` once, where `net` is made'
    """
    split = [name.removeprefix(f"{owner}.").split(".")[:-1] for name in idle]
    part = split[0]
    while part and any(names[: len(part)] != part for names in split):
        part = part[:-1]
    others = [name.removeprefix(f"{owner}.").split(".") for name in trained]
    if part and all(names[: len(part)] != part for names in others):
        path = owner + "".join(f"[{one}]" if one.isdigit() else f".{one}" for one in part)
        return f"`{path}`", f"call `{path}.requires_grad_(False)` once, where `{owner}` is made"
    count = f"{len(idle)} parameters" if len(idle) > 1 else "a parameter"
    fix = f"call `.requires_grad_(False)` on each parameter of `{owner}` that no optimizer updates, such as `{idle[0]}`"
    return f"{count} of `{owner}`, such as `{idle[0]}`,", fix


def dead_operators(peak: PeakState, gone: set[int]) -> frozenset[int]:
    """Return ``gone`` and the backward operators that are needed only for the operators in ``gone``.

    A backward operator is added if its results are read later in the step, and only by operators in the returned set.
    """
    dead = set(gone)
    for op in reversed(peak.operators[peak.start : peak.end]):
        if op.phase is not Phase.BACKWARD or op.number in dead or not op.makes:
            continue
        readers = [n for o in op.makes for n in peak.reads.get(o.block, []) if op.number < n < peak.end]
        if readers and all(n in dead for n in readers):
            dead.add(op.number)
    return frozenset(dead)


def _forward_number(peak: PeakState, op: Operator) -> int:
    forward = peak.forward_of(op)
    return forward.number if forward is not None and forward.phase is Phase.FORWARD else -1


def _gradients_of(peak: PeakState, leaves: set[int]) -> frozenset[int]:
    recording = peak.recording
    return frozenset(
        i
        for i, number in enumerate(recording.block_of)
        if number >= 0
        and recording.blocks[number].role == "gradient"
        and recording.blocks[number].gradient_of in leaves
    )


def _saved_by(live: LiveBlock, nodes: set[int]) -> bool:
    block = live.block
    if block is None or has_role(live) or not block.saved:
        return False
    return all(saved.sequence in nodes for saved in block.saved)
