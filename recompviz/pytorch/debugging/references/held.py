"""Find the blocks that the user's objects hold after each training step, and the objects that hold more in every step.

A block is one storage. Each live block gets its reference paths. A retainer is the object that keeps a block alive. It
grows if it holds more bytes after every training step than after the step before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath
from recompviz.pytorch.debugging.references.walk import FoundTensor, Walk, nodes_behind

# the largest number of tensors whose graphs are followed
MOST_GRAPHS = 200


@dataclass(frozen=True)
class HeldAfterStep:
    """The objects and reference paths that a search found after a training step, or before the first one.

    Attributes
    ----------
    containers : frozenset of (expression, id)
        The objects that the search visited.
    paths : mapping of int to list of ReferencePath
        Number of a block → the reference paths to the block.
    not_searched : str
        A sentence about objects that the search left out; empty if there are none.
    """

    containers: frozenset[tuple[str, int]]
    paths: Mapping[int, list[ReferencePath]]
    not_searched: str = ""

    @classmethod
    def of(cls, watcher: Watcher, walk: Walk) -> HeldAfterStep:
        """Describe the objects and tensors that a search found, without keeping tensors alive."""
        return cls(frozenset(walk.containers), paths_by_block(watcher, walk.found), walk.not_searched)


def paths_by_block(watcher: Watcher, found: Sequence[FoundTensor]) -> dict[int, list[ReferencePath]]:
    """Map the number of each live block without a role to its reference paths.

    A block is one storage. Blocks with a role are parameters, gradients, buffers, optimizer state, inputs and targets.
    If no path reaches a block directly, the path to a tensor whose autograd graph saved the block is used. Blocks
    without any path are left out. At most 200 graphs are searched.
    """
    paths: dict[int, list[ReferencePath]] = {}
    with_graph: list[tuple[tuple[bool, int], FoundTensor, ReferencePath]] = []
    for one in found:
        number = watcher.known(one.tensor)
        path = ReferencePath.of(one, -1 if number is None else number)
        if number is not None and not watcher.blocks[number].role:
            paths.setdefault(number, []).append(path)
        if path.has_graph:
            made = watcher.blocks[number].step if number is not None else watcher.step
            with_graph.append(((not one.outlives, made), one, path))
    # graphs that outlive the step before those that do not, and older graphs before newer ones
    with_graph.sort(key=lambda entry: entry[0])
    path_to_node: dict[int, ReferencePath] = {}
    seen: set[Any] = set()
    for _, one, path in with_graph[:MOST_GRAPHS]:
        for node in nodes_behind(one.tensor, seen):
            path_to_node.setdefault(node, path)
    for block in watcher.blocks:
        if block.died is None and not block.role and block.number not in paths:
            through = next((path_to_node[s.sequence] for s in block.saved if s.sequence in path_to_node), None)
            if through is not None:
                paths[block.number] = [replace(through, through_graph=True)]
    return paths


def growth_by_retainer(held: Sequence[HeldAfterStep], sizes: Mapping[int, int]) -> dict[Key, int]:
    """Return the average growth of each retainer, in bytes per training step.

    A retainer is the object that keeps a block alive. Its growth is the change of the bytes that it holds. A retainer
    that does not grow with every step is left out. With fewer than two steps, the result is empty.

    Parameters
    ----------
    held : sequence of HeldAfterStep
        One for each training step, in order.
    sizes : mapping of int to int
        Number of a block → its bytes.
    """
    if len(held) < 2:
        return {}
    sums: dict[Key, list[int]] = defaultdict(lambda: [0] * len(held))
    for step, one in enumerate(held):
        for block, paths in one.paths.items():
            for key in frozenset().union(*(path.keys for path in paths)):
                sums[key][step] += sizes[block]
    return {
        key: (totals[-1] - totals[0]) // (len(totals) - 1)
        for key, totals in sums.items()
        if all(before < after for before, after in pairwise(totals))
    }
