"""From the joint ATen graph to calls, storages and the graph G.

The joint graph has one fx node per view, getitem and detach; memory has not. Everything is keyed by
storage: an fx node that allocates nothing is an *alias*, folded into the storage it looks at, and
the rest are calls. G is made of the forward calls that some value needed by the backward pass derives
from (or the loss itself); BatchNorm's counters and the like are calls, and so simulated, but no nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage
from recompviz.pytorch.internals.devices import alignment, device_of, generator_bytes
from recompviz.pytorch.internals.export import is_forward_output, placeholder_role
from recompviz.pytorch.internals.node_info import InfoMaker
from recompviz.pytorch.internals.operators import is_random
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.grouping import Granularity, parent_of, parts_of
from recompviz.pytorch.tracing.kernel_sizes import real_bytes
from recompviz.pytorch.tracing.prepared import Prepared, is_mutation, prepare, reads_overwritten
from recompviz.pytorch.tracing.step import TraceError, refuse_no_scalar

# what a placeholder stands for: (role, which); the roles are parameter, buffer, input, tangent
Role = tuple[str, str | int]
# the first step of a region's backward pass
ARRIVE = "gradients of the outputs arrive"


@dataclass(frozen=True, eq=False)
class Folded:
    """A joint graph folded to calls, with the way back to the fx nodes that the executor runs.

    Attributes
    ----------
    joint : JointGraph
    graph : Graph
        G, with every T_v 1; :mod:`recompviz.pytorch.tracing.costs` puts a price on it.
    fx : torch.fx.GraphModule
    call_node : tuple of torch.fx.Node
        The fx node that runs each call.
    node_calls : tuple of tuple of int
        The calls that each node of G stands for; none for a view node.
    storage_of : dict from torch.fx.Node to int
        The storage each tensor-valued fx node looks at.
    placeholders : tuple of (torch.fx.Node, (role, which))
    outputs : tuple of (torch.fx.Node or None)
        What the forward pass returns: the loss alone, or every output of a region.
    gradients : tuple of (torch.fx.Node or None)
        One for each placeholder, tangents apart.
    mutated : frozenset of torch.fx.Node
        Placeholders that the step overwrites (running statistics).
    """

    joint: JointGraph
    graph: Graph
    fx: GraphModule
    call_node: tuple[Node, ...]
    node_calls: tuple[tuple[int, ...], ...]
    storage_of: dict[Node, int]
    placeholders: tuple[tuple[Node, Role], ...]
    outputs: tuple[Node | None, ...]
    gradients: tuple[Node | None, ...]
    mutated: frozenset[Node]

    @cached_property
    def mutated_positions(self) -> frozenset[int]:
        """Positions of the mutated placeholders among the placeholders."""
        return frozenset(i for i, (node, _) in enumerate(self.placeholders) if node in self.mutated)

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors that the trace has as constants: attributes of modules that are no buffers, mostly."""
        names = dict.fromkeys(str(node.target) for node in self.fx.graph.nodes if node.op == "get_attr")
        values = [attrgetter(name)(self.fx) for name in names]
        return [value for value in values if isinstance(value, torch.Tensor)]


def fold(
    fx: GraphModule,
    target_positions: frozenset[int],
    granularity: Granularity = "operators",
    device: torch.device | None = None,
    output_count: int | None = None,
    role_of: Callable[[Node], Role] | None = None,
) -> Folded:
    """Fold a joint graph.

    Parameters
    ----------
    fx : torch.fx.GraphModule
        From :func:`recompviz.pytorch.internals.export.joint_graph`; rewritten in place where a mutation demands it.
    target_positions : frozenset of int
        The flat input positions that are targets, to tell them from inputs.
    granularity : "operators" or "paper"
        What one node of G stands for.
    device : torch.device, optional
        Where the step is to run, if it was traced without memory.
    output_count : int, optional
        For a region of a step, the number of values that its forward pass returns. Their gradients arrive from
        outside when the backward pass starts. Left out: the graph is a whole step and returns one scalar, the loss.
    role_of : callable (torch.fx.Node) → (role, which), optional
        What a placeholder stands for; by default its descriptor says it.

    Raises
    ------
    TraceError
        If the step cannot be planned; the message says why and what to change.
    """
    prepared = prepare(fx, output_count or 1)
    return _Folder(fx, target_positions, prepared, granularity, device, output_count, role_of).fold()


