"""Causes of memory at the peak: values written out in a larger form than their readers need.

They are one-hot encodings, masks of numbers, values repeated along a dimension, log-probabilities of a whole
vocabulary, and caches that ``torch.cat`` copies whenever they grow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.shared import (
    LiveRows,
    bytes_of,
    element_count,
    elements_of,
    finding,
    has_role,
    item_bytes,
    nearest_source,
)
from recompviz.pytorch.debugging.peak.description import block_label, blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.recorder.watched import Operand, Operator

ONE_HOT = "one-hot encoding in int64"
WIDE_MASK = "mask of numbers instead of bool"
REPEATED = "value repeated instead of broadcast"
LOG_SOFTMAX = "log-softmax over the vocabulary, of which one number a row is used"
CAT_CACHE = "cache copied by torch.cat whenever it grows"

# smallest number of classes that counts as a vocabulary
LEAST_CLASSES = 256
# smallest factor by which a value must be repeated
LEAST_REPEATS = 2
# smallest number of copies in a chain of torch.cat
LEAST_COPIES = 3
# operators that pass a mask on unchanged
_PASSES = ("view", "unsqueeze", "expand", "detach", "alias", "_unsafe_view", "slice", "t", "transpose", "permute")


def one_hot(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each line that calls ``one_hot``. The result of ``one_hot`` always has the dtype int64."""
    groups: dict[SourceLine | None, LiveRows] = defaultdict(list)
    for i, live in rows:
        op = live.operator
        if live.block is None or has_role(live) or op is None or op.phase is not Phase.FORWARD:
            continue
        if op.function == "one_hot" and live.block.operand.dtype == "int64":
            groups[op.line].append((i, live))
    recording = peak.recording
    for line, members in groups.items():
        same = {
            i
            for i, number in enumerate(recording.block_of)
            if number >= 0 and _made_by_one_hot(peak, number, line) and recording.blocks[number].step == peak.step
        }
        largest = max(members, key=lambda row: row[1].size)[1]
        cast = next((op for op in _readers(peak, largest) if op.short == "_to_copy"), None)
        if cast is not None and cast.makes:
            dtype = cast.makes[0].dtype
            saves = max(recording.allocations.peak - recording.peak_without({}, same), 0)
            fix = (
                f"make it in {dtype}: `torch.zeros(shape, dtype=torch.{dtype}).scatter_(dim, index.unsqueeze(dim), 1)`"
                "; or index with the classes (`gather`) instead of multiplying by zeros and ones"
            )
        else:
            saves = None
            fix = "index with the classes (`gather`, an embedding) instead of multiplying by zeros and ones"
        yield finding(
            peak,
            ONE_HOT,
            members,
            f"`one_hot` makes {blocks_and_bytes(len(members), bytes_of(members))} in int64, 8 bytes for each zero",
            fix,
            line,
            avoidable=saves if saves is not None else bytes_of(members),
            verified=saves is not None,
        )


def _made_by_one_hot(peak: PeakState, number: int, line: SourceLine | None) -> bool:
    block = peak.blocks[number]
    op = peak.operators[block.maker] if block.maker >= 0 else None
    return op is not None and op.function == "one_hot" and op.line == line and block.operand.dtype == "int64"


def _readers(peak: PeakState, live: LiveBlock) -> list[Operator]:
    reads = peak.reads.get(live.block.number, []) if live.block is not None else []
    return [peak.operators[n] for n in reads if n < peak.end]


