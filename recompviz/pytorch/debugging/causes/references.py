"""Causes that lie with who holds a value: the caller, a hook, a graph kept or never run backward, a recomputation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import LEAST_GROWTH, Finding, SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.causes.copies import in_place_reader
from recompviz.pytorch.debugging.causes.parts import (
    Live,
    common_line,
    fall_without,
    finding,
    is_own,
)
from recompviz.pytorch.debugging.peak.peak_state import PeakState, operator_name, times
from recompviz.pytorch.debugging.recorder.recording import LiveBlock
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer

HELD_ACROSS = "reference held across iterations"
GROWS = "memory that grows from step to step"

Member = tuple[int, LiveBlock, ReferencePath, Retainer]


def held_references(peak: PeakState, live: Live) -> Iterator[Finding]:
    """What a name, an attribute or a container of the user's holds without need, or ever more of."""
    groups: dict[Key, list[Member]] = defaultdict(list)
    for i, one in live:
        if one.block is None or one.block.role or (path := peak.retainer(one)) is None:
            continue
        if not _by_a_cycle(peak, one, path[0]) and _needless(peak, one, *path):
            groups[path[1].key].append((i, one, *path))
    for key, members in groups.items():
        yield _reference(peak, key, members)


def _by_a_cycle(peak: PeakState, one: LiveBlock, path: ReferencePath) -> bool:
    """Whether what held an older block was a gradient with a graph: that keeps itself, whoever lets go of it."""
    return peak.age(one) > 0 and path.through_graph and path.expression.endswith(".grad")


def _needless(peak: PeakState, one: LiveBlock, path: ReferencePath, retainer: Retainer) -> bool:
    """Whether a held block is worth a word: it grows, is of an older step and not read, or will not be read again."""
    grows = peak.growth(retainer.key) >= LEAST_GROWTH
    if grows and not path.through_graph:
        return True
    if peak.age(one):
        return grows or path.through_graph or not peak.read_in_step(one)
    if peak.waiting(one) or peak.next_read(one) or one.operator is None or one.operator.number == peak.at:
        return False
    if path.outlives and peak.read_a_step_later(one):
        return False
    return not (path.local and in_place_reader(peak, one) is not None)  # that is told as such


def _reference(peak: PeakState, key: Key, members: list[Member]) -> Finding:
    rows = [(i, one) for i, one, *_ in members]
    _, largest, path, retainer = max(members, key=lambda member: member[1].size)
    slots = {member[3].slot for member in members}
    growth = peak.growth(key)
    named = retainer.slot if retainer.referrer.kind == "dict" and len(slots) == 1 else key[1]
    variable = "the variable " if retainer.referrer.kind == "variable" else ""
    where = f"{variable}`{named}` ({retainer.root})"
    size = sum(one.size for _, one in rows)
    by = ""
    if path.through_graph:
        by = f", through the graph of `{path.expression}`"
    elif path.expression != named:
        by = f", as `{path.expression}`"
    line = peak.placed.get(key)
    fix = _fix(peak, largest, path, retainer, named)
    avoidable = fall_without(peak, rows, after=True)
    if growth:
        until = f", until it has its {retainer.referrer.bound:,} items" if retainer.referrer.bound else ""
        why = f"{where} keeps {times(len(rows), size)}{by}; it grows by {format_bytes(growth)} with each step{until}"
        return finding(peak, HELD_ACROSS, rows, why, fix, line, avoidable=avoidable, growth=growth)
    if any(peak.age(one) for _, one in rows):
        why = f"{where} still holds {times(len(rows), size)} of the step before{by}"
        return finding(peak, HELD_ACROSS, rows, why, fix, line, avoidable=avoidable)
    them = "it" if len(rows) == 1 else "them"
    why = f"nothing reads {them} again in this step, but {where} holds {times(len(rows), size)}"
    return finding(peak, "reference held", rows, why, fix, line, avoidable=avoidable)


