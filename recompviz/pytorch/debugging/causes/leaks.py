"""A leak: an object of the user's program holds blocks that are not needed, or holds more with each training step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import LEAST_GROWTH, Finding
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.copies import in_place_reader
from recompviz.pytorch.debugging.causes.shared import LiveRows, bytes_of, finding, has_role, peak_reduction
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer
from recompviz.pytorch.debugging.source_text import last_use

HELD_ACROSS = "reference held across iterations"
GROWS = "memory that grows from step to step"
# a copy of views is advised if it takes at most this share of their base
SMALL_VIEWS = 0.5

Member = tuple[int, LiveBlock, ReferencePath, Retainer]


def held_references(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding for each object of the user's program that holds blocks that no operator is expected to read.

    An object is also reported if it holds more bytes after each training step, or if it keeps blocks of older training
    steps alive through an autograd graph.
    """
    groups: dict[Key, list[Member]] = defaultdict(list)
    for i, live in rows:
        if live.block is None or has_role(live) or (held := peak.retainer(live)) is None:
            continue
        path, retainer = held
        if not _held_by_cycle(peak, live, path) and _not_needed(peak, live, path, retainer):
            groups[retainer.key].append((i, live, path, retainer))
    for key in [*groups]:
        inner = [one for one in groups if groups[one] and _inside(one, key)]
        if len(inner) == 1:  # the inner collection did not exist yet when the oldest blocks were made
            groups[inner[0]] += [member for member in groups[key] if inner[0] in member[2].keys]
            groups[key] = [member for member in groups[key] if inner[0] not in member[2].keys]
        elif inner and peak.growth(key):  # several of its items grow: one finding about all, with their sum
            for one in inner:
                groups[key] += groups.pop(one)
                groups[one] = []
    for key, members in groups.items():
        if members:
            yield _reference(peak, key, members)


def _inside(inner: Key, outer: Key) -> bool:
    """Return whether the object of a key is an item of the object of another key."""
    return inner[0] == outer[0] and inner[1].startswith((f"{outer[1]}[", f"{outer[1]}."))


def _held_by_cycle(peak: PeakState, live: LiveBlock, path: ReferencePath) -> bool:
    """Return whether the graph of a gradient holds a block of an older training step.

    The parameter and the graph then hold each other.
    """
    return peak.age(live) > 0 and path.through_graph and path.expression.endswith(".grad")


def _not_needed(peak: PeakState, live: LiveBlock, path: ReferencePath, retainer: Retainer) -> bool:
    """Return whether a held block is reported.

    A block of an older training step is reported if its retainer grows, if only an autograd graph holds it, or if no
    operator reads it in the step of the peak. A block of the step of the peak is reported if its retainer grows and
    holds it directly, or if nothing will read it again.
    """
    grows = peak.growth(retainer.key) >= LEAST_GROWTH
    if grows and not path.through_graph:
        return True
    if not path.through_graph and retainer.collection and peak.is_store(retainer.key):
        return False  # such as a replay buffer
    if peak.age(live):
        return grows or path.through_graph or not peak.read_in_step(live)
    if peak.waiting(live) or peak.next_read(live) or live.operator is None or live.operator.number == peak.at:
        return False
    if path.outlives and peak.read_one_step_later(live):
        return False
    # if the last reader could have run in place, `out_of_place` reports the block
    return not (path.local and in_place_reader(peak, live) is not None)


