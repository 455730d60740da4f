"""The modules of a graph as a tree of boxes, in which repeated blocks are folded.

A box is one *call* of a module: nodes of one call that run one after the other, with no other node between them. If a
module has several boxes in the same parent, their names are numbered: "head (call 2)", or "head (part 2)" if it is not
known that the nodes belong to different calls. A path that leaves a box never enters it again, so the graph of the
boxes has no cycle. A single node gets no box. A module that contains all nodes of its parent shares one box with the
parent. Repeated siblings of equal structure are folded into one box, which shows their number. Their values have equal
bytes. Three or more siblings may differ in bytes if they are items of a list, as the experts of a mixture, or if their
names differ only in digits and their last values have equal bytes, as the layers of a DenseNet. Equal nodes may lie
between them, as in a loop over the experts of a mixture.

A module gets no box if several of its parts exchange values with different places outside, like the blocks of a U-Net
in a list: otherwise one box would hide where each value goes. Such parts are not folded either. Their names begin with
that of the module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from recompviz.core.graphs.graph import Graph

# a graph with more nodes opens collapsed
COLLAPSE_ABOVE = 150
# a graph with a fold of this many parallel branches opens collapsed, whatever its size
PARALLEL = 6
# a module gets no box if more parts than SPLIT, and at least a share of the parts, have a partner of their own outside
SPLIT, SPLIT_SHARE = 2, 0.34
# the most items in one repetition of a fold
LONGEST_PERIOD = 8
# so many blocks of unequal bytes are folded
UNEQUAL = 3


@dataclass(frozen=True)
class Modules:
    """The tree of module boxes; box 0 is the whole graph.

    *Items* are the nodes and the boxes: item v is node v, and item #V + m is box m. A *fold* is a box around repeated
    blocks of equal structure.

    Attributes
    ----------
    names : tuple of str
        The text on each box: the path of the module below its parent, or for example ``"1–5"`` for a fold.
    paths : tuple of str
        The full path of the module of each box.
    parent : tuple of int
        The box around each box; −1 for box 0.
    times : tuple of int
        The number of repeated blocks in each box; 1 if no block repeats.
    owner : tuple of int
        The innermost box around each node.
    children : tuple of tuples of int
        The items of each box, in the order in which they run.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    parent: tuple[int, ...]
    times: tuple[int, ...]
    owner: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class _Box:
    name: str
    path: str
    number: str = ""  # " (call 2)" if its module has several boxes in the parent; the name and the path end in it
    items: list[int | _Box] = field(default_factory=list)
    times: int = 1
    shape: Hashable = ()
    memory: tuple[int, ...] = ()  # of its nodes
    first: int = 0  # the places of its nodes in ``graph.order``: first ≤ place < stop
    stop: int = 0
    split: bool = False  # gets no box


def module_tree(graph: Graph) -> Modules:
    """Return the tree of the modules of a graph.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> tree = module_tree(residual_step((1, 3))[0])
    >>> list(zip(tree.names, tree.times))[1:5]
    [('layer1.0', 1), ('downsample', 1), ('layer2', 1), ('0', 1)]
    >>> [(name, n) for name, n in zip(tree.names, tree.times) if n > 1]
    [('1–2', 2)]
    """
    order = graph.order
    place = {v: i for i, v in enumerate(order)}
    inside: list[list[int]] = [[] for _ in order]  # for each place the places of its predecessors
    after: list[list[int]] = [[] for _ in order]
    for u, v in graph.edges.tolist():
        inside[place[v]].append(place[u])
        after[place[u]].append(place[v])
    paths = [tuple(part for part in graph.info[v].module.split(".") if part) for v in order]
    calls = [(*graph.info[v].calls, *(0 for _ in path))[: len(path)] for v, path in zip(order, paths, strict=True)]
    ops = [graph.info[v].op for v in order]

    def part_at(i: int, depth: int) -> tuple[str, int] | None:
        """The part of the path of a node at some depth, and the number of its call; None if the path ends before."""
        return (paths[i][depth], calls[i][depth]) if len(paths[i]) > depth else None

    def build(box: _Box, low: int, high: int, depth: int) -> None:
        runs: list[tuple[int, int, int]] = []  # the places of the nodes, and the depth below the box; 0 for no box
        for part, run in groupby(range(low, high), key=lambda i: part_at(i, depth)):
            members = list(run)
            a, b, deep = members[0], members[-1] + 1, depth + 1
            while len({part_at(i, deep) for i in members}) == 1 and len(paths[a]) > deep:
                deep += 1
            runs.append((a, b, 0 if part is None or len(members) == 1 else deep))
        names = [".".join(paths[a][depth:deep]) for a, _, deep in runs]
        numbers = _numbers_of(names, [calls[a][depth:deep] for a, _, deep in runs])
        for (a, b, deep), bare, number in zip(runs, names, numbers, strict=True):
            if not deep:
                box.items += order[a:b]
                continue
            # the path has the numbers of the boxes around it, too
            name = bare + number
            above = f"{box.path}." if box.path else ""
            child = _Box(name, above + name, number, first=a, stop=b)
            build(child, a, b, deep)
            child.shape = tuple(
                (ops[i], paths[i][deep:], tuple(sorted(u - a for u in inside[i] if u >= a))) for i in range(a, b)
            )
            child.memory = tuple(int(graph.memory[order[i]]) for i in range(a, b))
            if child.split:
                for item in child.items:
                    if isinstance(item, _Box):
                        item.name = f"{child.name}.{item.name}"
            box.items += child.items if child.split else [child]
        parts = [item for item in box.items if isinstance(item, _Box)]
        own = _own_partners(parts, low, high, inside, after)
        box.split = depth > 0 and own > SPLIT and own >= SPLIT_SHARE * len(parts)

        def foldable(blocks: list[_Box]) -> bool:
            own = _own_partners(blocks, blocks[0].first, blocks[-1].stop, inside, after)
            return own < 2 or own < SPLIT_SHARE * len(blocks)

        if not box.split:
            kinds = {v: (ops[place[v]], paths[place[v]]) for v in box.items if not isinstance(v, _Box)}
            _fold(box, kinds, foldable)

    root = _Box("", "", stop=len(order))
    build(root, 0, len(order), 0)
    if len(root.items) == 1 and isinstance(root.items[0], _Box):
        root = root.items[0]  # a wrapper around the whole model gets no box
    return _number(root, len(graph))


