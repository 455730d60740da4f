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
from recompviz.pytorch.debugging.moment import Moment, operator_name, times
from recompviz.pytorch.debugging.recording import LiveBlock
from recompviz.pytorch.debugging.references.keepers import Keeper, Key, Way

HELD_ACROSS = "reference held across iterations"
GROWS = "memory that grows from step to step"

Member = tuple[int, LiveBlock, Way, Keeper]


def held_references(moment: Moment, live: Live) -> Iterator[Finding]:
    """What a name, an attribute or a container of the user's holds without need, or ever more of."""
    groups: dict[Key, list[Member]] = defaultdict(list)
    for i, one in live:
        if one.block is None or one.block.role or (way := moment.keeper(one)) is None:
            continue
        if not _by_a_cycle(moment, one, way[0]) and _needless(moment, one, *way):
            groups[way[1].key].append((i, one, *way))
    for key, members in groups.items():
        yield _reference(moment, key, members)


def _by_a_cycle(moment: Moment, one: LiveBlock, way: Way) -> bool:
    """Whether what held an older block was a gradient with a graph: that keeps itself, whoever lets go of it."""
    return moment.age(one) > 0 and way.through_graph and way.path.endswith(".grad")


def _needless(moment: Moment, one: LiveBlock, way: Way, keeper: Keeper) -> bool:
    """Whether a held block is worth a word: it grows, is of an older step and not read, or will not be read again."""
    grows = moment.growth(keeper.key) >= LEAST_GROWTH
    if grows and not way.through_graph:
        return True
    if moment.age(one):
        return grows or way.through_graph or not moment.read_in_step(one)
    if moment.waiting(one) or moment.next_read(one) or one.operator is None or one.operator.number == moment.at:
        return False
    if way.outlives and moment.read_a_step_later(one):
        return False
    return not (way.local and in_place_reader(moment, one) is not None)  # that is told as such


def _reference(moment: Moment, key: Key, members: list[Member]) -> Finding:
    rows = [(i, one) for i, one, *_ in members]
    _, largest, way, keeper = max(members, key=lambda member: member[1].size)
    slots = {member[3].slot for member in members}
    growth = moment.growth(key)
    named = keeper.slot if keeper.stop.kind == "dict" and len(slots) == 1 else key[1]
    variable = "the variable " if keeper.stop.kind == "variable" else ""
    where = f"{variable}`{named}` ({keeper.root})"
    size = sum(one.size for _, one in rows)
    by = ""
    if way.through_graph:
        by = f", through the graph of `{way.path}`"
    elif way.path != named:
        by = f", as `{way.path}`"
    line = moment.placed.get(key)
    fix = _fix(moment, largest, way, keeper, named)
    avoidable = fall_without(moment, rows, after=True)
    if growth:
        until = f", until it has its {keeper.stop.bound:,} items" if keeper.stop.bound else ""
        why = f"{where} keeps {times(len(rows), size)}{by}; it grows by {format_bytes(growth)} with each step{until}"
        return finding(moment, HELD_ACROSS, rows, why, fix, line, avoidable=avoidable, growth=growth)
    if any(moment.age(one) for _, one in rows):
        why = f"{where} still holds {times(len(rows), size)} of the step before{by}"
        return finding(moment, HELD_ACROSS, rows, why, fix, line, avoidable=avoidable)
    them = "it" if len(rows) == 1 else "them"
    why = f"nothing reads {them} again in this step, but {where} holds {times(len(rows), size)}"
    return finding(moment, "reference held", rows, why, fix, line, avoidable=avoidable)


def _fix(moment: Moment, one: LiveBlock, way: Way, keeper: Keeper, named: str) -> str:
    """What to write instead, in the user's own names."""
    if "__traceback__" in way.path:
        return f"an exception holds its traceback, and with it every variable there: keep `str(error)` in `{named}`"
    if way.through_graph and way.number:
        return f"keep a number: `.item()` of what goes into `{named}`"
    if way.through_graph and moment.number_read_in_step(way.block):
        return f"cut the graph where it is read: `{way.path}.detach()`"
    if way.through_graph:
        return f"cut its graph: `.detach()` what goes into `{named}`"
    if named.endswith(("hook", "hooks")):
        return "remove the hook when it has done its work, by the handle that registering it returns"
    if keeper.stop.kind == "cache":
        return f"give `{named}` a small maxsize, or call `{named}.cache_clear()`"
    grows = moment.growth(keeper.key) > 0
    if keeper.stop.kind == "variable" and not grows:
        last = moment.last_read(one)
        after = f" after {last.line.place}" if last is not None and last.line is not None else ""
        return f"`del {named}`{after}, or use the name again"
    if way.bytes < (one.block.size if one.block is not None else 0):
        return f"`.clone()` the part that goes into `{named}`: a view keeps the whole of its base"
    parts = "only what is needed of it, a number or a part by `.clone()`"
    if moment.recording.device.startswith("cuda"):
        parts += ", or its copy by `.cpu()`"
    if keeper.collection:
        return f"keep {parts}; or empty `{named}` in time"
    if grows and way.path == named:
        return f"bound it, `{named} = {named}[-n:]`, or write into one block allocated once"
    return f"`{named} = None` before the next step, or keep {parts}"


def held_by_what_was_not_found(moment: Moment, live: Live) -> Iterator[Finding]:
    """Blocks of older steps that nothing reads and nothing that has a name was found to hold."""
    rows = [
        (i, one)
        for i, one in live
        if one.block is not None
        and not one.block.role
        and moment.age(one) > 0
        and not moment.read_in_step(one)
        and ((way := moment.keeper(one)) is None or way[0].local or _by_a_cycle(moment, one, way[0]))
    ]
    if not rows:
        return
    by_age: dict[int, int] = defaultdict(int)
    for _, one in rows:
        by_age[moment.age(one)] += one.size
    growth = max(by_age.values()) if len(by_age) > 1 else 0
    made = [one.operator for _, one in rows if one.operator is not None]
    backward = [op for op in made if op.phase is Phase.BACKWARD and any(map(moment.saved_of, op.makes))]
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
        line = moment.recording.watcher.backward_lines.get(backward[0].number)
    size = sum(one.size for _, one in rows)
    grows = f"; {format_bytes(growth)} more with each step" if growth else ""
    why = f"{times(len(rows), size)} of older steps are alive, and nothing that was looked at holds them{grows}"
    yield finding(moment, GROWS, rows, why, fix, line, growth=growth)


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
        f"{moment.kept_for(moment.retained(largest))} among them; retain_graph=True, or create_graph=True, keeps them",
        "add the losses and call backward once, or leave retain_graph and create_graph out of the last call",
        line,
        avoidable=fall_without(moment, rows, after=True),
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