def wide_masks(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each line that casts a bool mask to a wider dtype, if the result is only multiplied."""
    recording = peak.recording
    lines: dict[SourceLine | None, LiveRows] = defaultdict(list)
    for i, live in rows:
        if live.block is not None and not has_role(live) and peak.age(live) == 0 and _is_wide(peak, live.block.number):
            lines[live.operator.line if live.operator is not None else None].append((i, live))
    for line, members in lines.items():
        resized = {
            i: recording.rounded(elements_of(recording.blocks[number].operand))
            for i, number in enumerate(recording.block_of)
            if number >= 0
            and recording.blocks[number].step == peak.step
            and _is_wide(peak, number)
            and peak.operators[recording.blocks[number].maker].line == line
        }
        largest = max(members, key=lambda row: row[1].size)[1]
        assert largest.block is not None
        dtype = largest.block.operand.dtype
        yield finding(
            peak,
            WIDE_MASK,
            members,
            f"{blocks_and_bytes(len(members), bytes_of(members))} of zeros and ones in {dtype}, "
            f"{item_bytes(largest.block.operand)} bytes each; they are only multiplied",
            "leave out the cast: a product accepts the mask in bool, 1 byte each",
            line,
            avoidable=max(recording.allocations.peak - recording.peak_without({}, resized=resized), 0),
            verified=True,
        )


def _is_wide(peak: PeakState, number: int) -> bool:
    """Return whether a block is the cast of a bool mask, and all that reads it are products with other values."""
    block = peak.blocks[number]
    op = peak.operators[block.maker] if block.maker >= 0 else None
    if op is None or op.phase is not Phase.FORWARD or op.short != "_to_copy" or not op.reads:
        return False
    if op.reads[0].dtype != "bool" or elements_of(op.reads[0]) != elements_of(block.operand):
        return False
    readers = [peak.operators[n] for n in peak.reads.get(number, [])]
    products = [one for one in readers if one.short not in _PASSES]
    return bool(products) and all(
        one.short == "mul" and any(o.block != number and o.dtype not in ("bool", "uint8") for o in one.reads)
        for one in products
    )


def repeated_values(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each line that stores every element of a value at least twice, for example by ``repeat``.

    A line that repeats values a different number of times has one finding for each number. A finding is marked as
    verified if all forward readers of the result broadcast, so that they could read the value itself.
    """
    groups: dict[tuple[SourceLine | None, int], LiveRows] = defaultdict(list)
    for i, live in rows:
        op = live.operator
        if live.block is None or has_role(live) or op is None or op.phase is not Phase.FORWARD or not op.makes:
            continue
        times = _repeats(op)
        if times >= LEAST_REPEATS and peak.age(live) == 0:
            groups[op.line, times].append((i, live))
    recording = peak.recording
    for (line, times), members in groups.items():
        verified = all(_broadcasts(peak, live) for _, live in members)
        largest = max(members, key=lambda row: row[1].size)[1]
        assert largest.operator is not None
        extended: dict[int, int] = {}
        kept = {
            i
            for i, number in enumerate(recording.block_of)
            if number >= 0
            and (maker := recording.blocks[number].maker) >= 0
            and recording.blocks[number].step == peak.step
            and peak.operators[maker].line == line
            and _repeats(peak.operators[maker]) == times
        }
        for allocation in kept:
            block = recording.blocks[recording.block_of[allocation]]
            source = _source(peak.operators[block.maker])
            until = peak.end if block.died is None else block.died
            for i, number in enumerate(recording.block_of):
                if source is not None and number == source.block:
                    extended[i] = max(until, extended.get(i, 0))
        saves = max(recording.allocations.peak - recording.peak_without({}, kept, extended), 0)
        if verified:
            fix = "leave the repeat out: its readers broadcast; or use `.expand(…)`, which copies nothing"
        else:
            fix = "use `.expand(…)`, which copies nothing, if the reader accepts it; for keys and values of grouped "
            fix += "heads, `scaled_dot_product_attention(…, enable_gqa=True)`"
        yield finding(
            peak,
            REPEATED,
            members,
            f"`{largest.operator.function or largest.operator.short}` writes the same values {times} times: "
            f"{blocks_and_bytes(len(members), bytes_of(members))}, of which "
            f"{format_bytes(bytes_of(members) // times)} are different",
            fix,
            line,
            avoidable=saves,
            verified=verified,
        )


def _source(op: Operator) -> Operand | None:
    return op.reads[0] if op.reads else None


def _repeats(op: Operator) -> int:
    """Return how many times an operator writes each element of its input; 1 if it does not repeat."""
    if len(op.makes) != 1 or not op.reads or op.phase is not Phase.FORWARD:
        return 1
    source, made = op.reads[0], op.makes[0]
    count = elements_of(made)
    stored = source.bytes // item_bytes(source)
    if op.short == "repeat" or op.function == "repeat_interleave":
        return count // max(stored, 1)
    if op.short in ("clone", "copy", "contiguous", "_reshape_alias", "expand_copy") and len(op.reads) == 1:
        return count // max(stored, 1) if elements_of(source) > stored else 1
    return 1


def _broadcasts(peak: PeakState, live: LiveBlock) -> bool:
    """Return whether forward operators read a block, and all that read it broadcast their inputs."""
    forward = [op for op in _readers(peak, live) if op.phase is Phase.FORWARD]
    assert live.block is not None
    for op in forward:
        if op.short in ("detach", "view", "_unsafe_view", "expand", "alias"):
            continue
        if "scaled_dot_product" in op.short or op.function == "scaled_dot_product_attention":
            if any(operand.block == live.block.number for operand in op.reads[:3]):
                return False
        elif not op.pointwise:
            return False
    return bool(forward)


def log_softmax_over_vocabulary(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each log-softmax over 256 or more classes if an operator reads few entries of its result.

    Such an operator is ``gather``, ``index``, ``index_select`` or ``take_along_dim``.
    """
    for i, live in rows:
        op = live.operator
        if live.block is None or op is None or op.short != "_log_softmax" or op.phase is not Phase.FORWARD:
            continue
        made = op.makes[0] if op.makes else None
        if made is None or not made.shape or made.shape[-1] < LEAST_CLASSES:
            continue
        if not any(_picks(reader, made) for reader in _readers(peak, live)):
            continue
        logits = op.reads[0].block if op.reads else -1
        members = [
            (j, one)
            for j, one in rows
            if one.block is not None and not has_role(one) and _of_vocabulary(one, made, (live.block.number, logits))
        ]
        members = members or [(i, live)]
        recording = peak.recording
        held = [path for path in peak.paths.get(logits, []) if not path.through_graph]
        freed = {a: op.number + 1 for a, number in enumerate(recording.block_of) if number == logits}
        saves = max(recording.allocations.peak - recording.peak_without(freed), 0)
        name = held[0].expression if held and held[0].local else ""
        fix = 'use `-F.cross_entropy(logits.flatten(0, -2), index.flatten(), reduction="none")`'
        if name and saves:
            fix += f", and keep no name for the logits: `del {name}` before the backward pass"
        else:
            fix += "; computed in parts of the rows under `checkpoint`, it never exists as a whole"
        yield finding(
            peak,
            LOG_SOFTMAX,
            members,
            f"it makes {made.shape[-1]:,} numbers a row, and `{_pick_name(peak, live, made)}` reads one of them; "
            f"{blocks_and_bytes(len(members), bytes_of(members))} of that size are alive, gradients included",
            fix,
            op.line,
            avoidable=saves if saves else bytes_of(members) // 2,
            verified=bool(name and saves),
            value=block_label(peak, live.block),
        )


def _picks(op: Operator, made: Operand) -> bool:
    if op.phase is not Phase.FORWARD or op.short not in ("gather", "index", "take_along_dim", "index_select"):
        return False
    results = [*op.makes, *op.views]
    return bool(results) and max(map(elements_of, results)) * LEAST_CLASSES // 8 <= elements_of(made)


def _pick_name(peak: PeakState, live: LiveBlock, made: Operand) -> str:
    return next(op.short for op in _readers(peak, live) if _picks(op, made))


def _of_vocabulary(live: LiveBlock, made: Operand, blocks: tuple[int, ...]) -> bool:
    assert live.block is not None
    if live.block.number in blocks:
        return True
    operator = live.operator
    same = element_count(live.block.operand.shape) == elements_of(made)
    return same and operator is not None and operator.phase is Phase.BACKWARD


def cat_caches(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each line at which ``torch.cat`` copies its own earlier result again and again.

    One line may make several such chains of copies, for example one chain for the cache of each layer. If autograd
    saved none of the copies, the saving is computed for one block in place of each chain. This block has the size of
    the largest copy and is allocated when the chain begins. If autograd saved copies, the saving is the bytes of all
    copies but the largest, as far as they lower the peak.
    """
    recording = peak.recording
    allocation_of = recording.allocation_of
    lines: dict[SourceLine | None, list[list[int]]] = defaultdict(list)
    for chain in _chains(peak):
        blocks = [block for block in chain if block in allocation_of]
        if len(blocks) >= LEAST_COPIES:
            lines[peak.operators[peak.blocks[chain[0]].maker].line].append(blocks)
    for line, chains in lines.items():
        copies = {block for chain in chains for block in chain}
        members = [(i, live) for i, live in rows if live.block is not None and live.block.number in copies]
        grad = any(live.block is not None and live.block.saved for _, live in members)
        if len(members) < (LEAST_COPIES if grad else 2) or any(has_role(live) for _, live in members):
            continue
        removed: set[int] = set()
        resized: dict[int, int] = {}
        extended: dict[int, int] = {}
        for chain in chains:
            kept, *others = (allocation_of[block] for block in chain)
            deaths = [peak.blocks[block].died for block in chain]
            removed |= set(others)
            resized[kept] = max(recording.rounded(peak.blocks[block].size) for block in chain)
            extended[kept] = max(peak.end if died is None else died for died in deaths)
        if grad:
            newest = max(members, key=lambda row: row[1].size)
            older = {live.allocation for _, live in members if live is not newest[1]}
            without = recording.peak_without({}, older)
        else:
            without = recording.peak_without({}, removed, extended, resized)
        fix = "allocate it once at its final length and write each part into it: `cache[:, t] = part`"
        if grad:
            fix += "; or cut the graph, if no backward pass needs the older copies: `torch.no_grad()`"
        largest = max(live.size for _, live in members)
        yield finding(
            peak,
            CAT_CACHE,
            members,
            f"each `torch.cat` copies everything before it: {len(members)} copies are alive, "
            f"{format_bytes(bytes_of(members))}, of which the largest has {format_bytes(largest)}",
            fix,
            line,
            avoidable=max(recording.allocations.peak - without, 0),
            verified=not grad,
        )


def _chains(peak: PeakState) -> list[list[int]]:
    """Return the blocks of each chain of ``cat`` operators at one line in which each copies the result before it."""
    chain_of: dict[int, list[int]] = {}  # block → its chain
    chains = []
    for op in peak.operators[peak.start : peak.end]:
        if op.short != "cat" or op.phase is not Phase.FORWARD or not op.makes:
            continue
        before = (o.block for o in op.reads if o.block in chain_of and _same_line_cat(peak, o, op))
        chain = chain_of.get(next(before, -1), [])
        if not chain:
            chains.append(chain)
        chain.append(op.makes[0].block)
        chain_of[op.makes[0].block] = chain
    return chains


def _same_line_cat(peak: PeakState, operand: Operand, op: Operator) -> bool:
    maker = peak.operators[peak.blocks[operand.block].maker]
    found = nearest_source(peak, maker, lambda one: one.short == "cat", 2)
    return found is not None and found.line == op.line and found.short == "cat" and maker.short == "cat"
