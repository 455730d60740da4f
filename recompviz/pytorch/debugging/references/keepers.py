"""What keeps a block from step to step: of the ways to reach it, the one that is to blame, and how it grows.

A way runs through several objects: ``log[3]['outputs']`` through ``log`` and through the dict of the third step. The
*keeper* is the innermost of them that was there before the step, here ``log``; the *slot* is where it holds the block,
``log[3]``. What each keeper holds between successive steps tells whether it grows. Nothing here refers to what is held.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import torch

from recompviz.pytorch.debugging.references.holders import Holder, Link, Walk, nodes_behind
from recompviz.pytorch.debugging.references.reachable import Names, attributes
from recompviz.pytorch.debugging.watcher import Watcher

Key = tuple[str, str]

# graphs of so many tensors are followed
MOST_GRAPHS = 200
# the newest items of a container that are looked at when a line may have changed it, and how deep
_ITEMS, _DEPTH = 32, 3


@dataclass(frozen=True)
class Stop:
    """One object on a way: how it is written, which it is, and what kind of thing."""

    path: str
    identity: int
    kind: str  # "variable", "dict", "collection", "cache" or "object"
    bound: int | None = None  # the most items it takes

    @classmethod
    def of(cls, link: Link) -> Stop:
        """What is known of an object without holding it."""
        kind = type(link.owner)
        path, identity = link.key
        if kind is Names:
            return cls(path, identity, "variable")
        if issubclass(kind, dict):
            return cls(path, identity, "dict")
        if issubclass(kind, deque):
            return cls(path, identity, "collection", link.owner.maxlen)
        if issubclass(kind, list | tuple | set | frozenset):
            return cls(path, identity, "collection")
        return cls(path, identity, "cache" if issubclass(kind, functools._lru_cache_wrapper) else "object")


@dataclass(frozen=True)
class Way:
    """A way on which a block is reached; no reference to any of it.

    Attributes
    ----------
    path, root : str
        As of a :class:`Holder`.
    trail : tuple of Stop
        From the variable to the innermost container.
    block : int
        Of the tensor that is reached: the block itself, or one whose graph holds it.
    shape, offset, bytes
        Of that tensor; its elements, in bytes.
    """

    path: str
    root: str
    trail: tuple[Stop, ...]
    outlives: bool
    block: int
    shape: tuple[int, ...]
    offset: int
    bytes: int
    has_graph: bool
    through_graph: bool = False

    @classmethod
    def of(cls, holder: Holder, block: int) -> Way:
        """What is known of a holder."""
        tensor = holder.tensor
        return cls(
            holder.path,
            holder.root,
            tuple(map(Stop.of, holder.trail)),
            holder.outlives,
            block,
            tuple(tensor.shape),
            int(tensor.storage_offset()),
            tensor.numel() * tensor.element_size(),
            tensor.grad_fn is not None,
        )

    @property
    def local(self) -> bool:
        """Whether it is a plain local variable, gone when its function returns."""
        return not self.outlives and len(self.trail) == 1

    @property
    def number(self) -> bool:
        """Whether the tensor has one element."""
        return all(size == 1 for size in self.shape)

    @cached_property
    def keys(self) -> frozenset[Key]:
        """Every object and slot on it."""
        return frozenset((self.root, path) for path in (*(stop.path for stop in self.trail), self.path))

    @property
    def text(self) -> str:
        """For people."""
        return f"{'the graph of ' if self.through_graph else ''}`{self.path}` ({self.root})"


@dataclass(frozen=True)
class Keeper:
    """The object that outlives a step, and where it holds a block.

    Attributes
    ----------
    stop : Stop
        The object: ``log``, or ``self``, or for a variable the place it is in.
    slot : str
        ``log[3]``, ``self.bank``, or the variable's name.
    root : str
        Where the path starts: ``global``, ``local of main``.
    """

    stop: Stop
    slot: str
    root: str

    @property
    def collection(self) -> bool:
        """Whether it is something that one puts things into."""
        return self.stop.kind in ("dict", "collection")

    @property
    def key(self) -> Key:
        """What is told together: all of a collection, one attribute or variable of anything else."""
        whole = self.collection or self.stop.kind == "cache"
        return self.root, self.stop.path if whole else self.slot


@dataclass(frozen=True)
class Held:
    """What was held between two steps.

    Attributes
    ----------
    containers : frozenset of (path, id)
    ways : mapping of int to list of Way
        By block.
    cut : str
        What was not looked at.
    """

    containers: frozenset[tuple[str, int]]
    ways: Mapping[int, list[Way]]
    cut: str = ""

    @classmethod
    def of(cls, watcher: Watcher, walk: Walk) -> Held:
        """Look now."""
        return cls(frozenset(walk.containers), ways_by_block(watcher, walk.holders), walk.cut)


def ways_by_block(watcher: Watcher, holders: Sequence[Holder]) -> dict[int, list[Way]]:
    """On which ways each live block is reached that is nobody's by role: directly, else through a graph."""
    found: dict[int, list[Way]] = {}
    with_graph: list[tuple[bool, int, int, Holder, Way]] = []
    for holder in holders:
        number = watcher.known(holder.tensor)
        way = Way.of(holder, -1 if number is None else number)
        if number is not None and not watcher.blocks[number].role:
            found.setdefault(number, []).append(way)
        if way.has_graph:
            # what an older step's graph keeps is the question: the oldest first, what is gone anyway last
            made = watcher.blocks[number].step if number is not None else watcher.step
            with_graph.append((not holder.outlives, made, len(with_graph), holder, way))
    reached: dict[int, Way] = {}
    seen: set[Any] = set()
    for *_, holder, way in sorted(with_graph, key=lambda one: one[:3])[:MOST_GRAPHS]:
        for node in nodes_behind(holder.tensor, seen):
            reached.setdefault(node, way)
    for block in watcher.blocks:
        if block.died is None and not block.role and block.number not in found:
            through = next((reached[s.sequence] for s in block.saved if s.sequence in reached), None)
            if through is not None:
                found[block.number] = [replace(through, through_graph=True)]
    return found