class _Folder:
    """One pass over the fx nodes that numbers storages and calls."""

    def __init__(
        self,
        fx: GraphModule,
        targets: frozenset[int],
        prepared: Prepared,
        granularity: Granularity,
        device: torch.device | None,
        output_count: int | None,
        role_of: Callable[[Node], Role] | None,
    ) -> None:
        self.fx, self.targets = fx, targets
        self.output_count = output_count
        self.role_of = role_of or placeholder_role
        self.mutated, self.forward, self.passed = prepared.mutated, prepared.forward, prepared.passed
        self.granularity: Granularity = granularity
        self.storages: list[Storage] = []
        self.by_key: dict[int, int] = {}
        self.storage_of: dict[Node, int] = {}
        self.calls: list[Call] = []
        self.call_node: list[Node] = []
        self.placeholders: list[tuple[Node, Role]] = []
        self.info = InfoMaker()
        self.device = device_of(node.meta.get("val") for node in fx.graph.nodes)
        self.runs_on = device or self.device
        self.constants: dict[str, int] = {}

    def _key(self, value: torch.Tensor) -> int:
        """What identifies the storage a fake tensor looks at; that of a copy left out is its source's."""
        key = storage_key(value)
        return self.passed.get(key, key)

    def fold(self) -> Folded:
        nodes = list(self.fx.graph.nodes)
        for node in nodes:
            if node.op in ("placeholder", "get_attr"):
                self._input(node)
        for backward in (False, True):
            if backward and self.output_count is not None:
                self._gradients_arrive()
            for node in nodes:
                if node.op == "call_function" and (node in self.forward) != backward:
                    self._call(node, backward)
        outputs, gradients = self._split_outputs(nodes[-1])
        self._name_results(outputs, gradients)
        results = frozenset(self.storage_of[v] for v in (*outputs, *gradients) if v in self.storage_of)
        graph, node_calls = self._graph(results)
        joint = JointGraph(
            tuple(self.calls),
            tuple(self.storages),
            frozenset(s for s in results if self.storages[s].maker >= 0),
            self._clones(gradients),
            sum(s.size for s in self.storages if s.maker < 0 and s.category is Category.GRADIENT),
            generator_bytes(self.runs_on),
            alignment(self.runs_on),
        )
        return Folded(
            joint,
            graph,
            self.fx,
            tuple(self.call_node),
            node_calls,
            self.storage_of,
            tuple(self.placeholders),
            outputs,
            gradients,
            self.mutated,
        )

    def _split_outputs(self, output: Node) -> tuple[tuple[Node | None, ...], tuple[Node | None, ...]]:
        """The values that the forward pass returns, and the gradients."""
        values: Any = output.args[0]
        if self.output_count is not None:
            return tuple(values[: self.output_count]), tuple(values[self.output_count :])
        forward_outputs = [v for v, d in zip(values, output.meta["desc"], strict=True) if is_forward_output(d)]
        refuse_no_scalar([v.meta["val"] if isinstance(v, Node) else v for v in forward_outputs])
        if values[0] is not forward_outputs[0]:
            raise TraceError(
                "the step overwrites a parameter, or an input that wants a gradient; a plan cannot run it twice. "
                "Do it outside forward() (an embedding with max_norm does it inside)"
            )
        return (values[0],), tuple(values[1:])

    def _gradients_arrive(self) -> None:
        """The first step of a region's backward pass: the gradients of its outputs come from outside.

        They are freed at their last use like any other block, so they are what this step makes.
        """
        tangents = [node for node, (role, _) in self.placeholders if role == "tangent"]
        number = len(self.calls)
        for node in tangents:
            if isinstance(value := node.meta.get("val"), torch.Tensor):
                self._look_at(node, value, number, Category.GRADIENT, "gradient of an output")
        makes = tuple(dict.fromkeys(self.storage_of[node] for node in tangents if node in self.storage_of))
        self.calls.append(Call(NodeInfo(key=ARRIVE, op=ARRIVE), True, -1, (), makes))
        self.call_node.append(tangents[0] if tangents else next(iter(self.fx.graph.nodes)))

    # ---------------------------------------------------------------- storages and calls

    def _input(self, node: Node) -> None:
        role, which = self.role_of(node) if node.op == "placeholder" else ("buffer", str(node.target))
        if role == "unknown" and "Token" in str(which):
            raise TraceError(
                "the step calls an operator that does more than give a result, as torch.linalg's error checks do; "
                "use the variant without, for example torch.linalg.cholesky_ex or inv_ex"
            )
        if role == "unknown":
            raise TraceError(f"the trace has an input of an unknown kind: {which}; please report this model")
        if node.op == "placeholder":
            self.placeholders.append((node, (role, which)))
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or (role == "tangent" and self.output_count is not None):
            return
        if node.op == "get_attr":
            # a tensor that the trace has as a constant; every mention of it is the same one
            constant = self.constants.setdefault(str(which), self._key(value))
            if constant in self.by_key:
                self.storage_of[node] = self.by_key[constant]
                self.by_key[self._key(value)] = self.by_key[constant]
                return
        category = {"parameter": Category.PARAMETER, "buffer": Category.BUFFER, "tangent": Category.GRADIENT}.get(
            role, Category.TARGET if which in self.targets else Category.INPUT
        )
        self._look_at(node, value, maker=-1, category=category, label=str(which) if role != "input" else category.label)

    def _look_at(self, node: Node, value: torch.Tensor, maker: int, category: Category, label: str) -> int:
        key = self._key(value)
        if key not in self.by_key:
            self.by_key[key] = len(self.storages)
            size = real_bytes(node, value) if value.device.type == self.device.type else 0
            self.storages.append(Storage(size, maker, category, label))
        self.storage_of[node] = self.by_key[key]
        return self.by_key[key]

    def _call(self, node: Node, backward: bool) -> None:
        value = node.meta.get("val")
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        if any(tensor.layout is not torch.strided for tensor in tensors):
            raise TraceError(f"{node.target} makes a sparse tensor, expected dense ones; use sparse=False")
        fresh = [t for t in tensors if self._key(t) not in self.by_key]
        mutation = is_mutation(node)
        if isinstance(value, torch.Tensor) and not fresh:
            self.storage_of[node] = self.by_key[self._key(value)]
        if not fresh and not mutation:
            return  # a view, a getitem, a detach: an alias
        number = len(self.calls)
        info = self.info(node, value, backward, mutation=mutation)
        reads = list(dict.fromkeys(s for source in node.all_input_nodes for s in self._storages_behind(source)))
        makes = []
        for tensor in fresh:
            if self._key(tensor) not in self.by_key:
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
                random=is_random(node.target),
            )
        )
        self.call_node.append(node)

    def _storages_behind(self, node: Node) -> list[int]:
        if node in self.storage_of:
            return [self.storage_of[node]]
        leaves = pytree.tree_leaves(node.meta.get("val"))
        return [self.by_key[self._key(t)] for t in leaves if isinstance(t, torch.Tensor)]

    # ---------------------------------------------------------------- results

    def _name_results(self, outputs: tuple[Node | None, ...], gradients: tuple[Node | None, ...]) -> None:
        label = "loss" if self.output_count is None else "output"
        for node in outputs:
            s = self.storage_of.get(node, -1) if isinstance(node, Node) else -1
            if s >= 0 and self.storages[s].maker >= 0:
                self.storages[s] = replace(self.storages[s], category=Category.OUTPUT, label=label)
        for (_, (role, which)), gradient in zip(self.placeholders, gradients, strict=False):
            if self.output_count is not None and role != "parameter":
                continue  # it goes to whatever made the input
            if isinstance(gradient, Node) and self.storages[s := self.storage_of[gradient]].maker >= 0:
                label = f"gradient of {which}"
                self.storages[s] = replace(self.storages[s], category=Category.PARAMETER_GRADIENT, label=label)

    def _clones(self, gradients: tuple[Node | None, ...]) -> tuple[tuple[int, int], ...]:
        """Gradients that AccumulateGrad copies: their layout is not the parameter's, or another one is the same."""
        arriving = [
            (p, g)
            for (p, (role, _)), g in zip(self.placeholders, gradients, strict=False)
            if isinstance(g, Node) and (self.output_count is None or role == "parameter")
        ]
        last = {gradient: placeholder for placeholder, gradient in arriving}
        copied = []
        kept: set[int] = set()
        for placeholder, gradient in arriving:
            mine, theirs = gradient.meta["val"], placeholder.meta["val"]
            other_layout = mine.stride() != theirs.stride() and mine.numel() > 1
            if other_layout or last[gradient] is not placeholder:
                copied.append((self.storage_of[gradient], placeholder, theirs.numel() * mine.element_size()))
            else:
                kept.add(self.storage_of[gradient])
        # where another parameter keeps the block, the copy alone is counted, under the parameter's name
        return tuple((self.storage_of[p] if s in kept else s, size) for s, p, size in copied)

    # ---------------------------------------------------------------- G

    def _graph(self, results: frozenset[int]) -> tuple[Graph, tuple[tuple[int, ...], ...]]:
        calls, storages = self.calls, self.storages
        forward = sum(not call.backward for call in calls)
        needed = {s for call in calls[forward:] for s in call.reads if 0 <= storages[s].maker < forward}
        needed |= {s for s in results if 0 <= storages[s].maker < forward}
        constant = self._constant_calls(forward)
        members: set[int] = set()
        stack = [storages[s].maker for s in needed]
        while stack:
            c = stack.pop()
            if c not in members and c not in constant:
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
        self._let_constants_follow(constant)
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
        return {number[maker] for maker in self._makers(source) if maker in number}

    def _constant_calls(self, forward: int) -> set[int]:
        """Forward calls whose result no input, parameter or random number has a part in.

        As nodes they would be free sources that multiply the lower sets of a transformer with its masks and positions.
        """
        found: set[int] = set()
        for c, call in enumerate(self.calls[:forward]):
            given = {s for s in call.reads if self.storages[s].maker < 0} - set(self._constant_storages())
            if not call.random and not given and all(m in found for m in self._makers_read_by(call)):
                found.add(c)
        return found

    def _constant_storages(self) -> list[int]:
        return [self.by_key[key] for key in self.constants.values()]

    def _makers_read_by(self, call: Call) -> list[int]:
        return [m for s in call.reads if (m := self.storages[s].maker) >= 0]

    def _let_constants_follow(self, constant: set[int]) -> None:
        """A constant is made again where a node that reads it is: then it need not be kept for the backward pass."""
        readers: dict[int, set[int]] = {c: set() for c in constant}
        for c in reversed(range(len(self.calls))):
            call = self.calls[c]
            nodes = {call.node} if call.node >= 0 else readers.get(c, set())
            for m in self._makers_read_by(call):
                if m in constant:
                    readers[m] |= nodes
        for c, nodes in readers.items():
            self.calls[c] = replace(self.calls[c], follows=tuple(sorted(nodes)))


def _bytes_of(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0