def _reference(peak: PeakState, key: Key, members: list[Member]) -> Finding:
    rows = [(i, live) for i, live, *_ in members]
    _, largest, path, retainer = max(members, key=lambda member: member[1].size)
    slots = {member[3].slot for member in members}
    named = retainer.slot if retainer.referrer.kind == "dict" and len(slots) == 1 else key[1]
    held_by = f"`{named}` ({retainer.root})"
    holder = f"the variable {held_by}" if retainer.referrer.kind == "variable" else held_by
    through = ""
    if path.through_graph:
        through = f", through the graph of `{path.expression}`"
    elif path.expression != named:
        through = f", as `{path.expression}`"
    blocks = blocks_and_bytes(len(rows), bytes_of(rows))
    growth = peak.growth(key)
    cause = HELD_ACROSS
    if growth:
        bound = retainer.referrer.bound
        until = f" until it has {bound:,} items" if bound else ""
        why = f"{holder} keeps {blocks}{through}; it grows by {format_bytes(growth)} with each step{until}"
    elif any(peak.age(live) for _, live in rows):
        why = f"{holder} still holds {blocks} of the step before{through}"
    else:
        cause = "reference held"
        why = f"{holder} holds {blocks}, and nothing reads {'it' if len(rows) == 1 else 'them'} again in this step"
    fix = _fix(peak, largest, path, retainer, named)
    avoidable = _without_retainer(peak, key, rows) if not path.through_graph else peak_reduction(peak, rows, after=True)
    if fix == _emptied(named):
        avoidable = _without_older(peak, key)
    if fix.startswith("`.clone()`"):
        avoidable = max(avoidable - sum(_bytes_of_copies(peak, live) for _, live in rows), 0)
    line = peak.stored_at.get(key)
    # a local variable ends with its function; healthy code has many
    ends = path.local or not path.outlives
    variable = retainer.referrer.kind == "variable" and ends and not growth
    saved_weights = not growth and all(_copies_state(peak, live) for _, live in rows)
    return finding(
        peak,
        cause,
        rows,
        why,
        fix if avoidable or growth else "",
        line,
        avoidable=avoidable,
        growth=growth,
        retainer=held_by,
        verified=bool(avoidable) and bool(fix),
        surprising=not (variable or saved_weights),
    )


def _copies_state(peak: PeakState, live: LiveBlock) -> bool:
    """Return whether a block is a copy of a parameter, buffer or state, such as the best weights so far."""
    op = live.operator
    if op is None or live.block is None or op.short not in ("set_", "clone", "_to_copy"):
        return False
    others = (peak.blocks[o.block] for o in op.reads if o.block != live.block.number)
    return all(block.role or not block.size for block in others)


def _without_retainer(peak: PeakState, key: Key, rows: LiveRows) -> int:
    """Return by how many bytes the peak falls if an object holds nothing any more.

    What another object or variable holds too stays. What the object holds at other moments of the step counts too, so
    that no other moment becomes the peak.
    """
    recording = peak.recording
    allocation_of = recording.allocation_of
    alive = {live.block.number for live in peak.live if live.block is not None}
    freed: dict[int, int] = {}
    for held in peak.between[peak.step : peak.step + 2]:
        for number, paths in held.paths.items():
            if number not in allocation_of or not _only_by(paths, key):
                continue
            last = _last_use(peak, number)
            at_peak = number in alive and peak.blocks[number].step == peak.step and last <= peak.at
            if at_peak and not _only_by(peak.paths.get(number, []), key):
                continue  # something else holds it at the peak, such as the call that makes it
            freed[allocation_of[number]] = last + 1
    for _, live in rows:
        if live.block is None or not _only_by(peak.paths_to(live), key):
            continue
        if all(peak.runs_in_step(saved) for saved in peak.waiting(live)):
            freed[live.allocation] = _last_use(peak, live.block.number) + 1
    return max(recording.allocations.peak - recording.peak_without(freed), 0)


def _without_older(peak: PeakState, key: Key) -> int:
    """Return by how many bytes the peak falls if the blocks of older steps that only an object holds are freed.

    What the object holds later in the step of the peak stays.
    """
    recording = peak.recording
    held = peak.between[peak.step].paths if peak.between else {}
    freed = {
        i: peak.start
        for i, number in enumerate(recording.block_of)
        if number in held and peak.blocks[number].step < peak.step and _only_by(held[number], key)
    }
    return max(recording.allocations.peak - recording.peak_without(freed), 0)


def _emptied(named: str) -> str:
    return f"`{named} = None` before the next step"


def _only_by(paths: Sequence[ReferencePath], key: Key) -> bool:
    """Return whether all objects that hold a block directly are inside the object of a key."""
    direct = [path for path in paths if not path.through_graph]
    return bool(direct) and all(key in path.keys for path in direct)


def _last_use(peak: PeakState, block: int) -> int:
    """Return the last operator that reads a block in the step that made it, or in the step of the peak."""
    end = peak.recording.steps.start_of(peak.blocks[block].step + 1)
    reads = [n for n in peak.reads.get(block, []) if n < end or peak.start <= n < peak.end]
    return max([peak.blocks[block].maker, *reads])


