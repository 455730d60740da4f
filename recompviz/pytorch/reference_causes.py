"""Causes that lie with who holds a value: the caller, a hook, a graph kept or never run backward, a recomputation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.attribution import LEAST_GROWTH, Finding, SourceLine
from recompviz.core.schedule import Phase
from recompviz.core.units import format_bytes
from recompviz.pytorch.cause_parts import (
    Live,
    common_line,
    fall_without,
    finding,
    is_own,
)
from recompviz.pytorch.copy_causes import in_place_reader
from recompviz.pytorch.holders import Holder
from recompviz.pytorch.keepers import Keeper, Key
from recompviz.pytorch.moment import Moment, operator_name, times
from recompviz.pytorch.recording import LiveBlock


def held_references(moment: Moment, live: Live) -> Iterator[Finding]:
    """What a name, an attribute or a container of the user's holds without need, or ever more of."""
    groups: dict[Key, list[tuple[int, LiveBlock, Holder, Keeper]]] = defaultdict(list)
    for i, one in live:
        if one.block is None or one.block.role or (way := moment.keeper(one)) is None:
            continue
        if _needless(moment, one, *way):
            groups[way[1].key].append((i, one, *way))
    for key, members in groups.items():
        yield _reference(moment, key, members)


def _needless(moment: Moment, one: LiveBlock, holder: Holder, keeper: Keeper) -> bool:
    """Whether a held block is worth a word: it grows, is of an older step and not read, or will not be read again."""
    grows = moment.growth(keeper.key) >= LEAST_GROWTH
    if grows and not holder.through_graph:
        return True
    if moment.age(one):
        return grows or holder.through_graph or not moment.read_in_step(one)
    if moment.waiting(one) or moment.next_read(one) or one.operator is None or one.operator.number == moment.at:
        return False
    if holder.outlives and moment.read_a_step_later(one):
        return False
    return not (holder.local and in_place_reader(moment, one) is not None)  # that is told as such


def _reference(moment: Moment, key: Key, members: list[tuple[int, LiveBlock, Holder, Keeper]]) -> Finding:
    rows = [(i, one) for i, one, *_ in members]
    _, _, holder, keeper = max(members, key=lambda member: member[1].size)
    slots = {member[3].slot for member in members}
    growth = moment.growth(key)
    named = keeper.slot if isinstance(keeper.owner, dict) and len(slots) == 1 else key[1]
    where = f"{'the variable ' if keeper.variable else ''}`{named}` ({keeper.root})"
    size = sum(one.size for _, one in rows)
    by = "" if holder.path == named and not holder.through_graph else f"`{holder.path}`"
    by = f", through {'the graph of ' if holder.through_graph else ''}{by}" if by else ""
    line = moment.placed.get(key)
    if growth:
        bound = getattr(keeper.owner, "maxlen", None)
        until = f", until it has its {bound:,} items" if bound else ""
        why = f"{where} keeps {times(len(rows), size)}{by}; it grows by {format_bytes(growth)} with each step{until}"
        return finding(moment, HELD_ACROSS, rows, why, _fix(holder, keeper, named, True), line, growth=growth)
    if any(moment.age(one) for _, one in rows):
        why = f"{where} still holds {times(len(rows), size)} of the step before{by}"
        return finding(moment, HELD_ACROSS, rows, why, _fix(holder, keeper, named, False), line)
    them = "it" if len(rows) == 1 else "them"
    why = f"nothing reads {them} again in this step, but {where} holds {times(len(rows), size)}"
    avoidable = fall_without(moment, rows, after=True)
    return finding(moment, "reference held", rows, why, _fix(holder, keeper, named, False), line, avoidable=avoidable)


HELD_ACROSS = "reference held across iterations"


def _fix(holder: Holder, keeper: Keeper, named: str, grows: bool) -> str:
    """What to write instead, in the user's own names."""
    number = holder.tensor.numel() == 1
    detach = "`.detach()`, " if holder.tensor.grad_fn is not None else ""
    if holder.through_graph:
        keep = "keep a number: `.item()` of" if number else "cut its graph: `.detach()`"
        return f"{keep} what goes into `{named}`"
    if keeper.cache:
        return f"give `{named}` a small maxsize, or call its `cache_clear()`"
    if keeper.variable and not grows:
        return f"`del {named}` when it is no longer needed, or use the name again"
    if keeper.collection and grows:
        return f"keep only what is needed of it: a number, {detach}`.cpu()`; or empty `{named}` in time"
    if grows:
        return f"bound it, `{named} = {named}[-n:]`, or write into one block allocated once"
    return f"`{named} = None` before the next step, or keep only what is needed of it: a number, {detach}`.cpu()`"


def retained_graph(moment: Moment, live: Live) -> Iterator[Finding]:
    """Values whose backward has run, and that ``retain_graph=True`` keeps."""
    rows = [(i, one) for i, one in live if not is_own(one) and moment.retained(one)]
    if not rows:
        return
    runs = moment.recording.watcher.runs
    largest = max(rows, key=lambda row: row[1].size)[1]
    run = runs[moment.retained(largest)[0].sequence]
    line = next(
        (found for n in range(run.first, run.last + 1) if (found := moment.recording.watcher.backward_lines.get(n))),
        None,
    )
    yield finding(
        moment,
        "graph retained after backward",
        rows,
        f"{times(len(rows), sum(o.size for _, o in rows))} were saved for a backward that has run, "
        f"{moment.kept_for(moment.retained(largest))} among them; retain_graph=True keeps them",
        "add the losses and call backward once, or leave retain_graph out of the last call",
        line,
    )


def graph_without_backward(moment: Moment, live: Live) -> Iterator[Finding]:
    """Values saved for a backward in a step that runs none."""
    if moment.has_backward:
        return
    rows = [(i, o) for i, o in live if not is_own(o) and moment.age(o) == 0 and moment.waiting(o)]
    if rows:
        size = sum(o.size for _, o in rows)
        yield finding(
            moment,
            "graph built without a backward",
            rows,
            f"{times(len(rows), size)} are saved for a backward pass that this step never runs",
            "run it under `torch.no_grad()` or `torch.inference_mode()`",
            common_line([o.operator for _, o in rows]),
        )


def recomputed_at_once(moment: Moment, live: Live) -> Iterator[Finding]:
    """Values that a checkpoint has recomputed long before most of them are read."""
    groups: dict[SourceLine, Live] = defaultdict(list)
    for i, one in live:
        op = one.operator
        if one.block is not None and not one.block.role and op and op.phase is Phase.RECOMPUTE and op.checkpoint:
            groups[op.checkpoint].append((i, one))
    for line, rows in groups.items():
        if len(rows) < 3:
            continue
        size = sum(o.size for _, o in rows)
        largest = max(o.size for _, o in rows)
        yield finding(
            moment,
            "recomputed too early",
            rows,
            f"the checkpoint recomputes {times(len(rows), size)} at once; the backward running at the peak, "
            f"{operator_name(moment.recording.peak_operator)}, needs one or two of them now",
            f"checkpoint shorter parts: about {max(2, round(len(rows) ** 0.5))} of them, rather than one",
            line,
            avoidable=size - largest,
        )