def _numbers_of(names: Sequence[str], calls: Sequence[tuple[int, ...]]) -> list[str]:
    """Return what the names of boxes of the same parent end in: ``" (call 2)"``, or "" for a name that is there once.

    ``calls`` are the numbers of the calls of the modules in a name. An empty name belongs to nodes that get no box.
    """
    same: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        same.setdefault(name, []).append(i)
    found = [""] * len(names)
    for name, places in same.items():
        if name and len(places) > 1:
            word = "call" if len({calls[i] for i in places}) == len(places) else "part"
            for count, i in enumerate(places, start=1):
                found[i] = f" ({word} {count})"
    return found


def _own_partners(
    parts: Sequence[_Box], low: int, high: int, inside: Sequence[Sequence[int]], after: Sequence[Sequence[int]]
) -> int:
    """Return how many parts of a module have a partner of their own outside of the places from low to high.

    It is the larger of two numbers: one counts the sources of values, the other the targets. In a module whose parts
    run one after the other it is 1, since only the first part has sources outside, and only the last one targets.
    """
    most = 0
    for near in (inside, after):
        partners = [{u for i in range(p.first, p.stop) for u in near[i] if not low <= u < high} for p in parts]
        uses = Counter(u for each in partners for u in each)
        most = max(most, sum(any(uses[u] == 1 for u in each) for each in partners))
    return most


def _fold(box: _Box, kinds: Mapping[int, Hashable], foldable: Callable[[list[_Box]], bool]) -> None:
    """Fold repeated siblings of equal structure into one box, if they are foldable.

    ``kinds`` gives the operator and the module of the box's nodes.
    """
    boxes = [item if isinstance(item, _Box) else None for item in box.items]
    kind = [item.shape if isinstance(item, _Box) else kinds[item] for item in box.items]
    equal = [(key, child and child.memory) for key, child in zip(kind, boxes, strict=True)]
    similar = [(key, child and _likeness(child)) for key, child in zip(kind, boxes, strict=True)]
    folded: list[int | _Box] = []
    at = 0
    while at < len(box.items):
        period, times = _repetition(box.items, equal, at)
        wider = _repetition(box.items, similar, at)
        if wider[1] >= UNEQUAL and wider[0] * wider[1] > period * times:
            period, times = wider
        members = box.items[at : at + period * times]
        blocks = [item for item in members if isinstance(item, _Box)]
        if times == 1 or not foldable(blocks):
            folded += members
        elif len(members) == len(box.items):
            box.times = times  # the module contains only these blocks
            folded += members
        else:
            name = _span(blocks[0].name, blocks[-1].name, blocks[0].number, blocks[-1].number)
            path = _span(blocks[0].path, blocks[-1].path, blocks[0].number, blocks[-1].number)
            folded.append(
                _Box(name, path, items=list(members), times=times, first=blocks[0].first, stop=blocks[-1].stop)
            )
        at += len(members)
    box.items = folded


