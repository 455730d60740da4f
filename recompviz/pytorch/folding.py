"""From the joint ATen graph to calls, storages and the graph G.

The joint graph has one fx node per view, getitem and detach; memory has not. Everything is keyed by
storage: an fx node that allocates nothing is an *alias*, folded into the storage it looks at, and
the rest are calls. G is made of the forward calls that some value needed by the backward pass derives
from (or the loss itself); BatchNorm's counters and the like are calls, and so simulated, but no nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from recompviz.core.graph import Graph
from recompviz.core.joint import Call, Category, JointGraph, Storage
from recompviz.pytorch import private
from recompviz.pytorch.devices import alignment, device_of, generator_bytes
from recompviz.pytorch.grouping import Granularity, parent_of, parts_of
from recompviz.pytorch.node_info import InfoMaker
from recompviz.pytorch.prepared import is_mutation, prepare, reads_overwritten
from recompviz.pytorch.step import TraceError, refuse_no_scalar


@dataclass(frozen=True, eq=False)
class Folded:
    """A joint graph folded to calls, with the way back to the fx nodes that the executor runs.

    Attributes
    ----------
    joint : JointGraph
    graph : Graph
        G, with every T_v 1; :mod:`recompviz.pytorch.costs` puts a price on it.
    fx : torch.fx.GraphModule
    call_node : tuple of torch.fx.Node
        The fx node that runs each call.
    node_calls : tuple of tuple of int
        The calls that each node of G stands for; none for a view node.
    storage_of : dict from torch.fx.Node to int
        The storage each tensor-valued fx node looks at.
    placeholders : tuple of (torch.fx.Node, (role, which))
    loss, gradients : torch.fx.Node, tuple of (Node or None)
        The outputs; one gradient per placeholder but the tangent.
    mutated : frozenset of torch.fx.Node
        Placeholders that the step overwrites (running statistics).
    """

    joint: JointGraph
    graph: Graph
    fx: GraphModule
    call_node: tuple[Node, ...]
    node_calls: tuple[tuple[int, ...], ...]
    storage_of: dict[Node, int]
    placeholders: tuple[tuple[Node, tuple[str, str | int]], ...]
    loss: Node
    gradients: tuple[Node | None, ...]
    mutated: frozenset[Node]

    @cached_property
    def mutated_positions(self) -> frozenset[int]:
        """Positions of the mutated placeholders among the placeholders."""
        return frozenset(i for i, (node, _) in enumerate(self.placeholders) if node in self.mutated)


def fold(fx: GraphModule, target_positions: frozenset[int], granularity: Granularity = "operators") -> Folded:
    """Fold a joint graph.

    Parameters
    ----------
    fx : torch.fx.GraphModule
        As :func:`private.joint_graph` gives it; rewritten in place where a mutation demands it.
    target_positions : frozenset of int
        The flat input positions that are targets, to tell them from inputs.
    granularity : "operators" or "paper"
        What one node of G stands for.
    """
    mutated, forward = prepare(fx)
    return _Folder(fx, target_positions, mutated, forward, granularity).fold()


class _Folder:
    """One pass over the fx nodes that numbers storages and calls."""

    def __init__(
        self,
        fx: GraphModule,
        targets: frozenset[int],
        mutated: frozenset[Node],
        forward: set[Node],
        granularity: Granularity,
    ) -> None:
        self.fx, self.targets, self.mutated, self.forward = fx, targets, mutated, forward
        self.granularity: Granularity = granularity
        self.storages: list[Storage] = []
        self.by_key: dict[int, int] = {}
        self.storage_of: dict[Node, int] = {}
        self.calls: list[Call] = []
        self.call_node: list[Node] = []
        self.placeholders: list[tuple[Node, tuple[str, str | int]]] = []
        self.info = InfoMaker()

    def fold(self) -> Folded:
        nodes = list(self.fx.graph.nodes)
        for node in nodes:
            if node.op in ("placeholder", "get_attr"):
                self._input(node)
        for backward in (False, True):
            for node in nodes:
                if node.op == "call_function" and (node in self.forward) != backward:
                    self._call(node, backward)
        output = nodes[-1]
        values = output.args[0]
        forward_outputs = [v for v, d in zip(values, output.meta["desc"], strict=True) if private.is_forward_output(d)]
        refuse_no_scalar([v.meta["val"] if isinstance(v, Node) else v for v in forward_outputs])
        loss, gradients = values[0], tuple(values[1:])
        self._name_results(loss, gradients)
        results = frozenset(self.storage_of[v] for v in (loss, *gradients) if isinstance(v, Node))
        graph, node_calls = self._graph(results)
        device = device_of(node.meta.get("val") for node in nodes)
        joint = JointGraph(
            tuple(self.calls),
            tuple(self.storages),
            frozenset(s for s in results if self.storages[s].maker >= 0),
            self._clones(gradients),
            sum(s.size for s in self.storages if s.maker < 0 and s.category is Category.GRADIENT),
            generator_bytes(device),
            alignment(device),
        )
        return Folded(
            joint,
            graph,
            self.fx,
            tuple(self.call_node),
            node_calls,
            self.storage_of,
            tuple(self.placeholders),
            loss,
            gradients,
            self.mutated,
        )

    # ---------------------------------------------------------------- storages and calls

    def _input(self, node: Node) -> None:
        role, which = private.placeholder_role(node) if node.op == "placeholder" else ("buffer", str(node.target))
        if role == "unknown":
            raise TraceError(f"the trace has an input of an unknown kind: {which}; please report this model")
        if node.op == "placeholder":
            self.placeholders.append((node, (role, which)))
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return
        category = {"parameter": Category.PARAMETER, "buffer": Category.BUFFER, "tangent": Category.GRADIENT}.get(
            role, Category.TARGET if which in self.targets else Category.INPUT
        )
        self._look_at(node, value, maker=-1, category=category, label=str(which) if role != "input" else category.label)

    def _look_at(self, node: Node, value: torch.Tensor, maker: int, category: Category, label: str) -> int:
        key = private.storage_key(value)
        if key not in self.by_key:
            self.by_key[key] = len(self.storages)
            self.storages.append(Storage(int(value.untyped_storage().nbytes()), maker, category, label))
        self.storage_of[node] = self.by_key[key]
        return self.by_key[key]

    def _call(self, node: Node, backward: bool) -> None:
        value = node.meta.get("val")
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        fresh = [t for t in tensors if private.storage_key(t) not in self.by_key]
        mutation = is_mutation(node)
        if isinstance(value, torch.Tensor) and not fresh:
            self.storage_of[node] = self.by_key[private.storage_key(value)]
        if not fresh and not mutation:
            return  # a view, a getitem, a detach: an alias
        number = len(self.calls)
        info = self.info(node, value, backward, mutation=mutation)
        reads = list(dict.fromkeys(s for source in node.all_input_nodes for s in self._storages_behind(source)))
        makes = []
        for tensor in fresh:
            if private.storage_key(tensor) not in self.by_key:
                category = Category.GRADIENT if backward else Category.KEPT
                makes.append(self._look_at(node, tensor, number, category, info.key))
        if not isinstance(value, torch.Tensor):
            self.storage_of.pop(node, None)  # a tuple looks at several storages; its getitems at one each
        self.calls.append(
            Call(
                info,
                backward,
                -1,
                tuple(reads),
                tuple(makes),
                pinned=not backward and reads_overwritten(node, self.mutated),
                random=isinstance(node.target, torch._ops.OpOverload)
                and torch.Tag.nondeterministic_seeded in node.target.tags,
            )
        )
        self.call_node.append(node)

    def _storages_behind(self, node: Node) -> list[int]:
        if node in self.storage_of:
            return [self.storage_of[node]]
        leaves = pytree.tree_leaves(node.meta.get("val"))
        return [self.by_key[private.storage_key(t)] for t in leaves if isinstance(t, torch.Tensor)]

    # ---------------------------------------------------------------- results

    def _name_results(self, loss: Node, gradients: tuple[Node | None, ...]) -> None:
        s = self.storage_of[loss]
        self.storages[s] = replace(self.storages[s], category=Category.OUTPUT, label="loss")
        for (_, (_, which)), gradient in zip(self.placeholders, gradients, strict=False):
            if isinstance(gradient, Node) and self.storages[s := self.storage_of[gradient]].maker >= 0:
                label = f"gradient of {which}"
                self.storages[s] = replace(self.storages[s], category=Category.PARAMETER_GRADIENT, label=label)

    def _clones(self, gradients: tuple[Node | None, ...]) -> tuple[tuple[int, int], ...]:
        """Gradients that AccumulateGrad copies: their layout is not the parameter's, or their storage is shared."""
        shared = [self.storage_of[g] for g in gradients if isinstance(g, Node)]
        clones = []
        for (placeholder, _), gradient in zip(self.placeholders, gradients, strict=False):
            if not isinstance(gradient, Node):
                continue
            mine, theirs = gradient.meta["val"], placeholder.meta["val"]
            if mine.stride() != theirs.stride() and mine.numel() > 1:
                s = self.storage_of[gradient]
                if shared.count(s) == 1 and self.storages[s].maker >= 0:
                    clones.append((s, theirs.numel() * mine.element_size()))
        return tuple(clones)

    # ---------------------------------------------------------------- G

    def _graph(self, results: frozenset[int]) -> tuple[Graph, tuple[tuple[int, ...], ...]]:
        calls, storages = self.calls, self.storages
        forward = sum(not call.backward for call in calls)
        needed = {s for call in calls[forward:] for s in call.reads if 0 <= storages[s].maker < forward}
        needed |= {s for s in results if 0 <= storages[s].maker < forward}
        members: set[int] = set()
        stack = [storages[s].maker for s in needed]
        while stack:
            c = stack.pop()
            if c not in members:
                members.add(c)
                stack.extend(m for s in calls[c].reads if (m := storages[s].maker) >= 0)
        parts = parts_of(self.granularity, sorted(members), self.call_node, self.forward, self._makers)
        number = {c: i for i, part in enumerate(parts) for c in part.calls}
        views = {view: i for i, part in enumerate(parts) for view in part.views}
        # what a call reads and a member of its own part made does not leave the part
        used = needed | {s for c in members for s in calls[c].reads if number.get(storages[s].maker, -1) != number[c]}
        edges = set()
        infos, sizes = [], []
        for i, part in enumerate(parts):
            made = {s for c in part.calls for s in calls[c].makes}
            flags = {"needed": bool(made & (needed - results)), "output": bool(made & results)}
            sources = [source for c in part.calls for source in self.call_node[c].all_input_nodes]
            if part.views and (looked_at := parent_of(part.views[0], self._storages_behind)) is not None:
                sources.append(looked_at)
            edges |= {(u, i) for source in sources for u in self._parts_behind(source, number, views) if u != i}
            if part.views:
                last = part.views[-1]
                infos.append(self.info(last, last.meta["val"], False, needed=False))
                sizes.append(sum(_bytes_of(t) for t in pytree.tree_leaves(last.meta["val"])))
                for c in self._makers(last):
                    calls[c] = replace(calls[c], views=(*calls[c].views, i))
                continue
            for c in part.calls:
                outputs = set(calls[c].makes)
                own = replace(calls[c].info, needed=bool(outputs & (needed - results)), output=bool(outputs & results))
                calls[c] = replace(calls[c], node=i, info=own)
            last = self.call_node[part.calls[-1]]
            if part.name:
                infos.append(self.info(last, last.meta["val"], False, part.name, **flags))
            else:
                infos.append(calls[part.calls[0]].info)
            sizes.append(sum(storages[s].size for s in made if s in used))
        graph = Graph(
            tuple(info.key for info in infos),
            np.array(sizes, np.int64),
            np.ones(len(parts)),
            np.array(sorted(edges), np.int32).reshape(-1, 2),
            tuple(infos),
        )
        return graph, tuple(part.calls for part in parts)

    def _makers(self, node: Node) -> list[int]:
        """The calls that allocate what an fx node looks at."""
        return [maker for s in self._storages_behind(node) if (maker := self.storages[s].maker) >= 0]

    def _parts_behind(self, source: Node, number: dict[int, int], views: dict[Node, int]) -> set[int]:
        """The nodes of G that an fx node's value comes from directly: a view node, or its makers'."""
        node: Node | None = source
        while views and node is not None and node.op == "call_function":
            if node in views:
                return {views[node]}
            node = parent_of(node, self._storages_behind)
        return {number[maker] for maker in self._makers(source)}


def _bytes_of(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0