def keeper_of(way: Way, before: frozenset[tuple[str, int]]) -> Keeper:
    """The innermost object on a way that was there before the step that made what it holds."""
    trail = way.trail
    j = next((j for j in range(len(trail) - 1, 0, -1) if (trail[j].path, trail[j].identity) in before), 0)
    j = next((i for i in range(j) if trail[i].kind == "cache"), j)
    slot = trail[j + 1].path if j + 1 < len(trail) else way.path
    return Keeper(trail[j], slot, way.root)


def growth(key: Key, held: Sequence[Held], sizes: Mapping[int, int]) -> int:
    """Bytes by which a keeper grew with each step, on average; 0 unless it grew with every one of them.

    Parameters
    ----------
    key : (root, path)
    held : sequence of Held
        When each step was over.
    sizes : mapping of int to int
        Bytes of each block.
    """
    sums = [sum(sizes[b] for b, ways in one.ways.items() if any(key in way.keys for way in ways)) for one in held]
    if len(sums) < 2 or any(after <= before for before, after in pairwise(sums)):
        return 0
    return (sums[-1] - sums[0]) // (len(sums) - 1)


# -------------------------------------------------------------------- what a line puts into a keeper


def reader(keeper: Keeper, walk: Walk) -> Callable[[], Any] | None:
    """A function that reads what a keeper holds now, the collection itself or the value of the slot."""
    if keeper.stop.kind == "variable":
        names = walk.names.get((keeper.root, keeper.slot))
        return functools.partial(names.read, keeper.slot) if names is not None else None
    owner = walk.owners.get((keeper.root, keeper.stop.path))
    if owner is None:
        return None
    if keeper.collection or keeper.stop.kind == "cache":
        return lambda: owner
    name = keeper.slot.removeprefix(keeper.stop.path).removeprefix(".")
    return lambda: _attribute(owner, name)


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, type):
        return vars(owner).get(name)
    found = attributes(owner)
    if name in found:
        return found[name]
    return found.get("_buffers", {}).get(name, vars(type(owner)).get(name))


def tensors_in(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """The tensors of a value's newest items, a few levels down."""
    kind = type(value)
    if issubclass(kind, torch.Tensor):
        yield value
        return
    if depth >= _DEPTH:
        return
    items: Any = ()
    if issubclass(kind, dict):
        items = islice(reversed(dict.values(value)), _ITEMS)
    elif issubclass(kind, list | deque):
        items = islice(kind.__reversed__(value), _ITEMS)
    elif issubclass(kind, tuple):
        items = reversed(value[-_ITEMS:])
    elif issubclass(kind, set | frozenset):
        items = islice(value, _ITEMS)
    elif issubclass(kind, functools._lru_cache_wrapper):
        items = gc.get_referents(value)
    elif depth and not issubclass(kind, type):
        items = islice(attributes(value).values(), _ITEMS)
    for item in items:
        yield from tensors_in(item, depth + 1)


def contents(read: Callable[[], Any]) -> dict[tuple[int, int], int]:
    """What changes when a tensor is put into a keeper: its newest tensors and their bytes."""
    try:
        return {(id(t), t._version): t.numel() * t.element_size() for t in tensors_in(read())}
    except Exception:  # a user's object may answer with an error of its own
        return {}