def _fix(peak: PeakState, live: LiveBlock, path: ReferencePath, retainer: Retainer, named: str) -> str:
    """Return a sentence on how to change the code, with the user's names."""
    if "__traceback__" in path.expression:
        return f"an exception holds its traceback and all variables there: store `str(error)` in `{named}`"
    if path.through_graph and path.number:
        return f"store a number: `.item()` of the value that goes into `{named}`"
    if path.through_graph and peak.number_read_in_step(path.block):
        return f"detach it from its graph when it is read: `{path.expression}.detach()`"
    if path.through_graph:
        return f"detach it from its graph: `.detach()` the value that goes into `{named}`"
    if named.endswith(("hook", "hooks")):
        return "remove the hook when it is no longer needed, with the handle that registering it returned"
    if retainer.referrer.kind == "cache":
        return f"give `{named}` a small maxsize, or call `{named}.cache_clear()`"
    grows = peak.growth(retainer.key) > 0
    if retainer.referrer.kind == "variable" and not grows and (path.local or not path.outlives):
        return _deletion(peak, live, named)
    if retainer.referrer.kind == "variable" and not grows:
        return _emptied(named)
    if _bytes_of_copies(peak, live) <= SMALL_VIEWS * (live.block.size if live.block is not None else 0):
        return f"`.clone()` the part that goes into `{named}`: a view keeps its whole base alive"
    parts = "store only what is needed: a number, or a part by `.clone()`"
    if peak.recording.device != "cpu":
        parts += ", or a copy on the CPU by `.cpu()`"
    if retainer.collection:
        return f"{parts}; or empty `{named}` regularly"
    if grows and path.expression == named:
        return f"bound its length, `{named} = {named}[-n:]`, or write into a tensor that is allocated once"
    return f"`{named} = None` before the next step; or {parts}"


def _bytes_of_copies(peak: PeakState, live: LiveBlock) -> int:
    """Return the bytes that copies of the views would take through which objects hold a block."""
    views = {(path.offset, path.shape): path.bytes for path in peak.paths_to(live) if not path.through_graph}
    return sum(peak.recording.rounded(size) for size in views.values()) if views else live.size


def _deletion(peak: PeakState, live: LiveBlock, named: str) -> str:
    """Return the advice to delete a local variable, or nothing if that is not safe or does not free the block."""
    paths = peak.paths_to(live)
    last = peak.last_read(live)
    block = live.block
    alone = len({path.expression for path in paths}) == 1
    if last is None or block is None or block.number in peak.held_by_caller or not alone or not named.isidentifier():
        return ""
    function = paths[0].root.removeprefix("local of ")
    inside = next((line for line in last.stack if line.function == function), None)
    after = last_use(inside, named) if inside is not None else None
    return f"`del {named}` after {after.place}" if after is not None else ""


def unexplained_growth(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield one finding about blocks of older training steps that are alive at the peak for no known reason.

    No operator reads these blocks in the training step that contains the peak, and no reference path to them was found.
    A path does not count if it is only a local variable of the training step, or leads through the autograd graph of a
    gradient.
    """
    members = [(i, live) for i, live in rows if _unexplained(peak, live)]
    if not members:
        return
    by_age: dict[int, int] = defaultdict(int)
    for _, live in members:
        by_age[peak.age(live)] += live.size
    growth = max(by_age.values()) if len(by_age) > 1 else 0
    makers = [live.operator for _, live in members if live.operator is not None]
    backward = [op for op in makers if op.phase is Phase.BACKWARD and any(map(peak.saved_of, op.makes))]
    line = None
    if len(backward) > len(makers) // 4:
        line = peak.recording.steps.backward_lines.get(backward[0].number)
        fix = (
            "after a backward pass with create_graph=True, parameters and their gradients hold each other: use "
            "torch.autograd.grad, or set every `.grad = None` after the step"
        )
    else:
        fix = (
            "look where it is made for something that outlives the step: an attribute of a class or tensor, a hook, "
            "a stored exception, an object of a C extension; `gc.get_referrers` lists what refers to a tensor"
        )
    grows = f"; they grow by {format_bytes(growth)} with each step" if growth else ""
    blocks = blocks_and_bytes(len(members), bytes_of(members))
    why = f"{blocks} of older steps are alive, and no reference path to them was found{grows}"
    yield finding(peak, GROWS, members, why, fix, line, growth=growth)


def _unexplained(peak: PeakState, live: LiveBlock) -> bool:
    if live.block is None or live.block.role or peak.age(live) <= 0 or peak.read_in_step(live):
        return False
    held = peak.retainer(live)
    return held is None or held[0].local or _held_by_cycle(peak, live, held[0])