def _fix(peak: PeakState, one: LiveBlock, path: ReferencePath, retainer: Retainer, named: str) -> str:
    """What to write instead, in the user's own names."""
    if "__traceback__" in path.expression:
        return f"an exception holds its traceback, and with it every variable there: keep `str(error)` in `{named}`"
    if path.through_graph and path.number:
        return f"keep a number: `.item()` of what goes into `{named}`"
    if path.through_graph and peak.number_read_in_step(path.block):
        return f"cut the graph where it is read: `{path.expression}.detach()`"
    if path.through_graph:
        return f"cut its graph: `.detach()` what goes into `{named}`"
    if named.endswith(("hook", "hooks")):
        return "remove the hook when it has done its work, by the handle that registering it returns"
    if retainer.referrer.kind == "cache":
        return f"give `{named}` a small maxsize, or call `{named}.cache_clear()`"
    grows = peak.growth(retainer.key) > 0
    if retainer.referrer.kind == "variable" and not grows:
        last = peak.last_read(one)
        after = f" after {last.line.place}" if last is not None and last.line is not None else ""
        return f"`del {named}`{after}, or use the name again"
    if path.bytes < (one.block.size if one.block is not None else 0):
        return f"`.clone()` the part that goes into `{named}`: a view keeps the whole of its base"
    parts = "only what is needed of it, a number or a part by `.clone()`"
    if peak.recording.device.startswith("cuda"):
        parts += ", or its copy by `.cpu()`"
    if retainer.collection:
        return f"keep {parts}; or empty `{named}` in time"
    if grows and path.expression == named:
        return f"bound it, `{named} = {named}[-n:]`, or write into one block allocated once"
    return f"`{named} = None` before the next step, or keep {parts}"


def held_by_what_was_not_found(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Blocks of older steps that nothing reads and nothing that has a name was found to hold."""
    rows = [
        (i, one)
        for i, one in live
        if one.block is not None
        and not one.block.role
        and peak.age(one) > 0
        and not peak.read_in_step(one)
        and ((path := peak.retainer(one)) is None or path[0].local or _by_a_cycle(peak, one, path[0]))
    ]
    if not rows:
        return
    by_age: dict[int, int] = defaultdict(int)
    for _, one in rows:
        by_age[peak.age(one)] += one.size
    growth = max(by_age.values()) if len(by_age) > 1 else 0
    made = [one.operator for _, one in rows if one.operator is not None]
    backward = [op for op in made if op.phase is Phase.BACKWARD and any(map(peak.saved_of, op.makes))]
    fix = (
        "look for what outlives the step where it is made: an attribute of a class or a tensor, a hook, an exception "
        "kept with its traceback, an object of a C extension; `gc.get_referrers` of a tensor names it"
    )
    line = None
    if len(backward) > len(made) // 4:
        fix = (
            "a backward pass with create_graph=True makes parameters and their gradients hold each other: use "
            "torch.autograd.grad, or set every `.grad = None` when the step is over"
        )
        line = peak.recording.watcher.backward_lines.get(backward[0].number)
    size = sum(one.size for _, one in rows)
    grows = f"; {format_bytes(growth)} more with each step" if growth else ""
    why = f"{times(len(rows), size)} of older steps are alive, and nothing that was looked at holds them{grows}"
    yield finding(peak, GROWS, rows, why, fix, line, growth=growth)


def retained_graph(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Values whose backward has run, and that ``retain_graph=True`` keeps."""
    rows = [(i, one) for i, one in live if not is_own(one) and peak.retained(one)]
    if not rows:
        return
    runs = peak.recording.watcher.runs
    largest = max(rows, key=lambda row: row[1].size)[1]
    run = runs[peak.retained(largest)[0].sequence]
    line = next(
        (found for n in range(run.first, run.last + 1) if (found := peak.recording.watcher.backward_lines.get(n))),
        None,
    )
    yield finding(
        peak,
        "graph retained after backward",
        rows,
        f"{times(len(rows), sum(o.size for _, o in rows))} were saved for a backward that has run, "
        f"{peak.kept_for(peak.retained(largest))} among them; retain_graph=True, or create_graph=True, keeps them",
        "add the losses and call backward once, or leave retain_graph and create_graph out of the last call",
        line,
        avoidable=fall_without(peak, rows, after=True),
    )


def graph_without_backward(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Values saved for a backward in a step that runs none."""
    if peak.has_backward:
        return
    rows = [(i, o) for i, o in live if not is_own(o) and peak.age(o) == 0 and peak.waiting(o)]
    if rows:
        size = sum(o.size for _, o in rows)
        yield finding(
            peak,
            "graph built without a backward",
            rows,
            f"{times(len(rows), size)} are saved for a backward pass that this step never runs",
            "run it under `torch.no_grad()` or `torch.inference_mode()`",
            common_line([o.operator for _, o in rows]),
        )


def recomputed_at_once(peak: PeakState, live: Live) -> Iterator[Finding]:
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
            peak,
            "recomputed too early",
            rows,
            f"the checkpoint recomputes {times(len(rows), size)} at once; the backward running at the peak, "
            f"{operator_name(peak.recording.peak_operator)}, needs one or two of them now",
            f"checkpoint shorter parts: about {max(2, round(len(rows) ** 0.5))} of them, rather than one",
            line,
            avoidable=size - largest,
        )
