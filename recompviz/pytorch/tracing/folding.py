"""From the joint ATen graph to calls, storages and the graph G.

The joint graph has one fx node for each view, getitem and detach, but these own no memory. Folding keeps the fx nodes
that allocate memory, the *calls*, and folds every other node into the storage it looks at. Storages, calls, results
and G each have a file; this one puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import torch
from torch.fx import GraphModule, Node

from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.pytorch.internals.devices import alignment, generator_bytes
from recompviz.pytorch.internals.export import Role, placeholder_role
from recompviz.pytorch.internals.symbolic_sizes import SymbolicSizes
from recompviz.pytorch.tracing.call_list import CallList
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.node_graph import node_graph
from recompviz.pytorch.tracing.prepared import prepare
from recompviz.pytorch.tracing.results import copied_gradients, forward_output_count, name_results, split_outputs
from recompviz.pytorch.tracing.storage_table import StorageTable


@dataclass(frozen=True, eq=False)
class Folded:
    """A joint graph folded to calls, with the fx nodes that a program runs.

    Attributes
    ----------
    joint : JointGraph
    graph : Graph
        G, with every T_v 1; :mod:`recompviz.pytorch.tracing.costs` sets other costs.
    fx : torch.fx.GraphModule
    call_node : tuple of torch.fx.Node
        The fx node that runs each call.
    node_calls : tuple of tuple of int
        The calls that each node of G stands for; none for a view node.
    storage_of : dict from torch.fx.Node to int
        The storage of each fx node whose value is one tensor.
    placeholders : tuple of (torch.fx.Node, (role, which))
    outputs : tuple of (torch.fx.Node or None)
        The values that the forward pass returns: the loss, or every output of a region.
    gradients : tuple of (torch.fx.Node or None)
        One for each placeholder except tangents.
    mutated : frozenset of torch.fx.Node
        Placeholders that the step overwrites (running statistics).
    symbolic_sizes : SymbolicSizes
        The bytes of the storages that depend on the sizes of the inputs.
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
    symbolic_sizes: SymbolicSizes

    @cached_property
    def mutated_positions(self) -> frozenset[int]:
        """Positions of the mutated placeholders among the placeholders."""
        return frozenset(i for i, (node, _) in enumerate(self.placeholders) if node in self.mutated)

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors that the trace contains as constants, mostly attributes of modules that are no buffers."""
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
    leaves: bool = False,
) -> Folded:
    """Fold a joint graph.

    Parameters
    ----------
    fx : torch.fx.GraphModule
        From :func:`recompviz.pytorch.internals.export.joint_graph`; rewritten in place where a mutation demands it.
    target_positions : frozenset of int
        The flat positions of the inputs that are targets.
    granularity : "operators" or "paper"
        What one node of G stands for.
    device : torch.device, optional
        The device that the step will run on, if it was traced without memory.
    output_count : int, optional
        For a region of a step, the number of values that its forward pass returns. Their gradients arrive from
        outside when the backward pass starts. Left out: the graph is a whole step and returns one scalar, the loss.
    role_of : callable (torch.fx.Node) → (role, which), optional
        The value that a placeholder stands for; by default read from its descriptor.
    leaves : bool
        Whether the inputs are leaves, so that autograd accumulates their gradients.

    Raises
    ------
    TraceError
        If the step cannot be planned; the message says why and what to change.
    """
    output = next(iter(reversed(fx.graph.nodes)))
    prepared = prepare(fx, output_count or forward_output_count(output) or 1)
    region = output_count is not None
    table = StorageTable(fx, prepared.passed)
    calls = CallList(table, prepared.mutated)
    nodes = list(fx.graph.nodes)
    for node in nodes:
        if node.op == "placeholder":
            table.add_placeholder(node, role_of or placeholder_role, target_positions, region)
        elif node.op == "get_attr":
            table.add_constant(node)
    operators = [node for node in nodes if node.op == "call_function"]
    for node in operators:
        if node in prepared.forward:
            calls.add(node, backward=False)
    if region:
        calls.add_arrival(fallback=nodes[0])
    for node in operators:
        if node not in prepared.forward:
            calls.add(node, backward=True)

    outputs, gradients = split_outputs(nodes[-1], output_count)
    leaves = leaves or not region
    name_results(table, outputs, gradients, region, leaves)
    results = frozenset(table.storage_of[v] for v in (*outputs, *gradients) if v in table.storage_of)
    made = node_graph(table, calls, prepared.forward, results, granularity)
    runs_on = device or table.device
    joint = JointGraph(
        made.calls,
        tuple(table.storages),
        frozenset(s for s in results if table.storages[s].maker >= 0),
        copied_gradients(table, gradients, leaves),
        sum(s.size for s in table.storages if s.maker < 0 and s.category is Category.GRADIENT),
        generator_bytes(runs_on),
        alignment(runs_on),
    )
    return Folded(
        joint,
        made.graph,
        fx,
        tuple(calls.nodes),
        made.node_calls,
        table.storage_of,
        tuple(table.placeholders),
        outputs,
        gradients,
        prepared.mutated,
        SymbolicSizes(
            [node.meta.get("val") for node, (role, _) in table.placeholders if role != "tangent"], table.symbolic
        ),
    )
