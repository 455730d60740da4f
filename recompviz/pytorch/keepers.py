"""What keeps a block from step to step: of the ways to reach it, the one that is to blame, and how it grows.

A holder's path runs through several objects: ``log[3]['outputs']`` through ``log`` and through the dict of the third
step. The *keeper* is the innermost of them that was there before the step, here ``log``; the *slot* is where it holds
the block, ``log[3]``. What each keeper holds at the end of successive steps tells whether it grows.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import torch

from recompviz.pytorch.holders import Holder, Names, Walk, attributes, nodes_behind
from recompviz.pytorch.watcher import Watcher

Key = tuple[str, str]

# graphs of so many tensors are followed
MOST_GRAPHS = 200
# the newest items of a container that are looked at when a line may have changed it, and how deep
_ITEMS, _DEPTH = 32, 3
COLLECTIONS = (dict, list, tuple, deque, set, frozenset)


@dataclass(frozen=True, eq=False)
class Keeper:
    """The object that outlives a step, and where it holds a block.

    Attributes
    ----------
    owner : object
    owner_path, slot : str
        ``log`` and ``log[3]``; for an object ``self`` and ``self.bank``; for a variable nothing and its name.
    root : str
        Where the path starts: ``global``, ``local of main``.
    """

    owner: Any
    owner_path: str
    slot: str
    root: str

    @property
    def variable(self) -> bool:
        """Whether it is a plain variable."""
        return isinstance(self.owner, Names)

    @property
    def collection(self) -> bool:
        """Whether it is something that one puts things into."""
        return isinstance(self.owner, COLLECTIONS)

    @property
    def cache(self) -> bool:
        """Whether it is the memory of ``functools.lru_cache``."""
        return isinstance(self.owner, functools._lru_cache_wrapper)

    @property
    def key(self) -> Key:
        """What is told together: all of a collection, one attribute or variable of anything else."""
        return self.root, self.owner_path if self.collection or self.cache else self.slot

    def read(self) -> Any:
        """What it holds now: the collection itself, or the value of the slot."""
        if self.collection or self.cache:
            return self.owner
        if isinstance(self.owner, Names):
            return self.owner.read(self.slot)
        return attributes(self.owner).get(self.slot.removeprefix(self.owner_path + "."))


@dataclass(frozen=True)
class Held:
    """What was held between two steps; no reference to any of it.

    Attributes
    ----------
    containers : frozenset of (path, id)
    kept : mapping of int to frozenset of (root, path)
        By block: every object and slot on the ways to it.
    """

    containers: frozenset[tuple[str, int]]
    kept: Mapping[int, frozenset[Key]]

    @classmethod
    def of(cls, watcher: Watcher, walk: Walk) -> Held:
        """Look now."""
        found = holders_by_block(watcher, walk.holders)
        kept = {
            block: frozenset((h.root, path) for h in held for path in (*(link.path for link in h.trail), h.path))
            for block, held in found.items()
        }
        return cls(frozenset(walk.containers), kept)


def holders_by_block(watcher: Watcher, holders: Sequence[Holder]) -> dict[int, list[Holder]]:
    """Who holds each live block that is nobody's by role: directly, else through a graph."""
    found: dict[int, list[Holder]] = {}
    with_graph: list[tuple[bool, int, int, Holder]] = []
    for holder in holders:
        number = watcher.known(holder.tensor)
        if number is not None and not watcher.blocks[number].role:
            found.setdefault(number, []).append(holder)
        if holder.tensor.grad_fn is not None:
            # what an older step's graph keeps is the question: the oldest holders first, what is gone anyway last
            made = watcher.blocks[number].step if number is not None else watcher.step
            with_graph.append((not holder.outlives, made, len(with_graph), holder))
    reached: dict[int, Holder] = {}
    seen: set[Any] = set()
    for *_, holder in sorted(with_graph, key=lambda one: one[:3])[:MOST_GRAPHS]:
        for node in nodes_behind(holder.tensor, seen):
            reached.setdefault(node, holder)
    for block in watcher.blocks:
        if block.died is None and not block.role and block.number not in found:
            through = next((reached[s.sequence] for s in block.saved if s.sequence in reached), None)
            if through is not None:
                found[block.number] = [through.by_graph]
    return found


def keeper_of(holder: Holder, before: frozenset[tuple[str, int]]) -> Keeper:
    """The innermost object on a holder's path that was there before the step that made what it holds."""
    trail = holder.trail
    j = next((j for j in range(len(trail) - 1, 0, -1) if trail[j].key in before), 0)
    slot = trail[j + 1].path if j + 1 < len(trail) else holder.path
    return Keeper(trail[j].owner, trail[j].path, slot, holder.root)


def growth(key: Key, ends: Sequence[Held], sizes: Mapping[int, int]) -> int:
    """Bytes by which a keeper grew with each step, on average; 0 unless it grew with every one of them.

    Parameters
    ----------
    key : (root, path)
    ends : sequence of Held
        When each step was over.
    sizes : mapping of int to int
        Bytes of each block.
    """
    held = [sum(sizes[block] for block, paths in end.kept.items() if key in paths) for end in ends]
    if len(held) < 2 or any(after <= before for before, after in pairwise(held)):
        return 0
    return (held[-1] - held[0]) // (len(held) - 1)


def tensors_in(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """The tensors of a value's newest items, a few levels down."""
    if isinstance(value, torch.Tensor):
        yield value
        return
    if depth >= _DEPTH:
        return
    items: Any = ()
    if isinstance(value, dict):
        items = islice(reversed(value.values()), _ITEMS)
    elif isinstance(value, list | tuple | deque):
        items = islice(reversed(value), _ITEMS)
    elif isinstance(value, set | frozenset):
        items = islice(value, _ITEMS)
    elif isinstance(value, functools._lru_cache_wrapper):
        items = gc.get_referents(value)
    elif depth and hasattr(value, "__dict__"):
        items = islice(attributes(value).values(), _ITEMS)
    for item in items:
        yield from tensors_in(item, depth + 1)


def contents(keeper: Keeper) -> dict[tuple[int, int], int]:
    """What changes when a tensor is put into a keeper: its newest tensors and their bytes."""
    return {(id(t), t._version): t.numel() * t.element_size() for t in tensors_in(keeper.read())}
