"""Preparation of the joint fx graph, so that forward calls can run a second time during the backward pass.

A training step overwrites some of its inputs, such as running statistics and counters. If the backward pass reads such
an input, the graph is changed. The backward pass then reads a copy of the input, made before the input is overwritten.
BatchNorm's backward operator needs no copy, because it ignores the running statistics. A forward call that reads an
overwritten input must not run again; see :func:`reads_overwritten`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from recompviz.pytorch.internals.export import overwritten_input
from recompviz.pytorch.internals.operators import is_in_place
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.step import TraceError

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Prepared:
    """The result of :func:`prepare`; frozen.

    Attributes
    ----------
    mutated : frozenset of torch.fx.Node
        The placeholders that the training step overwrites.
    forward : set of torch.fx.Node
        The nodes of the forward pass.
    passed : dict of int to int
        The storage of each removed copy → the storage of the tensor that it copied. Both are results of
        :func:`storage_key`.
    """

    mutated: frozenset[Node]
    forward: set[Node]
    passed: dict[int, int]


def prepare(fx: GraphModule, output_count: int) -> Prepared:
    """Rewrite a joint graph in place so that forward calls can run again, and remove unused nodes.

    Parameters
    ----------
    fx : torch.fx.GraphModule
    output_count : int
        The number of outputs of the forward pass. The graph returns them first, then the gradients.

    Raises
    ------
    TraceError
        If the graph overwrites a tensor in place, except by a copy into an input of the graph.
    """
    mutated = _mutated_placeholders(fx, output_count)
    _release_running_statistics(fx)
    _copy_what_is_overwritten(fx, mutated, output_count)
    copies = _let_copies_pass(fx)
    passed = {storage_key(copy): storage_key(source) for copy, source in copies}
    fx.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or is_mutation(node))
    return Prepared(mutated, _forward_nodes(fx, output_count), passed)


def is_mutation(node: Node) -> bool:
    """Return whether an fx node overwrites one of its arguments."""
    return node.op == "call_function" and is_in_place(node.target)


def reads_overwritten(node: Node, mutated: frozenset[Node]) -> bool:
    """Return whether a call reads an overwritten input and would give another result after the write."""
    return any(p in mutated and not _indifferent(node, p) for p in node.all_input_nodes)


def _let_copies_pass(fx: GraphModule) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Replace each ``aten.copy`` by its source if both have the same layout.

    A copy of an input stays, because the input may be overwritten later. Returns the fake tensors of each replaced copy
    and of its source. Views of a replaced copy still have the copy's storage.
    """
    stands_for: dict[Node, Node] = {}
    given = {storage_key(v) for n in fx.graph.nodes if n.op == "placeholder"
             if isinstance(v := n.meta.get("val"), torch.Tensor)}  # fmt: skip
    for node in fx.graph.nodes:
        source = node.args[1] if node.target is aten.copy.default else None
        if isinstance(source, Node) and _layout(node) == _layout(source):
            source = stands_for.get(source, source)
            if storage_key(source.meta["val"]) not in given:  # an input may be overwritten later
                stands_for[node] = source
    for node, source in stands_for.items():
        node.replace_all_uses_with(source)
    return [(node.meta["val"], source.meta["val"]) for node, source in stands_for.items()]


def _layout(node: Node) -> tuple[object, ...]:
    value = node.meta["val"]
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device


def _mutated_placeholders(fx: GraphModule, output_count: int) -> frozenset[Node]:
    """Return the inputs that the training step overwrites, in the graph or afterwards with a returned value."""
    descriptors = next(iter(reversed(fx.graph.nodes))).meta["desc"][:output_count]
    overwritten = [target for desc in descriptors if (target := overwritten_input(desc)) is not None]
    mutated = {node for node in fx.graph.nodes if node.op == "placeholder" and node.meta["desc"] in overwritten}
    for node in fx.graph.nodes:
        if is_mutation(node):
            if node.target is not aten.copy_.default or node.args[0].op != "placeholder":
                raise TraceError(f"{node.target} overwrites a tensor inside the step; write it out of place")
            mutated.add(node.args[0])
    return frozenset(mutated)


_BATCH_NORM_BACKWARD = {
    # operator → positions of (running mean, running variance, train)
    aten.native_batch_norm_backward.default: (3, 4, 7),
    aten.cudnn_batch_norm_backward.default: (3, 4, None),
    aten.miopen_batch_norm_backward.default: (3, 4, None),
}
_BATCH_NORM_FORWARD = {
    aten._native_batch_norm_legit_functional.default: (3, 4, 5),
    aten._batch_norm_with_update_functional.default: (3, 4, None),
}


def _release_running_statistics(fx: GraphModule) -> None:
    """Make BatchNorm's backward operator read the running statistics in the buffers, not the updated copies.

    In training mode the operator ignores their values. So the updated copies need not be kept.
    """
    source = {node.args[1]: node.args[0] for node in fx.graph.nodes if is_mutation(node)}
    for node in fx.graph.nodes:
        if node.target in _BATCH_NORM_BACKWARD:
            mean, variance, train = _BATCH_NORM_BACKWARD[node.target]
            if train is None or node.args[train] is True:
                for position in (mean, variance):
                    buffer = source.get(node.args[position])
                    if buffer is not None:
                        node.update_arg(position, buffer)


def _indifferent(node: Node, placeholder: Node) -> bool:
    """Return whether a call gives the same result before and after the placeholder is overwritten."""
    if is_mutation(node):
        return True
    table = _BATCH_NORM_FORWARD | _BATCH_NORM_BACKWARD
    if node.target not in table:
        return False
    mean, variance, train = table[node.target]
    if train is not None and node.args[train] is not True:
        return False
    return placeholder not in [arg for i, arg in enumerate(node.args) if i not in (mean, variance)]


def _copy_what_is_overwritten(fx: GraphModule, mutated: frozenset[Node], output_count: int) -> None:
    """Copy each overwritten input that the backward pass reads before the write, and replace these reads."""
    forward = _forward_nodes(fx, output_count)
    for placeholder in mutated:
        readers = [n for n in placeholder.users if n not in forward and not _indifferent(n, placeholder)]
        if readers:
            first = next(n for n in fx.graph.nodes if n.op == "call_function")
            with fx.graph.inserting_before(first):
                copy = fx.graph.call_function(aten.clone.default, (placeholder,))
                value = placeholder.meta["val"]
                with value.fake_mode:
                    copy.meta["val"] = value.clone()
            for reader in readers:
                reader.replace_input_with(placeholder, copy)


def _forward_nodes(fx: GraphModule, output_count: int) -> set[Node]:
    """Return the nodes of the forward pass: all ancestors of outputs and of buffer updates, and clones of inputs."""
    output = next(iter(reversed(fx.graph.nodes)))
    outputs = [value for value in output.args[0][:output_count] if isinstance(value, Node)]
    stack = [*outputs, *(node for node in fx.graph.nodes if is_mutation(node))]
    found: set[Node] = set()
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    # a copy of an overwritten input must be made before it is overwritten
    found.update(n for n in fx.graph.nodes if n.target is aten.clone.default and n.args[0].op == "placeholder")
    return found
