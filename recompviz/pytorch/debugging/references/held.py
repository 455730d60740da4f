"""Find the blocks that the user's objects hold after each training step, and the objects that hold more and more.

A block is one storage. Each live block gets its reference paths. A retainer is the object that keeps a block alive. It
grows if the bytes that it holds after the training steps rise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

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
    nodes : mapping of (root, expression) to int
        For tensors with a graph that outlive the step, the number of autograd nodes in the graph. A node in several
        graphs counts in the first only. At most 200 graphs are searched.
    unseen : mapping of (root, expression) to int
        For each object, the bytes of the tensors in it that no recorded operator has touched: its older content.
    """

    containers: frozenset[tuple[str, int]]
    paths: Mapping[int, list[ReferencePath]]
    not_searched: str = ""
    nodes: Mapping[Key, int] = field(default_factory=dict)
    unseen: Mapping[Key, int] = field(default_factory=dict)

    def nodes_in(self, key: Key) -> int:
        """Return the number of autograd nodes in the graph of a tensor, or in the graphs of a collection's items."""
        root, expression = key
        return sum(
            n for (r, e), n in self.nodes.items() if r == root and (e == expression or collection_of(e) == expression)
        )

    @classmethod
    def of(cls, watcher: Watcher, walk: Walk) -> HeldAfterStep:
        """Describe the objects and tensors that a search found, without keeping tensors alive."""
        nodes: dict[Key, int] = {}
        paths = paths_by_block(watcher, walk.found, nodes)
        return cls(frozenset(walk.containers), paths, walk.not_searched, nodes, _unseen(watcher, walk.found))


def paths_by_block(
    watcher: Watcher, found: Sequence[FoundTensor], nodes: dict[Key, int] | None = None
) -> dict[int, list[ReferencePath]]:
    """Return the reference paths to each live block without a role, by the number of the block.

    A block is one storage. Blocks with a role are parameters, gradients, buffers, optimizer state, inputs and targets.
    If no path reaches a block directly, the path to a tensor whose autograd graph saved the block is used. Blocks
    without any path are left out. At most 200 autograd graphs are searched.

    If ``nodes`` is given, it is filled with the number of autograd nodes of each tensor that outlives the step. The key
    is the key of the path to the tensor. A node that is in several graphs counts in the first of them only.
    """
    paths: dict[int, list[ReferencePath]] = {}
    with_graph: list[tuple[tuple[bool, bool, int], FoundTensor, ReferencePath]] = []
    for one in found:
        number = watcher.known(one.tensor)
        path = ReferencePath.of(one, -1 if number is None else number)
        if number is not None and not watcher.blocks[number].role:
            paths.setdefault(number, []).append(path)
        if path.has_graph:
            made = watcher.blocks[number].step if number is not None else watcher.step
            with_graph.append(((not one.outlives, one.of_loop, made), one, path))
    # graphs that outlive the step before those that do not, and older graphs before newer ones
    with_graph.sort(key=lambda entry: entry[0])
    path_to_node: dict[int, ReferencePath] = {}
    seen: set[Any] = set()
    for _, one, path in with_graph[:MOST_GRAPHS]:
        before = len(seen)
        for node in nodes_behind(one.tensor, seen):
            path_to_node.setdefault(node, path)
        if nodes is not None and one.outlives and len(seen) > before:
            key = path.root, path.expression
            nodes[key] = nodes.get(key, 0) + len(seen) - before
    for block in watcher.blocks:
        if block.died is None and not block.role and block.number not in paths:
            through = next((path_to_node[s.sequence] for s in block.saved if s.sequence in path_to_node), None)
            if through is not None:
                paths[block.number] = [replace(through, through_graph=True)]
    return paths


def _unseen(watcher: Watcher, found: Sequence[FoundTensor]) -> dict[Key, int]:
    sizes: dict[Key, int] = defaultdict(int)
    counted: set[tuple[Key, int]] = set()
    for one in found:
        if len(one.links) < 2 or watcher.known(one.tensor) is not None or one.tensor.layout is not torch.strided:
            continue
        path = ReferencePath.of(one, -1)
        for key in path.keys:
            if (key, id(one.tensor)) not in counted:
                counted.add((key, id(one.tensor)))
                sizes[key] += path.bytes
    return dict(sizes)


def collection_of(expression: str) -> str:
    """Return the expression of the collection that contains an item; empty if the expression does not end with ``]``.

    Examples
    --------
    >>> collection_of("log['loss'][3]"), collection_of("net.ema")
    ("log['loss']", '')
    """
    return expression.rpartition("[")[0] if expression.endswith("]") else ""


def trend(totals: Sequence[int]) -> int:
    """Return the average increase per step of a quantity that grows, rounded down; 0 if the quantity does not grow.

    The quantity grows if it never falls, rises in at least half of the steps, and still rises in the second half of the
    steps.

    Examples
    --------
    >>> trend([1, 3, 5]), trend([1, 1, 5]), trend([1, 5, 5]), trend([1, 5, 3])
    (2, 2, 0, 0)
    """
    changes = [after - before for before, after in pairwise(totals)]
    if not changes or min(changes) < 0:
        return 0
    rises = sum(change > 0 for change in changes)
    late = any(change > 0 for change in changes[len(changes) // 2 :])
    return sum(changes) // len(changes) if 2 * rises >= len(changes) and late else 0


def growth_by_retainer(held: Sequence[HeldAfterStep], sizes: Mapping[int, int]) -> dict[Key, int]:
    """Return the average growth of each retainer, in bytes per training step.

    A retainer is the object that keeps a block alive. Its growth is the :func:`trend` of the bytes that it holds. These
    bytes include the tensors that no recorded operator has touched, so that a ring buffer that is full does not grow. A
    retainer that does not grow is left out. With fewer than two steps, the result is empty.

    Parameters
    ----------
    held : sequence of HeldAfterStep
        What the search after each training step found, in the order of the steps.
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
    for key, totals in sums.items():
        for step, one in enumerate(held):
            totals[step] += one.unseen.get(key, 0)
    return {key: growth for key, totals in sums.items() if (growth := trend(totals))}
