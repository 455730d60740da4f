"""PyTorch's own min-cut partitioner, and a split of a joint graph by a list of saved values.

Private PyTorch used here: ``torch._functorch`` (its partitioners, config and helpers), ``is_sym_node``, ``OrderedSet``,
and ``CustomPartitionerFn`` of ``torch._inductor``. Tried on torch 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the
CPU; :func:`split_joint` on 2.13.0 and 2.14.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._functorch import config as functorch_config
from torch._functorch import partitioners
from torch._functorch._aot_autograd.utils import (
    _is_bwd_seed_offset,
    _is_fwd_seed_offset,
    _is_primal,
    _is_tangent,
)
from torch._functorch.compile_utils import raise_getitems
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.custom_graph_pass import CustomPartitionerFn
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import is_sym_node
from torch.utils._ordered_set import OrderedSet
from torch.utils.checkpoint import CheckpointPolicy

from recompviz.pytorch.internals.export import is_forward_output
from recompviz.pytorch.internals.operators import may_be_random
from recompviz.pytorch.internals.tensors import storage_key

__all__ = [
    "CustomPartitionerFn",
    "Split",
    "copied_joint",
    "default_split",
    "gets_gradient",
    "is_plain_joint",
    "min_cut_saved",
    "must_run_once",
    "saved_bytes",
    "split_joint",
]

Split = tuple[GraphModule, GraphModule]


def min_cut_saved(fx: GraphModule, ratio: float) -> list[Node]:
    """Return the values that PyTorch's min-cut partitioner saves for the backward pass of a joint graph.

    The partitioner works on a copy, under the current settings of ``torch._functorch.config``. By default it avoids
    recomputing operators that it calls compute-intensive. For a ratio below 1, it chooses the saved values by a
    knapsack problem, in which recomputing a value costs its FLOP by default. Equal subexpressions are not merged,
    because merging would change the graph.

    Parameters
    ----------
    fx : torch.fx.GraphModule
        A joint graph; it is not changed.
    ratio : float
        ``torch._functorch.config.activation_memory_budget``, from 0 to 1.

    Returns
    -------
    list of torch.fx.Node
        Nodes of the partitioner's forward graph. They share their fake tensors with the nodes of ``fx``.
    """
    outputs = next(iter(reversed(fx.graph.nodes)))
    count = sum(map(is_forward_output, outputs.meta["desc"]))
    with functorch_config.patch(activation_memory_budget=ratio, cse=False):
        forward, _ = min_cut_rematerialization_partition(copied_joint(fx), (), num_fwd_outputs=count)
    made = next(iter(reversed(forward.graph.nodes)))
    return [node for node in made.args[0][count:] if isinstance(node, Node)]


# -------------------------------------------------------------------- a split by a list of saved values


def copied_joint(fx: GraphModule) -> GraphModule:
    """Copy a joint graph. Nodes and their ``meta`` dictionaries are new, and fake tensors are shared."""
    graph = Graph()
    copied = graph.output(graph.graph_copy(fx.graph, {}))
    copied.meta = dict(next(iter(reversed(fx.graph.nodes))).meta)
    return GraphModule(fx, graph)


def default_split(joint: GraphModule, inputs: Any, options: dict[str, Any]) -> Split:
    """Return the forward and backward graph that PyTorch's min-cut partitioner makes. This changes the joint graph.

    ``inputs`` and ``options`` are the arguments that Inductor passes to a partitioner after the joint graph.
    """
    return min_cut_rematerialization_partition(joint, inputs, **options)


def is_plain_joint(joint: GraphModule) -> bool:
    """Return whether a joint graph contains only operators and constants, so that :func:`split_joint` can split it.

    False for a graph with a subgraph (``invoke_subgraph``, flex attention), with an operator that has side effects, or
    with an input for the offset of a random generator. PyTorch's partitioner splits such graphs.
    """
    for node in joint.graph.nodes:
        if node.op == "placeholder":
            if _is_fwd_seed_offset(node) or _is_bwd_seed_offset(node):
                return False
            if partitioners._is_backward_state(node) or isinstance(node.meta.get("val"), torch.ScriptObject):
                return False
        elif node.op == "get_attr":
            if isinstance(getattr(joint, str(node.target), None), torch.nn.Module):
                return False
        elif node.op == "call_function" and isinstance(node.target, torch._ops.HigherOrderOperator):
            return False
    return True


def must_run_once(node: Node) -> bool:
    """Return whether a call must not run again in the backward pass, because it communicates or may be random.

    Inductor's own random operators may run again, because they compute their numbers from a saved seed.
    """
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    collective = node.target.namespace == "_c10d_functional"
    return collective or may_be_random(node.target)


def gets_gradient(joint: GraphModule) -> set[str]:
    """Return the names of the placeholders of a joint graph that get a gradient."""
    output = next(iter(reversed(joint.graph.nodes)))
    owners = [
        getattr(descriptor, "grad_of", None)
        for value, descriptor in zip(output.args[0], output.meta["desc"], strict=True)
        if isinstance(value, Node)
    ]
    return {n.name for n in joint.graph.find_nodes(op="placeholder") if n.meta.get("desc") in owners}


def saved_bytes(forward: GraphModule, output_count: int) -> int:
    """Count the bytes of the tensors that a forward graph saves for the backward pass.

    Inputs do not count, and a storage counts once.

    Parameters
    ----------
    forward : torch.fx.GraphModule
    output_count : int
        The number of outputs that are not saved values. These outputs come first.
    """
    values = [n for n in next(iter(reversed(forward.graph.nodes))).args[0][output_count:] if isinstance(n, Node)]
    made = [n.meta.get("val") for n in values if n.op != "placeholder"]
    tensors = [value for value in made if isinstance(value, torch.Tensor)]
    return sum({storage_key(t): t.untyped_storage().nbytes() for t in tensors}.values())


def split_joint(joint: GraphModule, saved: list[Node], output_count: int, static: Sequence[int]) -> Split:
    """Split a joint graph into a forward graph, which saves only the given values and the inputs, and a backward graph.

    The backward graph recomputes all other values. It runs each recomputed operator just before the first gradient
    operator that needs it. The joint graph is changed.

    Parameters
    ----------
    joint : torch.fx.GraphModule
    saved : list of torch.fx.Node
        Tensors of the forward pass. A tensor that the backward pass does not read is not saved. Inputs need not be
        listed.
    output_count : int
        The number of outputs of the forward pass.
    static : sequence of int
        The positions of the inputs that have the same address in every training step, as Inductor reports them.

    Returns
    -------
    (torch.fx.GraphModule, torch.fx.GraphModule)
        The forward and the backward graph.
    """
    for node in joint.graph.nodes:
        if isinstance(node.meta.get("recompute"), CheckpointPolicy):
            del node.meta["recompute"]  # the plan takes the place of the user's checkpoints
    primals = [n for n in joint.graph.find_nodes(op="placeholder") if _is_primal(n)]
    tangents = [n for n in joint.graph.find_nodes(op="placeholder") if _is_tangent(n)]
    backward = set(tangents)
    for node in joint.graph.nodes:
        if any(source in backward for source in node.all_input_nodes):
            backward.add(node)
    sizes = [node for node in joint.graph.nodes if node.op != "output" and node not in backward and is_sym_node(node)]
    sizes = [node for node in sizes if not partitioners._is_assert_only_symbool(node)]
    tensors = [node for node in primals if isinstance(node.meta.get("val"), torch.Tensor)]
    fixed = OrderedSet(primals[i] for i in static)
    forward_module, backward_module = partitioners._extract_fwd_bwd_modules(
        joint,
        list(dict.fromkeys([*tensors, *saved])),
        saved_sym_nodes=sizes,
        num_fwd_outputs=output_count,
        static_lifetime_input_nodes=fixed,
    )
    backward_module = partitioners.reordering_to_mimic_autograd_engine(backward_module)
    return raise_getitems(forward_module), raise_getitems(backward_module)
