"""The modules of a graph as a tree of boxes, in which repeated blocks are folded.

A box is one *call* of a module: nodes of the module that run one after the other, with no other node between them. If
other nodes run between two calls of a module, each call has a box of its own. Therefore a path that leaves a box never
enters it again, and the graph of the boxes has no cycle. A single node gets no box. A module that contains all nodes of
its parent shares one box with the parent. Consecutive siblings of equal structure are folded into one box, which shows
their number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from recompviz.core.graphs.graph import Graph

# a graph with more nodes opens collapsed
COLLAPSE_ABOVE = 150


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
        The number of equal blocks in each box; 1 if no block repeats.
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
    items: list[int | _Box] = field(default_factory=list)
    times: int = 1
    shape: Hashable = ()


def running_order(graph: Graph) -> list[int]:
    """Return the nodes in a topological order.

    If every edge leads to a node with a higher number, as in a trace, it is the order of the numbers.
    """
    numbered = bool((graph.edges[:, 0] < graph.edges[:, 1]).all())
    return list(range(len(graph))) if numbered else list(graph.order)


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
    order = running_order(graph)
    place = {v: i for i, v in enumerate(order)}
    inside: list[list[int]] = [[] for _ in order]  # for each place the places of its predecessors
    for u, v in graph.edges.tolist():
        inside[place[v]].append(place[u])
    paths = [tuple(part for part in graph.info[v].module.split(".") if part) for v in order]
    ops = [graph.info[v].op for v in order]

    def build(box: _Box, low: int, high: int, depth: int) -> None:
        for part, run in groupby(range(low, high), key=lambda i: paths[i][depth] if len(paths[i]) > depth else None):
            members = list(run)
            if part is None or len(members) == 1:
                box.items += [order[i] for i in members]
                continue
            a, b, deep = members[0], members[-1] + 1, depth + 1
            while len({paths[i][deep] if len(paths[i]) > deep else None for i in range(a, b)}) == 1 and all(
                len(paths[i]) > deep for i in range(a, b)
            ):
                deep += 1
            child = _Box(".".join(paths[a][depth:deep]), ".".join(paths[a][:deep]))
            build(child, a, b, deep)
            child.shape = tuple(
                (ops[i], paths[i][deep:], tuple(sorted(u - a for u in inside[i] if u >= a))) for i in range(a, b)
            )
            box.items.append(child)
        _fold(box)

    root = _Box("", "")
    build(root, 0, len(order), 0)
    if len(root.items) == 1 and isinstance(root.items[0], _Box):
        root = root.items[0]  # a wrapper around the whole model gets no box
    return _number(root, len(graph))


def _fold(box: _Box) -> None:
    """Fold consecutive siblings of equal structure into one box."""
    folded: list[int | _Box] = []
    for _, run in groupby(box.items, key=lambda item: item.shape if isinstance(item, _Box) else object()):
        members = list(run)
        blocks = [item for item in members if isinstance(item, _Box)]
        if len(blocks) < 2:
            folded += members
        elif len(blocks) == len(box.items):
            box.times = len(blocks)  # the module contains only these blocks
            folded += blocks
        else:
            name = _span(blocks[0].name, blocks[-1].name)
            folded.append(_Box(name, _span(blocks[0].path, blocks[-1].path), list(members), len(blocks)))
    box.items = folded


def _span(first: str, last: str) -> str:
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
