"""Describe the state at the peak in words: the name and category of each block, and why it is alive."""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Block, Operator, Saved
from recompviz.pytorch.internals.user_lines import OUTSIDE

# number of operators after an operator that may belong to the same source line
_SAME_LINE = 40


def label(peak: PeakState, live: LiveBlock) -> str:
    """Return a name for a live allocation: the name of its block, ``"workspace of …"`` or ``"unattributed"``."""
    if live.block is None:
        return f"workspace of {operator_path(live.operator)}" if live.operator is not None else "unattributed"
    return block_label(peak, live.block)


def block_label(peak: PeakState, block: Block) -> str:
    """Return a name for a block.

    A block with a role (for example a parameter) has its own name, such as ``"layer1.weight"``. The name of a block
    that an operator made has the variable, module and operator: ``"h (layer1/relu)"`` or ``"backward of layer1/relu"``.
    Any other block is named after a reference path to the block. If there is none, it is named after the first operator
    that reads it.
    """
    if block.name:
        return block.name
    if block.maker < 0:
        if paths := peak.paths.get(block.number):
            return f"`{paths[0].expression}`"
        reader = peak.operators[block.first_seen] if block.first_seen < len(peak.operators) else None
        return f"made outside, read by {operator_path(reader)}" if reader is not None else "made outside"
    op = peak.operators[block.maker]
    name = operator_path(op)
    if op.phase is Phase.BACKWARD:
        name = f"backward of {operator_path(peak.forward_of(op) or op)}"
    variable = _variable(peak, op)
    return f"{variable} ({name})" if variable else name


def _variable(peak: PeakState, op: Operator) -> str:
    """Return the variable to which the operator's source line assigns its result.

    Empty if the operator does not run in the forward pass, or if a later operator of that line makes the result.
    """
    if op.line is None or op.phase is not Phase.FORWARD or op.line.function == OUTSIDE:
        return ""
    following = next((o for o in peak.operators[op.number + 1 : op.number + _SAME_LINE] if o.makes), None)
    same = following is not None and following.line == op.line and following.phase is op.phase
    return "" if same else op.line.assigned


def category(peak: PeakState, live: LiveBlock) -> Category:
    """Return the category of a live allocation.

    If no tensor uses the allocation, the category is ``WORKSPACE`` inside an operator and ``OTHER`` outside.
    """
    if live.block is None:
        return Category.WORKSPACE if live.operator is not None else Category.OTHER
    return block_category(peak, live.block)


def block_category(peak: PeakState, block: Block) -> Category:
    """Return the category of a block.

    A block with a role, such as ``"parameter"``, has the category of the role. For any other block, the category
    depends on the operator that made the block. A block made in the forward pass is ``KEPT`` if autograd saved it, and
    otherwise ``TRANSIENT``. A block that no watched operator made is ``INPUT``.
    """
    if block.role:
        return _CATEGORIES[block.role]
    if block.maker < 0:
        return Category.INPUT
    op = peak.operators[block.maker]
    if op.optimizer:
        return Category.WORKSPACE
    if op.phase is Phase.BACKWARD:
        return Category.GRADIENT
    if op.phase is Phase.RECOMPUTE:
        return Category.RECOMPUTED
    return Category.KEPT if block.saved else Category.TRANSIENT


def saved_for(peak: PeakState, saved: Sequence[Saved]) -> str:
    """Return a text that names the autograd nodes that saved a block: ``"backward of layer1/relu and 1 more"``.

    ``saved`` are the tensors that the nodes saved, at least one.
    """
    number = peak.recording.steps.operator_of_node.get(saved[0].sequence)
    more = len({s.sequence for s in saved}) - 1
    also = f" and {more} more" if more else ""
    if number is None:
        return f"a backward{also}"
    op = peak.operators[number]
    return f"backward of {op.module + '/' if op.module else ''}{op.short}{also}"


def why(peak: PeakState, live: LiveBlock) -> str:
    """Return a short text about why an allocation is alive at the peak.

    For example, an autograd node saved the block, an operator reads the block next, or an object holds the block.
    """
    block, maker = live.block, live.operator
    if block is None:
        return f"workspace of {operator_path(maker)}" if maker is not None else "allocated outside every operator"
    parts = []
    age = peak.age(live)
    steps_ago = f"{age} step{'s' if age > 1 else ''} ago"
    if block.role:
        parts.append(_ROLES[block.role] + (f", kept from {steps_ago}" if age > 0 else ""))
    if kept := peak.retained(live):
        parts.append(f"the graph is retained after {saved_for(peak, kept)} ran")
    if waits := peak.waiting(live):
        later = "" if peak.runs_in_step(waits[0]) else ", which does not run in this step"
        parts.append(f"saved for {saved_for(peak, waits)}{later}")
    if maker is not None and maker.phase is Phase.RECOMPUTE:
        parts.append("recomputed" + (f" by the checkpoint at {maker.checkpoint.place}" if maker.checkpoint else ""))
    following = peak.next_read(live)
    if not parts and following is not None:
        kind = "gradient in flight, " if maker is not None and maker.phase is Phase.BACKWARD else ""
        parts.append(f"{kind}read next by {operator_path(following)}")
    if not parts and maker is not None and maker.number == peak.at:
        parts.append(f"result of {operator_path(maker)}, which is running")
    held = None if block.role else peak.retainer(live)
    if held is not None and not (parts and held[0].local):
        parts.append(f"held by {held[0].text}")
    last = peak.last_read(live)
    if not parts and last is not None:
        running = last.number == peak.at
        parts.append(
            f"read by {operator_path(last)}, which is running" if running else f"last read by {operator_path(last)}"
        )
    if age and not block.role:
        parts.append(f"made {steps_ago}")
    return "; ".join(parts) or "no later use seen, freed soon after"


_CATEGORIES = {
    "parameter": Category.PARAMETER,
    "buffer": Category.BUFFER,
    "gradient": Category.PARAMETER_GRADIENT,
    "optimizer state": Category.OPTIMIZER,
    "input": Category.INPUT,
    "target": Category.TARGET,
}
_ROLES = {
    "parameter": "parameter",
    "buffer": "buffer",
    "gradient": "gradient, kept until it is set to None",
    "optimizer state": "state of the optimizer",
    "input": "input, held by the caller",
    "target": "target, held by the caller",
}


def operator_path(op: Operator | None) -> str:
    """Return module and operator, ``"layer1/relu"``, or optimizer and operator, ``"Adam.step/mul"``.

    For None, it is ``"no operator"``.
    """
    if op is None:
        return "no operator"
    if op.optimizer:
        return f"{op.optimizer}.step/{op.short}"
    return f"{op.module}/{op.short}" if op.module else op.short


def blocks_and_bytes(count: int, size: int) -> str:
    """Return a number of blocks and their bytes as text: ``"3 blocks, 12.0 MiB"``."""
    return f"{count} block{'s' if count > 1 else ''}, {format_bytes(size)}"