def _likeness(box: _Box) -> Hashable:
    """Return what must be equal in blocks of equal structure and unequal bytes that are folded."""
    listed = box.name.removesuffix(box.number).partition(".")[0].isdigit()
    return "" if listed else (re.sub(r"\d+", "", box.name), box.memory[-1])


def _repetition(items: Sequence[int | _Box], keys: Sequence[Hashable], at: int) -> tuple[int, int]:
    """Return the period and the number of repetitions, from a position on, that fold most items; (1, 1) for no fold.

    Two blocks beside each other are folded. With nodes between the blocks, three repetitions are needed, and the blocks
    must be modules of one list.
    """
    best = (1, 1)
    for period in range(1, min(LONGEST_PERIOD, len(items) - at) + 1):
        if not any(isinstance(item, _Box) for item in items[at : at + period]):
            continue
        times = 1
        while keys[at : at + period] == keys[at + period * times : at + period * (times + 1)] and (
            period == 1 or _of_one_list(items[at : at + period * (times + 1)])
        ):
            times += 1
        if times >= (2 if period == 1 else 3) and period * times > best[0] * best[1]:
            best = (period, times)
    return best


def _of_one_list(items: Sequence[int | _Box]) -> bool:
    return len({item.path.rpartition(".")[0] for item in items if isinstance(item, _Box)}) == 1


def has_parallel_fold(graph: Graph, modules: Modules) -> bool:
    """Return whether a box folds six or more blocks of which none uses a value of another one.

    The experts of a mixture are an example.
    """
    count = len(graph)
    wide = {m for m in range(len(modules)) if modules.times[m] >= PARALLEL}
    if not wide:
        return False
    chains = [[v, *(count + m for m in ancestors(modules, v))] for v in range(count)]
    part = [{item - count: below for below, item in pairwise(chain)} for chain in chains]  # box → item of it with v
    linked = set()
    for u, v in graph.edges.tolist():
        for m in wide & part[u].keys() & part[v].keys():
            a, b = part[u][m], part[v][m]
            if a != b and a >= count and b >= count:
                linked.add(m)
    return bool(wide - linked)


def collapse_above(graph: Graph, modules: Modules) -> int:
    """Return the number of nodes above which a graph with these modules opens collapsed, whatever its layout is."""
    return 0 if has_parallel_fold(graph, modules) else COLLAPSE_ABOVE


def _span(first: str, last: str, number: str = "", last_number: str = "") -> str:
    """Return the name of a fold from those of its first and last block: "1–5", or "cell (calls 1–8)"."""
    if number and last_number:
        (word, count), (_, last_count) = (text.strip(" ()").split() for text in (number, last_number))
        first, last = first.removesuffix(number), last.removesuffix(last_number)
        counts = f" ({word}s {count}–{last_count})" if count != last_count else number
        return (first if first == last else _span(first, last)) + counts
    head, _, end = last.rpartition(".")
    return f"{first}–{end}" if first.rpartition(".")[0] == head else f"{first} – {last}"


def _number(root: _Box, count: int) -> Modules:
    names: list[str] = []
    paths: list[str] = []
    parent: list[int] = []
    times: list[int] = []
    children: list[tuple[int, ...]] = []
    owner = [0] * count

    def visit(box: _Box, above: int) -> int:
        number = len(names)
        names.append(box.name)
        paths.append(box.path)
        parent.append(above)
        times.append(box.times)
        children.append(())
        items: list[int] = []
        for item in box.items:
            if isinstance(item, _Box):
                items.append(count + visit(item, number))
            else:
                owner[item] = number
                items.append(item)
        children[number] = tuple(items)
        return number

    visit(root, -1)
    return Modules(tuple(names), tuple(paths), tuple(parent), tuple(times), tuple(owner), tuple(children))


def times_text(modules: Modules, m: int) -> str:
    """Return what box m folds, as it stands after the name: ``"×8"``, or ``"(2 blocks ×3)"`` if blocks repeat together.

    The result is empty if the box folds nothing. It mirrors ``timesText`` of the page.
    """
    times = modules.times[m]
    if times < 2:
        return ""
    each = sum(item >= len(modules.owner) for item in modules.children[m]) // times
    return f"({each} blocks ×{times})" if each > 1 else f"×{times}"


def ancestors(modules: Modules, item: int) -> Sequence[int]:
    """Return the boxes around an item, the innermost first. The last one is box 0.

    The result is empty for box 0 itself.
    """
    count = len(modules.owner)
    box = modules.owner[item] if item < count else modules.parent[item - count]
    found = []
    while box >= 0:
        found.append(box)
        box = modules.parent[box]
    return found
