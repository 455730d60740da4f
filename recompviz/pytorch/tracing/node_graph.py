"""Build the paper's graph G of intermediate values from the operator calls of a training step.

The nodes of G stand for the forward calls whose results contribute to an output or to a value that the backward pass
reads. Other forward calls, such as the update of BatchNorm's counters, are simulated but not planned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call
from recompviz.pytorch.tracing.call_list import CallList
from recompviz.pytorch.tracing.grouping import Granularity, NodeContents, contents_of, parent_of
from recompviz.pytorch.tracing.storage_table import StorageTable


@dataclass(frozen=True)
class NodeGraph:
    """The graph G of intermediate values, and the operator calls of each of its nodes; frozen.

    Attributes
    ----------
    graph : Graph
        The graph G, in which the cost T_v of every node is 1.
    node_calls : tuple of tuple of int
        The calls of each node; none for a node of views.
    calls : tuple of Call
        All calls of the training step. Their attributes ``node``, ``views`` and ``follows`` are set.
    """

    graph: Graph
    node_calls: tuple[tuple[int, ...], ...]
    calls: tuple[Call, ...]


def node_graph(
    table: StorageTable, calls: CallList, forward: set[Node], results: frozenset[int], granularity: Granularity
) -> NodeGraph:
    """Build the graph G of intermediate values from the operator calls of a training step.

    Parameters
    ----------
    table : StorageTable
    calls : CallList
    forward : set of torch.fx.Node
        The fx nodes of the forward pass.
    results : frozenset of int
        The numbers of the storages of outputs and gradients.
    granularity : "operators" or "paper"
        What one node of G stands for; see :mod:`recompviz.pytorch.tracing.grouping`.
    """
    return _Builder(table, calls, forward, results, granularity).build()


class _Builder:
    def __init__(
        self,
        table: StorageTable,
        calls: CallList,
        forward: set[Node],
        results: frozenset[int],
        granularity: Granularity,
    ) -> None:
        self.table, self.info, self.results = table, calls.info, results
        self.calls, self.nodes = list(calls.calls), calls.nodes
        self.forward_count = sum(not call.backward for call in self.calls)
        self.needed = self._needed_storages()
        self.constant = self._constant_calls()
        members = self._members()
        self.contents = contents_of(granularity, sorted(members), self.nodes, forward, table.makers)
        self.node_of_call = {c: i for i, contents in enumerate(self.contents) for c in contents.calls}
        self.node_of_view = {view: i for i, contents in enumerate(self.contents) for view in contents.views}
        # storages that leave the node which makes them
        self.leaving = self.needed | {
            s
            for c in members
            for s in self.calls[c].reads
            if self.node_of_call.get(self._maker(s), -1) != self.node_of_call[c]
        }

    def build(self) -> NodeGraph:
        described = [
            self._view(i, contents) if contents.views else self._calls(i, contents)
            for i, contents in enumerate(self.contents)
        ]
        edges = sorted({(u, v) for v, contents in enumerate(self.contents) for u in self._sources(contents) if u != v})
        self._let_constants_follow()
        graph = Graph(
            tuple(info.key for info, _ in described),
            np.array([size for _, size in described], np.int64),
            np.ones(len(self.contents)),
            np.array(edges, np.int32).reshape(-1, 2),
            tuple(info for info, _ in described),
        )
        return NodeGraph(graph, tuple(contents.calls for contents in self.contents), tuple(self.calls))

    # ---------------------------------------------------------------- which calls are nodes

    def _maker(self, storage: int) -> int:
        return self.table.storages[storage].maker

    def _makers_read_by(self, call: Call) -> list[int]:
        return [maker for s in call.reads if (maker := self._maker(s)) >= 0]

    def _needed_storages(self) -> set[int]:
        """Return the storages of forward values that the backward pass reads, or that are results."""
        read = {s for call in self.calls[self.forward_count :] for s in call.reads}
        return {s for s in read | self.results if 0 <= self._maker(s) < self.forward_count}

    def _members(self) -> set[int]:
        """Return the calls that contribute to a needed value, without calls whose result is constant."""
        members: set[int] = set()
        stack = [self._maker(s) for s in self.needed]
        while stack:
            c = stack.pop()
            if c not in members and c not in self.constant:
                members.add(c)
                stack.extend(self._makers_read_by(self.calls[c]))
        return members

    def _constant_calls(self) -> set[int]:
        """Return the forward calls whose result depends on no input, parameter, buffer or random number.

        They are not nodes of G. As nodes without ingoing edges they would multiply the number of lower sets, for
        example in a transformer, which computes masks and positions.
        """
        found: set[int] = set()
        constants = self.table.constants
        for c, call in enumerate(self.calls[: self.forward_count]):
            given = {s for s in call.reads if self._maker(s) < 0} - constants
            if not call.random and not given and all(m in found for m in self._makers_read_by(call)):
                found.add(c)
        return found

    def _let_constants_follow(self) -> None:
        """Set ``follows`` of each constant call to the nodes that read its result.

        If one of these nodes is recomputed, the constant is recomputed, too, and need not be kept.
        """
        readers: dict[int, set[int]] = {c: set() for c in self.constant}
        for c in reversed(range(len(self.calls))):
            call = self.calls[c]
            nodes = {call.node} if call.node >= 0 else readers.get(c, set())
            for m in self._makers_read_by(call):
                if m in self.constant:
                    readers[m] |= nodes
        for c, nodes in readers.items():
            self.calls[c] = replace(self.calls[c], follows=tuple(sorted(nodes)))

    # ---------------------------------------------------------------- nodes and edges

    def _view(self, i: int, contents: NodeContents) -> tuple[NodeInfo, int]:
        """Return name and bytes of node i, a chain of views, and add i to ``views`` of the calls that own the storage.

        The bytes are those of the view's elements.
        """
        last = contents.views[-1]
        for c in self.table.makers(last):
            self.calls[c] = replace(self.calls[c], views=(*self.calls[c].views, i))
        return self.info(last, last.meta["val"], False, needed=False), _bytes_of(last)

    def _calls(self, i: int, contents: NodeContents) -> tuple[NodeInfo, int]:
        """Return name and bytes of node i, which is one call or several, and set ``node`` of these calls."""
        for c in contents.calls:
            needed, output = self._flags(self.calls[c].makes)
            info = replace(self.calls[c].info, needed=needed, output=output)
            self.calls[c] = replace(self.calls[c], node=i, info=info)
        makes = {s for c in contents.calls for s in self.calls[c].makes}
        size = sum(self.table.storages[s].size for s in makes & self.leaving)
        if not contents.name:
            return self.calls[contents.calls[0]].info, size
        last = self.nodes[contents.calls[-1]]
        needed, output = self._flags(makes)
        return self.info(last, last.meta["val"], False, contents.name, needed=needed, output=output), size

    def _flags(self, makes: Iterable[int]) -> tuple[bool, bool]:
        """Return whether the backward pass needs any of these storages, and whether any is a result."""
        made = set(makes)
        return bool(made & (self.needed - self.results)), bool(made & self.results)

    def _sources(self, contents: NodeContents) -> set[int]:
        """Return the nodes of G that a node with these contents reads directly."""
        inputs = [source for c in contents.calls for source in self.nodes[c].all_input_nodes]
        if contents.views and (parent := parent_of(contents.views[0], self.table.behind)) is not None:
            inputs.append(parent)
        return {u for source in inputs for u in self._nodes_behind(source)}

    def _nodes_behind(self, source: Node) -> set[int]:
        """Return the nodes of G that an fx node's value comes from: a node of views, or the nodes of its calls."""
        node: Node | None = source
        while self.node_of_view and node is not None and node.op == "call_function":
            if node in self.node_of_view:
                return {self.node_of_view[node]}
            node = parent_of(node, self.table.behind)
        return {self.node_of_call[maker] for maker in self.table.makers(source) if maker in self.node_of_call}


def _bytes_of(node: Node) -> int:
    leaves = pytree.tree_leaves(node.meta["val"])
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, torch.Tensor))
