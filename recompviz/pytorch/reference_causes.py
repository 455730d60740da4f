"""Causes that lie with who holds a value: the caller, a hook, a graph kept or never run backward, a recomputation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.attribution import Finding, SourceLine
from recompviz.core.schedule import Phase
from recompviz.core.units import format_bytes
from recompviz.pytorch.cause_parts import (
    Live,
    common_line,
    fall_without,
    finding,
    is_own,
)
from recompviz.pytorch.holders import Holder
from recompviz.pytorch.moment import Moment, operator_name, times
from recompviz.pytorch.operator_causes import in_place_reader
from recompviz.pytorch.recording import LiveBlock


def held_references(moment: Moment, live: Live) -> Iterator[Finding]:
    """What nothing will read again, and a name, an attribute or a container of the user's still holds."""
    groups: dict[tuple[str, str], list[tuple[int, LiveBlock, Holder]]] = defaultdict(list)
    for i, one in live:
        block = one.block
        if block is None or block.role or not (held := moment.holders_of(one)):
            continue
        old = moment.age(one) > 0
        if not old and (moment.waiting(one) or moment.next_read(one) or one.operator is None):
            continue
        if not old and one.operator and one.operator.number == moment.at:
            continue
        if not old and in_place_reader(moment, one) is not None and held[0].local:
            continue  # told as such
        holder = next((h for h in held if not h.local), held[0])
        groups[holder.root, holder.container_path].append((i, one, holder))
    for (root, path), members in groups.items():
        rows = [(i, one) for i, one, _ in members]
        holder = max(members, key=lambda member: member[1].size)[2]
        ages = {moment.age(one) for _, one, _ in members}
        size = sum(one.size for _, one in rows)
        old_ages = ages - {0}
        growing = len(old_ages) > 1
        growth = max(sum(o.size for _, o in rows if moment.age(o) == age) for age in old_ages) if growing else 0
        line = moment.placed.get(id(holder.container)) if holder.container is not None else None
        by = f"{'the graph of ' if holder.through_graph else ''}`{holder.path}`"
        where = f"`{path}`" if holder.container is not None else f"the variable `{path}`"
        if growing:
            yield finding(
                moment,
                "reference held across iterations",
                rows,
                f"{where} ({root}) keeps {times(len(rows), size)}, through {by}; it grows by "
                f"{format_bytes(growth)} with each step",
                _let_go(holder),
                line,
                growth=growth,
            )
        elif old_ages:
            yield finding(
                moment,
                "reference held across iterations",
                rows,
                f"{where} ({root}) still holds {times(len(rows), size)} of the step before, through {by}",
                _let_go(holder),
                line,
            )
        else:
            yield finding(
                moment,
                "reference held",
                rows,
                f"nothing reads {'it' if len(rows) == 1 else 'them'} again in this step, but {where} ({root}) "
                f"holds {times(len(rows), size)}",
                _let_go(holder),
                line,
                avoidable=fall_without(moment, rows, after=True),
            )


def _let_go(holder: Holder) -> str:
    if holder.through_graph:
        return f"keep a number: `.item()` or `.detach()` what goes into `{holder.container_path or holder.path}`"
    if holder.local:
        return f"use the name `{holder.path}` again, or `del {holder.path}`"
    return f"do not keep it, or only what is needed of it: `.detach()`, `.cpu()`, or empty `{holder.container_path}`"


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
