"""Folding: turn the joint ATen graph into calls, storages and the graph G of intermediate values.

In the joint ATen graph, views, getitems and detaches are fx nodes, too, but they own no memory. Folding keeps the
operators that allocate memory or overwrite an argument. These are the *calls*. The value of any other operator is in
the storage of the operator's input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter

import torch
from torch.fx import GraphModule, Node

from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.pytorch.internals.aot import gradients_are_boxed
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.export import Role, placeholder_role
from recompviz.pytorch.internals.symbolic_sizes import SymbolicSizes
from recompviz.pytorch.tracing.call_list import CallList
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.node_graph import node_graph
from recompviz.pytorch.tracing.prepared import Prepared, prepare
from recompviz.pytorch.tracing.results import copied_gradients, forward_output_count, name_results, split_outputs
from recompviz.pytorch.tracing.storage_table import StorageTable


@dataclass(frozen=True, eq=False)
class Folded:
    """A joint ATen graph reduced to calls, storages and the graph G of intermediate values; frozen.

    Attributes
    ----------
    joint : JointGraph
        The calls and storages of the forward and backward pass.
    graph : Graph
        The graph G. :func:`fold` sets every cost T_v to 1; :mod:`recompviz.pytorch.tracing.costs` sets other costs.
    fx : torch.fx.GraphModule
        The joint ATen graph that was folded.
    call_node : tuple of torch.fx.Node
        The fx node that runs each call.
    node_calls : tuple of tuple of int
        The calls that each node of G stands for; none for a node of views.
    storage_of : dict from torch.fx.Node to int
        The storage of each fx node whose value is one tensor.
    placeholders : tuple of (torch.fx.Node, (role, which))
        The inputs of the joint graph. The role is ``"parameter"``, ``"buffer"``, ``"input"``, ``"target"`` or
        ``"tangent"`` (the gradient of an output). ``which`` is the name of a parameter or buffer, and 0 for a tangent.
        For an input or target it is its position in the flattened list of inputs, keyword arguments and targets, or −1
        if it is not in this list: a region (see :func:`fold`) has no such list, and a step may read other tensors.
    outputs : tuple of (torch.fx.Node or None)
        The values that the forward pass returns. In a whole training step they are the loss and the tensors that the
        step assigns to attributes of modules. In a region (see :func:`fold`) they are the outputs of the region. None
        for an output that is not computed by the graph, such as a number.
    gradients : tuple of (torch.fx.Node or None)
        The gradient of each placeholder except tangents; None for a placeholder that gets no gradient.
    mutated : frozenset of torch.fx.Node
        The placeholders that the training step overwrites, for example running statistics.
    symbolic_sizes : SymbolicSizes
        The bytes of the storages whose size depends on symbolic sizes of the inputs.
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
        """The positions in ``placeholders`` of the inputs that the training step overwrites."""
        return frozenset(i for i, (node, _) in enumerate(self.placeholders) if node in self.mutated)

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors that the graph contains as constants, mostly tensor attributes that are not buffers."""
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
    """Turn a joint ATen graph into calls, storages and the graph G of intermediate values.

    Parameters
    ----------
    fx : torch.fx.GraphModule
        The joint graph. It is rewritten in place so that forward calls can run again; see
        :mod:`recompviz.pytorch.tracing.prepared`.
    target_positions : frozenset of int
        The positions of the targets in the flattened list of inputs, keyword arguments and targets. Not used if there
        is a ``role_of``.
    granularity : "operators" or "paper"
        What one node of G stands for; see :mod:`recompviz.pytorch.tracing.grouping`.
    device : torch.device, optional
        The device on which the step will run, if the step was traced on tensors without memory. By default the device
        of the trace.
    output_count : int, optional
        The number of outputs if the graph is a *region*: a part of a training step whose outputs get their gradients
        from outside. By default the graph is a whole training step. Its outputs are then the loss, which is one scalar,
        and the tensors that the step assigns to attributes of modules.
    role_of : callable (torch.fx.Node) → (role, which), optional
        Returns what a placeholder stands for, as in :attr:`Folded.placeholders`. By default it is read from the
        placeholder's descriptor.
    leaves : bool
        Whether the inputs of a region are leaves, so that autograd accumulates their gradients. The inputs of a whole
        training step always count as leaves, and this argument is not used.

    Returns
    -------
    Folded

    Raises
    ------
    TraceError
        If the training step cannot be planned. The message gives the reason and what to change.
    """
    output = next(iter(reversed(fx.graph.nodes)))
    prepared = prepare(fx, output_count or forward_output_count(output) or 1)
    region = output_count is not None
    table, calls = _tables(fx, prepared, region, role_of or partial(_described_role, target_positions))
    outputs, gradients = split_outputs(output, output_count)
    leaves = leaves or not region
    name_results(table, outputs, gradients, region, leaves)
    results = frozenset(table.storage_of[v] for v in (*outputs, *gradients) if v in table.storage_of)
    made = node_graph(table, calls, prepared.forward, results, granularity)
    runs_on = runtime(device or table.device)
    joint = JointGraph(
        calls=made.calls,
        storages=tuple(table.storages),
        results=frozenset(s for s in results if table.storages[s].maker >= 0),
        clones=copied_gradients(table, gradients, leaves),
        tangent_bytes=sum(s.size for s in table.storages if s.maker < 0 and s.category is Category.GRADIENT),
        rng_bytes=runs_on.generator_bytes(),
        alignment=runs_on.alignment,
    )
    return Folded(
        joint=joint,
        graph=made.graph,
        fx=fx,
        call_node=tuple(calls.nodes),
        node_calls=made.node_calls,
        storage_of=table.storage_of,
        placeholders=tuple(table.placeholders),
        outputs=outputs,
        gradients=gradients,
        mutated=prepared.mutated,
        symbolic_sizes=SymbolicSizes(
            [node.meta.get("val") for node, (role, _) in table.placeholders if role != "tangent"], table.symbolic
        ),
    )


def _described_role(target_positions: frozenset[int], node: Node) -> Role:
    """Return the role of a placeholder by its descriptor, which does not know which inputs are targets."""
    role, which = placeholder_role(node)
    return ("target", which) if role == "input" and which in target_positions else (role, which)


def _tables(
    fx: GraphModule,
    prepared: Prepared,
    region: bool,
    role_of: Callable[[Node], Role],
) -> tuple[StorageTable, CallList]:
    """Return the storages and the calls of a joint graph: placeholders and constants, then forward and backward."""
    table = StorageTable(fx, prepared.passed)
    calls = CallList(table, prepared.mutated)
    nodes = list(fx.graph.nodes)
    tangents = [node for node in nodes if node.op == "placeholder" and role_of(node)[0] == "tangent"]
    # autograd holds the gradient of the loss, and makes those of tensors that the step assigns to attributes
    arriving = tangents if region else tangents[1:]
    for node in nodes:
        if node.op == "placeholder":
            table.add_placeholder(node, role_of, allocated=node in arriving)
        elif node.op == "get_attr":
            table.add_constant(node)
    operators = [node for node in nodes if node.op == "call_function"]
    for node in operators:
        if node in prepared.forward:
            calls.add(node, backward=False)
    if region or arriving:
        calls.add_arrival(arriving, fallback=nodes[0])
    for node in operators:
        if node not in prepared.forward:
            calls.add(node, backward=True)
    if region and not gradients_are_boxed():
        calls.hold(arriving)
    return table, calls
